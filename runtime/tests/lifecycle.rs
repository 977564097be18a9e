//! Start, end and failure of runtimes.

mod common;
#[path = "lifecycle/devices.rs"]
mod devices;

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use common::{addr, addresses, config, connection, impaired_pair, pair, pattern, start, within_time};
use portolan::{AddressState, Medium};
use portolan_runtime::device::{MemoryPair, PcapWriter, memory_pair};
use portolan_runtime::{Builder, Clock, TcpListener, TcpStream, UdpSocket};

#[test]
fn shutdown_ends_every_wait() {
    within_time(|| {
        let (server, client) = pair();
        let (far, mut near) = connection(&server, &client);
        let listener = TcpListener::bind(&client, addr(2, 80)).unwrap();
        let udp = UdpSocket::bind(&client, addr(2, 53)).unwrap();
        let handle = client.handle().clone();
        let mut writer = near.try_clone().unwrap();
        let waits: Vec<std::thread::JoinHandle<io::Error>> = vec![
            std::thread::spawn(move || near.read(&mut [0; 10]).unwrap_err()),
            std::thread::spawn(move || {
                let chunk = vec![0; 1 << 20];
                loop {
                    if let Err(error) = writer.write(&chunk) {
                        return error;
                    }
                }
            }),
            std::thread::spawn(move || listener.accept().unwrap_err()),
            std::thread::spawn(move || udp.recv_from(&mut [0; 10]).unwrap_err()),
        ];
        std::thread::sleep(Duration::from_millis(100));
        client.shutdown(Duration::ZERO).unwrap();
        for wait in waits {
            assert_eq!(wait.join().unwrap().kind(), ErrorKind::NetworkDown);
        }
        assert!(!handle.is_running());
        assert!(handle.error().is_none());
        assert_eq!(TcpStream::connect(&handle, addr(1, 7)).unwrap_err().kind(), ErrorKind::NetworkDown);
        assert!(handle.stats().link.frames_in > 0);
        drop(far);
    });
}

#[test]
fn sockets_may_outlive_their_runtime() {
    within_time(|| {
        let (server, client) = pair();
        let (far, mut near) = connection(&server, &client);
        drop(client);
        assert_eq!(near.write(b"x").unwrap_err().kind(), ErrorKind::NetworkDown);
        drop(near);
        drop(server);
        drop(far);
    });
}

#[test]
fn a_recording_holds_both_directions_and_is_whole_when_the_runtime_ends() {
    within_time(|| {
        let path = std::env::temp_dir().join(format!("portolan-lifecycle-{}.pcap", std::process::id()));
        let (a, b) = memory_pair().unwrap();
        let server = start(1, a);
        let client = start(2, PcapWriter::create(&path, b).unwrap());
        let (mut far, mut near) = connection(&server, &client);
        near.write_all(b"recorded there").unwrap();
        far.read_exact(&mut [0; 14]).unwrap();
        far.write_all(b"recorded back").unwrap();
        near.read_exact(&mut [0; 13]).unwrap();
        // The socket outlives the runtime, but the recording is complete without that.
        drop(client);
        let recording = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut reader = pcap_file::pcap::PcapReader::new(&recording[..]).unwrap();
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            frames.push(packet.unwrap().data.into_owned());
        }
        assert!(frames.iter().any(|frame| frame.ends_with(b"recorded there")));
        assert!(frames.iter().any(|frame| frame.ends_with(b"recorded back")));
        drop(near);
    });
}

#[test]
fn addresses_are_probed_and_then_ready() {
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let runtime = Builder::new().interface(a, addresses(1)).start_without_waiting().unwrap();
        let error = runtime.handle().wait_ready(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(
            error.to_string().starts_with("after 1ms the stack still probes whether another host has "),
            "{error}"
        );
        runtime.handle().wait_ready(Duration::from_secs(20)).unwrap();
        let interfaces = runtime.handle().interfaces();
        assert_eq!(interfaces.len(), 1);
        assert!(interfaces[0].addresses.len() >= 2);
        assert!(interfaces[0].addresses.iter().all(|(_, state)| *state == AddressState::Preferred));
        assert_eq!(runtime.handle().device_name(interfaces[0].id), Some("memory-a".to_owned()));
        drop(b);
    });
}

#[test]
fn one_runtime_serves_several_interfaces() {
    within_time(|| {
        let (a, near_a) = memory_pair().unwrap();
        let (b, near_b) = MemoryPair::new().mediums(Medium::Ip, Medium::Ip).build().unwrap();
        let server = Builder::new()
            .config(config())
            .interface(a, ["10.0.0.1/24".parse().unwrap()])
            .interface(b, ["10.0.1.1/24".parse().unwrap()])
            .start()
            .unwrap();
        let first = Builder::new().config(config()).interface(near_a, ["10.0.0.2/24".parse().unwrap()]);
        let second = Builder::new()
            .config(config())
            .interface(near_b, ["10.0.1.2/24".parse().unwrap()])
            .gateway([10, 0, 1, 1].into());
        let listener = TcpListener::bind(&server, ([0, 0, 0, 0], 7)).unwrap();
        for (client, target) in [
            (first.start().unwrap(), [10, 0, 0, 1]),
            // Through the default route.
            (second.start().unwrap(), [10, 0, 0, 1]),
        ] {
            let mut near = TcpStream::connect(&client, (target, 7)).unwrap();
            let (mut far, peer) = listener.accept().unwrap();
            assert_eq!(peer, near.local_addr().unwrap());
            near.write_all(b"abc").unwrap();
            far.read_exact(&mut [0; 3]).unwrap();
        }
    });
}

