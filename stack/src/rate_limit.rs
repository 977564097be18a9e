//! Rate limits for packets that remote hosts can make us send: a share for each peer
//! ([`PeerLimit`]), and a budget for all peers together ([`SharedBudget`]).
//!
//! A limit must not leak information. An attacker who uses up a common budget and measures what is
//! left learns how much others have used; SAD DNS (CVE-2020-25705) found the port of a query in
//! this way. So each peer gets only a small share, the cost of a message is random, and the set of
//! peers that share a record of the table changes with time.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::hash::Keyed;
use crate::interface_id::InterfaceId;
use crate::rng::Rng;
use crate::time::Instant;

/// The number of records in the table, a power of two. Peers with the same hash share a record.
/// With this number, a thousand peers at their limit affect one third of the others.
const RECORDS: usize = 1024;

/// How long the same peers share a record. An attacker with many addresses can find within seconds
/// one that shares the record of its victim, and can then see when the victim's share is used.
/// After this interval it has to search again.
const SHUFFLE_INTERVAL: Duration = Duration::from_secs(64);

/// How the lower half of the key of an IPv6 network in another zone begins. Hosts with an address
/// that ends like that count in their network.
const APART: u64 = u64::MAX >> 16;

/// The key of the peer whose share a message uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerKey([u64; 2]);

impl PeerKey {
    /// The key of a host with this address. An IPv6 host on another link is represented by its
    /// network of 64 bits, because it may have any address in it.
    pub(crate) fn host(addr: IpAddr, is_on_link: bool) -> PeerKey {
        match addr {
            IpAddr::V4(addr) => PeerKey([4, u64::from(addr.to_bits())]),
            IpAddr::V6(addr) => {
                let bits = addr.to_bits();
                let counts_alone = is_on_link && (bits as u64) >> 16 != APART;
                PeerKey([(bits >> 64) as u64, if counts_alone { bits as u64 } else { 0 }])
            }
        }
    }

    /// The key of a host behind an interface of another zone than zone 0. An IPv6 host is
    /// represented by its network of 64 bits, on the link as well: such a link is a guest's.
    pub(crate) fn apart(addr: IpAddr, iface: InterfaceId) -> PeerKey {
        let link = u64::from(iface.0) + 1;
        match addr {
            IpAddr::V4(addr) => PeerKey([link << 16 | 4, u64::from(addr.to_bits())]),
            IpAddr::V6(addr) => PeerKey([(addr.to_bits() >> 64) as u64, APART << 16 | link]),
        }
    }
}

/// The rate limit for one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// The average interval between two messages; zero means no limit.
    pub(crate) interval: Duration,
    /// How many messages may be sent at once.
    pub(crate) burst: u32,
}

impl Rate {
    /// This many messages a second, and as many at once.
    pub(crate) fn per_second(messages: u32) -> Rate {
        Rate { interval: Duration::from_secs(1) / messages.max(1), burst: messages }
    }
}

/// A separate limit for each peer, in a table of fixed size.
#[derive(Debug)]
pub(crate) struct PeerLimit {
    key: Keyed,
    /// For each record, the time in nanoseconds at which the whole share is available again. Each
    /// message adds an interval.
    whole_at: Vec<u64>,
}

impl PeerLimit {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        PeerLimit { key: Keyed::new(rng), whole_at: vec![0; RECORDS] }
    }

    /// Takes one message from a peer's share, if there is one left.
    pub(crate) fn take(&mut self, now: Instant, peer: PeerKey, rate: Rate) -> bool {
        let interval = rate.interval.as_nanos() as u64;
        if interval == 0 {
            return true;
        }
        let record = self.record_of(now, peer);
        let Some(whole_at) = self.whole_at.get_mut(record) else { return false };
        let now = now.as_nanos();
        let next = (*whole_at).max(now).saturating_add(interval);
        let has_some = next - now <= interval.saturating_mul(u64::from(rate.burst));
        if has_some {
            *whole_at = next;
        }
        has_some
    }

    fn record_of(&self, now: Instant, PeerKey([high, low]): PeerKey) -> usize {
        let epoch = now.as_nanos() / SHUFFLE_INTERVAL.as_nanos() as u64;
        self.key.hash_words([high, low, epoch]) as usize & (RECORDS - 1)
    }
}

const SECOND: i64 = 1_000_000_000;

/// A budget that all peers share: a number of messages at once, and a number of messages a second
/// on average.
///
/// A message takes zero, one or two tokens at random, and one on average (as in Linux's
/// `icmp_global_consume`): an attacker who measures what is left does not learn how many messages
/// others were sent.
#[derive(Debug)]
pub(crate) struct SharedBudget {
    /// Nanoseconds per token; `None` if there are never any tokens.
    interval: Option<i64>,
    /// The size of a full budget in nanoseconds. So is the credit, which may become negative.
    full: i64,
    credit: i64,
    counted_at: Instant,
}

