//! The runtime's sockets, for the programs.

pub(crate) use portolan_runtime::task::{
    Interest, OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram,
    UnixListener, UnixStream,
};

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use portolan::{Config, UnixAddr};
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime};

#[derive(Clone)]
pub(crate) struct World {
    /// The host that listens.
    far: Arc<Runtime>,
    near: Arc<Runtime>,
}

impl World {
    pub(crate) fn new() -> World {
        let (left, right) = memory_pair().unwrap();
        let start = |device: MemoryDevice, addr: &str| {
            let mut config = Config::default();
            config.neighbor.duplicate_address_probes = 0;
            let builder = Builder::new().config(config);
            Arc::new(builder.interface(device, [addr.parse().unwrap()]).start().unwrap())
        };
        World { far: start(left, "10.0.0.1/24"), near: start(right, "10.0.0.2/24") }
    }

    pub(crate) async fn listen(&self) -> TcpListener {
        TcpListener::bind(&*self.far, ([10, 0, 0, 1], 0)).await.unwrap()
    }

    pub(crate) async fn listen_at(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(&*self.far, addr).await
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(&*self.near, addr).await
    }

    pub(crate) fn socket(&self) -> TcpSocket {
        TcpSocket::new_v4(&*self.near).unwrap()
    }

    pub(crate) fn near(&self) -> SocketAddr {
        ([10, 0, 0, 2], 0).into()
    }

    pub(crate) async fn datagrams(&self) -> (UdpSocket, UdpSocket) {
        let near = UdpSocket::bind(&*self.near, ([10, 0, 0, 2], 0)).await.unwrap();
        (near, UdpSocket::bind(&*self.far, ([10, 0, 0, 1], 0)).await.unwrap())
    }

    pub(crate) fn unix_listen(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind(&*self.far, path)
    }

    pub(crate) async fn unix_connect(&self, path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect(&*self.far, path).await
    }

    pub(crate) fn unix_pair(&self) -> (UnixStream, UnixStream) {
        UnixStream::pair(&*self.far).unwrap()
    }

    pub(crate) fn unix_bind(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind(&*self.far, path)
    }

    pub(crate) fn unix_unbound(&self) -> UnixDatagram {
        UnixDatagram::unbound(&*self.far).unwrap()
    }

    pub(crate) fn unix_datagrams(&self) -> (UnixDatagram, UnixDatagram) {
        UnixDatagram::pair(&*self.far).unwrap()
    }
}

/// The path of a Unix-domain socket.
pub(crate) fn name(addr: &UnixAddr) -> Option<String> {
    addr.as_path().map(|path| String::from_utf8_lossy(path).into_owned())
}

#[path = "tcp.rs"]
pub(crate) mod tcp;

#[path = "udp.rs"]
pub(crate) mod udp;

#[path = "unix.rs"]
pub(crate) mod unix;
