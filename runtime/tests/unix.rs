//! Unix-domain sockets that wait.

mod common;

use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use common::{pair, pattern, within_time};
use portolan::{Credentials, Interest, SocketOption, UnixAddr};
use portolan_runtime::{
    PassedSocket, Poller, Source, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};

#[test]
fn two_owners_exchange_a_stream_in_both_directions() {
    within_time(|| {
        let (host, _) = pair();
        let (server, client) = (host.handle().new_owner().unwrap(), host.handle().new_owner().unwrap());
        let theirs = Credentials { pid: 4, uid: 5, gid: 6 };
        client.set_credentials(theirs).unwrap();
        let listener = UnixListener::bind(&server, "/run/echo").unwrap();
        assert_eq!(listener.local_addr().unwrap(), UnixAddr::path("/run/echo").unwrap());
        let echo = thread::spawn(move || {
            let (mut far, from) = listener.accept().unwrap();
            assert!(from.is_unnamed());
            assert_eq!(far.peer_cred().unwrap(), theirs);
            let mut data = Vec::new();
            far.read_to_end(&mut data).unwrap();
            far.write_all(&data).unwrap();
        });
        let mut near = UnixStream::connect(&client, "/run/echo").unwrap();
        let sent = pattern(3 << 20, 0);
        near.write_all(&sent).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        near.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        echo.join().unwrap();

        // The path is there, and nobody listens.
        let refused = UnixStream::connect(&client, "/run/echo").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(UnixListener::bind(&server, "/run/echo").unwrap_err().kind(), ErrorKind::AddrInUse);
        host.handle().unlink("/run/echo").unwrap();
        assert_eq!(UnixStream::connect(&client, "/run/echo").unwrap_err().kind(), ErrorKind::NotFound);
        UnixListener::bind(&server, "/run/echo").unwrap();
    });
}

#[test]
fn an_urgent_byte_overtakes_what_is_unread() {
    within_time(|| {
        let (host, _) = pair();
        let (mut near, mut far) = UnixStream::pair(&host).unwrap();
        assert_eq!(far.recv_oob().unwrap_err().kind(), ErrorKind::InvalidInput);
        near.write_all(b"before ").unwrap();
        assert_eq!(near.send_oob(b"now!").unwrap(), 4);
        near.write_all(b" after").unwrap();
        assert_eq!(far.recv_oob().unwrap(), b'!');
        assert!(!far.at_mark().unwrap());
        let mut data = [0; 20];
        assert_eq!(far.read(&mut data).unwrap(), 10);
        assert_eq!(&data[..10], b"before now");
        assert!(far.at_mark().unwrap());
        assert_eq!(far.read(&mut data).unwrap(), 6);
        assert_eq!(&data[..6], b" after");
    });
}

