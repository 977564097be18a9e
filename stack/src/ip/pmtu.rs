//! Path MTUs that were learned (RFC 1191, RFC 8201): per destination, for a while.

use core::net::IpAddr;
use core::time::Duration;

use super::is_link_local;
use crate::config::IpConfig;
use crate::hash::{HashMap, hash_map};
use crate::network::InterfaceId;
use crate::rng::Rng;
use crate::time::Instant;

/// Nobody may make us send smaller packets than these: Linux's `min_pmtu`, and RFC 8201 §4.
const MIN_V4: usize = 552;
const MIN_V6: usize = 1280;

/// A destination, and the link that it is on if its address does not say that.
type Key = (IpAddr, Option<InterfaceId>);

#[derive(Debug)]
struct Entry {
    mtu: usize,
    expires_at: Instant,
}

/// See the module's page. There is no timer: what is over is found to be so when it is looked at.
#[derive(Debug)]
pub(crate) struct PathMtus {
    entries: HashMap<Key, Entry>,
    max: usize,
    timeout: Duration,
}

impl PathMtus {
    pub(crate) fn new(config: &IpConfig, rng: &mut Rng) -> Self {
        PathMtus { entries: hash_map(rng), max: config.max_path_mtus, timeout: config.path_mtu_timeout }
    }

    /// The MTU of the path to `dst`, if one was learned; `iface` is where it leaves.
    pub(crate) fn lookup(&self, now: Instant, dst: IpAddr, iface: InterfaceId) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(&key(dst, iface))?;
        (now < entry.expires_at).then_some(entry.mtu)
    }

    /// A router on the way takes packets of at most `mtu` bytes; `current` is what we have sent until now. A message
    /// that asks for more is void: a larger MTU is found by trying (RFC 8201 §4).
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        dst: IpAddr,
        iface: InterfaceId,
        mtu: usize,
        current: usize,
    ) {
        let mtu = mtu.max(if dst.is_ipv4() { MIN_V4 } else { MIN_V6 });
        if mtu >= current || self.max == 0 {
            return;
        }
        let key = key(dst, iface);
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        log::debug!("path MTU to {dst}: {mtu} bytes");
        self.entries.insert(key, Entry { mtu, expires_at: now + self.timeout });
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(Key, Entry)>()
    }

    /// Drops what is over, or else what will be first.
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

fn key(dst: IpAddr, iface: InterfaceId) -> Key {
    (dst, is_link_local(dst).then_some(iface))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InterfaceId = InterfaceId(0);
    const B: InterfaceId = InterfaceId(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
        assert_eq!(table.lookup(now, dst, B), Some(1400));
        table.learn(now, dst, A, 1450, 1400);
        assert_eq!(table.lookup(now, dst, A), Some(1400));
        assert_eq!(table.lookup(Instant::from_secs(601), dst, A), None);
        assert_eq!(table.lookup(now, ip("10.0.0.2"), A), None);
    }

    #[test]
    fn never_below_the_floor() {
        let (mut table, now) = (table(8), Instant::ZERO);
        table.learn(now, ip("10.0.0.1"), A, 0, 1500);
        assert_eq!(table.lookup(now, ip("10.0.0.1"), A), Some(552));
        table.learn(now, ip("fd00::1"), A, 68, 1500);
        assert_eq!(table.lookup(now, ip("fd00::1"), A), Some(1280));
    }

    #[test]
    fn link_local_destinations_are_of_their_link() {
        let (mut table, now) = (table(8), Instant::ZERO);
        table.learn(now, ip("fe80::1"), A, 1400, 1500);
        assert_eq!(table.lookup(now, ip("fe80::1"), A), Some(1400));
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
        assert_eq!(table.lookup(now, ip("10.0.0.2"), A), Some(1400));
        assert_eq!(table.lookup(now, ip("10.0.0.3"), A), Some(1400));
        assert_eq!(table.entries.len(), 2);
    }
}
