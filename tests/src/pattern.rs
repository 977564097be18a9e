//! A stream of bytes that both ends of a test can compute: received data is compared with sent data
//! without storing either.

/// A pseudo-random stream (xorshift64*), determined by its seed. Its period is far longer than any
/// test, so lost, repeated and moved bytes are detected.
#[derive(Clone, Debug)]
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
    position: u64,
}

impl Pattern {
    /// The stream of this seed, from its beginning.
    pub fn new(seed: u64) -> Pattern {
        Pattern { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, word: [0; 8], used: 8, position: 0 }
    }

    /// The next bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for byte in buf {
            *byte = self.next_byte();
        }
    }

    /// Returns the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// Compares the next bytes with these.
    ///
    /// # Panics
    ///
    /// At the first byte that differs, with its position.
    pub fn check(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let position = self.position;
            let expected = self.next_byte();
            assert!(byte == expected, "byte {position} of the stream is {byte:#04x}, not {expected:#04x}");
        }
    }

    /// The number of bytes that were produced or compared.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn next_byte(&mut self) -> u8 {
        if self.used == self.word.len() {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            self.word = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            self.used = 0;
        }
        let byte = self.word[self.used];
        self.used += 1;
        self.position += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_does_not_depend_on_how_it_is_cut() {
        let whole = Pattern::new(7).take(100);
        let mut pattern = Pattern::new(7);
        let mut pieces = pattern.take(33);
        pieces.extend(pattern.take(67));
        assert_eq!(whole, pieces);
        Pattern::new(7).check(&whole);
        assert_ne!(whole, Pattern::new(8).take(100));
    }

    #[test]
    #[should_panic(expected = "byte 40 of the stream")]
    fn a_changed_byte_is_found() {
        let mut bytes = Pattern::new(1).take(64);
        bytes[40] ^= 1;
        Pattern::new(1).check(&bytes);
    }
}
