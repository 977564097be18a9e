//! IPPROTO_TCP.

use alloc::boxed::Box;
use core::time::Duration;

use crate::config::CongestionControl;
use crate::tcp::FastOpenKey;

/// The options of TCP, see [`SocketOptions`](super::SocketOptions).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// TCP_KEEPIDLE.
    pub keepalive_idle: Duration,
    /// TCP_KEEPINTVL.
    pub keepalive_interval: Duration,
    /// TCP_KEEPCNT.
    pub keepalive_count: u8,
    /// TCP_NOTSENT_LOWAT.
    pub unsent_low_water: usize,
    /// TCP_USER_TIMEOUT, if set.
    pub user_timeout: Option<Duration>,
    /// TCP_CORK.
    pub cork: bool,
    /// TCP_QUICKACK: whether the next segment will be acknowledged at once.
    pub quick_ack: bool,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion: CongestionControl,
    /// TCP_DEFER_ACCEPT.
    pub defer_accept: Duration,
    /// TCP_MAXSEG, if set.
    pub max_segment: Option<u16>,
    /// TCP_SYNCNT, if set.
    pub syn_count: Option<u8>,
    /// TCP_LINGER2; `None` if a connection does not wait in FIN-WAIT-2.
    pub linger2: Option<Duration>,
    /// TCP_WINDOW_CLAMP; 0 if it is off.
    pub window_clamp: u32,
    /// TCP_THIN_LINEAR_TIMEOUTS.
    pub thin_linear_timeouts: bool,
    /// TCP_SAVE_SYN.
    pub save_syn: bool,
    /// TCP_FASTOPEN and related options.
    pub fast_open: FastOpenOptions,
}

/// The options of TCP Fast Open, see [`TcpOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FastOpenOptions {
    /// TCP_FASTOPEN: how many connections may be in a fast opening at once.
    pub limit: usize,
    /// TCP_FASTOPEN_CONNECT.
    pub connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub without_cookie: bool,
    /// TCP_FASTOPEN_KEY, if set.
    pub key: Option<Box<FastOpenKey>>,
}
