//! TAP devices with virtio-net headers: each frame has ten bytes in front that say what is left to do, so that runs of up
//! to 64 KiB cross in one system call and no checksum is computed.
//!
//! `tun-tap` cannot ask for them, so the system calls that it would make are made here.

use std::ffi::c_uint;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::{Buf, Bytes};
use portolan::{ChecksumState, Frame, Offloads, PartialChecksum, SegmentKind, Segments, Transmit};
use rustix::fs::{Mode, OFlags};

/// `struct virtio_net_hdr`, linux/virtio_net.h.
pub(crate) const HEADER_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// The first segment has CWR; beside one of the others.
const GSO_ECN: u8 = 0x80;

/// What to ask of the kernel, the most first: kernels before 6.2 know no USO.
const WISHES: [c_uint; 4] = {
    const CSUM: c_uint = libc::TUN_F_CSUM;
    const TSO: c_uint = CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    [TSO | libc::TUN_F_TSO_ECN | libc::TUN_F_USO4 | libc::TUN_F_USO6, TSO | libc::TUN_F_TSO_ECN, TSO, CSUM]
};

/// How many queues a TAP device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queues {
    One,
    /// As many as are opened under its name.
    Several,
}

impl Queues {
    fn flag(self) -> libc::c_int {
        match self {
            Queues::One => 0,
            Queues::Several => libc::IFF_MULTI_QUEUE,
        }
    }
}

/// Opens a TAP device with virtio-net headers, non-blocking. Its descriptor, its name, and what it does.
///
/// # Errors
///
/// Those of the system calls; `Unsupported` if the kernel has no such headers.
pub(crate) fn create(name: &str, queues: Queues) -> io::Result<(OwnedFd, String, Offloads)> {
    let (fd, name) = attach(name, queues.flag() | libc::IFF_VNET_HDR)?;
    ioctl(&fd, libc::TUNSETVNETHDRSZ, &mut (HEADER_LEN as libc::c_int))?;
    let granted = WISHES.into_iter().find(|&wish| set_offload(&fd, wish).is_ok()).unwrap_or(0);
    Ok((fd, name, offloads(granted)))
}

/// Opens a TAP device with several queues for plain frames, non-blocking. Its first queue, and its name.
pub(crate) fn create_plain_queue(name: &str) -> io::Result<(OwnedFd, String)> {
    attach(name, Queues::Several.flag())
}

/// Opens one more queue of a device that [`create`] or [`create_plain_queue`] made; what was agreed on there holds for all.
pub(crate) fn add_queue(name: &str, has_headers: bool) -> io::Result<OwnedFd> {
    let headers = if has_headers { libc::IFF_VNET_HDR } else { 0 };
    attach(name, Queues::Several.flag() | headers).map(|(fd, _)| fd)
}

/// Makes a device of this name with these flags, or attaches to it; `Unsupported` if the kernel does not know one of them.
fn attach(name: &str, flags: libc::c_int) -> io::Result<(OwnedFd, String)> {
    let open_flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/dev/net/tun", open_flags, Mode::empty())?;
    let mut features: c_uint = 0;
    ioctl(&fd, libc::TUNGETFEATURES, &mut features)?;
    if flags as c_uint & !features != 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut request = request_for(name);
    request.flags = (libc::IFF_TAP | libc::IFF_NO_PI | flags) as i16;
    ioctl(&fd, libc::TUNSETIFF, &mut request)?;
    Ok((fd, request.name()))
}

/// `struct ifreq` as TUNSETIFF uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    /// The rest of the union, so that it is as large as the kernel takes it to be.
    rest: [u8; size_of::<libc::ifreq>() - libc::IFNAMSIZ - 2],
}

fn request_for(name: &str) -> InterfaceRequest {
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: 0,
        rest: [0; size_of::<libc::ifreq>() - libc::IFNAMSIZ - 2],
    };
    // The last byte stays zero; names were checked to be shorter.
    for (to, from) in request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from;
    }
    request
}

impl InterfaceRequest {
    /// The name that the kernel chose.
    fn name(&self) -> String {
        let len = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..len]).into_owned()
    }
}

fn ioctl<T>(fd: &OwnedFd, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the requests above read or write a value of the type that they are called with, and keep no pointer.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument as *mut T) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_offload(fd: &OwnedFd, features: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What is sent may ask for the same as what is received: the kernel takes all that it knows, and it knows what it grants.
fn offloads(granted: c_uint) -> Offloads {
    let has = |feature: c_uint| granted & feature == feature;
    Offloads {
        checksum: has(libc::TUN_F_CSUM),
        tcp4: has(libc::TUN_F_TSO4),
        tcp6: has(libc::TUN_F_TSO6),
        udp: has(libc::TUN_F_USO4 | libc::TUN_F_USO6),
    }
}

/// What goes in front of a frame for the kernel.
pub(crate) fn header_for(transmit: &Transmit) -> [u8; HEADER_LEN] {
    let mut flags = 0;
    let (mut gso_type, mut gso_size, mut header_len) = (0, 0, 0);
    let (mut start, mut offset) = (0, 0);
    if let Some(checksum) = transmit.checksum() {
        flags = NEEDS_CSUM;
        (start, offset) = (checksum.start, checksum.offset);
    }
    if let Some(segments) = transmit.segments() {
        gso_type = match segments.kind {
            SegmentKind::TcpV4 => GSO_TCPV4,
            SegmentKind::TcpV6 => GSO_TCPV6,
            SegmentKind::Udp => GSO_UDP_L4,
        };
        gso_size = segments.len;
        // A hint: what the kernel wants in one piece. At most 128.
        header_len = transmit.header().len() as u16;
    }
    let [[a, b], [c, d], [e, f], [g, h]] = [header_len, gso_size, start, offset].map(u16::to_ne_bytes);
    [flags, gso_type, a, b, c, d, e, f, g, h]
}

/// The frame behind the header that the kernel put in front of it; `None` if there is not even that.
pub(crate) fn frame_from(mut bytes: Bytes) -> Option<Frame> {
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
    fn the_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
        let request = request_for("portolan0");
        assert_eq!(request.name(), "portolan0");
        assert_eq!(request_for("a-name-that-is-too-long").name().len(), 15);
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

    #[test]
    fn kernels_that_know_less_are_asked_for_less() {
        assert_eq!(WISHES.map(offloads)[0], Offloads::ALL);
        let with_tso = Offloads { udp: false, ..Offloads::ALL };
        assert_eq!(WISHES.map(offloads)[1..3], [with_tso, with_tso]);
        assert_eq!(WISHES.map(offloads)[3], Offloads { checksum: true, ..Offloads::NONE });
        assert_eq!(offloads(0), Offloads::NONE);
    }
}
