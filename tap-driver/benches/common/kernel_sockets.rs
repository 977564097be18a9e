//! Sockets of the kernel with a chosen congestion control, whatever the machine's default is.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_congestion, tcp_congestion};
use rustix::net::{AddressFamily, SocketType};

/// A socket with the given congestion control. It is set before the connection is opened, because
/// BBR, the default of some machines, would leave its pacing behind. (The default of a namespace
/// cannot be set to an algorithm that is not "allowed" there.)
fn socket(congestion: &str) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_tcp_congestion(&socket, congestion).map_err(|errno| {
        io::Error::other(format!("the kernel does not take {congestion} for TCP_CONGESTION: {errno}"))
    })?;
    Ok(socket)
}

/// A listener. Accepted connections have the same congestion control.
pub(crate) fn listen(addr: SocketAddr, congestion: &str, backlog: i32) -> io::Result<TcpListener> {
    let socket = socket(congestion)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket.into())
}

/// A connection. Its congestion control is read back, so that a result never relies on an
/// assumption.
pub(crate) fn connect(addr: SocketAddr, congestion: &str, timeout: Duration) -> io::Result<TcpStream> {
    let socket = socket(congestion)?;
    // SO_SNDTIMEO applies to connect, too.
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &addr)?;
    let is = tcp_congestion(&socket)?;
    if is == congestion {
        Ok(socket.into())
    } else {
        Err(io::Error::other(format!("TCP_CONGESTION is {is}, not {congestion}")))
    }
}
