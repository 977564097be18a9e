//! The addresses of an interface, and duplicate address detection before they are used: RFC 4862
//! §5.4 for IPv6, RFC 5227 for IPv4.

use core::net::IpAddr;
use core::time::Duration;

use super::cidr::Cidr;
use crate::config::NeighborConfig;
use crate::time::Instant;

/// RFC 5227 §1.1, ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// RFC 5227 §1.1, DEFEND_INTERVAL.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// The least time between two log lines about one address.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The state of an address in duplicate address detection (RFC 4862, RFC 5227).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// The address is being probed and is not used yet.
    Tentative,
    /// The address is in use.
    Preferred,
    /// The address is in use, but not chosen for new connections while there is another, because
    /// its preferred lifetime has ended (RFC 4862 §5.5.4).
    Deprecated,
    /// Another station has the address; it is not used.
    Duplicated,
}

/// How long an address is used (RFC 4862 §5.5.4, RFC 2131 §4.4.5).
///
/// ```
/// use core::time::Duration;
/// use portolan::{AddressLifetime, Config, Instant, InterfaceConfig, Medium, Stack};
///
/// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// let now = Instant::ZERO;
/// let iface = stack.add_interface(now, InterfaceConfig::new(Medium::Ip))?;
/// // A lease of an hour.
/// stack.add_address(now, iface, "10.0.0.2/24".parse()?)?;
/// let hour = AddressLifetime::valid_for(Duration::from_secs(3600));
/// stack.set_address_lifetime(now, iface, [10, 0, 0, 2].into(), hour)?;
/// assert_eq!(stack.interfaces()[0].addresses.len(), 1);
/// stack.handle_timeout(now + Duration::from_secs(3600));
/// assert!(stack.interfaces()[0].addresses.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressLifetime {
    /// For how long it is chosen for new connections; `None` without end.
    pub preferred: Option<Duration>,
    /// For how long it is used at all; `None` without end.
    pub valid: Option<Duration>,
}

impl AddressLifetime {
    /// Without end: what an address has at first.
    pub const FOREVER: AddressLifetime = AddressLifetime { preferred: None, valid: None };

    /// The address is used for so long, and is preferred for all that time.
    pub const fn valid_for(time: Duration) -> AddressLifetime {
        AddressLifetime { preferred: Some(time), valid: Some(time) }
    }

    /// The same, preferred for so long only.
    pub const fn preferred_for(mut self, time: Duration) -> AddressLifetime {
        self.preferred = Some(time);
        self
    }
}

/// What has to be sent for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressEvent {
    /// A probe: does anybody have this address?
    Probe(IpAddr),
    /// An announcement: a gratuitous ARP or an unsolicited advertisement.
    Announce(IpAddr),
}

/// An address of an interface.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) cidr: Cidr,
    pub(crate) state: AddressState,
    /// Whether its preferred lifetime has ended.
    pub(crate) is_deprecated: bool,
    /// When that ends, unless it has ended.
    preferred_until: Option<Instant>,
    pub(crate) valid_until: Option<Instant>,
    /// Whether it is a temporary address (RFC 8981).
    pub(crate) is_temporary: bool,
    /// Probes (while tentative) or announcements (afterwards) that remain to be sent.
    left: u8,
    /// When the next one is due, or when the wait after the last probe ends.
    next_at: Option<Instant>,
    /// When it was last defended against another station.
    defended_at: Option<Instant>,
    /// When the log last said that another station uses it.
    warned_at: Option<Instant>,
}

impl Address {
    /// A new address. `detect`: other stations on the link could have it, so it is probed first.
    pub(crate) fn new(now: Instant, cidr: Cidr, config: &NeighborConfig, detect: bool) -> Self {
        let mut address = Address {
            cidr,
            state: AddressState::Preferred,
            is_deprecated: false,
            preferred_until: None,
            valid_until: None,
            is_temporary: false,
            left: 0,
            next_at: None,
            defended_at: None,
            warned_at: None,
        };
        if !detect {
            return address;
        }
        if config.duplicate_address_probes > 0 {
            address.state = AddressState::Tentative;
        }
        address.begin_again(now, config);
        address
    }

