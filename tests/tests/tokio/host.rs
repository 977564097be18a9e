//! tokio's own sockets, for the programs.

pub(crate) use tokio::io::Interest;
pub(crate) use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
pub(crate) use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use std::io;
use std::net::SocketAddr;

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
}

#[path = "tcp.rs"]
pub(crate) mod tcp;

#[path = "udp.rs"]
pub(crate) mod udp;
