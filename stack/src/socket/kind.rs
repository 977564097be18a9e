//! The families and kinds of sockets, and the rooms that implement them.

use super::packet::LinkHeader;

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Domain {
    /// AF_INET.
    V4,
    /// AF_INET6; also used for IPv4, through `::ffff:0:0/96`, unless IPV6_V6ONLY is set.
    V6,
    /// AF_UNIX: sockets of one stack, which have names instead of addresses and ports.
    Unix,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketKind {
    /// SOCK_STREAM: TCP, or a stream of the Unix domain.
    Stream,
    /// SOCK_DGRAM: UDP, or datagrams of the Unix domain, which are not lost.
    Datagram,
    /// SOCK_SEQPACKET, of the Unix domain only: messages over a connection.
    SeqPacket,
    /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6, Linux's ping socket. A message is an ICMP
    /// echo message; the stack sets its identifier (the local port) and its checksum, and delivers
    /// the replies.
    Echo,
    /// SOCK_RAW with this protocol number, 1 to 255: packets with all that follows the IP
    /// header. A socket receives a copy of every packet of its protocol, whatever else the
    /// stack does with the packet: over IPv4 with the IP header, over IPv6 without. With
    /// 255, IPPROTO_RAW, the header of what it sends is the program's (see
    /// [`RawOptions::header_included`](crate::RawOptions::header_included)).
    Raw(u8),
    /// AF_PACKET: frames of an interface, as they are on the link or without their link header. The
    /// domain means nothing. A [`LinkAddr`](crate::LinkAddr) is the address of such a socket, and
    /// [`Stack::recv_packet`](crate::Stack::recv_packet) receives.
    Packet(LinkHeader),
}

/// The list of the rooms, for the macro `$then`: each with its name and the type of its tables.
/// Nothing else names them all.
macro_rules! rooms {
    ($then:ident) => {
        $then! {
            Tcp => tcp: $crate::socket::tcp::TcpSockets,
            Udp => udp: $crate::socket::udp::UdpSockets,
            Echo => echo: $crate::socket::echo::EchoSockets,
            Raw => raw: $crate::socket::raw::RawSockets,
            Packet => packet: $crate::socket::packet::PacketSockets,
            Unix => unix: $crate::socket::unix::UnixSockets,
        }
    };
}
pub(super) use rooms;

macro_rules! room {
    ($($room:ident => $field:ident: $tables:ty,)*) => {
        /// The part of the stack that implements a socket: its domain and its kind choose it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Room {
            $($room,)*
        }
    };
}

rooms!(room);

impl Room {
    #[inline]
    pub(super) fn of(domain: Domain, kind: SocketKind) -> Room {
        match kind {
            _ if domain == Domain::Unix => Room::Unix,
            // TCP refuses the other one.
            SocketKind::Stream | SocketKind::SeqPacket => Room::Tcp,
            SocketKind::Datagram => Room::Udp,
            SocketKind::Echo => Room::Echo,
            SocketKind::Raw(_) => Room::Raw,
            SocketKind::Packet(_) => Room::Packet,
        }
    }
}

/// The half of a connection that `shutdown` ends.
// Exhaustive: POSIX has these three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}
