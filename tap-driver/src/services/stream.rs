//! The services over TCP, for any stream.

use std::io::{self, Read, Write};

use super::pattern::CharacterGenerator;

/// What is read or written at once.
const BUFFER_BYTES: usize = 16 << 10;

/// RFC 862: everything comes back, until the peer closes its half. Returns the number of bytes.
pub fn echo(mut stream: impl Read + Write) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let len = read_some(&mut stream, &mut buffer)?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else { return Ok(total) };
        stream.write_all(data)?;
        total += len as u64;
    }
}

/// RFC 863: everything is thrown away, until the peer closes its half. Returns the number of bytes.
pub fn discard(mut stream: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        match read_some(&mut stream, &mut buffer)? {
            0 => return Ok(total),
            len => total += len as u64,
        }
    }
}

/// RFC 867: the date and time, and the end.
pub fn daytime(mut stream: impl Write, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes())
}

/// RFC 864: lines of printing characters, as fast as the peer reads them, until it closes the connection.
pub fn chargen(mut stream: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut generator = CharacterGenerator::new();
    loop {
        generator.fill(&mut buffer);
        stream.write_all(&buffer)?;
    }
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    }

    #[test]
    fn chargen_goes_on_until_the_peer_is_gone() {
        let mut script = Script::new(&[]).write_limit(200_000);
        let error = chargen(&mut script).expect_err("the peer is gone");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(script.written.len(), 200_000);
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
