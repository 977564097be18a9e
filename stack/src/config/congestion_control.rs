//! The names of the congestion control algorithms.

use core::fmt;
use core::str::FromStr;

use crate::error::Error;

/// A congestion control algorithm, for
/// [`SocketOption::Congestion`](crate::SocketOption::Congestion) (TCP_CONGESTION) and
/// [`TcpConfig::congestion`](crate::TcpConfig::congestion). In text it has the name that Linux
/// gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CongestionControl {
    /// `reno`: RFC 5681, with the recovery that all algorithms share.
    Reno,
    /// `cubic`: RFC 9438, with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// `bbr`: version 3 (draft-ietf-ccwg-bbr). Always paced.
    Bbr,
}

impl CongestionControl {
    /// All that there are.
    pub const ALL: [CongestionControl; 3] =
        [CongestionControl::Reno, CongestionControl::Cubic, CongestionControl::Bbr];

    /// The name under which Linux has it (`net.ipv4.tcp_available_congestion_control`).
    pub const fn name(self) -> &'static str {
        match self {
            CongestionControl::Reno => "reno",
            CongestionControl::Cubic => "cubic",
            CongestionControl::Bbr => "bbr",
        }
    }
}

impl fmt::Display for CongestionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CongestionControl {
    type Err = Error;

    /// EINVAL for a name that is none.
    fn from_str(name: &str) -> Result<CongestionControl, Error> {
        CongestionControl::ALL.into_iter().find(|kind| kind.name() == name).ok_or(Error::InvalidArgument)
    }
}
