//! The families and kinds of sockets.

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Domain {
    /// AF_INET.
    V4,
    /// AF_INET6; also used for IPv4, through `::ffff:0:0/96`, unless IPV6_V6ONLY is set.
    V6,
}

/// The list of the kinds of sockets, for the macro `$then`: each with its name, its room and the
/// type of the tables there. Nothing else names them all.
macro_rules! kinds {
    ($then:ident) => {
        $then! {
            /// SOCK_STREAM: TCP.
            Stream => tcp: $crate::socket::tcp::TcpSockets,
            /// SOCK_DGRAM: UDP.
            Datagram => udp: $crate::socket::udp::UdpSockets,
            /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6, Linux's ping socket. A message is an
            /// ICMP echo message; the stack sets its identifier (the local port) and its checksum,
            /// and delivers the replies.
            Echo => echo: $crate::socket::echo::EchoSockets,
            /// SOCK_RAW with this protocol number, 1 to 255: packets with all that follows the IP
            /// header. A socket receives a copy of every packet of its protocol, whatever else the
            /// stack does with the packet: over IPv4 with the IP header, over IPv6 without. With
            /// 255, IPPROTO_RAW, the header of what it sends is the program's (see
            /// [`RawOptions::header_included`](crate::RawOptions::header_included)).
            Raw(u8) => raw: $crate::socket::raw::RawSockets,
        }
    };
}
pub(super) use kinds;

macro_rules! socket_kind {
    ($($(#[$doc:meta])* $kind:ident $(($field:ty))? => $room:ident: $tables:ty,)*) => {
        /// The kind of a socket.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SocketKind {
            $($(#[$doc])* $kind $(($field))?,)*
        }
    };
}

kinds!(socket_kind);

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
