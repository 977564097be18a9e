//! What a client remembers of servers: their Fast Open cookies, and whether SYNs with data get lost on the way (RFC 7413
//! §4.1.3; Linux keeps it in its tcp_metrics).

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use crate::hash::{HashMap, hash_map};
use crate::rng::Rng;
use crate::tcp::{FastOpenCookie, Lesson};
use crate::time::Instant;

/// Our address and the server's: the server's cookie is for the one, and its path may depend on it.
type Pair = (IpAddr, IpAddr);

#[derive(Debug, Default)]
struct Entry {
    cookie: Option<FastOpenCookie>,
    /// What the server's SYN-ACK announced.
    mss: Option<u16>,
    /// SYNs with data in a row of which only the repetition without was answered.
    losses: u8,
    lost_at: Instant,
}

impl Entry {
    /// Linux's tcp_fastopen_cookie_check: after a second loss nothing is tried for 4 minutes, then 8, and so on.
    fn is_suspect(&self, now: Instant) -> bool {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.losses.min(MAX_PAUSE_SHIFT));
        self.losses > 1 && now < self.lost_at + pause
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// 45 days.
const MAX_PAUSE_SHIFT: u8 = 16;

/// What a SYN to a server is to carry.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum FirstSyn {
    /// Nothing: SYNs with a Fast Open option were lost on this path.
    Plain,
    /// A request for a cookie.
    Request,
    /// This cookie, and data in a segment of the server's MSS, if that is known.
    Data(FastOpenCookie, Option<u16>),
}

/// Bounded: the entry that came first gives way.
#[derive(Debug)]
pub(super) struct FastOpenCache {
    entries: HashMap<Pair, Entry>,
    order: VecDeque<Pair>,
}

impl FastOpenCache {
    pub(super) fn new(rng: &mut Rng) -> Self {
        FastOpenCache { entries: hash_map(rng), order: VecDeque::new() }
    }

    pub(super) fn first_syn(&self, now: Instant, local: IpAddr, remote: IpAddr) -> FirstSyn {
        match self.entries.get(&(local, remote)) {
            Some(entry) if entry.is_suspect(now) => FirstSyn::Plain,
            Some(Entry { cookie: Some(cookie), mss, .. }) => FirstSyn::Data(cookie.clone(), *mss),
            _ => FirstSyn::Request,
        }
    }

    pub(super) fn learn(
        &mut self,
        now: Instant,
        local: IpAddr,
        remote: IpAddr,
        lesson: Lesson,
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
        entry.mss = lesson.mss.or(entry.mss);
        if let Some(cookie) = lesson.cookie {
            entry.cookie = Some(*cookie);
        }
        if lesson.lost_syn {
            entry.losses = entry.losses.saturating_add(1);
            entry.lost_at = now;
        } else {
            entry.losses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use core::net::Ipv4Addr;

    const US: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn server(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 1, number).into()
    }

    fn lesson(value: u8, lost_syn: bool) -> Lesson {
        Lesson { cookie: Some(Box::new(FastOpenCookie::new([value; 8]))), mss: Some(1400), lost_syn }
    }

    #[test]
    fn the_latest_cookie_counts_and_the_oldest_server_gives_way() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let now = Instant::from_secs(1);
        for number in 1..=4 {
            assert_eq!(cache.first_syn(now, US, server(number)), FirstSyn::Request);
            cache.learn(now, US, server(number), lesson(number, false), 3);
        }
        cache.learn(now, US, server(4), lesson(9, false), 3);
        cache.learn(now, US, server(4), Lesson { cookie: None, mss: None, lost_syn: false }, 3);
        assert_eq!(cache.first_syn(now, US, server(1)), FirstSyn::Request);
        let expected = FirstSyn::Data(FastOpenCookie::new([9; 8]), Some(1400));
        assert_eq!(cache.first_syn(now, US, server(4)), expected);
        assert_eq!(cache.first_syn(now, server(1), server(4)), FirstSyn::Request, "from another address");
        assert_eq!((cache.entries.len(), cache.order.len()), (3, 3));
    }

    #[test]
    fn a_path_that_loses_such_syns_is_left_alone_for_longer_and_longer() {
        let mut cache = FastOpenCache::new(&mut Rng::new([1; 32]));
        let mut now = Instant::from_secs(1);
        let is_plain = |cache: &FastOpenCache, now| cache.first_syn(now, US, server(1)) == FirstSyn::Plain;
        for minutes in [0, 4, 8, 16] {
            cache.learn(now, US, server(1), lesson(1, true), 10);
            let pause = FIRST_PAUSE * minutes;
            assert_eq!(is_plain(&cache, now), minutes > 0);
            assert_eq!(is_plain(&cache, now + pause - Duration::from_nanos(1)), minutes > 0);
            now += pause;
            assert!(!is_plain(&cache, now));
        }
        // Once it works, all is forgiven.
        cache.learn(now, US, server(1), lesson(1, false), 10);
        cache.learn(now, US, server(1), lesson(1, true), 10);
        assert!(!is_plain(&cache, now));
    }
}
