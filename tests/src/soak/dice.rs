//! Random numbers for scenarios.

use std::time::Duration;

/// Numbers from a seed and a topic. Each topic has its own numbers, so that a new question in one
/// topic does not change the answers in the others.
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64, topic: &str, index: usize) -> Dice {
        // FNV-1a over the topic.
        let hash = topic
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut dice = Dice { state: seed ^ hash ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        dice.next();
        dice
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// A number in `low..=high`; each power of two has the same probability.
    pub(crate) fn scaled(&mut self, low: u64, high: u64) -> u64 {
        let (low, high) = (low.max(1) as f64, high as f64);
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (low * (high / low).powf(unit)).round() as u64
    }

    pub(crate) fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.scaled(low.as_micros() as u64, high.as_micros() as u64))
    }

    /// True with probability 1 / `count`.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0, choices.len() as u64 - 1) as usize]
    }
}
