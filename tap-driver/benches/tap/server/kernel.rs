//! The kernel in another network namespace, with an ordinary program that uses blocking sockets.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::parent_id;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::services::{self, Service};
use crate::child::{self, Child};
use crate::kernel_sockets;
use crate::{CONGESTION, link};

const BACKLOG: i32 = 4096;

/// Makes a namespace with one end of a veth pair, whose other end is in the parent's, and serves
/// there.
pub(super) fn start(is_plain: bool, idle: usize) -> io::Result<String> {
    // SAFETY: unsafe because of CLONE_FILES, which is not among the flags.
    #[allow(unsafe_code)]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    link::settle_namespace()?;
    let (ours, theirs, parent) = (link::SERVER_DEVICE, link::CLIENT_DEVICE, parent_id());
    link::ip(&format!("link add {ours} type veth peer name {theirs} netns {parent}"))?;
    if is_plain {
        link::switch_offloads_off(ours)?;
    }
    link::bring_up(ours, link::SERVER)?;

    let listener = |service: Service| kernel_sockets::listen(any(service.port()), CONGESTION, BACKLOG);
    let accept = |listener: TcpListener| move || listener.accept().map(|(stream, _)| stream);
    services::serve_each(accept(listener(Service::Discard)?), services::discard);
    services::serve_each(accept(listener(Service::Chargen)?), services::chargen);
    services::serve_each(accept(listener(Service::Echo)?), |stream| {
        stream.set_nodelay(true)?;
        services::echo(stream)
    });
    services::serve_in_turn(accept(listener(Service::Brief)?), services::echo);
    let socket = UdpSocket::bind(any(Service::Datagrams.port()))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let answered =
                socket.recv_from(&mut buffer).and_then(|(len, from)| socket.send_to(&buffer[..len], from));
            answered.unwrap_or_else(|error| services::end("UDP echo", &error));
        }
    });
    // They exist as long as this process.
    for (port, share) in (services::FIRST_IDLE_PORT..).zip(services::idle_shares(idle)?) {
        std::mem::forget(Child::start(&["keeper", &port.to_string(), &share.to_string()])?);
    }
    Ok(String::new())
}

/// A process that accepts connections and holds them, because one process may not have enough
/// descriptors.
pub(crate) fn keep(port: u16, count: usize) -> io::Result<()> {
    crate::raise_descriptor_limit(count)?;
    let listener = kernel_sockets::listen(any(port), CONGESTION, BACKLOG)?;
    services::keep_all(move || listener.accept());
    child::ready("")
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}
