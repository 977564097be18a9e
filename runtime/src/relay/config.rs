//! [`RelayConfig`], [`Relayed`]: what a relay is told, and what it tells.

use std::io;
use std::time::Duration;

/// For how long a relay waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayConfig {
    /// How long nothing may pass in either direction. After that both streams are reset. `None` is
    /// without a limit. Default: 2 hours and 4 minutes, the least that RFC 5382 §5 (REQ-5) asks of
    /// a NAT.
    pub idle_timeout: Option<Duration>,
    /// The same once one direction has ended, or one of the streams has failed. Default: 4 minutes,
    /// the least that RFC 5382 §5 (REQ-5) allows for connections that are being closed.
    pub half_closed_timeout: Option<Duration>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        RelayConfig {
            idle_timeout: Some(Duration::from_secs(2 * 60 * 60 + 4 * 60)),
            half_closed_timeout: Some(Duration::from_secs(4 * 60)),
        }
    }
}

/// What a relay did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// The bytes that `b` has taken from `a`.
    pub a_to_b: u64,
    /// The bytes that `a` has taken from `b`.
    pub b_to_a: u64,
    /// How it ended.
    pub end: RelayEnd,
}

/// How a relay ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayEnd {
    /// Both peers have ended their half, and learned that the other has.
    Closed,
    /// The connection of `a` has failed: it was reset, or its peer became unreachable. `b` was
    /// reset after all that had come from `a` was delivered.
    AFailed(io::Error),
    /// The same with the parts exchanged.
    BFailed(io::Error),
    /// Nothing passed for too long ([`RelayConfig::idle_timeout`]). Both were reset.
    Idle,
    /// Nothing passed for too long after one direction had ended
    /// ([`RelayConfig::half_closed_timeout`]). Both were reset.
    HalfClosed,
}
