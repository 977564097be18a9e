//! What a client stores about servers: their Fast Open cookies, and whether SYNs with data are lost
//! on the way to them (RFC 7413 §4.1.3; Linux stores this in its tcp_metrics).

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use crate::hash::{HashMap, hash_map};
use crate::rng::Rng;
use crate::tcp::{CacheUpdate, FastOpenCookie, SynOutcome};
use crate::time::Instant;

/// Our address and the server's: the server's cookie is valid for our address, and the path may
/// depend on it.
type AddressPair = (OwnAddr, IpAddr);

/// Our address, and the scope of the connection if its zone is not zone 0 (otherwise 0).
pub(super) type OwnAddr = (IpAddr, u16);

#[derive(Debug, Default)]
struct CacheEntry {
    cookie: Option<FastOpenCookie>,
    /// The MSS that the server's SYN-ACK announced.
    mss: Option<u16>,
    /// How many consecutive SYNs with data were lost or refused.
    failures: u8,
    /// Fast Open is not tried before this time.
    paused_until: Option<Instant>,
    /// The option in which a cookie is requested next; Linux's try_exp.
    asking: Asking,
}

/// As in Linux: if kind 34 yields no cookie, the experimental option is tried next; if that yields
/// none, only kind 34 is used from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    Standard,
    Experimental,
    StandardOnly,
}

impl CacheEntry {
    /// RFC 7413 §4.1.3.1: after a refusal Fast Open pauses for 2 minutes, after the next for 4, and
    /// so on. SYNs are lost for other reasons, too, so the first loss does not count, as in Linux's
    /// tcp_fastopen_cookie_check.
    fn on_failure(&mut self, now: Instant, outcome: SynOutcome) {
        self.failures = self.failures.saturating_add(1);
        if outcome == SynOutcome::Refused || self.failures > 1 {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(MAX_PAUSE_SHIFT));
            self.paused_until = Some(now + pause);
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause is 45 days.
const MAX_PAUSE_SHIFT: u8 = 16;

/// What a SYN to a server carries.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum FirstSyn {
    /// No Fast Open option: SYNs that had one were lost on this path.
    Plain,
    /// A request for a cookie.
    Request {
        /// Whether it is sent in the experimental option.
        experimental: bool,
    },
    /// This cookie, and data up to the server's MSS, if that is known.
    Data(FastOpenCookie, Option<u16>),
}

/// The facts about servers. The number of entries is limited: the oldest is removed first.
#[derive(Debug)]
pub(super) struct FastOpenCache {
    entries: HashMap<AddressPair, CacheEntry>,
    order: VecDeque<AddressPair>,
}

impl FastOpenCache {
    pub(super) fn new(rng: &mut Rng) -> Self {
        FastOpenCache { entries: hash_map(rng), order: VecDeque::new() }
    }

    pub(super) fn first_syn(&self, now: Instant, local: OwnAddr, remote: IpAddr) -> FirstSyn {
        match self.entries.get(&(local, remote)) {
            Some(entry) if entry.paused_until.is_some_and(|until| now < until) => FirstSyn::Plain,
            Some(CacheEntry { cookie: Some(cookie), mss, .. }) => FirstSyn::Data(cookie.clone(), *mss),
            Some(entry) => FirstSyn::Request { experimental: entry.asking == Asking::Experimental },
            None => FirstSyn::Request { experimental: false },
        }
    }

    /// The MSS that the server announced last.
    pub(super) fn mss(&self, local: OwnAddr, remote: IpAddr) -> Option<u16> {
        self.entries.get(&(local, remote))?.mss
    }

    /// Forgets all servers.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    pub(super) fn learn(
        &mut self,
        now: Instant,
        local: OwnAddr,
        remote: IpAddr,
        update: CacheUpdate,
        limit: usize,
    ) {
        if limit == 0 {
            return;
        }
        let pair = (local, remote);
        if !self.entries.contains_key(&pair) {
            while self.entries.len() >= limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(pair);
        }
        let entry = self.entries.entry(pair).or_default();
        entry.mss = update.mss.or(entry.mss);
        if let Some(cookie) = update.cookie {
            entry.cookie = Some(*cookie);
        }
        match update.outcome {
            outcome @ (SynOutcome::Lost | SynOutcome::Refused) => return entry.on_failure(now, outcome),
            SynOutcome::NoCookie { experimental: false } if entry.asking == Asking::Standard => {
                entry.asking = Asking::Experimental;
            }
            SynOutcome::NoCookie { experimental: true } => entry.asking = Asking::StandardOnly,
            SynOutcome::NoCookie { .. } | SynOutcome::Fine => {}
        }
        (entry.failures, entry.paused_until) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use core::net::Ipv4Addr;

    const US: OwnAddr = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 0);

