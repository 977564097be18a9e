//! Buffers: frames from a device ([`Frame`]) and frames for one ([`Transmit`]).

use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::interface_id::InterfaceId;
use crate::offload::{ChecksumState, PartialChecksum, Segments};
use crate::time::Instant;

/// A frame as a device received it. It is reference-counted, so that its payload reaches the
/// application without a copy.
///
/// On an Ethernet interface it begins with the Ethernet header and ends before the frame check
/// sequence; on a bare-IP interface it begins with the IP header.
#[derive(Clone)]
#[non_exhaustive]
pub struct Frame {
    /// All bytes of the frame.
    pub bytes: Bytes,
    /// What the device knows about its transport checksum.
    pub checksum: ChecksumState,
    /// How the device joined it from several packets of one flow, if it did. The frame may then be
    /// longer than the MTU.
    pub segments: Option<Segments>,
    /// When the device received it, in the time of the stack, if the device knows that. Programs
    /// are told ([`DatagramMeta::at`](crate::DatagramMeta::at)); the stack itself uses the time at
    /// which the frame is handed in.
    pub at: Option<Instant>,
}

impl Frame {
    /// A frame of these bytes, as it was on the wire.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Frame { bytes: bytes.into(), checksum: ChecksumState::Unknown, segments: None, at: None }
    }

    /// Sets what the device knows about its checksum.
    pub fn with_checksum(mut self, checksum: ChecksumState) -> Self {
        self.checksum = checksum;
        self
    }

    /// Sets the time at which the device received it.
    pub fn with_time(mut self, at: Instant) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets how it was joined from several packets.
    pub fn with_segments(mut self, segments: Option<Segments>) -> Self {
        self.segments = segments;
        self
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes", self.bytes.len())?;
        if let Some(segments) = self.segments {
            write!(f, " in segments of {}", segments.len)?;
        }
        f.write_str(")")
    }
}

/// Room for every header that we put in front of a payload: Ethernet 14, IPv6 40, TCP with options
/// 60, and the rest for an extension header.
const HEADER_CAPACITY: usize = 128;

/// The longest link header that is put in front of a packet: Ethernet's.
pub(crate) const MAX_LINK_HEADER_LEN: usize = 14;

/// The headers of an outgoing packet. Each layer prepends its own, so no layer moves the bytes of
/// another.
#[derive(Clone)]
pub(crate) struct HeaderBuf {
    bytes: [u8; HEADER_CAPACITY],
    start: u8,
}

impl HeaderBuf {
    pub(crate) const CAPACITY: usize = HEADER_CAPACITY;

    pub(crate) fn new() -> Self {
        HeaderBuf { bytes: [0; HEADER_CAPACITY], start: HEADER_CAPACITY as u8 }
    }

    /// Makes room for `len` zeroed bytes in front, and returns them.
    ///
    /// # Panics
    ///
    /// If the headers together exceed 128 bytes, which no combination of our headers does.
    pub(crate) fn prepend(&mut self, len: usize) -> &mut [u8] {
        let end = usize::from(self.start);
        let start = end - len;
        self.start = start as u8;
        &mut self.bytes[start..end]
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..]
    }

    pub(crate) fn len(&self) -> usize {
        HEADER_CAPACITY - usize::from(self.start)
    }
}

impl fmt::Debug for HeaderBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderBuf({:02x?})", self.as_slice())
    }
}

/// The payload of an outgoing packet: consecutive slices of a send queue, without a copy.
pub(crate) type Payload = SmallVec<[Bytes; 3]>;

/// The number of bytes in a payload.
pub(crate) fn payload_len(payload: &[Bytes]) -> usize {
    payload.iter().map(Bytes::len).sum()
}

/// A payload that is taken in parts from the front, one part for each frame.
#[derive(Debug)]
pub(crate) struct PayloadCursor {
    slices: Payload,
    /// Slices before this index were taken.
    next: usize,
    len: usize,
}

impl PayloadCursor {
    pub(crate) fn new(slices: Payload) -> Self {
        let len = payload_len(&slices);
        PayloadCursor { slices, next: 0, len }
    }

    /// The number of bytes that remain.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes the rest.
    pub(crate) fn take_all(&mut self) -> Payload {
        if self.next > 0 {
            self.slices.drain(..self.next);
        }
        (self.next, self.len) = (0, 0);
        mem::take(&mut self.slices)
    }

    /// The next `len` bytes, or as many as remain.
    pub(crate) fn take(&mut self, len: usize) -> Payload {
        let mut wanted = len.min(self.len);
        self.len -= wanted;
        let mut taken = Payload::new();
        while wanted > 0
            && let Some(slice) = self.slices.get_mut(self.next)
        {
            if slice.len() > wanted {
                taken.push(slice.split_to(wanted));
                break;
            }
            wanted -= slice.len();
            taken.push(mem::take(slice));
            self.next += 1;
        }
        taken
    }
}

