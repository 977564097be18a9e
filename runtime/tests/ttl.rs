//! IP_TTL of the runtime's sockets beside that of std's sockets on the kernel at hand.

mod common;

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read};
use std::net::{self, IpAddr, SocketAddr};

use common::{pair, within_time};
use portolan_runtime::{Runtime, TcpListener, TcpStream, UdpSocket};

trait HasTtl: Debug {
    fn ttl(&self) -> io::Result<u32>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
}

macro_rules! has_ttl {
    ($($socket:ty),*) => {$(
        impl HasTtl for $socket {
            fn ttl(&self) -> io::Result<u32> {
                <$socket>::ttl(self)
            }
            fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                <$socket>::set_ttl(self, ttl)
            }
        }
    )*};
}

has_ttl!(TcpListener, TcpStream, UdpSocket, net::TcpListener, net::TcpStream, net::UdpSocket);

/// Sets what is valid and what is not. Std passes `u32::MAX` on as -1, which Linux takes as "the
/// default again"; the runtime refuses it as the other values that are no TTL.
fn assert_as_std(ours: &dyn HasTtl, theirs: &dyn HasTtl) {
    assert_eq!(ours.ttl().unwrap(), theirs.ttl().unwrap(), "at first: {ours:?}");
    for ttl in [1, 64, 255, 0, 256, 257, 1 << 31, u32::MAX - 1, 9] {
        let set = [ours, theirs].map(|socket| socket.set_ttl(ttl).map_err(|error| error.kind()));
        assert_eq!(set[0], set[1], "{ttl}: {ours:?}");
        assert_eq!(ours.ttl().unwrap(), theirs.ttl().unwrap(), "after {ttl}: {ours:?}");
    }
    assert_eq!(ours.set_ttl(u32::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(ours.ttl().unwrap(), 9);
}

/// A listener at each address, a connection to it and a socket for datagrams. `own` is an address
/// of both the runtime and the kernel, `bound` the same or the unspecified one.
fn compare(server: &Runtime, client: &Runtime, own: [IpAddr; 2], bound: [IpAddr; 2]) {
    let [ours, theirs] = bound.map(|addr| SocketAddr::new(addr, 0));
    let ours = (TcpListener::bind(server, ours).unwrap(), UdpSocket::bind(server, ours).unwrap());
    let theirs = (net::TcpListener::bind(theirs).unwrap(), net::UdpSocket::bind(theirs).unwrap());
    assert_as_std(&ours.1, &theirs.1);
    assert_as_std(&ours.0, &theirs.0);
    let our_port = ours.0.local_addr().unwrap().port();
    let their_port = theirs.0.local_addr().unwrap().port();
    let mut our_near = TcpStream::connect(client, (own[0], our_port)).unwrap();
    let mut their_near = net::TcpStream::connect((own[1], their_port)).unwrap();
    let (our_far, their_far) = (ours.0.accept().unwrap().0, theirs.0.accept().unwrap().0);
    assert_eq!(our_far.ttl().unwrap(), 9, "that of the listener");
    assert_as_std(&our_far, &their_far);
    assert_as_std(&our_near, &their_near);
    // A connection that has ended keeps its TTL, and takes another one.
    drop((our_far, their_far));
    assert_eq!((our_near.read(&mut [0]).unwrap(), their_near.read(&mut [0]).unwrap()), (0, 0));
    our_near.shutdown(net::Shutdown::Both).unwrap();
    their_near.shutdown(net::Shutdown::Both).unwrap();
    for socket in [&our_near as &dyn HasTtl, &their_near] {
        assert_eq!(socket.ttl().unwrap(), 9);
        socket.set_ttl(5).unwrap();
        assert_eq!(socket.ttl().unwrap(), 5, "{socket:?}");
    }
}

#[test]
fn the_ttl_is_as_std_has_it() {
    within_time(|| {
        let (server, client) = pair();
        let addr = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = [addr("10.0.0.1"), addr("127.0.0.1")];
        compare(&server, &client, own, own);
        // Not every machine has IPv6.
        if net::UdpSocket::bind("[::1]:0").is_ok() {
            let own = [addr("fd00::1"), addr("::1")];
            compare(&server, &client, own, own);
            compare(&server, &client, own, [addr("::"), addr("::")]);
        }
    });
}
