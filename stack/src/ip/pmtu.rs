//! Path MTUs that were learned (RFC 1191, RFC 8201), each for one destination and a limited time.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::is_link_local;
use crate::config::IpConfig;
use crate::hash::{HashMap, hash_map};
use crate::interface_id::InterfaceId;
use crate::rng::Rng;
use crate::time::Instant;

/// The smallest path MTU that a message can make us use (Linux's `min_pmtu`). If a router asks for
/// less, it may fragment our packets instead.
const MIN_V4: usize = 552;
/// The MTU that every IPv6 link supports (RFC 8200 §5).
const MIN_V6: usize = 1280;

/// What is known about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathMtu {
    pub(crate) mtu: usize,
    /// The path MTU is below the smallest packets that we make: routers must be allowed to fragment
    /// our packets. Linux calls such an MTU locked.
    pub(crate) needs_fragments: bool,
}

/// A destination, and its link if the address does not tell the link, or if the link is in another
/// zone than zone 0.
type PathKey = (IpAddr, Option<InterfaceId>);

#[derive(Debug)]
struct LearnedMtu {
    path: PathMtu,
    expires_at: Instant,
}

/// The path MTUs; see the [module](self). There is no timer: an entry that has expired is noticed
/// when it is looked up.
#[derive(Debug)]
pub(crate) struct PathMtus {
    entries: HashMap<PathKey, LearnedMtu>,
    max: usize,
    timeout: Duration,
    /// The interfaces whose zone is not zone 0, sorted.
    apart: Vec<InterfaceId>,
}

impl PathMtus {
    pub(crate) fn new(config: &IpConfig, rng: &mut Rng) -> Self {
        let (max, timeout) = (config.max_path_mtus, config.path_mtu_timeout);
        PathMtus { entries: hash_map(rng), max, timeout, apart: Vec::new() }
    }

    /// Notes that an interface is in another zone than zone 0.
    pub(crate) fn set_apart(&mut self, iface: InterfaceId) {
        if let Err(at) = self.apart.binary_search(&iface) {
            self.apart.insert(at, iface);
        }
    }

