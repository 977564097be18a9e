//! One direction of a simulated link.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::rng::Rng;
use crate::time::Instant;

/// What a link does to frames. Probabilities from 0 to 1, each drawn for itself; the default is a good link with a
/// delay of 1 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkFaults {
    /// How long a frame takes.
    pub delay: Duration,
    /// The frame disappears.
    pub loss: f64,
    /// The frame arrives twice.
    pub duplicate: f64,
    /// The frame is held back for up to four further delays, so that later ones overtake it.
    pub reorder: f64,
    /// One bit of the frame, behind the Ethernet header, arrives inverted.
    pub corrupt: f64,
}

impl Default for LinkFaults {
    fn default() -> Self {
        LinkFaults { delay: Duration::from_millis(1), loss: 0.0, duplicate: 0.0, reorder: 0.0, corrupt: 0.0 }
    }
}

/// What a frame has before the part that [`LinkFaults::corrupt`] damages.
const UNDAMAGED_BYTES: usize = 14;

/// The frames on their way in one direction.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) faults: LinkFaults,
    rng: Rng,
    /// By arrival, then in the order in which they were sent.
    in_flight: BTreeMap<(Instant, u64), Bytes>,
    sent: u64,
}

impl Link {
    pub(super) fn new(faults: LinkFaults, rng: Rng) -> Link {
        Link { faults, rng, in_flight: BTreeMap::new(), sent: 0 }
    }

    /// A frame goes in.
    pub(super) fn send(&mut self, now: Instant, frame: Bytes) {
        if self.happens(self.faults.loss) {
            return;
        }
        let copies = if self.happens(self.faults.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut arrives_at = now + self.faults.delay;
            if self.happens(self.faults.reorder) {
                let longest = self.faults.delay.as_nanos() as u64 * 4;
                arrives_at += Duration::from_nanos(1 + self.rng.below(longest.max(1)));
            }
            let mut frame = frame.clone();
            if self.happens(self.faults.corrupt) {
                frame = self.damage(&frame);
            }
            self.sent += 1;
            self.in_flight.insert((arrives_at, self.sent), frame);
        }
    }

    /// When the next frame comes out.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|&(arrives_at, _)| arrives_at)
    }

    /// The next frame, if it has arrived by now.
    pub(super) fn receive(&mut self, now: Instant) -> Option<Bytes> {
        let first = self.in_flight.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Everything in flight is lost.
    pub(super) fn cut(&mut self) {
        self.in_flight.clear();
    }

    fn happens(&mut self, probability: f64) -> bool {
        // Drawn even when it cannot happen: changing one fault leaves the others where they were.
        let drawn = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        drawn < probability
    }

    fn damage(&mut self, frame: &[u8]) -> Bytes {
        let mut frame = Vec::from(frame);
        let damageable = frame.len().saturating_sub(UNDAMAGED_BYTES) as u64;
        if damageable > 0 {
            let place = UNDAMAGED_BYTES + self.rng.below(damageable) as usize;
            frame[place] ^= 1 << self.rng.below(8);
        }
        frame.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(faults: LinkFaults, seed: u8) -> Vec<(Instant, Bytes)> {
        let mut link = Link::new(faults, Rng::new([seed; 32]));
        for n in 0..100u8 {
            link.send(Instant::from_micros(u64::from(n) * 100), Bytes::from(alloc::vec![n; 20]));
        }
        let mut arrivals = Vec::new();
        while let Some(at) = link.next_arrival() {
            arrivals.push((at, link.receive(at).unwrap()));
        }
        arrivals
    }

    #[test]
    fn a_good_link_keeps_everything_in_order() {
        let frames = arrivals(LinkFaults::default(), 1);
        assert!(frames.iter().map(|(_, frame)| frame[0]).eq(0..100));
        assert_eq!(frames[3].0, Instant::from_micros(1300));
    }

    #[test]
    fn faults_happen_as_often_as_asked_and_the_same_again() {
        let faults =
            LinkFaults { loss: 0.2, duplicate: 0.2, reorder: 0.2, corrupt: 0.2, ..LinkFaults::default() };
        let frames = arrivals(faults, 1);
        assert_eq!(frames, arrivals(faults, 1));
        assert_ne!(frames, arrivals(faults, 2));
        assert!((70..130).contains(&frames.len()), "{}", frames.len());
        assert!(frames.windows(2).any(|pair| pair[0].1[0] > pair[1].1[0]));
        assert!(frames.windows(2).any(|pair| pair[0].1 == pair[1].1));
        assert!(frames.iter().any(|(_, frame)| frame.iter().any(|&byte| byte != frame[0])));
    }
}
