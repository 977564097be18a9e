//! Owners in a runtime: their sockets are their own, and go with them.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::{addr, connection, pair, within_time};
use portolan::{Credentials, Interest};
use portolan_runtime::{Poller, TcpListener, TcpStream, UdpSocket, task};

/// EBADF.
const CLOSED: Option<i32> = Some(9);

#[test]
fn the_sockets_of_an_owner_go_with_it() {
    within_time(|| {
        let (a, b) = pair();
        let owner = a.handle().new_owner().unwrap();
        let listener = TcpListener::bind(&owner, addr(1, 7)).unwrap();
        let mut near = TcpStream::connect(&b, addr(1, 7)).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"word").unwrap();
        far.read_exact(&mut [0; 4]).unwrap();
        // A socket that a socket of the owner makes is the owner's.
        let other = UdpSocket::bind(&far.handle(), addr(1, 8)).unwrap();
        let (mut kept, mut peer) = connection(&a, &b);
        let info = a.handle().sockets().len();

        // Threads that wait in calls of the owner's sockets are woken.
        let waiting = thread::spawn(move || listener.accept().map(drop).unwrap_err().raw_os_error());
        thread::sleep(Duration::from_millis(20));
        drop(owner);
        assert_eq!(waiting.join().unwrap(), CLOSED);
        assert_eq!(far.write(b"x").unwrap_err().raw_os_error(), CLOSED);
        assert_eq!(other.local_addr().unwrap_err().raw_os_error(), CLOSED);
        assert_eq!(near.read(&mut [0]).unwrap(), 0, "the peer hears of the end");
        assert!(a.handle().sockets().len() < info);
        let again = TcpListener::bind(&a, addr(1, 7)).unwrap();
        drop((far, other, again));

        kept.write_all(b"word").unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
    });
}

#[test]
fn a_poller_takes_the_sockets_of_its_owner_and_ends_with_it() {
    within_time(|| {
        let (a, b) = pair();
        let owner = a.handle().new_owner().unwrap();
        let poller = Poller::new(&owner).unwrap();
        let [own, foreign] =
            [owner.handle(), a.handle()].map(|handle| UdpSocket::bind(handle, addr(1, 0)).unwrap());
        poller.add(&own, Interest::READABLE, 1).unwrap();
        assert_eq!(poller.add(&foreign, Interest::READABLE, 2).unwrap_err().kind(), ErrorKind::InvalidInput);
        let sender = UdpSocket::bind(&b, addr(2, 9)).unwrap();
        sender.send_to(b"x", own.local_addr().unwrap()).unwrap();
        let mut ready = Vec::new();
        assert_eq!(poller.wait(&mut ready, 1, None).unwrap(), 1);
        poller.delete(&own).unwrap();
        let waiting =
            thread::spawn(move || poller.wait(&mut Vec::new(), 1, None).unwrap_err().raw_os_error());
        thread::sleep(Duration::from_millis(20));
        drop(owner);
        assert_eq!(waiting.join().unwrap(), CLOSED);
    });
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_end_of_an_owner_wakes_nobody_else() {
    within_time(|| {
        let (a, _b) = pair();
        let [first, second] = [(); 2].map(|()| a.handle().new_owner().unwrap());
        let sockets = [&first, &second]
            .map(|owner| task::UdpSocket::from_blocking(UdpSocket::bind(owner, addr(1, 0)).unwrap()));
        let counts = [(); 2].map(|()| Arc::new(Count::default()));
        for (socket, count) in sockets.iter().zip(&counts) {
            let waker = Waker::from(count.clone());
            assert!(socket.poll_recv_ready(&mut Context::from_waker(&waker)).is_pending());
        }
        let woken = || counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
        drop(first);
        assert_eq!(woken(), [1, 0]);
        drop(second);
        assert_eq!(woken(), [1, 1]);
    });
}

#[test]
fn each_owner_has_its_credentials() {
    let (a, _b) = pair();
    let owners = [(); 2].map(|()| a.handle().new_owner().unwrap());
    let credentials = Credentials { pid: 7, uid: 1000, gid: 100 };
    owners[0].set_credentials(credentials).unwrap();
    assert_eq!(owners[0].credentials().unwrap(), credentials);
    assert_eq!(owners[1].credentials().unwrap(), Credentials::default());
}
