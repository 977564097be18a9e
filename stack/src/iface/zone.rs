//! [`Zone`]: which interfaces share addresses and routes.

use core::fmt;

/// A zone: interfaces that share addresses and routes, apart from those of other zones.
///
/// Every interface is in zone 0 unless its configuration names another
/// ([`InterfaceConfig::zone`](crate::InterfaceConfig::zone)). In another zone
///
/// - the same addresses may be in use as in any other zone, on both sides: connections, UDP flows,
///   fragments, path MTUs and limits of different zones do not meet;
/// - a connection or UDP flow belongs to the interface that it came in through, and its answers
///   leave through that interface;
/// - only the addresses and routes of the zone are used, and packets are forwarded only to
///   interfaces of the zone.
///
/// A socket that a program opens is in zone 0. One that is bound to an interface
/// ([`SocketOption::BindToDevice`](crate::SocketOption::BindToDevice)) is in the zone of that
/// interface. A listener or datagram socket that is bound to no interface receives from all zones;
/// a connection that it accepts is bound to the interface of its SYN.
///
/// ```
/// use portolan::{Config, Instant, InterfaceConfig, Medium, Stack};
///
/// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// for guest in 1..=2 {
///     // Each guest believes that it has 10.0.0.2, and that its gateway is 10.0.0.1.
///     let config = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse()?).zone(guest);
///     stack.add_interface(Instant::ZERO, config)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(u16);

impl Zone {
    /// Zone 0, which interfaces are in by default.
    pub const DEFAULT: Zone = Zone(0);

    /// The zone with this number.
    pub const fn new(number: u16) -> Zone {
        Zone(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether it is another than zone 0, so that its tables have its interfaces in their keys.
    #[inline]
    pub(crate) const fn is_apart(self) -> bool {
        self.0 != 0
    }
}

impl From<u16> for Zone {
    fn from(number: u16) -> Zone {
        Zone(number)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {}", self.0)
    }
}

#[cfg(test)]
mod tests;