    fn server(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 1, number).into()
    }

    const REQUEST: FirstSyn = FirstSyn::Request { experimental: false };

    fn update(value: u8, outcome: SynOutcome) -> CacheUpdate {
        CacheUpdate { cookie: Some(Box::new(FastOpenCookie::new([value; 8]))), mss: Some(1400), outcome }
    }

    #[test]
    fn the_latest_cookie_counts_and_the_oldest_server_gives_way() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let now = Instant::from_secs(1);
        for number in 1..=4 {
            assert_eq!(cache.first_syn(now, US, server(number)), REQUEST);
            cache.learn(now, US, server(number), update(number, SynOutcome::Fine), 3);
        }
        cache.learn(now, US, server(4), update(9, SynOutcome::Fine), 3);
        cache.learn(
            now,
            US,
            server(4),
            CacheUpdate { cookie: None, mss: None, outcome: SynOutcome::Fine },
            3,
        );
        assert_eq!(cache.first_syn(now, US, server(1)), REQUEST);
        let expected = FirstSyn::Data(FastOpenCookie::new([9; 8]), Some(1400));
        assert_eq!(cache.first_syn(now, US, server(4)), expected);
        assert_eq!(cache.first_syn(now, (server(1), 0), server(4)), REQUEST, "from another address");
        assert_eq!(cache.first_syn(now, (US.0, 7), server(4)), REQUEST, "in another zone");
        assert_eq!((cache.entries.len(), cache.order.len()), (3, 3));
    }

    #[test]
    fn a_path_that_loses_such_syns_is_left_alone_for_longer_and_longer() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let mut now = Instant::from_secs(1);
        let is_plain = |cache: &FastOpenCache, now| cache.first_syn(now, US, server(1)) == FirstSyn::Plain;
        for minutes in [0, 4, 8, 16] {
            cache.learn(now, US, server(1), update(1, SynOutcome::Lost), 10);
            let pause = FIRST_PAUSE * minutes;
            assert_eq!(is_plain(&cache, now), minutes > 0);
            assert_eq!(is_plain(&cache, now + pause - Duration::from_nanos(1)), minutes > 0);
            now += pause;
            assert!(!is_plain(&cache, now));
        }
        // A success clears the count of failures.
        cache.learn(now, US, server(1), update(1, SynOutcome::Fine), 10);
        cache.learn(now, US, server(1), update(1, SynOutcome::Lost), 10);
        assert!(!is_plain(&cache, now));
    }

    /// RFC 7413 §4.1.3.1 (RFC7413-4.1.3.1-b).
    #[test]
    fn a_server_that_refuses_is_left_alone_from_the_first_time_on() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let mut now = Instant::from_secs(1);
        cache.learn(now, US, server(1), update(1, SynOutcome::Fine), 10);
        for minutes in [2, 4, 8] {
            let refusal = CacheUpdate { cookie: None, mss: None, outcome: SynOutcome::Refused };
            cache.learn(now, US, server(1), refusal, 10);
            let pause = FIRST_PAUSE * minutes;
            assert_eq!(
                cache.first_syn(now + pause - Duration::from_nanos(1), US, server(1)),
                FirstSyn::Plain
            );
            now += pause;
            let expected = FirstSyn::Data(FastOpenCookie::new([1; 8]), Some(1400));
            assert_eq!(cache.first_syn(now, US, server(1)), expected);
        }
        cache.clear();
        assert_eq!(cache.first_syn(now, US, server(1)), REQUEST);
        assert_eq!((cache.entries.len(), cache.order.len()), (0, 0));
    }

    /// Measured on Linux 6.18: kind 34, then the experimental option, then kind 34 permanently.
    #[test]
    fn a_request_without_an_answer_is_made_in_the_other_option_once() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let now = Instant::from_secs(1);
        for experimental in [false, true, false, false] {
            assert_eq!(cache.first_syn(now, US, server(1)), FirstSyn::Request { experimental });
            let outcome = SynOutcome::NoCookie { experimental };
            cache.learn(now, US, server(1), CacheUpdate { cookie: None, mss: None, outcome }, 10);
        }
    }
}