    /// Begins to probe for it, or to announce it if it is in use: it is new, or the link has come
    /// up, or has another MAC address.
    ///
    /// RFC 5227 §2.1 wants an address to be probed again after the link was down. As on Linux it is
    /// only announced: its connections go on meanwhile, and a conflict is noticed anyway.
    pub(crate) fn begin_again(&mut self, now: Instant, config: &NeighborConfig) {
        self.left = match self.state {
            // RFC 4862 §5.4.2 and RFC 5227 §2.1.1 begin with a random delay of up to a second, for
            // the case that many hosts start at once after a power cut. A stack in a program starts
            // alone, so it begins at once.
            AddressState::Tentative => config.duplicate_address_probes,
            AddressState::Preferred => self.announcements(),
            AddressState::Duplicated | AddressState::Deprecated => return,
        };
        self.next_at = Some(now);
    }

    /// Whether it is in use.
    pub(crate) fn is_usable(&self) -> bool {
        self.state == AddressState::Preferred
    }

    /// Its state as programs see it.
    pub(crate) fn shown_state(&self) -> AddressState {
        if self.is_usable() && self.is_deprecated { AddressState::Deprecated } else { self.state }
    }

    /// Sets how long it is used from now on.
    pub(crate) fn set_lifetime(&mut self, now: Instant, lifetime: AddressLifetime) {
        self.preferred_until = lifetime.preferred.map(|time| now + time);
        if self.is_deprecated {
            // Without another event if it remains deprecated.
            self.preferred_until = self.preferred_until.filter(|&at| at > now);
            self.is_deprecated = lifetime.preferred.is_some_and(|time| time.is_zero());
        }
        self.valid_until = lifetime.valid.map(|time| now + time);
    }

