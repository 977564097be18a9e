//! Socket options, under their Berkeley names.

use core::time::Duration;

/// One option, to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// SO_REUSEADDR: bind although connections of an earlier listener still use the port.
    ReuseAddr(bool),
    /// SO_REUSEPORT: several sockets share an address and port; each flow sticks to one of them.
    ReusePort(bool),
    /// SO_RCVBUF in bytes (not doubled, unlike Linux).
    ReceiveBuffer(usize),
    /// SO_SNDBUF in bytes (not doubled, unlike Linux).
    SendBuffer(usize),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE.
    KeepIdle(Duration),
    /// TCP_KEEPINTVL.
    KeepInterval(Duration),
    /// TCP_KEEPCNT.
    KeepCount(u8),
    /// SO_LINGER: zero makes `close` a reset; a longer time matters to blocking callers only, as `close` here never
    /// waits.
    Linger(Option<Duration>),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// TCP_NODELAY: no Nagle.
    NoDelay(bool),
    /// TCP_MAXSEG in bytes, 88 to 32,767, before the connection is opened.
    MaxSegment(u16),
    /// IP_TTL and IPV6_UNICAST_HOPS, 1 to 255.
    Ttl(u8),
    /// IPV6_V6ONLY, before `bind`.
    V6Only(bool),
}

/// All options of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_RCVBUF.
    pub receive_buffer: usize,
    /// SO_SNDBUF.
    pub send_buffer: usize,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE.
    pub keepalive_idle: Duration,
    /// TCP_KEEPINTVL.
    pub keepalive_interval: Duration,
    /// TCP_KEEPCNT.
    pub keepalive_count: u8,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_MAXSEG, if set.
    pub max_segment: Option<u16>,
    /// IP_TTL, if set.
    pub ttl: Option<u8>,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
}
