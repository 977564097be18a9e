//! [`StreamDevice`]: frames in a stream of bytes, each behind its length.

use std::io;
use std::task::Waker;

use portolan::{Medium, Offloads};

use super::{Device, FrameHeader, Outgoing, Readiness, Received, virtio};
use crate::platform::host_fd;
use crate::platform::poll::{AsFd, OwnedFd};
use crate::policy::STREAM_BUFFER;
use crate::pool::Pool;

/// The length of a frame, in network byte order.
const LENGTH_LEN: usize = 4;

/// A device on a connected stream socket that carries Ethernet frames or IP packets, each behind
/// its length in four bytes in network byte order. QEMU speaks this with `-netdev stream`, and so
/// do other virtual machines and their network helpers.
///
/// When the other end has closed, or sends a length that no frame has, the calls of the device
/// fail.
///
/// ```
/// use std::os::unix::net::UnixStream;
///
/// use portolan::{MacAddr, Medium};
/// use portolan_runtime::Builder;
/// use portolan_runtime::device::StreamDevice;
///
/// // Accepted from: qemu -netdev stream,id=n0,addr.type=unix,addr.path=/run/guest.sock
/// let (ours, _theirs) = UnixStream::pair()?;
/// let medium = Medium::Ethernet(MacAddr([2, 0, 0x5e, 0x10, 0, 1]));
/// let device = StreamDevice::new(ours, medium, 1500)?.name("guest");
/// let runtime = Builder::new().interface(device, ["10.0.2.2/24".parse()?]).start_without_waiting()?;
/// assert!(runtime.handle().is_running());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StreamDevice {
    socket: OwnedFd,
    name: String,
    medium: Medium,
    mtu: usize,
    header: FrameHeader,
    offloads: Offloads,
    output: Buffer,
    input: Buffer,
    /// Memory for received frames.
    pool: Pool,
}

/// Bytes that were read and not yet handled, or that wait to be written.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(max_frame: usize) -> Buffer {
        Buffer { bytes: vec![0; STREAM_BUFFER.max(LENGTH_LEN + max_frame)], start: 0, end: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Removes bytes from the front.
    fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves the bytes to the front, so that the rest of a frame fits behind them.
    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }
}

impl StreamDevice {
    /// Takes the socket and makes it non-blocking. Frames have no header of the device but their
    /// length; [`header`](StreamDevice::header) changes that.
    pub fn new(socket: impl Into<OwnedFd>, medium: Medium, mtu: usize) -> io::Result<StreamDevice> {
        let socket = socket.into();
        host_fd::set_nonblocking(&socket)?;
        let max_frame = FrameHeader::None.max_len(mtu);
        Ok(StreamDevice {
            socket,
            name: "stream".into(),
            medium,
            mtu,
            header: FrameHeader::None,
            offloads: Offloads::NONE,
            output: Buffer::new(max_frame),
            input: Buffer::new(max_frame),
            pool: Pool::new(max_frame),
        })
    }

    /// Sets the name of the device, which is `stream` otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what is between the length and the frame, and counts as part of it; and what the other
    /// side does for frames that it is sent. Only virtio-net headers can say that work is left to
    /// do: with other headers, `offloads` has no effect.
    pub fn header(mut self, header: FrameHeader, offloads: Offloads) -> Self {
        let max_frame = header.max_len(self.mtu);
        self.header = header;
        self.offloads = if header.has_offloads() { offloads } else { Offloads::NONE };
        (self.output, self.input) = (Buffer::new(max_frame), Buffer::new(max_frame));
        self.pool = Pool::new(max_frame);
        self
    }

    fn max_frame(&self) -> usize {
        self.header.max_len(self.mtu)
    }

    /// Writes what waits. Returns whether all of it was written.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.output.filled().is_empty() {
            match host_fd::write(&self.socket, self.output.filled()) {
                Ok(len) => self.output.consume(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Puts as many frames into the output as fit.
    fn fill(&mut self, outgoing: &mut Outgoing<'_>) {
        let headers = LENGTH_LEN + self.header.len();
        while self.output.bytes.len() - self.output.end >= LENGTH_LEN + self.max_frame() {
            let (prefix, frame) = self.output.bytes[self.output.end..].split_at_mut(headers);
            let Some(written) = outgoing.write_next(frame) else { break };
            let len = self.header.len() + written.len;
            // A frame is never as long as 4 GiB.
            prefix[..LENGTH_LEN].copy_from_slice(&(len as u32).to_be_bytes());
            let virtio = virtio::header_for_written(&written);
            self.header.write(&mut prefix[LENGTH_LEN..], virtio, &frame[..written.len], self.medium);
            self.output.end += LENGTH_LEN + len;
        }
    }

    /// Passes on all frames that are complete. There may be more than the stack takes at once, but
    /// nothing else would say that they are here.
    fn pass_on(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        while let Some(length) = self.input.filled().first_chunk::<LENGTH_LEN>() {
            let len = u32::from_be_bytes(*length) as usize;
            if len > self.max_frame() {
                let message = format!("the other end sends a frame of {len} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let Some(frame) = self.input.filled().get(LENGTH_LEN..LENGTH_LEN + len) else { break };
            let pieces = self.pool.fitting(len);
            let mut piece = pieces.take();
            piece[..len].copy_from_slice(frame);
            match self.header.read(pieces.share(piece, len)) {
                Some(frame) => received.push(frame),
                None => log::debug!("{}: a frame is shorter than its header", self.name),
            }
            self.input.consume(LENGTH_LEN + len);
        }
        Ok(())
    }
}

impl Device for StreamDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn readiness(&mut self, _: &Waker) -> Readiness<'_> {
        Readiness::fd(self.socket.as_fd())
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while self.flush()? && !outgoing.is_empty() {
            self.fill(outgoing);
        }
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        while received.has_room() {
            self.input.compact();
            let end = self.input.end;
            match host_fd::read(&self.socket, &mut self.input.bytes[end..]) {
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::NotConnected, "the other end has closed"));
                }
                Ok(len) => self.input.end += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            self.pass_on(received)?;
        }
        Ok(())
    }

