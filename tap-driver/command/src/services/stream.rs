//! The services over TCP, for any stream.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use portolan_runtime::TcpStream;

use super::pattern::whole_periods;

/// The number of bytes that are read or written at once.
const BUFFER_BYTES: usize = 16 << 10;

/// A stream that can return received data without a copy.
pub(crate) trait LendingRead {
    /// Waits for data, and returns at most `max` bytes; none at the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of [`Read::read`].
    fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes>;
}

/// A stream that can send data without a copy.
pub(crate) trait LendingWrite {
    /// Sends at least some of the bytes, and returns how many.
    ///
    /// # Errors
    ///
    /// Those of [`Write::write`].
    fn send_bytes(&mut self, bytes: Bytes) -> io::Result<usize>;
}

impl LendingRead for &TcpStream {
    fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        TcpStream::recv_bytes(self, max)
    }
}

impl LendingWrite for &TcpStream {
    fn send_bytes(&mut self, bytes: Bytes) -> io::Result<usize> {
        TcpStream::send_bytes(self, bytes)
    }
}

/// RFC 862: sends everything back, until the peer closes its half. Returns the number of bytes.
pub(crate) fn echo(mut stream: impl Read + Write) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let len = retry(|| stream.read(&mut buffer))?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else { return Ok(total) };
        stream.write_all(data)?;
        total += len as u64;
    }
}

/// RFC 863: discards everything without copying it, until the peer closes its half. Returns the
/// number of bytes.
pub(crate) fn discard(mut stream: impl LendingRead) -> io::Result<u64> {
    let mut total = 0;
    loop {
        match retry(|| stream.recv_bytes(usize::MAX))?.len() {
            0 => return Ok(total),
            len => total += len as u64,
        }
    }
}

/// RFC 867: sends the date and time, and ends the stream.
pub(crate) fn daytime(mut stream: impl Write, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes())
}

/// RFC 864: sends lines of printing characters, as fast as the peer reads them, until it closes the
/// connection. All connections send the same memory.
pub(crate) fn chargen(mut stream: impl LendingWrite) -> io::Result<()> {
    let periods = whole_periods();
    loop {
        let mut left = periods.clone();
        while left.has_remaining() {
            let len = retry(|| stream.send_bytes(left.clone()))?;
            left.advance(len);
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::pattern::CharacterGenerator;
    use crate::services::testing::Script;

    #[test]
    fn echo_returns_every_byte_and_stops_at_the_end() {
        let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let mut script = Script::new(&sent).pieces(1000);
        assert_eq!(echo(&mut script).expect("an end in order"), 100_000);
        assert_eq!(script.written, sent);
    }

    #[test]
    fn discard_takes_everything_and_says_nothing() {
        let mut script = Script::new(&[7; 50_000]).pieces(333);
        assert_eq!(discard(&mut script).expect("an end in order"), 50_000);
        assert!(script.written.is_empty());
        let error =
            discard(Script::new(&[7; 100]).fails_at_end(io::ErrorKind::TimedOut)).expect_err("a time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn chargen_goes_on_until_the_peer_is_gone() {
        // More than is sent at once, in pieces of a length that divides nothing.
        let mut script = Script::new(&[]).pieces(7777).write_limit(1_000_000);
        let error = chargen(&mut script).expect_err("the peer is gone");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(script.written.len(), 1_000_000);
        let mut expected = vec![0; 1_000_000];
        CharacterGenerator::new().fill(&mut expected);
        assert!(script.written == expected, "the pattern goes on where a buffer ends");
        for (index, line) in script.written.chunks_exact(74).enumerate() {
            assert_eq!(line.get(72..), Some(&b"\r\n"[..]), "line {index}");
        }
    }

    #[test]
    fn daytime_is_one_line() {
        let mut script = Script::new(&[]);
        daytime(&mut script, "now\r\n").expect("written");
        assert_eq!(script.written, b"now\r\n");
    }
}
