//! Test data that both ends of a connection can compute.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::time::Instant;

/// An endless stream of bytes, determined by its seed. It repeats after a prime number of bytes, so
/// that lost, repeated and moved bytes are detected, and takes no time to make or to compare.
#[derive(Clone)]
pub struct Pattern {
    seed: u64,
    period: Bytes,
}

/// A prime just below 2^16: not a multiple of a segment, a buffer or a window.
const PERIOD: usize = 65_521;

impl Pattern {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Pattern {
        // xorshift64*
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut period = Vec::with_capacity(PERIOD + 8);
        while period.len() < PERIOD {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            period.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        period.truncate(PERIOD);
        Pattern { seed, period: period.into() }
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// One or more of the bytes from `offset` on, at most `max`. They are not copied.
    pub fn slice(&self, offset: u64, max: usize) -> Bytes {
        let start = (offset % PERIOD as u64) as usize;
        self.period.slice(start..PERIOD.min(start.saturating_add(max)))
    }

    /// The first byte of `data` that differs from the stream at `offset`: its position in the
    /// stream.
    pub fn mismatch(&self, mut offset: u64, mut data: &[u8]) -> Option<u64> {
        while !data.is_empty() {
            let expected = self.slice(offset, data.len());
            let (part, rest) = data.split_at(expected.len());
            if expected != part {
                let same = expected.iter().zip(part).take_while(|(one, other)| one == other).count();
                return Some(offset + same as u64);
            }
            offset += expected.len() as u64;
            data = rest;
        }
        None
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.seed)
    }
}

/// The rate in bits a second of this many bytes between two times.
pub(super) fn bits_per_second(bytes: u64, from: Instant, until: Instant) -> f64 {
    let seconds = (until - from).as_secs_f64();
    if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_moved_is_found() {
        let pattern = Pattern::new(3);
        let mut data = Vec::new();
        while data.len() < 200_000 {
            data.extend_from_slice(&pattern.slice(data.len() as u64, 4000));
        }
        assert_eq!(pattern.mismatch(0, &data), None);
        assert_eq!(pattern.mismatch(70_000, &data[70_000..]), None);
        data[123_456] ^= 1;
        assert_eq!(pattern.mismatch(0, &data), Some(123_456));
        assert!(pattern.mismatch(1, &data).is_some_and(|at| at < 20));
        assert!(Pattern::new(4).mismatch(0, &data).is_some_and(|at| at < 20));
    }
}
