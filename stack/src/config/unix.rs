//! The tunables of Unix-domain sockets.

/// Unix-domain sockets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnixConfig {
    /// A datagram is refused while more datagrams than this wait in its receiver's queue. 10,
    /// Linux's `net.unix.max_dgram_qlen`.
    pub max_datagrams: usize,
    /// The largest backlog of a listener. 4,096, Linux's `somaxconn`.
    pub max_backlog: usize,
    /// The most descriptors of one owner that may be in messages which nobody has received; the
    /// message that exceeds it is still sent. 1,024: on Linux this is RLIMIT_NOFILE, with that
    /// default.
    pub max_in_flight: usize,
    /// The most names. A path counts until it is unlinked. 65,536.
    pub max_names: usize,
}

impl Default for UnixConfig {
    fn default() -> Self {
        UnixConfig { max_datagrams: 10, max_backlog: 4096, max_in_flight: 1024, max_names: 65_536 }
    }
}
