//! Blocking TCP between two runtimes.

mod common;
#[path = "tcp/futures_io.rs"]
mod futures_io;
#[path = "tcp/interceptor.rs"]
mod interceptor;
#[path = "tcp/relay.rs"]
mod relay;
#[path = "tcp/std_net.rs"]
mod std_net;
#[path = "tcp/task_interceptor.rs"]
mod task_interceptor;

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{addr, connection, impaired_pair, pair, pattern, start, within_time};
use portolan::{MacAddr, Medium, Offloads, RecvFlags, SendFlags, SocketOption};
use portolan_runtime::device::{Device, FdDevice, FrameHeader, MemoryPair, StreamDevice};
use portolan_runtime::{Keepalive, TcpListener, TcpStream};

fn echo_server(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
}

/// Sends `data` from one thread and reads it back in another.
fn echo_round_trip(stream: TcpStream, data: Vec<u8>) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = stream;
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    received
}

#[test]
fn echo_brings_back_what_was_sent_over_both_families() {
    within_time(|| {
        let (server, client) = pair();
        echo_server(TcpListener::bind(&server, addr(1, 7)).unwrap());
        let v6 = TcpListener::bind(&server, ("fd00::1".parse::<std::net::IpAddr>().unwrap(), 7)).unwrap();
        let v6_addr = v6.local_addr().unwrap();
        echo_server(v6);
        for target in [addr(1, 7), v6_addr] {
            let data = pattern(3_000_000, 1);
            let stream = TcpStream::connect(&client, target).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), target);
            assert!(echo_round_trip(stream, data.clone()) == data);
        }
    });
}

#[test]
fn data_is_whole_over_a_bad_network() {
    within_time(|| {
        let (server, client) =
            impaired_pair("loss=3%,dup=1%,reorder=1%,corrupt=0.5%,delay=500us,jitter=200us,seed=11");
        echo_server(TcpListener::bind(&server, addr(1, 7)).unwrap());
        let data = pattern(400_000, 2);
        let stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        assert!(echo_round_trip(stream, data.clone()) == data);
        assert!(client.handle().stats().tcp.retrans_segs > 0);
    });
}

