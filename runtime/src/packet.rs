//! Packet sockets, modelled on `std::net::UdpSocket` and socket2.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use portolan::{
    Domain, LinkAddr, LinkHeader, PacketMembership, PacketMeta, PacketStatistics, SocketKind, SocketOption,
};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::socket_settings;

/// A packet socket: frames of an interface, as they are on the link or without their link header
/// (see [`SocketKind::Packet`]).
///
/// In a runtime with several stacks the socket is on the first of them, and sees the frames of the
/// first queue of each device.
///
/// ```
/// use portolan::{InterfaceId, LinkAddr, LinkHeader, MacAddr};
/// use portolan_runtime::{Builder, PacketSocket, device::memory_pair};
///
/// let (left, right) = memory_pair()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// const ETHERTYPE: u16 = 0x88b5; // for experiments
/// let link = LinkAddr::new(InterfaceId::from_index(0), ETHERTYPE);
/// let receiver = PacketSocket::new(&b, LinkHeader::Cooked)?;
/// receiver.bind(&link)?;
/// let sender = PacketSocket::new(&a, LinkHeader::Cooked)?;
/// sender.send_to(b"hello", &link.mac(MacAddr::BROADCAST))?;
/// let (data, meta) = receiver.recv_packet()?;
/// assert_eq!(&data[..], b"hello");
/// assert_eq!(meta.from.protocol, ETHERTYPE);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PacketSocket {
    socket: Arc<Socket>,
}

impl PacketSocket {
    pub(crate) fn of(socket: Socket) -> PacketSocket {
        PacketSocket { socket: Arc::new(socket) }
    }

    /// Makes a socket, which receives nothing until it is bound.
    pub fn new(handle: &impl AsRef<Handle>, header: LinkHeader) -> io::Result<PacketSocket> {
        let socket = Socket::new(handle.as_ref(), 0, Domain::V4, SocketKind::Packet(header), &[])?;
        Ok(PacketSocket { socket: Arc::new(socket) })
    }

    /// Receives the frames of this interface, or of all, and of this EtherType from now on.
    pub fn bind(&self, addr: &LinkAddr) -> io::Result<()> {
        self.socket.call(|stack, _, d| stack.bind(d, *addr))
    }

    /// Returns the interface and the EtherType that it is bound to.
    pub fn local_addr(&self) -> io::Result<LinkAddr> {
        self.socket
            .call(|stack, _, d| stack.local_name(d))
            .map(|name| name.link().unwrap_or(LinkAddr::new(None, 0)))
    }

    /// Waits for a frame. Returns the whole frame, without a copy, and what is known of it.
    pub fn recv_packet(&self) -> io::Result<(Bytes, PacketMeta)> {
        self.socket.calls().recv_packet()
    }

    /// Waits for a frame. Returns its length and its address; the part that does not fit into the
    /// buffer is lost.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, LinkAddr)> {
        let (data, meta) = self.recv_packet()?;
        let len = data.len().min(buf.len());
        buf[..len].copy_from_slice(&data[..len]);
        Ok((len, meta.from))
    }

    /// Sends a frame through the interface that the socket is bound to.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.socket.calls().send_packet(&Bytes::copy_from_slice(frame), None)
    }

    /// Sends a frame through the interface that the address names. Without its link header it goes
    /// to the address's station, with the address's EtherType.
    pub fn send_to(&self, frame: &[u8], addr: &LinkAddr) -> io::Result<usize> {
        self.send_packet(Bytes::copy_from_slice(frame), addr)
    }

    /// Like [`send_to`](PacketSocket::send_to) without a copy.
    pub fn send_packet(&self, frame: Bytes, addr: &LinkAddr) -> io::Result<usize> {
        self.socket.calls().send_packet(&frame, Some(addr))
    }

    /// PACKET_ADD_MEMBERSHIP: promiscuous mode, for example.
    pub fn add_membership(&self, membership: PacketMembership) -> io::Result<()> {
        self.socket.set_option(SocketOption::PacketAddMembership(membership))
    }

    /// PACKET_DROP_MEMBERSHIP.
    pub fn drop_membership(&self, membership: PacketMembership) -> io::Result<()> {
        self.socket.set_option(SocketOption::PacketDropMembership(membership))
    }

    /// PACKET_IGNORE_OUTGOING.
    pub fn set_ignore_outgoing(&self, ignore: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::PacketIgnoreOutgoing(ignore))
    }

    /// Takes the counts (PACKET_STATISTICS), which begin at zero again.
    pub fn take_statistics(&self) -> io::Result<PacketStatistics> {
        self.socket.call(|stack, _, d| stack.take_packet_statistics(d))
    }
}

socket_settings!(PacketSocket);

impl HasSockets for PacketSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