impl SharedBudget {
    /// A full budget.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = SECOND.checked_div(i64::from(per_second)).map(|interval| interval.max(1));
        let full = interval.unwrap_or(0).saturating_mul(i64::from(burst));
        SharedBudget { interval, full, credit: full, counted_at: now }
    }

    /// Whether a token is available.
    pub(crate) fn has_some(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let grown = i64::try_from(now.duration_since(self.counted_at).as_nanos()).unwrap_or(i64::MAX);
        self.counted_at = now;
        self.credit = self.credit.saturating_add(grown).min(self.full);
        self.credit >= interval
    }

    /// Takes the tokens for a message that is sent.
    pub(crate) fn take(&mut self, rng: &mut Rng) {
        let tokens = rng.below(3) as i64;
        self.credit -= self.interval.unwrap_or(0) * tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const RATE: Rate = Rate { interval: Duration::from_millis(100), burst: 3 };

    fn host(text: &str) -> PeerKey {
        PeerKey::host(text.parse().unwrap(), false)
    }

    fn limit() -> PeerLimit {
        PeerLimit::new(&mut Rng::new([7; 32]))
    }

    #[test]
    fn a_burst_then_a_rate() {
        let mut limit = limit();
        let mut take_at = |millis| limit.take(Instant::from_millis(millis), host("10.0.0.1"), RATE);
        assert_eq!(
            [0, 0, 0, 0, 99, 100, 101, 250, 300].map(&mut take_at),
            [true, true, true, false, false, true, false, true, true]
        );
        // An hour fills the share, but not more than that.
        assert_eq!([3_600_000; 4].map(take_at), [true, true, true, false]);
    }

    #[test]
    fn each_peer_has_a_share_and_an_ipv6_network_has_one() {
        let mut limit = limit();
        let mut burst_of = |peer| (0..10).filter(|_| limit.take(Instant::ZERO, peer, RATE)).count();
        let on_link = |text: &str| PeerKey::host(text.parse().unwrap(), true);
        for peer in [
            host("10.0.0.1"),
            host("10.0.0.2"),
            host("2001:db8::1"),
            host("2001:db8:0:1::1"),
            on_link("fd00::1"),
            on_link("fd00::2"),
        ] {
            assert_eq!(burst_of(peer), 3, "{peer:?}");
        }
        for iface in [InterfaceId(0), InterfaceId(1)] {
            for addr in ["10.0.0.1", "2001:db8::1"] {
                assert_eq!(burst_of(PeerKey::apart(addr.parse().unwrap(), iface)), 3, "{addr} {iface:?}");
            }
        }
        let apart = PeerKey::apart("2001:db8::".parse().unwrap(), InterfaceId(0));
        assert_ne!(on_link("2001:db8::ffff:ffff:ffff:1"), apart, "no address has the key of a zone");
        assert_eq!(burst_of(host("2001:db8::2")), 0, "the network of 2001:db8::1 has had its share");
        assert_eq!(burst_of(on_link("fd00::1")), 0);
    }

    #[test]
    fn no_interval_is_no_limit_and_no_burst_is_nothing() {
        let mut limit = limit();
        let mut takes = |rate| (0..10_000).all(|_| limit.take(Instant::ZERO, host("10.0.0.1"), rate));
        assert!(takes(Rate { interval: Duration::ZERO, ..RATE }));
        assert!(!takes(Rate { burst: 0, ..RATE }));
    }

    #[test]
    fn who_shares_a_record_changes_with_time_and_seed() {
        // The hosts that share a record with a given host.
        let sharing = |limit: &PeerLimit, now: Instant| -> HashSet<u32> {
            let host = |bits: u32| PeerKey::host(IpAddr::V4(core::net::Ipv4Addr::from_bits(bits)), false);
            let record = limit.record_of(now, host(0x0a00_0001));
            (0x0b00_0000..0x0b00_4000).filter(|&bits| limit.record_of(now, host(bits)) == record).collect()
        };
        let (limit, other) = (limit(), PeerLimit::new(&mut Rng::new([8; 32])));
        let before = sharing(&limit, Instant::from_secs(1));
        assert!((5..40).contains(&before.len()), "{} of 16,384 share one of 1,024", before.len());
        assert_eq!(before, sharing(&limit, Instant::from_secs(60)), "for about a minute the same");
        assert!(before.is_disjoint(&sharing(&limit, Instant::from_secs(70))));
        assert!(before.is_disjoint(&sharing(&other, Instant::from_secs(1))));
    }

    #[test]
    fn the_common_budget_is_kept_on_average_and_never_exact() {
        let mut rng = Rng::new([7; 32]);
        let mut budget = SharedBudget::new(1000, 50, Instant::ZERO);
        let mut take_all = |budget: &mut SharedBudget, now: Instant| {
            let mut count = 0;
            while budget.has_some(now) {
                budget.take(&mut rng);
                count += 1;
            }
            count
        };
        let bursts: Vec<u32> =
            (0..200).map(|second| take_all(&mut budget, Instant::from_secs(second))).collect();
        let mean = bursts.iter().sum::<u32>() as f64 / 200.0;
        assert!((48.0..52.0).contains(&mean), "{mean}");
        assert!(bursts.iter().collect::<HashSet<_>>().len() > 10, "{bursts:?}");
        // Over a long time the rate is what counts.
        let sum: u32 = (0..10_000).map(|ms| take_all(&mut budget, Instant::from_millis(200_000 + ms))).sum();
        assert!((9_500..10_500).contains(&sum), "{sum}");
    }

    #[test]
    fn a_budget_of_zero_is_always_empty() {
        assert!(!SharedBudget::new(0, 50, Instant::ZERO).has_some(Instant::from_secs(1)));
        assert!(!SharedBudget::new(50, 0, Instant::ZERO).has_some(Instant::from_secs(1)));
    }
}
