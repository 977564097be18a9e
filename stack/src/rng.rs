//! Random numbers from the caller's seed.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A cryptographic generator. Its output (keys, ports, identifications) cannot be predicted by a
/// peer that has seen earlier values, and is the same for the same seed.
#[derive(Debug)]
pub(crate) struct Rng(ChaCha12Rng);

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Rng(ChaCha12Rng::from_seed(seed))
    }

    /// Another generator with the same seed, whose numbers have nothing to do with those of this
    /// one.
    pub(crate) fn stream(&self, number: u64) -> Rng {
        let mut other = self.0.clone();
        other.set_stream(number);
        other.set_word_pos(0);
        Rng(other)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; `bound` must not be zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Multiply-and-shift: the bias is at most bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A key for a SipHash.
    pub(crate) fn key(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        self.0.fill_bytes(&mut key);
        key
    }
}
