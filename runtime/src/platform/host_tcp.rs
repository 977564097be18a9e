//! What std and tokio do not offer for the host's TCP streams.

use std::io;
use std::time::Duration;

use crate::platform::poll::AsFd;

/// TCP_NODELAY. A connection that is over already needs it no more.
pub(crate) fn set_nodelay(stream: impl AsFd) {
    let _ = rustix::net::sockopt::set_tcp_nodelay(stream, true);
}

/// Ends the half that sends. Streams of std have a method for this.
#[cfg(feature = "tokio")]
pub(crate) fn end_sending(stream: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(stream, rustix::net::Shutdown::Write)?)
}

/// Makes closing the stream reset the connection (SO_LINGER with zero).
pub(crate) fn reset_on_close(stream: impl AsFd) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// The bytes that were sent and not acknowledged (SIOCOUTQ).
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged_bytes(stream: impl AsFd) -> io::Result<usize> {
    use rustix::ioctl::{Getter, ioctl};
    const SIOCOUTQ: u32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        0x7472
    } else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64", target_arch = "sparc64")) {
        0x4004_7473
    } else {
        0x5411
    };
    // SAFETY: SIOCOUTQ writes an `int`, and keeps no pointer to it.
    #[allow(unsafe_code)]
    let bytes: i32 = unsafe { ioctl(stream, Getter::<SIOCOUTQ, i32>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Other systems have no such call. There, everything counts as acknowledged.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged_bytes(_: impl AsFd) -> io::Result<usize> {
    Ok(0)
}

/// Whether the error means that the process or the system has no more descriptors or memory.
#[cfg(unix)]
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let out = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| out.contains(&errno))
}

#[cfg(not(unix))]
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}
