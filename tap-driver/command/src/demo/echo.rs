//! Sends data through the echo service over the kernel's TCP, and compares what comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A transfer without progress for this long has failed.
const TIMEOUT: Duration = Duration::from_secs(20);
const PIECE_BYTES: usize = 64 << 10;

/// Sends `total` bytes that do not repeat, reads them back at the same time, compares each, and
/// checks that the stream ends after them. Returns the time that this took.
pub(crate) fn echo(server: SocketAddr, total: u64) -> io::Result<Duration> {
    let begin = Instant::now();
    let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let sending_half = stream.try_clone()?;
    let sender = thread::Builder::new().name("sender".into()).spawn(move || send(sending_half, total))?;
    let compared = compare(&stream, total);
    if compared.is_err() {
        // Otherwise the sender would wait for ever for room.
        let _ = stream.shutdown(Shutdown::Both);
    }
    let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("the sending thread panicked")));
    compared?;
    sent?;
    Ok(begin.elapsed())
}

fn send(mut stream: TcpStream, total: u64) -> io::Result<()> {
    let mut data = Data::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = total;
    while left > 0 {
        let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        data.fill(&mut piece[..len]);
        stream.write_all(&piece[..len])?;
        left -= len as u64;
    }
    stream.shutdown(Shutdown::Write)
}

fn compare(mut stream: impl Read, total: u64) -> io::Result<()> {
    let mut expected = Data::new();
    let (mut piece, mut want) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut received = 0;
    loop {
        let len = match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(wrong(format!(
                    "nothing came for {} s, after {received} bytes",
                    TIMEOUT.as_secs()
                )));
            }
            result => result?,
        };
        if len == 0 && received < total {
            return Err(wrong(format!("the end came after {received} of {total} bytes")));
        }
        if len == 0 {
            return Ok(());
        }
        if received + len as u64 > total {
            return Err(wrong(format!("more than {total} bytes came back")));
        }
        expected.fill(&mut want[..len]);
        if let Some(at) = piece[..len].iter().zip(&want[..len]).position(|(got, want)| got != want) {
            return Err(wrong(format!("byte {} came back different", received + at as u64)));
        }
        received += len as u64;
    }
}

fn wrong(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Test data in which lost, duplicated and moved pieces are detected: the words of a xorshift
/// generator.
struct Data {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Data {
    fn new() -> Self {
        Data { state: 0x9e37_79b9_7f4a_7c15, word: [0; 8], used: 8 }
    }

    fn next_word(&mut self) -> [u8; 8] {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.to_le_bytes()
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        let (rest, after) = buffer.split_at_mut(buffer.len().min(8 - self.used));
        rest.copy_from_slice(&self.word[self.used..self.used + rest.len()]);
        self.used += rest.len();
        let mut words = after.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next_word());
        }
        let last = words.into_remainder();
        if !last.is_empty() {
            self.word = self.next_word();
            self.used = last.len();
            last.copy_from_slice(&self.word[..self.used]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Data::new().fill(&mut bytes);
        bytes
    }

    #[test]
    fn the_data_is_the_same_however_it_is_cut() {
        let whole = data(10_000);
        let mut pieces = Data::new();
        let mut again = Vec::new();
        for len in [1, 7, 8, 9, 3, 0, 1000, 13, 5] {
            let mut piece = vec![0; len];
            pieces.fill(&mut piece);
            again.extend(piece);
        }
        assert_eq!(again, whole[..again.len()]);
    }

    #[test]
    fn what_comes_back_wrong_is_noticed() {
        let good = data(200_000);
        compare(&good[..], 200_000).expect("the same");
        let mut flipped = good.clone();
        flipped[123_456] ^= 1;
        for (bytes, needle) in [
            (&flipped[..], "byte 123456 came back different"),
            (&good[..199_999], "the end came after 199999 of 200000 bytes"),
            (&good[1..], "byte 0 came back different"),
        ] {
            let error = compare(bytes, 200_000).expect_err(needle).to_string();
            assert_eq!(error, needle);
        }
        let error = compare(&good[..], 199_000).expect_err("too much").to_string();
        assert_eq!(error, "more than 199000 bytes came back");
    }
}