/// One frame for a device to send: the headers, and the payload as slices that were not copied. A
/// device that can gather (`writev`) sends it as it is; another calls [`Transmit::to_frame`].
///
/// On an interface with [`Offloads`](crate::Offloads) a frame may have a checksum to be completed,
/// and may be a run of segments to be cut.
#[derive(Clone, Debug)]
pub struct Transmit {
    iface: InterfaceId,
    header: HeaderBuf,
    payload: Payload,
    checksum: Option<PartialChecksum>,
    segments: Option<Segments>,
}

impl Transmit {
    pub(crate) fn new(iface: InterfaceId, header: HeaderBuf, payload: Payload) -> Self {
        Transmit { iface, header, payload, checksum: None, segments: None }
    }

    /// Adds the work that the device has to do.
    pub(crate) fn with_offload(
        mut self,
        checksum: Option<PartialChecksum>,
        segments: Option<Segments>,
    ) -> Self {
        self.checksum = checksum;
        self.segments = segments;
        self
    }

    /// A frame that is complete: one that a wrapper around a device changed, or that a program
    /// made.
    /// itself.
    pub fn from_frame(iface: InterfaceId, frame: Frame) -> Self {
        let checksum = match frame.checksum {
            ChecksumState::Partial(checksum) => Some(checksum),
            ChecksumState::Unknown | ChecksumState::Verified => None,
        };
        let mut payload = Payload::new();
        payload.push(frame.bytes);
        Transmit { iface, header: HeaderBuf::new(), payload, checksum, segments: frame.segments }
    }

    /// The interface that it is to leave through.
    pub fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// The headers, from the link layer's to the transport's.
    pub fn header(&self) -> &[u8] {
        self.header.as_slice()
    }

    /// The slices that follow the headers, in order.
    pub fn payload(&self) -> &[Bytes] {
        &self.payload
    }

    /// The checksum that the device has to complete. `None` unless the interface has that offload.
    pub fn checksum(&self) -> Option<PartialChecksum> {
        self.checksum
    }

    /// How the device has to cut it into segments. `None` unless the interface has that offload.
    /// [`header`](Transmit::header) then goes in front of each segment, with its own lengths,
    /// identification, sequence number, flags and checksum.
    pub fn segments(&self) -> Option<Segments> {
        self.segments
    }

    /// The number of bytes, headers included.
    pub fn len(&self) -> usize {
        self.header.len() + payload_len(&self.payload)
    }

    /// Whether it has no bytes, which is never true for a frame of a stack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame in one piece, which takes one allocation and one copy. The device's work remains
    /// to be done.
    pub fn to_frame(&self) -> Frame {
        let mut bytes = BytesMut::with_capacity(self.len());
        self.append_to(&mut bytes);
        let checksum = self.checksum.map_or(ChecksumState::Unknown, ChecksumState::Partial);
        Frame::new(bytes.freeze()).with_checksum(checksum).with_segments(self.segments)
    }

    /// Appends the frame to `buf`. With a large buffer and [`BytesMut::split`], many frames need
    /// only one allocation.
    pub fn append_to(&self, buf: &mut BytesMut) {
        buf.extend_from_slice(self.header());
        for slice in &self.payload {
            buf.extend_from_slice(slice);
        }
    }

    /// The frame in one piece, as a vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(self.header());
        for slice in &self.payload {
            bytes.extend_from_slice(slice);
        }
        bytes
    }

    pub(crate) fn header_buf(&self) -> &HeaderBuf {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_taken_from_the_front() {
        let slices = [&b"abc"[..], b"", b"defg", b"h"].map(Bytes::from_static);
        for part in 1..10 {
            let mut cursor = PayloadCursor::new(slices.iter().cloned().collect());
            let mut whole = Vec::new();
            while cursor.len() > 0 {
                let left = cursor.len();
                let taken = cursor.take(part).concat();
                assert_eq!((taken.len(), cursor.len()), (part.min(left), left - taken.len()));
                whole.extend(taken);
            }
            assert_eq!(whole, b"abcdefgh");
            assert!(cursor.take(1).is_empty());
        }
    }

    #[test]
    fn layers_prepend_and_the_payload_follows() {
        let mut header = HeaderBuf::new();
        header.prepend(2).copy_from_slice(&[3, 4]);
        header.prepend(2).copy_from_slice(&[1, 2]);
        assert_eq!(header.len(), 4);
        let mut payload = Payload::new();
        payload.push(Bytes::from_static(&[5]));
        payload.push(Bytes::from_static(&[6, 7]));
        let transmit = Transmit::new(InterfaceId(0), header, payload);
        assert_eq!(transmit.len(), 7);
        assert_eq!(transmit.to_vec(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(&transmit.to_frame().bytes[..], &transmit.to_vec()[..]);
        let whole = Transmit::from_frame(transmit.iface(), transmit.to_frame());
        assert_eq!(whole.to_vec(), transmit.to_vec());
    }
}
