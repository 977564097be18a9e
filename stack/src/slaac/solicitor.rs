//! [`Solicitor`]: when routers are asked to advertise (RFC 4861 §6.3.7, RFC 7559).

use core::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

/// MAX_RTR_SOLICITATION_DELAY (RFC 4861 §10).
const MAX_DELAY: Duration = Duration::from_secs(1);
/// IRT and MRT (RFC 7559 §2): the first interval, and the longest.
const FIRST_INTERVAL: Duration = Duration::from_secs(4);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Solicits until a router advertises, at intervals that double up to an hour, as Linux 6.18 does
/// (measured).
#[derive(Debug, Default)]
pub(super) struct Solicitor {
    next_at: Option<Instant>,
    /// The last interval; `None` before the first solicitation.
    interval: Option<Duration>,
}

impl Solicitor {
    /// Begins anew, after a random delay: many hosts may start at once.
    pub(super) fn start(&mut self, now: Instant, rng: &mut Rng) {
        let delay = Duration::from_nanos(rng.below(MAX_DELAY.as_nanos() as u64));
        *self = Solicitor { next_at: Some(now + delay), interval: None };
    }

    /// Returns whether to solicit now.
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> bool {
        let is_due = self.next_at.is_some_and(|at| at <= now);
        if is_due {
            // RFC 7559 §2 (RFC7559-2-a): twice the last interval, give or take a tenth of it.
            let interval = match self.interval {
                None => vary(FIRST_INTERVAL, FIRST_INTERVAL, rng),
                Some(last) if last * 2 > LONGEST_INTERVAL => vary(LONGEST_INTERVAL, LONGEST_INTERVAL, rng),
                Some(last) => vary(last * 2, last, rng),
            };
            (self.interval, self.next_at) = (Some(interval), Some(now + interval));
        }
        is_due
    }

    pub(super) fn on_advertisement(&mut self) {
        // An advertisement before the first solicitation may lack what a router tells those who
        // ask.
        if self.interval.is_some() {
            self.next_at = None;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at
    }
}

/// `time`, longer or shorter by up to a tenth of `of`.
fn vary(time: Duration, of: Duration, rng: &mut Rng) -> Duration {
    let tenth = of / 10;
    time - tenth + Duration::from_nanos(rng.below(2 * tenth.as_nanos() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rfc7559_intervals_double_up_to_an_hour_and_end_with_an_advertisement() {
        let mut rng = Rng::new([3; 32]);
        let mut solicitor = Solicitor::default();
        solicitor.start(Instant::from_secs(10), &mut rng);
        let mut sent = Vec::new();
        while sent.len() < 16 {
            let at = solicitor.poll_timeout().unwrap();
            assert!(!solicitor.handle_timeout(at - Duration::from_nanos(1), &mut rng));
            assert!(solicitor.handle_timeout(at, &mut rng));
            sent.push(at);
        }
        assert!((10_000..11_000).contains(&sent[0].as_millis()));
        let gaps: Vec<f64> = sent.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        assert!((3.6..=4.4).contains(&gaps[0]), "{gaps:?}");
        // Ten intervals reach the hour.
        for pair in gaps[..10].windows(2) {
            assert!((1.9..=2.1).contains(&(pair[1] / pair[0])) || pair[1] >= 3240.0, "{gaps:?}");
        }
        assert!((3240.0..=3960.0).contains(gaps.last().unwrap()), "{gaps:?}");
        solicitor.on_advertisement();
        assert_eq!(solicitor.poll_timeout(), None);
    }

    #[test]
    fn an_advertisement_before_the_first_solicitation_does_not_prevent_it() {
        let mut rng = Rng::new([3; 32]);
        let mut solicitor = Solicitor::default();
        solicitor.start(Instant::ZERO, &mut rng);
        solicitor.on_advertisement();
        assert!(solicitor.poll_timeout().is_some());
    }
}
