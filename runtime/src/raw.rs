//! Raw IP sockets, modelled on `std::net::UdpSocket` and socket2.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use portolan::{
    DatagramMeta, Domain, IcmpFilter, Received, RecvFlags, SendFlags, SendMeta, SocketKind, SocketOption,
};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::{ip_settings, socket_settings};

/// A raw IP socket: packets of one protocol, past TCP and UDP (see [`SocketKind::Raw`]). The ports
/// of addresses mean nothing.
///
/// In a runtime with several stacks the socket is on the first of them, and receives the packets
/// that the first stack receives. Packets of protocols other than TCP, UDP and ICMP all go there.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
///
/// use portolan::Domain;
/// use portolan_runtime::{Builder, RawSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// const PROTOCOL: u8 = 253; // for experiments (RFC 3692)
/// let sender = RawSocket::new(&a, Domain::V4, PROTOCOL)?;
/// let receiver = RawSocket::new(&b, Domain::V4, PROTOCOL)?;
/// sender.send_to(b"hello", (Ipv4Addr::new(10, 0, 0, 2), 0))?;
/// let mut buf = [0; 1500];
/// let (len, from) = receiver.recv_from(&mut buf)?;
/// assert_eq!(from, SocketAddr::from(([10, 0, 0, 1], 0)));
/// assert_eq!(&buf[20..len], b"hello"); // behind the IPv4 header
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RawSocket {
    pub(crate) socket: Arc<Socket>,
}

impl RawSocket {
    pub(crate) fn of(socket: Socket) -> RawSocket {
        RawSocket { socket: Arc::new(socket) }
    }

    /// Makes a socket for packets of this protocol number, 1 to 255, to and from any address.
    pub fn new(handle: &impl AsRef<Handle>, domain: Domain, protocol: u8) -> io::Result<RawSocket> {
        let socket = Socket::new(handle.as_ref(), 0, domain, SocketKind::Raw(protocol), &[])?;
        Ok(RawSocket { socket: Arc::new(socket) })
    }

    /// Receives only packets to this address from now on, and sends from it.
    pub fn bind(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.bind(addr.into())
    }

    /// Waits for a packet. Returns its length and its sender; the part that does not fit into the
    /// buffer is lost. An IPv4 packet begins with its header, an IPv6 packet behind its headers.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls().recv_from(buf)
    }

    /// Like [`recv_from`](RawSocket::recv_from), but leaves the packet in the queue.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls().peek_from(buf)
    }

    /// Sends a packet. Without [`set_header_included`](RawSocket::set_header_included) the stack
    /// makes the IP header, and fragments a packet that is too large.
    pub fn send_to(&self, data: &[u8], addr: impl Into<SocketAddr>) -> io::Result<usize> {
        self.socket.calls().send_to(data, addr.into())
    }

    /// Waits for a packet. Returns the whole packet, without a copy, and its metadata (`recvmsg`).
    pub fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.socket.calls().recv_msg()
    }

    /// Sends a packet with the choices in `meta` (`sendmsg`).
    pub fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        self.socket.calls().send_msg(bytes, meta)
    }

    /// Waits for a packet, and takes those that are queued then, at most `max`. Appends them to
    /// `batch` and returns their number.
    pub fn recv_batch(&self, batch: &mut Vec<(Bytes, DatagramMeta)>, max: usize) -> io::Result<usize> {
        self.socket.calls().recv_batch(batch, max)
    }

    /// Waits for a packet and copies it into several buffers, with flags (`recvmsg`). Returns its
    /// length, whether it was truncated, and its metadata. With [`RecvFlags::ERROR_QUEUE`] or
    /// [`RecvFlags::DONT_WAIT`] it does not wait.
    pub fn recv_message(&self, bufs: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<Received> {
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(|buf| &mut buf[..]).collect();
        self.socket.calls().recv_message(&mut slices, flags, 0)
    }

    /// Sends the data of several slices as one packet, with flags and the choices in `meta`
    /// (`sendmsg`).
    pub fn send_message(&self, data: &[IoSlice<'_>], meta: &SendMeta, flags: SendFlags) -> io::Result<usize> {
        self.socket.calls().send_message(data, meta, flags)
    }

    /// Sets the peer: `send` sends to it, and only its packets are received.
    pub fn connect(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.connect_datagrams(addr.into())
    }

    /// Sends a packet to the connected peer.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.calls().write(data)
    }

    /// Waits for a packet.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().recv_from(buf).map(|(len, _)| len)
    }

    /// Like [`recv`](RawSocket::recv), but leaves the packet in the queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().peek(buf)
    }

    /// IP_HDRINCL and IPV6_HDRINCL: whether the data begins with the IP header
    /// ([`RawOptions::header_included`](portolan::RawOptions::header_included)).
    pub fn set_header_included(&self, included: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::HeaderIncluded(included))
    }

    /// ICMP_FILTER and ICMP6_FILTER: the types of messages that a socket of ICMP or ICMPv6
    /// receives.
    pub fn set_icmp_filter(&self, filter: IcmpFilter) -> io::Result<()> {
        self.socket.set_option(SocketOption::IcmpFilter(filter))
    }

    /// IPV6_CHECKSUM: the offset of the checksum that the stack computes and verifies.
    pub fn set_checksum_offset(&self, offset: Option<u16>) -> io::Result<()> {
        self.socket.set_option(SocketOption::ChecksumOffset(offset))
    }
}

socket_settings!(RawSocket);
ip_settings!(RawSocket);

impl HasSockets for RawSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
