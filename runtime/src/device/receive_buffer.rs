//! [`ReceiveBuffer`]: reusable memory for the frames that a device reads.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::pool::{Pieces, Pool};

/// Reads the frames of a device into reference-counted memory. In a steady state nothing is
/// allocated: the memory of a frame is reused when its last part is dropped.
///
/// A frame takes a piece of memory of at most twice its length (and at least 256 bytes), so that
/// one byte in a receive queue does not hold the memory of the longest frame. A frame of at least
/// half the longest length keeps the memory that it was read into; a shorter one is copied into a
/// piece of its own size.
///
/// ```
/// use std::io::Read;
///
/// use portolan_runtime::device::ReceiveBuffer;
///
/// let mut device: &[u8] = b"one frame";
/// let mut buffer = ReceiveBuffer::new(1514);
/// let frame = buffer.read_frame(|room| device.read(room))?;
/// assert_eq!(frame.as_deref(), Some(&b"one frame"[..]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ReceiveBuffer {
    /// The memory that the next frame is read into; `None` after a frame has kept it.
    room: Option<BytesMut>,
    max_len: usize,
    /// Pieces of the size of `room`.
    large: Pieces,
    /// Pieces for frames shorter than half of `room`.
    small: Pool,
}

impl ReceiveBuffer {
    /// A buffer for frames of at most this many bytes, headers of the device included.
    pub fn new(max_len: usize) -> Self {
        ReceiveBuffer { room: None, max_len, large: Pieces::new(max_len), small: Pool::new(max_len / 2) }
    }

    /// Calls `read` with memory for the longest frame; `read` returns the length of the frame.
    /// Returns `None` if there is no frame (`WouldBlock`). Repeats the call on EINTR.
    pub fn read_frame(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Bytes>> {
        let mut room = self.room.take().unwrap_or_else(|| self.large.take());
        let len = loop {
            match read(&mut room) {
                Ok(len) => break len.min(self.max_len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.room = Some(room);
                    return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
                }
            }
        };
        if len > self.max_len / 2 {
            return Ok(Some(self.large.share(room, len)));
        }
        let pieces = self.small.fitting(len);
        let mut piece = pieces.take();
        piece[..len].copy_from_slice(&room[..len]);
        self.room = Some(room);
        Ok(Some(pieces.share(piece, len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut ReceiveBuffer, len: usize, fill: u8) -> Bytes {
        let frame = buffer.read_frame(|room| {
            room[..len].fill(fill);
            Ok(len)
        });
        frame.unwrap().unwrap()
    }

    #[test]
    fn frames_of_all_lengths_keep_their_bytes_while_others_come() {
        let mut buffer = ReceiveBuffer::new(9014);
        let lens = [60, 9014, 1514, 0, 3000, 9014, 4507, 4506, 256, 257, 1];
        let frames: Vec<Bytes> =
            lens.iter().enumerate().map(|(n, &len)| read(&mut buffer, len, n as u8)).collect();
        for (n, (frame, len)) in frames.iter().zip(lens).enumerate() {
            assert_eq!(frame.len(), len);
            assert!(frame.iter().all(|&byte| byte == n as u8));
        }
        let too_long = buffer.read_frame(|room| {
            assert_eq!(room.len(), 9014);
            Ok(10_000)
        });
        assert_eq!(too_long.unwrap().unwrap().len(), 9014);
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap().is_none());
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::NotFound.into())).is_err());
    }
}