    fn wants_room(&self) -> bool {
        !self.output.filled().is_empty()
    }

    fn service(&mut self) -> io::Result<()> {
        self.flush().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::device::Sent;
    use crate::device::single::{receive, send};
    use portolan::{Frame, InterfaceId, MacAddr, Transmit};

    fn transmit(bytes: &[u8]) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes.to_vec()))
    }

    fn pair() -> (StreamDevice, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1]));
        (StreamDevice::new(ours, medium, 1500).unwrap(), theirs)
    }

    #[test]
    fn each_frame_is_behind_its_length() {
        let (mut device, mut socket) = pair();
        let mut queue = VecDeque::from([transmit(&[7; 60]), transmit(&[8; 300])]);
        device.transmit(&mut Outgoing::new(&mut queue)).unwrap();
        assert!(queue.is_empty() && !device.wants_room());
        let mut bytes = vec![0; 4 + 60 + 4 + 300];
        socket.read_exact(&mut bytes).unwrap();
        let expected = [&[0, 0, 0, 60][..], &[7; 60], &[0, 0, 1, 44], &[8; 300]].concat();
        assert_eq!(bytes, expected);
        // However the bytes come in.
        for byte in &expected[..64 + 200] {
            socket.write_all(&[*byte]).unwrap();
            if let Some(frame) = receive(&mut device) {
                assert_eq!(frame.bytes[..], [7; 60]);
            }
        }
        socket.write_all(&expected[64 + 200..]).unwrap();
        assert_eq!(receive(&mut device).unwrap().bytes[..], [8; 300]);
        assert!(receive(&mut device).is_none());
    }

    #[test]
    fn frames_that_came_together_are_passed_on_together() {
        let (mut device, mut socket) = pair();
        let bytes: Vec<u8> = (0..50).flat_map(|n| [&[0, 0, 0, 20][..], &[n; 20]].concat()).collect();
        socket.write_all(&bytes).unwrap();
        let mut frames = Vec::new();
        device.receive(&mut Received::new(&mut frames, 1)).unwrap();
        assert!(frames.iter().map(|frame| frame.bytes[0]).eq(0..50));
    }

    #[test]
    fn a_virtio_header_counts_as_part_of_the_frame() {
        let (device, mut socket) = pair();
        let mut device = device.header(FrameHeader::VirtioWithBuffers, Offloads::ALL);
        assert_eq!(send(&mut device, &transmit(&[7; 60])), Sent::Taken);
        let mut bytes = [1; 4 + 12 + 60];
        socket.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..16], [0, 0, 0, 72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        socket.write_all(&bytes).unwrap();
        assert_eq!(receive(&mut device).unwrap().bytes[..], [7; 60]);
    }

    #[test]
    fn a_full_socket_loses_nothing() {
        let (mut device, mut socket) = pair();
        let frames = 2000;
        let mut queue: VecDeque<_> =
            (0..frames).map(|n: u32| transmit(&[&n.to_be_bytes()[..], &[0; 996]].concat())).collect();
        device.transmit(&mut Outgoing::new(&mut queue)).unwrap();
        assert!(!queue.is_empty() && device.wants_room());
        let reader = std::thread::spawn(move || {
            for n in 0..frames {
                let mut frame = [0; 4 + 1000];
                socket.read_exact(&mut frame).unwrap();
                assert_eq!((&frame[..4], &frame[4..8]), (&[0, 0, 3, 232][..], &n.to_be_bytes()[..]));
            }
        });
        while !queue.is_empty() || device.wants_room() {
            device.service().unwrap();
            device.transmit(&mut Outgoing::new(&mut queue)).unwrap();
            std::thread::yield_now();
        }
        reader.join().unwrap();
    }

    #[test]
    fn a_length_that_no_frame_has_and_the_end_are_errors() {
        let (mut device, mut socket) = pair();
        let mut frames = Vec::new();
        let mut receive = || device.receive(&mut Received::new(&mut frames, 1)).unwrap_err().kind();
        socket.write_all(&[0, 0, 0, 0, 0, 1, 0, 0]).unwrap();
        assert_eq!(receive(), io::ErrorKind::InvalidData);
        let (mut device, socket) = pair();
        drop(socket);
        let mut receive = || device.receive(&mut Received::new(&mut frames, 1)).unwrap_err().kind();
        assert_eq!(receive(), io::ErrorKind::NotConnected);
    }
}