#[test]
fn a_thousand_connections_at_once() {
    within_time(|| {
        let (server, client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        let connected: Vec<TcpStream> =
            (0..1000).map(|_| TcpStream::connect(&client, addr(1, 7)).unwrap()).collect();
        // Every thread is blocked in `read` before anything is answered.
        let threads: Vec<_> = connected
            .into_iter()
            .enumerate()
            .map(|(number, mut stream)| {
                std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || {
                        stream.write_all(&(number as u32).to_be_bytes()).unwrap();
                        let mut answer = [0; 4];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(u32::from_be_bytes(answer), number as u32);
                    })
                    .unwrap()
            })
            .collect();
        let mut accepted: Vec<TcpStream> = (0..1000).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut accepted {
            let mut number = [0; 4];
            stream.read_exact(&mut number).unwrap();
            stream.write_all(&number).unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn each_connection_wakes_one_of_many_in_accept() {
    within_time(|| {
        let (server, client) = pair();
        let listener = Arc::new(TcpListener::bind(&server, addr(1, 7)).unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..50)
            .map(|_| {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                std::thread::spawn(move || {
                    let stream = listener.accept().unwrap().0;
                    accepted.fetch_add(1, Ordering::SeqCst);
                    drop(stream);
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        let streams: Vec<_> = (0..50).map(|_| TcpStream::connect(&client, addr(1, 7)).unwrap()).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(accepted.load(Ordering::SeqCst), 50);
        drop(streams);
    });
}

#[test]
fn timeouts_end_a_wait_and_not_much_later() {
    within_time(|| {
        let (server, client) = pair();
        let (far, mut near) = connection(&server, &client);
        near.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        assert_eq!(near.try_clone().unwrap().read_timeout().unwrap(), Some(Duration::from_millis(60)));
        let start = Instant::now();
        assert_eq!(near.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(60) && waited < Duration::from_millis(600), "{waited:?}");

        near.set_write_timeout(Some(Duration::from_millis(60))).unwrap();
        let chunk = vec![0; 1 << 16];
        let error = loop {
            if let Err(error) = near.write(&chunk) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(near.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(far);
    });
}

#[test]
fn nonblocking_calls_return_at_once() {
    within_time(|| {
        let (server, client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut near = TcpStream::connect(&client, addr(1, 7)).unwrap();
        near.set_nonblocking(true).unwrap();
        assert_eq!(near.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(near.peek(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        near.set_nonblocking(false).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"abc").unwrap();
        let mut buf = [0; 10];
        assert_eq!(near.peek(&mut buf).unwrap(), 3);
        assert_eq!(near.read(&mut buf).unwrap(), 3);
        assert_eq!(&buf[..3], b"abc");
    });
}

#[test]
fn the_halves_of_a_connection_end_one_by_one() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        near.write_all(b"question").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut question = String::new();
        far.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        far.write_all(b"answer").unwrap();
        drop(far);
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    });
}

#[test]
fn shutdown_wakes_whoever_reads() {
    within_time(|| {
        let (server, client) = pair();
        let (_far, near) = connection(&server, &client);
        let mut reader = near.try_clone().unwrap();
        let reading = std::thread::spawn(move || reader.read(&mut [0; 10]));
        std::thread::sleep(Duration::from_millis(50));
        near.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_peer_that_does_not_read_stops_the_sender_and_loses_nothing() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, near) = connection(&server, &client);
        let data = pattern(12_000_000, 3);
        let sent = Arc::new(AtomicUsize::new(0));
        let writing = std::thread::spawn({
            let (data, sent) = (data.clone(), sent.clone());
            move || {
                let mut left = &data[..];
                while !left.is_empty() {
                    let len = (&near).write(left).unwrap();
                    left = &left[len..];
                    sent.fetch_add(len, Ordering::SeqCst);
                }
            }
        });
        let mut before = usize::MAX;
        while before != sent.load(Ordering::SeqCst) {
            before = sent.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(before < data.len(), "both buffers together are smaller");
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert!(received == data);
        writing.join().unwrap();
    });
}

#[test]
fn a_device_with_room_for_one_frame_holds_everybody_up_and_loses_nothing() {
    within_time(|| {
        let (a, b) = MemoryPair::new().capacity(1).build().unwrap();
        let (server, client) = (start(1, a), start(2, b));
        echo_server(TcpListener::bind(&server, addr(1, 7)).unwrap());
        let clients: Vec<_> = (0..8)
            .map(|salt| {
                let stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                std::thread::spawn(move || {
                    let data = pattern(200_000, salt);
                    assert!(echo_round_trip(stream, data.clone()) == data);
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        // Back-pressure causes no loss.
        assert_eq!(client.handle().stats().recovery.timeouts, 0);
    });
}

#[test]
fn lingering_over_the_loopback_ends_when_the_reader_has_read() {
    within_time(|| {
        let (host, _other) = pair();
        let listener = TcpListener::bind(&host, ([127, 0, 0, 1], 7)).unwrap();
        let mut near = TcpStream::connect(&host, ([127, 0, 0, 1], 7)).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut sent = 0;
        while let Ok(len) = near.write(&[7; 1 << 16]) {
            sent += len;
        }
        near.set_linger(Some(Duration::from_secs(20))).unwrap();
        let reading = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let mut received = Vec::new();
            far.read_to_end(&mut received).unwrap();
            received.len()
        });
        let start = Instant::now();
        drop(near);
        assert!(start.elapsed() >= Duration::from_millis(90) && start.elapsed() < Duration::from_secs(10));
        assert_eq!(reading.join().unwrap(), sent);
    });
}

#[test]
fn nobody_listens_and_nobody_answers() {
    within_time(|| {
        let (_server, client) = pair();
        let error = TcpStream::connect(&client, addr(1, 9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(error.raw_os_error(), Some(111));
        let start = Instant::now();
        let timeout = Duration::from_millis(100);
        let error = TcpStream::connect_timeout(&client, addr(77, 9), timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= timeout && start.elapsed() < 10 * timeout);
    });
}

#[test]
fn a_listener_that_is_closed_tells_whoever_accepts() {
    within_time(|| {
        let (server, _client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        let other = listener.try_clone().unwrap();
        let accepting = std::thread::spawn(move || other.accept().unwrap_err());
        std::thread::sleep(Duration::from_millis(50));
        listener.close().unwrap();
        assert_eq!(accepting.join().unwrap().raw_os_error(), Some(9));
        TcpListener::bind(&server, addr(1, 7)).unwrap();
    });
}

#[test]
fn a_write_may_say_that_more_follows() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, near) = connection(&server, &client);
        assert_eq!(near.send_with(b"ques", SendFlags::MORE).unwrap(), 4);
        assert_eq!(near.send_with(b"tion", SendFlags::END_OF_RECORD).unwrap(), 4);
        let mut buf = [0; 8];
        far.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"question");
    });
}

#[test]
fn a_listener_becomes_the_connections_that_come() {
    within_time(|| {
        let (server, client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        let _near: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(&client, addr(1, 7)).unwrap()).collect();
        let mut ports: Vec<u16> = listener
            .into_incoming()
            .take(3)
            .map(|stream| stream.unwrap().peer_addr().unwrap().port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 3);
        // The listener was dropped with the iterator.
        TcpListener::bind(&server, addr(1, 7)).unwrap();
    });
}

#[test]
fn a_listener_says_whether_it_is_for_ipv6_only() {
    within_time(|| {
        let (server, _client) = pair();
        for only in [false, true] {
            let options = [SocketOption::V6Only(only)];
            let any = "[::]:9".parse::<std::net::SocketAddr>().unwrap();
            let listener = TcpListener::bind_with(&server, any, 5, &options).unwrap();
            assert_eq!(listener.only_v6().unwrap(), only);
        }
    });
}

#[test]
fn options_are_what_was_set() {
    within_time(|| {
        let (server, client) = pair();
        let (_far, near) = connection(&server, &client);
        near.set_nodelay(true).unwrap();
        assert!(near.nodelay().unwrap());
        assert_eq!(near.ttl().unwrap(), 64, "the stack's default");
        near.set_ttl(9).unwrap();
        assert_eq!(near.ttl().unwrap(), 9);
        near.set_tos(0xff).unwrap();
        assert_eq!(near.tos().unwrap(), 0xfc, "the rest is TCP's");
        assert_eq!(near.set_ttl(300).unwrap_err().kind(), ErrorKind::InvalidInput);
        let keepalive =
            Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(5), count: 4 };
        near.set_keepalive(Some(keepalive)).unwrap();
        assert_eq!(near.keepalive().unwrap(), Some(keepalive));
        near.set_keepalive(None).unwrap();
        assert_eq!(near.keepalive().unwrap(), None);
        near.set_linger(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(near.linger().unwrap(), Some(Duration::from_secs(1)));
        assert!(near.take_error().unwrap().is_none());
        TcpListener::bind_with(&server, addr(1, 99), 5, &[SocketOption::ReusePort(true)]).unwrap();
        TcpListener::bind_with(&server, addr(1, 99), 5, &[SocketOption::ReusePort(true)]).unwrap();
    });
}

#[test]
fn slices_leave_together() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        let segments = client.handle().stats().tcp.segs_sent;
        let slices = [IoSlice::new(b"head "), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(near.write_vectored(&slices).unwrap(), 9);
        let mut word = [0; 9];
        far.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"head body");
        assert_eq!(client.handle().stats().tcp.segs_sent, segments + 1);
    });
}

#[test]
fn lingering_waits_until_the_peer_has_everything() {
    within_time(|| {
        let (server, client) = impaired_pair("delay=50ms");
        let (mut far, mut near) = connection(&server, &client);
        near.set_linger(Some(Duration::from_secs(10))).unwrap();
        near.write_all(b"to the last byte").unwrap();
        let start = Instant::now();
        drop(near);
        assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
        drop(client);
        far.set_nonblocking(true).unwrap();
        let mut received = [0; 100];
        assert_eq!(far.read(&mut received).unwrap(), 16);
    });
}

#[test]
fn lingering_for_no_time_resets() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, near) = connection(&server, &client);
        near.set_linger(Some(Duration::ZERO)).unwrap();
        drop(near);
        assert_eq!(far.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_dropped_stream_still_delivers() {
    within_time(|| {
        let (server, client) = impaired_pair("delay=5ms");
        let (mut far, mut near) = connection(&server, &client);
        let data = pattern(200_000, 4);
        near.write_all(&data).unwrap();
        drop(near);
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert!(received == data);
    });
}

#[test]
fn data_before_a_reset_is_read_and_the_error_follows() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        // Because of unread data the close of the other end is a reset.
        near.write_all(b"never read").unwrap();
        far.write_all(b"last words").unwrap();
        far.peek(&mut [0; 1]).unwrap();
        drop(far);
        let mut received = Vec::new();
        let error = near.read_to_end(&mut received).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(received.is_empty() || received == b"last words");
    });
}

#[test]
fn a_stack_talks_to_itself() {
    within_time(|| {
        let (host, _other) = pair();
        let listener = TcpListener::bind(&host, ([127, 0, 0, 1], 7)).unwrap();
        echo_server(listener);
        let data = pattern(500_000, 5);
        let stream = TcpStream::connect(&host, ([127, 0, 0, 1], 7)).unwrap();
        assert!(echo_round_trip(stream, data.clone()) == data);
    });
}

#[test]
fn urgent_data_low_water_and_what_is_known_of_a_connection() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        near.write_all(b"before").unwrap();
        assert_eq!(near.send_oob(b"!").unwrap(), 1);
        near.write_all(b"after").unwrap();
        let mut buf = [0; 64];
        let mut before = Vec::new();
        while before.len() < 6 {
            let len = far.read(&mut buf).unwrap();
            before.extend_from_slice(&buf[..len]);
        }
        assert_eq!(before, b"before", "no read goes across the mark");
        while !far.at_mark().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(far.recv_oob().unwrap(), b'!');
        assert_eq!(far.recv_oob().unwrap_err().kind(), ErrorKind::InvalidInput);
        far.read_exact(&mut buf[..5]).unwrap();
        assert_eq!(&buf[..5], b"after");
        // A read waits for the low-water mark, but not longer than its time-out.
        far.set_receive_low_water(20).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        near.write_all(b"little").unwrap();
        let start = Instant::now();
        assert_eq!(far.read(&mut buf).unwrap(), 6);
        assert!(start.elapsed() >= Duration::from_millis(100));
        far.set_read_timeout(None).unwrap();
        let writer = std::thread::spawn(move || {
            near.set_cork(true).unwrap();
            near.set_user_timeout(Some(Duration::from_secs(5))).unwrap();
            near.write_all(b"ten bytes.").unwrap();
            near.write_all(b"and ten more").unwrap();
            near.set_cork(false).unwrap();
            near
        });
        assert_eq!(far.read(&mut buf).unwrap(), 22, "both, in one segment");
        let near = writer.join().unwrap();
        assert!(!near.cork().unwrap());
        assert_eq!(near.user_timeout().unwrap(), Some(Duration::from_secs(5)));
        let (sent, received) = (near.info().unwrap(), far.info().unwrap());
        assert_eq!((sent.state.name(), sent.bytes_sent, received.bytes_received), ("ESTABLISHED", 40, 40));
        assert!(sent.rtt > Duration::ZERO && sent.snd_cwnd >= 10);
    });
}

#[test]
fn a_read_waits_for_all_of_its_buffer_if_it_is_told_to() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        let writer = std::thread::spawn(move || {
            for part in [&b"one "[..], b"two ", b"three", b"rest"] {
                std::thread::sleep(Duration::from_millis(10));
                near.write_all(part).unwrap();
            }
            near
        });
        let mut buf = [0; 13];
        let waiting = RecvFlags::WAIT_ALL | RecvFlags::PEEK;
        assert_eq!(far.recv_with(&mut buf, waiting).unwrap(), 13);
        assert_eq!(&buf, b"one two three");
        assert_eq!(far.recv_with(&mut buf, RecvFlags::WAIT_ALL).unwrap(), 13);
        assert_eq!(&buf, b"one two three");
        let (mut first, mut second) = ([0; 1], [0; 3]);
        let near = writer.join().unwrap();
        while far.recv_with(&mut buf, RecvFlags::PEEK | RecvFlags::TRUNCATE).unwrap() < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let read = far.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert_eq!((read.unwrap(), &first, &second), (4, b"r", b"est"));
        let nothing = far.recv_with(&mut buf, RecvFlags::DONT_WAIT).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        // The time-out and the end of the stream cut it short, and lose nothing.
        (&near).write_all(b"late").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(far.recv_with(&mut buf, RecvFlags::WAIT_ALL).unwrap(), 4);
        far.set_read_timeout(None).unwrap();
        (&near).write_all(b"last").unwrap();
        drop(near);
        assert_eq!(far.recv_with(&mut buf, RecvFlags::WAIT_ALL).unwrap(), 4);
        assert_eq!(far.recv_with(&mut buf, RecvFlags::WAIT_ALL).unwrap(), 0);
    });
}