    /// What was learned about the path to `dst` through `iface`, if anything.
    pub(crate) fn lookup(&self, now: Instant, dst: IpAddr, iface: InterfaceId) -> Option<PathMtu> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(&self.key(dst, iface))?;
        (now < entry.expires_at).then_some(entry.path)
    }

    /// A router reported that the path takes packets of at most `mtu` bytes; `current` is the MTU
    /// that we have used so far. A report of a larger MTU is ignored: larger ones are found by
    /// probing (RFC 8201 §4). So is a report for IPv6 of less than the MTU that every link must
    /// have (RFC 8201 §4).
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        dst: IpAddr,
        iface: InterfaceId,
        mtu: usize,
        current: usize,
    ) {
        let needs_fragments = dst.is_ipv4() && mtu < MIN_V4;
        let was_known = self.lookup(now, dst, iface).is_some_and(|path| path.needs_fragments);
        let is_void = (mtu >= current && !needs_fragments) || (dst.is_ipv6() && mtu < MIN_V6) || was_known;
        if is_void || self.max == 0 {
            return;
        }
        let mtu = if needs_fragments { MIN_V4.min(current) } else { mtu };
        let key = self.key(dst, iface);
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        log::debug!("path MTU to {dst}: {mtu} bytes");
        self.entries.insert(
            key,
            LearnedMtu { path: PathMtu { mtu, needs_fragments }, expires_at: now + self.timeout },
        );
    }

    /// Forgets what is known about paths that only this interface leads to.
    pub(crate) fn remove_of(&mut self, iface: InterfaceId) {
        self.entries.retain(|(_, link), _| *link != Some(iface));
        self.apart.retain(|&other| other != iface);
    }

    fn key(&self, dst: IpAddr, iface: InterfaceId) -> PathKey {
        let is_of_link = is_link_local(dst) || self.apart.binary_search(&iface).is_ok();
        (dst, is_of_link.then_some(iface))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(PathKey, LearnedMtu)>()
    }

    /// Removes the expired entries, or if there are none, the one that expires first.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.expires_at);
        if self.entries.len() >= self.max
            && let Some(key) =
                self.entries.iter().min_by_key(|(_, entry)| entry.expires_at).map(|(&key, _)| key)
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InterfaceId = InterfaceId(0);
    const B: InterfaceId = InterfaceId(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn whole(mtu: usize) -> Option<PathMtu> {
        Some(PathMtu { mtu, needs_fragments: false })
    }

    fn table(max: usize) -> PathMtus {
        let config = IpConfig { max_path_mtus: max, ..IpConfig::default() };
        PathMtus::new(&config, &mut Rng::new([0; 32]))
    }

    #[test]
    fn learned_for_ten_minutes_and_only_downwards() {
        let mut table = table(8);
        let (dst, now) = (ip("10.0.0.1"), Instant::from_secs(1));
        assert_eq!(table.lookup(now, dst, A), None);
        table.learn(now, dst, A, 1400, 1500);
        assert_eq!(table.lookup(now, dst, B), whole(1400));
        table.learn(now, dst, A, 1450, 1400);
        assert_eq!(table.lookup(now, dst, A), whole(1400));
        assert_eq!(table.lookup(Instant::from_secs(601), dst, A), None);
        assert_eq!(table.lookup(now, ip("10.0.0.2"), A), None);
    }

    #[test]
    fn an_ipv4_path_below_the_floor_is_sent_what_may_be_fragmented() {
        let (mut table, dst) = (table(8), ip("10.0.0.1"));
        let locked = Some(PathMtu { mtu: 552, needs_fragments: true });
        table.learn(Instant::ZERO, dst, A, 552, 1500);
        assert_eq!(table.lookup(Instant::ZERO, dst, A), whole(552));
        table.learn(Instant::from_secs(1), dst, A, 551, 552);
        assert_eq!(table.lookup(Instant::from_secs(1), dst, A), locked);
        // Later reports change nothing, not even the expiry.
        table.learn(Instant::from_secs(2), dst, A, 300, 552);
        table.learn(Instant::from_secs(2), dst, A, 560, 552);
        assert_eq!(table.lookup(Instant::from_secs(600), dst, A), locked);
        assert_eq!(table.lookup(Instant::from_secs(601), dst, A), None);
        // One of our own links has a smaller MTU.
        table.learn(Instant::from_secs(700), dst, A, 0, 300);
        let small = Some(PathMtu { mtu: 300, needs_fragments: true });
        assert_eq!(table.lookup(Instant::from_secs(700), dst, A), small);
    }

    #[test]
    fn an_ipv6_path_below_what_every_link_takes_is_not_believed() {
        let (mut table, now) = (table(8), Instant::ZERO);
        for mtu in [0, 68, 1279] {
            table.learn(now, ip("fd00::1"), A, mtu, 1500);
            assert_eq!(table.lookup(now, ip("fd00::1"), A), None);
        }
        table.learn(now, ip("fd00::1"), A, 1280, 1500);
        assert_eq!(table.lookup(now, ip("fd00::1"), A), whole(1280));
    }

    #[test]
    fn link_local_destinations_are_of_their_link() {
        let (mut table, now) = (table(8), Instant::ZERO);
        table.learn(now, ip("fe80::1"), A, 1400, 1500);
        assert_eq!(table.lookup(now, ip("fe80::1"), A), whole(1400));
        assert_eq!(table.lookup(now, ip("fe80::1"), B), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = table(2);
        for (at, addr) in ["10.0.0.1", "10.0.0.2", "10.0.0.3"].into_iter().enumerate() {
            table.learn(Instant::from_secs(at as u64), ip(addr), A, 1400, 1500);
        }
        let now = Instant::from_secs(3);
        assert_eq!(table.lookup(now, ip("10.0.0.1"), A), None);
        assert_eq!(table.lookup(now, ip("10.0.0.2"), A), whole(1400));
        assert_eq!(table.lookup(now, ip("10.0.0.3"), A), whole(1400));
        assert_eq!(table.entries.len(), 2);
    }
}
