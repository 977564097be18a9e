//! PacketView sockets of the kernel with a filter, on its loopback.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use portolan::bpf::Instruction;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SocketType, recv};

use super::Kept;
use crate::packet_socket::{PacketSocket, open_on};

#[derive(Debug)]
pub(super) struct Kernel {
    sender: PacketSocket,
    /// A socket that gets frames with their link header, and one that gets them without.
    filtered: [OwnedFd; 2],
    /// It gets every frame, after the others.
    last: OwnedFd,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Kernel> {
        // The kernel gives a frame to the newest socket first.
        let last = open(SocketType::RAW)?;
        set_socket_timeout(&last, Timeout::Recv, Some(Duration::from_secs(10)))?;
        let filtered = [open(SocketType::RAW)?, open(SocketType::DGRAM)?];
        Ok(Kernel { sender: PacketSocket::open("lo")?, filtered, last })
    }

    /// Attaches a program to both sockets. An errno.
    pub(super) fn attach(&self, program: &[Instruction]) -> Result<(), i32> {
        let mut filter: Vec<libc::sock_filter> = program
            .iter()
            .map(|&Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
            .collect();
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        for socket in &self.filtered {
            set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
                .map_err(|error| error.raw_os_error().unwrap_or(0))?;
        }
        Ok(())
    }

    /// Sends a frame, and returns what the two sockets got of it.
    pub(super) fn filter(&self, frame: &[u8]) -> io::Result<[Kept; 2]> {
        self.sender.send(frame)?;
        let mut buf = [0; 256];
        recv(&self.last, &mut buf[..], RecvFlags::empty())?;
        let mut kept = [None; 2];
        for (socket, kept) in self.filtered.iter().zip(&mut kept) {
            *kept = match recv(socket, &mut buf[..], RecvFlags::DONTWAIT) {
                Ok((len, _)) => Some(len),
                Err(Errno::AGAIN) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(kept)
    }
}

/// A packet socket of this type that gets what comes in through the loopback.
fn open(kind: SocketType) -> io::Result<OwnedFd> {
    let socket = open_on("lo", kind, libc::ETH_P_ALL as u16)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &(1 as c_int))?;
    Ok(socket)
}

/// `setsockopt`.
fn set<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a value of this size, which the kernel reads during the call, and
    // a program's points to its instructions, which live as long.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
