//! The families and kinds of sockets.

/// The address family of a socket.
// Exhaustive: programs that handle addresses must handle every family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// AF_INET.
    V4,
    /// AF_INET6; also used for IPv4, through `::ffff:0:0/96`, unless IPV6_V6ONLY is set.
    V6,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketKind {
    /// SOCK_STREAM: TCP.
    Stream,
    /// SOCK_DGRAM: UDP.
    Datagram,
    /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6, Linux's ping socket. A message is an ICMP
    /// echo message; the stack sets its identifier (the local port) and its checksum, and delivers
    /// the replies.
    Echo,
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
