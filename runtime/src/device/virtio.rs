//! Virtio-net headers: the ten bytes before each frame that say which work is left to do. TAP
//! devices and the sockets of virtual machines have them.
//!
//! With them, runs of up to 64 KiB are passed in one system call and no checksum is computed.

use bytes::{Buf, Bytes};
use portolan::{ChecksumState, Frame, PartialChecksum, SegmentKind, Segments, Transmit};

use super::Written;

/// The length of `struct virtio_net_hdr` of linux/virtio_net.h. Where a device joins buffers, or
/// speaks version 1 of virtio, two more bytes follow.
pub const HEADER_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A flag beside the type: the first segment has CWR.
const GSO_ECN: u8 = 0x80;

/// Returns the header in front of a frame that a stack sends.
pub fn header_for(transmit: &Transmit) -> [u8; HEADER_LEN] {
    header(transmit.checksum(), transmit.segments(), transmit.header().len())
}

/// Returns the header in front of a frame that was written to memory of the device.
pub fn header_for_written(written: &Written) -> [u8; HEADER_LEN] {
    header(written.checksum, written.segments, written.header_len)
}

fn header(checksum: Option<PartialChecksum>, segments: Option<Segments>, len: usize) -> [u8; HEADER_LEN] {
    let mut flags = 0;
    let (mut gso_type, mut gso_size, mut header_len) = (0, 0, 0);
    let (mut start, mut offset) = (0, 0);
    if let Some(checksum) = checksum {
        flags = NEEDS_CSUM;
        (start, offset) = (checksum.start, checksum.offset);
    }
    if let Some(segments) = segments {
        gso_type = match segments.kind {
            SegmentKind::TcpV4 => GSO_TCPV4,
            SegmentKind::TcpV6 => GSO_TCPV6,
            SegmentKind::Udp => GSO_UDP_L4,
        };
        gso_size = segments.len;
        // A hint: the part of the frame that the kernel copies into one piece. At most 128 bytes.
        header_len = len as u16;
    }
    let [[a, b], [c, d], [e, f], [g, h]] = [header_len, gso_size, start, offset].map(u16::to_ne_bytes);
    [flags, gso_type, a, b, c, d, e, f, g, h]
}

/// Returns the frame behind a header; `None` if the header is incomplete.
pub fn frame_from(mut bytes: Bytes) -> Option<Frame> {
    let &[flags, gso_type, _, _, c, d, e, f, g, h] = bytes.first_chunk()?;
    let [gso_size, start, offset] = [[c, d], [e, f], [g, h]].map(u16::from_ne_bytes);
    bytes.advance(HEADER_LEN);
    let checksum = if flags & NEEDS_CSUM != 0 {
        ChecksumState::Partial(PartialChecksum { start, offset })
    } else if flags & DATA_VALID != 0 {
        ChecksumState::Verified
    } else {
        ChecksumState::Unknown
    };
    let kind = match gso_type & !GSO_ECN {
        GSO_TCPV4 => Some(SegmentKind::TcpV4),
        GSO_TCPV6 => Some(SegmentKind::TcpV6),
        GSO_UDP_L4 => Some(SegmentKind::Udp),
        _ => None,
    };
    let segments = kind.filter(|_| gso_size > 0).map(|kind| Segments { kind, len: gso_size });
    Some(Frame::new(bytes).with_checksum(checksum).with_segments(segments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan::InterfaceId;

    fn header(flags: u8, gso_type: u8, fields: [u16; 4]) -> Vec<u8> {
        let fields = fields.iter().flat_map(|field| field.to_ne_bytes());
        [flags, gso_type].into_iter().chain(fields).collect()
    }

    #[test]
    fn what_the_kernel_says_is_what_the_stack_hears() {
        let frame = |header: Vec<u8>| frame_from(Bytes::from([header, vec![7; 60]].concat())).unwrap();
        let plain = frame(header(0, 0, [0; 4]));
        assert_eq!((plain.checksum, plain.segments), (ChecksumState::Unknown, None));
        assert_eq!(plain.bytes[..], [7; 60]);
        assert_eq!(frame(header(DATA_VALID, 0, [0; 4])).checksum, ChecksumState::Verified);
        let run = frame(header(NEEDS_CSUM, GSO_TCPV6 | GSO_ECN, [86, 1428, 54, 16]));
        assert_eq!(run.checksum, ChecksumState::Partial(PartialChecksum { start: 54, offset: 16 }));
        assert_eq!(run.segments, Some(Segments { kind: SegmentKind::TcpV6, len: 1428 }));
        for nonsense in [header(0, GSO_TCPV4, [54, 0, 0, 0]), header(0, 3, [54, 1000, 0, 0])] {
            assert_eq!(frame(nonsense).segments, None);
        }
        assert!(frame_from(Bytes::from_static(&[0; 9])).is_none());
    }

    #[test]
    fn what_the_stack_leaves_undone_is_what_the_kernel_is_told() {
        let iface = InterfaceId::from_index(0);
        for (checksum, segments, expected) in [
            (ChecksumState::Unknown, None, header(0, 0, [0; 4])),
            (
                ChecksumState::Partial(PartialChecksum { start: 34, offset: 6 }),
                None,
                header(NEEDS_CSUM, 0, [0, 0, 34, 6]),
            ),
            (
                ChecksumState::Partial(PartialChecksum { start: 34, offset: 16 }),
                Some(Segments { kind: SegmentKind::TcpV4, len: 1448 }),
                header(NEEDS_CSUM, GSO_TCPV4, [0, 1448, 34, 16]),
            ),
        ] {
            let frame = Frame::new(vec![0; 60]).with_checksum(checksum).with_segments(segments);
            assert_eq!(header_for(&Transmit::from_frame(iface, frame))[..], expected);
        }
    }
}