    /// Whether its preferred lifetime has just ended.
    pub(crate) fn becomes_deprecated(&mut self, now: Instant) -> bool {
        let ends = self.preferred_until.is_some_and(|at| at <= now);
        if ends {
            (self.is_deprecated, self.preferred_until) = (true, None);
        }
        ends
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.next_at, self.preferred_until, self.valid_until].into_iter().flatten().min()
    }

    /// The next step, if it is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, config: &NeighborConfig) -> Option<AddressEvent> {
        if self.next_at.is_none_or(|at| now < at) {
            return None;
        }
        let addr = self.cidr.addr;
        if self.state == AddressState::Tentative {
            if self.left > 0 {
                self.left -= 1;
                // RFC 4862 §5.4: RetransTimer between probes and after the last one. RFC 5227 §1.1
                // wants three probes and two seconds more; our default is the same smaller number
                // as for IPv6, for the sake of those seconds.
                self.next_at = Some(now + config.retransmit_delay);
                return Some(AddressEvent::Probe(addr));
            }
            log::debug!("{addr}: no other station has it");
            self.state = AddressState::Preferred;
            self.left = self.announcements();
        }
        self.left = self.left.saturating_sub(1);
        self.next_at = (self.left > 0).then(|| now + ANNOUNCE_INTERVAL);
        (self.state == AddressState::Preferred).then_some(AddressEvent::Announce(addr))
    }

    /// Handles another station that uses this address, or that probes for it while we do.
    pub(crate) fn on_conflict(&mut self, now: Instant) -> Option<AddressEvent> {
        let addr = self.cidr.addr;
        match self.state {
            AddressState::Tentative => {
                log::warn!(
                    "{addr} is in use by another station on the link: give one of the two another address"
                );
                self.state = AddressState::Duplicated;
                self.next_at = None;
                None
            }
            AddressState::Preferred => {
                // Anybody on the link can send these packets at any rate.
                if self.warned_at.is_none_or(|at| now >= at + WARNING_INTERVAL) {
                    self.warned_at = Some(now);
                    log::warn!(
                        "another station on the link uses our address {addr}: give one of the two another address"
                    );
                }
                // RFC 5227 §2.4 (c): the host keeps its address and defends it, because other hosts
                // rely on it. It does so at most once per DEFEND_INTERVAL; otherwise two such hosts
                // would answer each other without end.
                if self.defended_at.is_some_and(|at| now < at + DEFEND_INTERVAL) {
                    return None;
                }
                self.defended_at = Some(now);
                addr.is_ipv4().then_some(AddressEvent::Announce(addr))
            }
            AddressState::Duplicated | AddressState::Deprecated => None,
        }
    }

    /// How many announcements are sent: RFC 5227 §2.3 demands two, RFC 4861 §7.2.6 one unsolicited
    /// advertisement or more.
    fn announcements(&self) -> u8 {
        if self.cidr.addr.is_ipv4() { ANNOUNCEMENTS } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn address(text: &str, config: &NeighborConfig) -> Address {
        Address::new(Instant::ZERO, text.parse().unwrap(), config, true)
    }

    /// Runs the timers, and returns what was sent at which time.
    fn run(address: &mut Address, config: &NeighborConfig) -> Vec<(u64, AddressEvent)> {
        let mut events = Vec::new();
        while let Some(at) = address.poll_timeout() {
            events.extend(address.handle_timeout(at, config).map(|event| (at.as_millis(), event)));
        }
        events
    }

    #[test]
    fn rfc_4862_5_4_probed_for_a_second_then_announced() {
        let config = NeighborConfig::default();
        let mut v6 = address("fd00::2/64", &config);
        let addr = v6.cidr.addr;
        assert_eq!(v6.state, AddressState::Tentative);
        let expected = vec![(0, AddressEvent::Probe(addr)), (1000, AddressEvent::Announce(addr))];
        assert_eq!(run(&mut v6, &config), expected);
        assert!(v6.is_usable());
    }

    #[test]
    fn rfc_5227_2_3_ipv4_is_announced_twice() {
        let config = NeighborConfig { duplicate_address_probes: 3, ..NeighborConfig::default() };
        let mut v4 = address("10.0.0.2/24", &config);
        let addr = v4.cidr.addr;
        let probes = [0, 1000, 2000].map(|at| (at, AddressEvent::Probe(addr)));
        let announcements = [3000, 5000].map(|at| (at, AddressEvent::Announce(addr)));
        assert_eq!(run(&mut v4, &config), [&probes[..], &announcements[..]].concat());
    }

    #[test]
    fn without_probes_it_is_in_use_at_once() {
        let config = NeighborConfig { duplicate_address_probes: 0, ..NeighborConfig::default() };
        let mut v6 = address("fd00::2/64", &config);
        assert!(v6.is_usable());
        assert_eq!(run(&mut v6, &config), vec![(0, AddressEvent::Announce(v6.cidr.addr))]);
        let quiet = Address::new(Instant::ZERO, v6.cidr, &config, false);
        assert!(quiet.is_usable() && quiet.poll_timeout().is_none());
    }

    #[test]
    fn a_conflict_stops_a_tentative_address_and_is_answered_by_one_in_use() {
        let config = NeighborConfig::default();
        let mut v4 = address("10.0.0.2/24", &config);
        assert!(v4.handle_timeout(Instant::ZERO, &config).is_some());
        assert_eq!(v4.on_conflict(Instant::from_millis(10)), None);
        assert_eq!(v4.state, AddressState::Duplicated);
        assert_eq!(run(&mut v4, &config), vec![]);

        let mut v4 = address("10.0.0.2/24", &config);
        run(&mut v4, &config);
        let defence = Some(AddressEvent::Announce(v4.cidr.addr));
        assert_eq!(v4.on_conflict(Instant::from_secs(20)), defence);
        // RFC 5227 §2.4: not again within DEFEND_INTERVAL.
        assert_eq!(v4.on_conflict(Instant::from_secs(29)), None);
        assert_eq!(v4.on_conflict(Instant::from_secs(30)), defence);
        assert!(v4.is_usable());
    }

    /// Counts the log lines about one address that no other test uses.
    struct Lines(core::sync::atomic::AtomicUsize);

    const WATCHED: &str = "10.99.98.97";

    impl log::Log for Lines {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Info
        }
        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) && std::format!("{}", record.args()).contains(WATCHED) {
                self.0.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            }
        }
        fn flush(&self) {}
    }

    static LINES: Lines = Lines(core::sync::atomic::AtomicUsize::new(0));

    #[test]
    fn a_station_that_claims_our_address_again_and_again_does_not_fill_the_log() {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        let cidr = std::format!("{WATCHED}/24").parse().unwrap();
        let mut address = Address::new(Instant::ZERO, cidr, &NeighborConfig::default(), false);
        for millis in 0..300_000 {
            address.on_conflict(Instant::from_millis(millis));
        }
        assert_eq!(LINES.0.load(core::sync::atomic::Ordering::Relaxed), 5, "one a minute");
    }
}
