//! A stream for tests: reads come from a script, and writes are stored.

use std::io::{self, Read, Write};

/// Returns the script piece by piece, then the end of the stream (or a time-out). Stores what is
/// written.
pub(crate) struct Script {
    input: io::Cursor<Vec<u8>>,
    piece: usize,
    at_end: Option<io::ErrorKind>,
    pub(crate) written: Vec<u8>,
}

impl Script {
    pub(crate) fn new(input: &[u8]) -> Self {
        Script {
            input: io::Cursor::new(input.to_vec()),
            piece: usize::MAX,
            at_end: None,
            written: Vec::new(),
        }
    }

    /// Sets the most bytes for each read and write.
    pub(crate) fn pieces(mut self, piece: usize) -> Self {
        self.piece = piece;
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
        let len = data.len().min(self.piece);
        self.written.extend_from_slice(&data[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
