//! One direction of a simulated link.

use core::time::Duration;

use bytes::Bytes;

use super::path::{HoldBack, Path, PathConfig};
use crate::rng::Rng;
use crate::time::Instant;

/// The faults of a link. They are probabilities from 0 to 1, each drawn independently. The default
/// is a link without faults and with a delay of 1 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkFaults {
    /// The time that a frame takes.
    pub delay: Duration,
    /// The probability that a frame is lost.
    pub loss: f64,
    /// The probability that a frame arrives twice.
    pub duplicate: f64,
    /// The probability that a frame is held back for up to four more delays, so that later ones
    /// overtake it.
    pub reorder: f64,
    /// The probability that one bit of a frame, behind the Ethernet header, is inverted.
    pub corrupt: f64,
}

impl Default for LinkFaults {
    fn default() -> Self {
        LinkFaults { delay: Duration::from_millis(1), loss: 0.0, duplicate: 0.0, reorder: 0.0, corrupt: 0.0 }
    }
}

/// The length of the part in front that [`LinkFaults::corrupt`] leaves alone.
const UNDAMAGED_BYTES: usize = 14;

impl From<LinkFaults> for PathConfig {
    fn from(faults: LinkFaults) -> PathConfig {
        let LinkFaults { delay, loss, duplicate, reorder, corrupt } = faults;
        let reorder_by = HoldBack::UpTo(delay * 4);
        PathConfig { delay, loss, duplicate, reorder, reorder_by, corrupt, ..PathConfig::default() }
    }
}

/// The frames in flight in one direction.
#[derive(Debug)]
pub(super) struct Link {
    path: Path,
}

impl Link {
    pub(super) fn new(faults: LinkFaults, rng: Rng) -> Link {
        Link { path: Path::new(faults.into(), UNDAMAGED_BYTES, rng) }
    }

    pub(super) fn set_faults(&mut self, faults: LinkFaults) {
        self.path.set_config(faults.into());
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, now: Instant, frame: Bytes) {
        self.path.send(now, frame);
    }

    /// The time at which the next frame arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.path.next_arrival()
    }

    /// The next frame, if it has arrived.
    pub(super) fn receive(&mut self, now: Instant) -> Option<Bytes> {
        self.path.receive(now).map(|arrived| arrived.packet)
    }

    /// Loses everything in flight.
    pub(super) fn cut(&mut self) {
        self.path.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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