/// As on Linux no read crosses the mark, also one that waits there when the urgent byte arrives.
#[test]
fn a_read_that_waits_for_all_ends_at_urgent_data() {
    within_time(|| {
        let (server, client) = pair();
        let (far, mut near) = connection(&server, &client);
        let writer = std::thread::spawn(move || {
            near.write_all(b"abc").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            near.send_oob(b"U").unwrap();
            near.write_all(b"def").unwrap();
            near
        });
        let mut buf = [0; 6];
        assert_eq!(far.recv_with(&mut buf, RecvFlags::WAIT_ALL).unwrap(), 3);
        assert_eq!((&buf[..3], far.at_mark().unwrap()), (&b"abc"[..], true));
        assert_eq!(far.recv_with(&mut buf[..3], RecvFlags::WAIT_ALL).unwrap(), 3);
        assert_eq!(&buf[..3], b"def");
        drop(writer.join().unwrap());
    });
}

/// As Linux.
#[test]
fn accepted_connections_have_the_time_outs_of_their_listener() {
    within_time(|| {
        let (server, client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        let short = Some(Duration::from_millis(30));
        listener.set_option(SocketOption::ReceiveTimeout(short)).unwrap();
        listener.set_option(SocketOption::SendTimeout(Some(Duration::from_secs(9)))).unwrap();
        let _peer = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read_timeout().unwrap(), short);
        assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_secs(9)));
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    });
}

