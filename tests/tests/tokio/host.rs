//! tokio's own sockets, for the programs.

pub(crate) use tokio::io::Interest;
pub(crate) use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
pub(crate) use tokio::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};

use std::io;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Clone)]
pub(crate) struct World;

impl World {
    pub(crate) async fn listen(&self) -> TcpListener {
        TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
    }

    pub(crate) async fn listen_at(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(addr).await
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(addr).await
    }

    /// A socket on the side that connects.
    pub(crate) fn socket(&self) -> TcpSocket {
        TcpSocket::new_v4().unwrap()
    }

    /// An address of the side that connects.
    pub(crate) fn near(&self) -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    /// Two datagram sockets that can reach each other.
    pub(crate) async fn datagrams(&self) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind(("127.0.0.1", 0));
        (bind().await.unwrap(), bind().await.unwrap())
    }

    pub(crate) fn unix_listen(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind(path)
    }

    pub(crate) async fn unix_connect(&self, path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect(path).await
    }

    pub(crate) fn unix_pair(&self) -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    pub(crate) fn unix_bind(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind(path)
    }

    pub(crate) fn unix_unbound(&self) -> UnixDatagram {
        UnixDatagram::unbound().unwrap()
    }

    pub(crate) fn unix_datagrams(&self) -> (UnixDatagram, UnixDatagram) {
        UnixDatagram::pair().unwrap()
    }
}

/// The path of a Unix-domain socket.
pub(crate) fn name(addr: &tokio::net::unix::SocketAddr) -> Option<String> {
    addr.as_pathname().map(|path| path.display().to_string())
}

#[path = "tcp.rs"]
pub(crate) mod tcp;

#[path = "udp.rs"]
pub(crate) mod udp;

#[path = "unix.rs"]
pub(crate) mod unix;
