//! Unix-domain sockets that wait.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use common::{pair, pattern, within_time};
use portolan::{Credentials, Interest, UnixAddr};
use portolan_runtime::{Poller, UnixDatagram, UnixListener, UnixStream};

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
