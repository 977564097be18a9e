//! Packet sockets of the kernel. They send frames that no correct host would send.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, send, socket_with};

/// A packet socket (`packet(7)`), bound to one interface, for sending only.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on the interface of this name. Needs CAP_NET_RAW in the network namespace.
    pub fn open(interface: &str) -> io::Result<PacketSocket> {
        // Protocol 0: nothing is received.
        Ok(PacketSocket { socket: open_on(interface, SocketType::RAW, 0)? })
    }

    /// Sends one frame, which begins with its Ethernet header. The kernel refuses a frame that is
    /// shorter than that header.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        match send(&self.socket, frame, SendFlags::empty())? {
            sent if sent == frame.len() => Ok(()),
            sent => Err(io::Error::other(format!("{sent} of {} bytes sent", frame.len()))),
        }
    }
}

/// A packet socket of this type, bound to one interface and an EtherType.
pub(crate) fn open_on(interface: &str, kind: SocketType, ethertype: u16) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::PACKET, kind, SocketFlags::CLOEXEC, None)?;
    let index = name_to_index(&socket, interface)?;
    bind(&socket, &LinkAddress::of_interface(index, ethertype))?;
    Ok(socket)
}

/// `sockaddr_ll`, for which rustix has no type of its own.
pub(crate) struct LinkAddress(pub(crate) libc::sockaddr_ll);

impl LinkAddress {
    pub(crate) fn of_interface(index: u32, ethertype: u16) -> LinkAddress {
        LinkAddress(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: index as libc::c_int,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        })
    }
}

// SAFETY: the pointer is to a whole `sockaddr_ll` that lives as long as the call, and the length is
// its size; the family says that it is one.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f((&raw const self.0).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}