#[test]
fn a_timer_that_a_caller_starts_wakes_the_driving_thread() {
    within_time(|| {
        // Nobody answers at the other end: resolution gives up after three solicitations, one a
        // second, by timers alone. Before the call the driver thread sleeps without a near
        // deadline.
        let (a, _b) = memory_pair().unwrap();
        let runtime = start(1, a);
        std::thread::sleep(Duration::from_millis(50));
        let begin = Instant::now();
        let error = TcpStream::connect(&runtime, addr(9, 9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable);
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_panic_in_the_stack_ends_the_runtime_for_everybody() {
    within_time(|| {
        let (server, client) = pair();
        let (_far, mut near) = connection(&server, &client);
        let reading = std::thread::spawn(move || near.read(&mut [0; 10]).unwrap_err());
        std::thread::sleep(Duration::from_millis(50));
        let handle = client.handle().clone();
        let caller = std::thread::spawn(move || handle.with_stack(|_| panic!("on purpose, by the test")));
        assert!(caller.join().is_err());
        assert!(reading.join().unwrap().to_string().contains("panicked"));
        assert!(client.handle().error().unwrap().to_string().contains("panicked"));
        assert!(client.shutdown(Duration::ZERO).is_err());
    });
}

#[test]
fn a_shutdown_delivers_what_open_and_closed_sockets_have_taken() {
    within_time(|| {
        let (server, client) = impaired_pair("loss=5%");
        let data = pattern(300_000, 1);
        let (open_far, mut open) = connection(&server, &client);
        let (closed_far, mut closed) = connection(&server, &client);
        let readers = [open_far, closed_far].map(|mut far| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all
            })
        });
        open.write_all(&data).unwrap();
        closed.write_all(&data).unwrap();
        drop(closed);
        let undelivered = client.shutdown(Duration::from_secs(20)).unwrap();
        assert!(undelivered.is_empty(), "{undelivered}");
        assert_eq!(undelivered.to_string(), "everything was delivered");
        for reader in readers {
            assert!(reader.join().unwrap() == data);
        }
        assert_eq!(open.write(b"x").unwrap_err().kind(), ErrorKind::NetworkDown);
    });
}

#[test]
fn a_shutdown_delivers_data_although_some_that_came_was_not_read() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        far.write_all(b"nobody reads this").unwrap();
        near.peek(&mut [0; 1]).unwrap();
        near.write_all(b"word").unwrap();
        assert!(client.shutdown(Duration::from_secs(5)).unwrap().is_empty());
        let mut word = Vec::new();
        far.read_to_end(&mut word).unwrap();
        assert_eq!(word, b"word");
    });
}

#[test]
fn a_shutdown_reports_what_a_peer_does_not_take() {
    within_time(|| {
        let (server, client) = pair();
        let (far, near) = connection(&server, &client);
        near.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while (&near).write(&[7; 100_000]).is_ok() {}
        let mut reader = near.try_clone().unwrap();
        let begin = Instant::now();
        let reading = std::thread::spawn(move || (reader.read(&mut [0; 10]).unwrap_err(), begin.elapsed()));
        std::thread::sleep(Duration::from_millis(50));
        let undelivered = client.shutdown(Duration::from_secs(2)).unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(2), "{undelivered}");
        let (error, after) = reading.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::NetworkDown);
        assert!(after < Duration::from_millis(1500), "a waiting call fails at once, and not after {after:?}");
        let [socket] = &undelivered.sockets[..] else { panic!("{undelivered}") };
        assert_eq!(socket.peer.as_ref().and_then(|peer| peer.ip()), Some(far.local_addr().unwrap()));
        assert_eq!(undelivered.bytes(), socket.send_queue);
        assert!(undelivered.bytes() > 50_000, "{undelivered}");
        let text = undelivered.to_string();
        assert!(text.starts_with("1 socket with ") && text.ends_with(" bytes, FIN-WAIT-1)"), "{text}");
    });
}

#[test]
fn a_shutdown_delivers_datagrams_that_wait_for_a_neighbour_and_closes_listeners() {
    within_time(|| {
        let (server, client) = pair();
        let receiver = UdpSocket::bind(&server, addr(1, 9)).unwrap();
        let sender = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        sender.send_to(b"word", addr(1, 9)).unwrap();
        let listener = TcpListener::bind(&client, addr(2, 80)).unwrap();
        let mut never_accepted = TcpStream::connect(&server, addr(2, 80)).unwrap();
        // The last segment of the handshake may still be on its way.
        while client.handle().sockets().iter().all(|socket| socket.receive_queue == 0) {
            std::thread::yield_now();
        }
        assert!(client.shutdown(Duration::from_secs(5)).unwrap().is_empty());
        assert_eq!(receiver.recv_from(&mut [0; 8]).unwrap().0, 4);
        assert_eq!(never_accepted.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::NetworkDown);
    });
}

#[test]
fn a_shutdown_waits_for_the_answer_of_a_neighbour() {
    within_time(|| {
        // Nobody answers for the address, until the receiver is there and the host gets it.
        let (server, client) = pair();
        let unused = addr(3, 9);
        let receiver = UdpSocket::bind(&server, ([0; 4], unused.port())).unwrap();
        let sender = UdpSocket::bind(&client, addr(2, 0)).unwrap();
        sender.send_to(b"word", unused).unwrap();
        let ending = std::thread::spawn(move || client.shutdown(Duration::from_secs(10)).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let address = format!("{}/24", unused.ip()).parse().unwrap();
        let iface = server.handle().with_stack(|stack| stack.interfaces()[0].id);
        server.handle().with_stack(|stack| stack.add_address(Clock::now(), iface, address)).unwrap();
        assert_eq!(receiver.recv_from(&mut [0; 8]).unwrap().0, 4);
        assert!(ending.join().unwrap().is_empty());
    });
}
