//! Reads a fuzzer's bytes as numbers. At the end of the bytes everything is zero.

use std::time::Duration;

/// The remaining bytes.
#[derive(Clone, Debug)]
pub(super) struct Input<'d> {
    rest: &'d [u8],
}

/// The first tag of [`Input::offset`] that is not itself a small number.
const WIDE: u8 = 0xfe;

impl<'d> Input<'d> {
    pub(super) fn new(data: &'d [u8]) -> Input<'d> {
        Input { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        byte
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Takes this many bytes, or all that remain.
    pub(super) fn take(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes bytes that follow a byte with their number.
    pub(super) fn counted(&mut self) -> &'d [u8] {
        let len = self.byte();
        self.take(usize::from(len))
    }

    /// Takes bytes that follow a word with their number, at most `max`.
    pub(super) fn counted_long(&mut self, max: usize) -> &'d [u8] {
        let len = self.word();
        self.take(usize::from(len).min(max))
    }

    /// Reads a distance: small ones take one byte, others three or five.
    pub(super) fn offset(&mut self) -> i32 {
        match self.byte() {
            0xff => i32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
            WIDE => i32::from(self.word() as i16),
            small => i32::from(small) - 127,
        }
    }

    /// Reads a duration from a millisecond to some minutes: a mantissa of 4 bits and an exponent
    /// of 4.
    pub(super) fn duration(&mut self) -> Duration {
        let byte = u64::from(self.byte());
        Duration::from_millis((byte & 15) << (byte >> 4))
    }
}

/// Writes what [`Input`] reads, for making seeds.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
}

impl Output {
    pub(super) fn byte(&mut self, byte: u8) -> &mut Output {
        self.bytes.push(byte);
        self
    }

    pub(super) fn word(&mut self, word: u16) -> &mut Output {
        self.bytes.extend_from_slice(&word.to_be_bytes());
        self
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Output {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn counted(&mut self, bytes: &[u8]) -> &mut Output {
        self.byte(bytes.len() as u8).raw(bytes)
    }

    pub(super) fn counted_long(&mut self, bytes: &[u8]) -> &mut Output {
        self.word(bytes.len() as u16).raw(bytes)
    }

    pub(super) fn offset(&mut self, offset: i32) -> &mut Output {
        match (u8::try_from(offset + 127), i16::try_from(offset)) {
            (Ok(small), _) if small < WIDE => self.byte(small),
            (_, Ok(wide)) => self.byte(WIDE).word(wide as u16),
            _ => self.byte(0xff).raw(&offset.to_be_bytes()),
        }
    }

    /// Writes the longest duration that can be represented and is not longer than this one.
    pub(super) fn duration(&mut self, duration: Duration) -> &mut Output {
        let mut mantissa = duration.as_millis() as u64;
        let mut exponent = 0;
        while mantissa > 15 {
            mantissa >>= 1;
            exponent += 1;
        }
        self.byte(exponent << 4 | mantissa as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let offsets = [0, 1, -1, 126, -127, 127, -128, 30_000, -30_000, 1 << 20, -(1 << 30)];
        let mut output = Output::default();
        for offset in offsets {
            output.offset(offset);
        }
        output.word(4242).counted(b"abc").counted_long(b"defg").duration(Duration::from_millis(320));
        let mut input = Input::new(&output.bytes);
        assert!(offsets.iter().all(|&offset| input.offset() == offset));
        assert_eq!((input.word(), input.counted(), input.counted_long(9)), (4242, &b"abc"[..], &b"defg"[..]));
        assert_eq!(input.duration(), Duration::from_millis(320));
        assert!(input.is_empty());
        assert_eq!((input.byte(), input.offset()), (0, -127));
    }
}
