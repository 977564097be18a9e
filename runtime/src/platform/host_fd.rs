//! Reading and writing descriptors of the host that a device was given.

use std::io;

use rustix::io::Errno;
use rustix::net::SocketType;

use crate::platform::poll::AsFd;

/// Makes reads and writes fail with `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Whether this is a socket with packets and an end, where a read of no bytes means that the other
/// side has closed.
pub(crate) fn is_packet_socket(fd: impl AsFd) -> bool {
    rustix::net::sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
}

/// `read`.
pub(crate) fn read(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buf)?)
}

/// `write`.
pub(crate) fn write(fd: impl AsFd, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, buf)?)
}

/// Whether the error means that there is no device behind the descriptor any more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::BADF | Errno::NODEV | Errno::NXIO) => true,
        // A TUN device that was removed.
        #[cfg(target_os = "linux")]
        Some(Errno::BADFD) => true,
        _ => false,
    }
}