#[test]
fn the_end_of_one_side_wakes_the_other() {
    within_time(|| {
        let (host, _) = pair();
        let (near, far) = UnixStream::pair(&host).unwrap();
        let waiting = thread::spawn(move || (&far).read(&mut [0; 4]).unwrap());
        thread::sleep(Duration::from_millis(20));
        drop(near);
        assert_eq!(waiting.join().unwrap(), 0);

        let (near, far) = UnixStream::pair(&host).unwrap();
        let waiting = thread::spawn(move || (&near).write_all(&vec![0; 1 << 20]).unwrap_err().kind());
        thread::sleep(Duration::from_millis(20));
        drop(far);
        // As on Linux, where the call that has sent a part takes ECONNRESET and returns its length.
        assert_eq!(waiting.join().unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn senders_of_datagrams_wait_for_room() {
    within_time(|| {
        let (host, _) = pair();
        let server = UnixDatagram::bind(&host, "log").unwrap();
        let connected = UnixDatagram::unbound(&host).unwrap();
        connected.connect("log").unwrap();
        let named = UnixDatagram::bind_addr(&host, &UnixAddr::UNNAMED).unwrap();
        let from = named.local_addr().unwrap();
        let first = thread::spawn(move || {
            for _ in 0..500 {
                assert_eq!(connected.send(b"connected").unwrap(), 9);
            }
        });
        let second = thread::spawn(move || {
            for _ in 0..500 {
                assert_eq!(named.send_to(b"named", "log").unwrap(), 5);
            }
        });
        let mut counts = [0; 2];
        for _ in 0..1000 {
            let (len, sender) = server.recv_from(&mut [0; 16]).unwrap();
            match len {
                5 => assert_eq!(sender, from),
                len => assert_eq!((len, sender), (9, UnixAddr::UNNAMED)),
            }
            counts[usize::from(len == 5)] += 1;
        }
        assert_eq!(counts, [500; 2]);
        first.join().unwrap();
        second.join().unwrap();
        server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(server.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // As on Linux a socket that may wait returns nothing after `shutdown`.
        server.shutdown(Shutdown::Read).unwrap();
        assert_eq!(server.recv(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn sockets_are_passed_from_owner_to_owner() {
    within_time(|| {
        let (host, _) = pair();
        let (server, client) = (host.handle().new_owner().unwrap(), host.handle().new_owner().unwrap());
        let listener = UnixListener::bind(&server, "/run/sockets").unwrap();
        let near = UnixStream::connect(&client, "/run/sockets").unwrap();
        let far = listener.accept().unwrap().0;
        let udp = UdpSocket::bind(&server, ([127, 0, 0, 1], 0)).unwrap();
        let tcp = TcpListener::bind(&server, ([127, 0, 0, 1], 0)).unwrap();
        let (udp_addr, tcp_addr) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        assert_eq!(far.send_with(b"both", &[&udp, &tcp]).unwrap(), 4);
        drop(tcp);
        let mut buf = [0; 16];
        let received = near.recv_with(&mut buf, 2).unwrap();
        assert_eq!((&buf[..received.len], received.is_control_truncated), (&b"both"[..], false));
        let Ok([PassedSocket::UdpSocket(theirs), PassedSocket::TcpListener(tcp)]) =
            <[PassedSocket; 2]>::try_from(received.sockets)
        else {
            panic!("other sockets")
        };
        assert_eq!(theirs.local_addr().unwrap(), udp_addr);
        // Only an owner of a socket can pass it on.
        assert_eq!(far.send_with(b"x", &[&theirs]).unwrap_err().kind(), ErrorKind::InvalidInput);

        // A thread that waits keeps waiting when the other descriptor of its socket is closed.
        let waiting = thread::spawn(move || theirs.recv_from(&mut [0; 16]).unwrap().0);
        let accepting = thread::spawn(move || tcp.accept().unwrap().1);
        thread::sleep(Duration::from_millis(20));
        drop(udp);
        let sender = UdpSocket::bind(&server, ([127, 0, 0, 1], 0)).unwrap();
        sender.send_to(b"datagram", udp_addr).unwrap();
        assert_eq!(waiting.join().unwrap(), 8);
        let stream = TcpStream::connect(&server, tcp_addr).unwrap();
        assert_eq!(accepting.join().unwrap(), stream.local_addr().unwrap());

        // What there is no room for is closed, and credentials come on request.
        far.set_option(SocketOption::PassCredentials(true)).unwrap();
        client.set_credentials(Credentials { pid: 4, uid: 5, gid: 6 }).unwrap();
        near.send_with(b"x", &[&near]).unwrap();
        let received = far.recv_with(&mut buf, 0).unwrap();
        assert!(received.is_control_truncated && received.sockets.is_empty());
        assert_eq!(received.credentials, Some(Credentials { pid: 4, uid: 5, gid: 6 }));
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(far.recv_with(&mut buf, 1).unwrap().len, 0);
    });
}

#[test]
fn no_read_joins_what_descriptors_or_credentials_keep_apart() {
    within_time(|| {
        let (host, _) = pair();
        let sender = host.handle().new_owner().unwrap();
        let name = UnixAddr::abstract_name("reader").unwrap();
        let listener = UnixListener::bind_addr(&host, &name).unwrap();
        let mut near = UnixStream::connect_addr(&sender, &name).unwrap();
        let far = listener.accept().unwrap().0;
        let read = || {
            let mut buf = [0; 16];
            let len = (&far).read(&mut buf).unwrap();
            String::from_utf8(buf[..len].to_vec()).unwrap()
        };
        let read_vectored = || {
            let (mut first, mut second) = ([0], [0; 15]);
            let bufs = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let len = (&far).read_vectored(bufs).unwrap();
            String::from_utf8([&first[..], &second[..]].concat()[..len].to_vec()).unwrap()
        };

        for read in [&read as &dyn Fn() -> String, &read_vectored] {
            // A read ends behind data that came with descriptors, and not before it.
            let passed: [&dyn Source; 1] = [&near];
            for (data, passes) in [("a", true), ("b", false), ("c", true), ("d", true), ("e", false)] {
                near.send_with(data.as_bytes(), &passed[..usize::from(passes)]).unwrap();
            }
            assert_eq!([read(), read(), read(), read()], ["a", "bc", "d", "e"]);

            // The descriptors go with the first bytes; the others are like any data.
            near.send_with(b"passed", &[&near]).unwrap();
            near.write_all(b"on").unwrap();
            assert_eq!((&far).read(&mut [0; 2]).unwrap(), 2);
            assert_eq!(read(), "ssedon");

            // Credentials count on request only.
            for (asks, reads) in [(false, &["abcd"][..]), (true, &["a", "bc", "d"][..])] {
                far.set_option(SocketOption::PassCredentials(asks)).unwrap();
                for (data, uid) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
                    sender.set_credentials(Credentials { pid: 1, uid, gid: 1 }).unwrap();
                    near.write_all(data.as_bytes()).unwrap();
                }
                assert_eq!(reads.iter().map(|_| read()).collect::<Vec<_>>(), reads);
            }
            far.set_option(SocketOption::PassCredentials(false)).unwrap();
        }
    });
}

#[test]
fn datagrams_pass_sockets_on() {
    within_time(|| {
        let (host, _) = pair();
        let receiver = UnixDatagram::bind(&host, "receiver").unwrap();
        let sender = UnixDatagram::unbound(&host).unwrap();
        let (near, far) = UnixStream::pair(&host).unwrap();
        let name = UnixAddr::path("receiver").unwrap();
        assert_eq!(sender.send_with(b"", Some(&name), &[&far, &sender]).unwrap(), 0);
        drop((far, sender));
        let mut received = receiver.recv_with(&mut [], 2).unwrap();
        assert!(matches!(received.sockets.pop(), Some(PassedSocket::UnixDatagram(_))));
        let Some(PassedSocket::UnixStream(mut far)) = received.sockets.pop() else { panic!("no stream") };
        (&near).write_all(b"hello").unwrap();
        drop(near);
        let mut data = String::new();
        far.read_to_string(&mut data).unwrap();
        assert_eq!(data, "hello");
    });
}

#[test]
fn a_poller_waits_for_connections_and_data() {
    within_time(|| {
        let (host, _) = pair();
        let listener = UnixListener::bind_addr(&host, &UnixAddr::UNNAMED).unwrap();
        let poller = Poller::new(&host).unwrap();
        poller.add(&listener, Interest::READABLE, 1).unwrap();
        let name = listener.local_addr().unwrap();
        let near = UnixStream::connect_addr(&host, &name).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, 8, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(ready.len(), 1);
        let far = listener.accept().unwrap().0;
        poller.add(&far, Interest::READABLE, 2).unwrap();
        (&near).write_all(b"x").unwrap();
        ready.clear();
        poller.wait(&mut ready, 8, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(ready.iter().map(|ready| ready.token).collect::<Vec<_>>(), [2]);
    });
}
