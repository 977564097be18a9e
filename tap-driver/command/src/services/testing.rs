//! A stream for tests: reads come from a script, and writes are stored.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::stream::{LendingRead, LendingWrite};

/// Returns the script piece by piece, then the end of the stream (or a time-out). Stores what is
/// written.
pub(crate) struct Script {
    input: io::Cursor<Vec<u8>>,
    piece: usize,
    write_limit: usize,
    at_end: Option<io::ErrorKind>,
    pub(crate) written: Vec<u8>,
}

impl Script {
    pub(crate) fn new(input: &[u8]) -> Self {
        Script {
            input: io::Cursor::new(input.to_vec()),
            piece: usize::MAX,
            write_limit: usize::MAX,
            at_end: None,
            written: Vec::new(),
        }
    }

    /// Sets the most bytes for each read and write.
    pub(crate) fn pieces(mut self, piece: usize) -> Self {
        self.piece = piece;
        self
    }

    /// Sets the number of bytes after which the peer is gone.
    pub(crate) fn write_limit(mut self, limit: usize) -> Self {
        self.write_limit = limit;
        self
    }

    /// Sets an error to return instead of the end of the stream.
    pub(crate) fn fails_at_end(mut self, kind: io::ErrorKind) -> Self {
        self.at_end = Some(kind);
        self
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.piece);
        match (self.input.read(&mut buffer[..len])?, self.at_end) {
            (0, Some(kind)) if len > 0 => Err(kind.into()),
            (len, _) => Ok(len),
        }
    }
}

impl Write for Script {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.write_limit - self.written.len();
        if room == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = data.len().min(self.piece).min(room);
        self.written.extend_from_slice(&data[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LendingRead for Script {
    fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; max.min(self.piece).min(1 << 16)];
        let len = self.read(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer.into())
    }
}

impl LendingRead for &mut Script {
    fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        (**self).recv_bytes(max)
    }
}

impl LendingWrite for &mut Script {
    fn send_bytes(&mut self, bytes: Bytes) -> io::Result<usize> {
        self.write(&bytes)
    }
}