#[test]
fn sockets_are_bound_to_interfaces_by_name() {
    within_time(|| {
        let (server, client) = pair();
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        assert_eq!(listener.device().unwrap(), None);
        listener.bind_device(Some("lo")).unwrap();
        let refused = TcpStream::connect(&client, addr(1, 7)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        listener.bind_device(Some("if0")).unwrap();
        let stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.device().unwrap().as_deref(), Some("if0"));
        stream.bind_device(Some("if0")).unwrap();
        stream.bind_device(None).unwrap();
        let unknown = stream.bind_device(Some("if9")).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
    });
}

/// Sends data between two hosts on these devices.
fn transfer_over(devices: [impl Device + 'static; 2]) {
    let [a, b] = devices;
    let (server, client) = (start(1, a), start(2, b));
    let (mut far, mut near) = connection(&server, &client);
    let data = pattern(3_000_000, 5);
    let sending = std::thread::spawn({
        let data = data.clone();
        move || {
            near.write_all(&data).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            near
        }
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert!(received == data);
    drop(sending.join().unwrap());
}

#[test]
fn data_crosses_sockets_of_the_host_with_and_without_offloads() {
    const MEDIUMS: [Medium; 2] =
        [Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1])), Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 2]))];
    for (header, offloads) in [
        (FrameHeader::None, Offloads::NONE),
        (FrameHeader::Virtio, Offloads::ALL),
        (FrameHeader::VirtioWithBuffers, Offloads::ALL),
    ] {
        within_time(move || {
            let (a, b) = UnixStream::pair().unwrap();
            let device =
                |socket, medium| StreamDevice::new(socket, medium, 1500).unwrap().header(header, offloads);
            transfer_over([device(a, MEDIUMS[0]), device(b, MEDIUMS[1])]);
        });
        within_time(move || {
            let (a, b) = UnixDatagram::pair().unwrap();
            let device =
                |socket, medium| FdDevice::new(socket, medium, 1500).unwrap().header(header, offloads);
            transfer_over([device(a, MEDIUMS[0]), device(b, MEDIUMS[1])]);
        });
    }
}
