//! A signal for systems that can only poll sockets.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use crate::platform::poll::{AsFd, BorrowedFd};
use crate::sync::change_readiness;

/// A UDP socket that is connected to itself: readable while datagrams that it sent wait in it.
#[derive(Debug)]
pub(super) struct Loopback(UdpSocket);

impl Loopback {
    pub(super) fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Loopback(socket))
    }

    /// Sends a datagram. When there is no room for it, the descriptor is readable already.
    pub(super) fn raise(&self) {
        let _ = change_readiness(|| self.0.send(&[1]));
    }

    /// Reads until nothing is left.
    pub(super) fn clear(&self) {
        change_readiness(|| while self.0.recv(&mut [0]).is_ok() {});
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
