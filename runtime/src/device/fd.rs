//! [`FdDevice`]: a descriptor that somebody else opened. [`FrameHeader`]: what is in front of a
//! frame.

use std::io;
use std::task::Waker;

use super::{Device, Outgoing, Readiness, ReceiveBuffer, Received, Sent, virtio, write_vectored};
use crate::platform::host_fd;
use crate::platform::poll::{AsFd, OwnedFd};
use bytes::{Buf, Bytes};
use portolan::{Frame, Medium, Offloads, Transmit};

/// Link header and VLAN tag, and the header of the device.
const MAX_HEADERS: usize = 64;
/// The longest packet that is joined from several: the longest that an IP header can express.
const MAX_RUN: usize = 65_575;

/// What a device has in front of each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameHeader {
    /// Nothing.
    #[default]
    None,
    /// The four bytes of a Linux TUN device without IFF_NO_PI: flags and the EtherType.
    PacketInfo,
    /// A virtio-net header of 10 bytes: a TAP device with IFF_VNET_HDR.
    Virtio,
    /// A virtio-net header of 12 bytes: with the number of buffers, as version 1 of virtio has it.
    VirtioWithBuffers,
}

impl FrameHeader {
    pub(super) fn len(self) -> usize {
        match self {
            FrameHeader::None => 0,
            FrameHeader::PacketInfo => 4,
            FrameHeader::Virtio => virtio::HEADER_LEN,
            FrameHeader::VirtioWithBuffers => virtio::HEADER_LEN + 2,
        }
    }

    /// Whether the header can say that work is left to do.
    pub(super) fn has_offloads(self) -> bool {
        matches!(self, FrameHeader::Virtio | FrameHeader::VirtioWithBuffers)
    }

    /// The length of the longest frame, headers included.
    pub(super) fn max_len(self, mtu: usize) -> usize {
        MAX_HEADERS + if self.has_offloads() { MAX_RUN } else { mtu }
    }

    /// Writes the header to the beginning of `buf`. `virtio` is that header; `first` is the
    /// beginning of the frame.
    pub(super) fn write(
        self,
        buf: &mut [u8],
        virtio: [u8; virtio::HEADER_LEN],
        first: &[u8],
        medium: Medium,
    ) {
        match self {
            FrameHeader::None => {}
            FrameHeader::PacketInfo => {
                let ethertype = match (medium, first) {
                    (Medium::Ip, [first, ..]) if first >> 4 == 6 => [0x86, 0xdd],
                    (Medium::Ip, _) => [0x08, 0x00],
                    (_, first) => first.get(12..14).and_then(|at| at.try_into().ok()).unwrap_or_default(),
                };
                buf[..2].fill(0);
                buf[2..4].copy_from_slice(&ethertype);
            }
            FrameHeader::Virtio | FrameHeader::VirtioWithBuffers => {
                buf[..virtio::HEADER_LEN].copy_from_slice(&virtio);
                // The number of buffers belongs to received frames, and is 0 in others.
                buf[virtio::HEADER_LEN..self.len()].fill(0);
            }
        }
    }

    /// Returns the frame behind the header; `None` if the header is incomplete.
    pub(super) fn read(self, mut bytes: Bytes) -> Option<Frame> {
        if bytes.len() < self.len() {
            return None;
        }
        match self {
            FrameHeader::None | FrameHeader::PacketInfo => {
                bytes.advance(self.len());
                Some(Frame::new(bytes))
            }
            FrameHeader::Virtio | FrameHeader::VirtioWithBuffers => {
                let mut frame = virtio::frame_from(bytes)?;
                frame.bytes.advance(self.len() - virtio::HEADER_LEN);
                Some(frame)
            }
        }
    }
}

/// A device on a descriptor that somebody else opened, which takes and returns one frame with each
/// call: a TUN or TAP device that a VPN service or a privileged helper passes on, or a connected
/// datagram or sequenced-packet socket. QEMU speaks the latter with `-netdev dgram`.
///
/// A frame is lost, as on a network, when the descriptor refuses it, for example because the other
/// end of a datagram socket is not there. When the device is gone (a TUN device was removed, the
/// other end of a sequenced-packet socket has closed), the calls of the device fail.
///
/// ```
/// use std::os::unix::net::UnixDatagram;
///
/// use portolan::{MacAddr, Medium};
/// use portolan_runtime::Builder;
/// use portolan_runtime::device::FdDevice;
///
/// // The other end goes to a virtual machine: qemu -netdev dgram,id=n0,local.type=fd,local.str=3
/// let (ours, _theirs) = UnixDatagram::pair()?;
/// let medium = Medium::Ethernet(MacAddr([2, 0, 0x5e, 0x10, 0, 1]));
/// let device = FdDevice::new(ours, medium, 1500)?.name("guest");
/// let runtime = Builder::new().interface(device, ["10.0.2.2/24".parse()?]).start_without_waiting()?;
/// assert_eq!(runtime.handle().device_name(runtime.handle().interfaces()[0].id).as_deref(), Some("guest"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FdDevice {
    fd: OwnedFd,
    name: String,
    medium: Medium,
    mtu: usize,
    header: FrameHeader,
    offloads: Offloads,
    /// Whether a read of no bytes means that the other end has closed.
    has_end: bool,
    buffer: ReceiveBuffer,
}

impl FdDevice {
    /// Takes the descriptor and makes it non-blocking. Frames have no header of the device and no
    /// work left to do; [`header`](FdDevice::header) changes that.
    pub fn new(fd: impl Into<OwnedFd>, medium: Medium, mtu: usize) -> io::Result<FdDevice> {
        let fd = fd.into();
        host_fd::set_nonblocking(&fd)?;
        let has_end = host_fd::is_packet_socket(&fd);
        Ok(FdDevice {
            fd,
            name: "fd".into(),
            medium,
            mtu,
            header: FrameHeader::None,
            offloads: Offloads::NONE,
            has_end,
            buffer: ReceiveBuffer::new(FrameHeader::None.max_len(mtu)),
        })
    }

    /// Sets the name of the device, which is `fd` otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what is in front of each frame, and what the other side does for frames that it is
    /// sent. Only virtio-net headers can say that work is left to do: with other headers,
    /// `offloads` has no effect.
    pub fn header(mut self, header: FrameHeader, offloads: Offloads) -> Self {
        self.header = header;
        self.offloads = if header.has_offloads() { offloads } else { Offloads::NONE };
        self.buffer = ReceiveBuffer::new(header.max_len(self.mtu));
        self
    }

    fn send(&self, transmit: &Transmit) -> io::Result<Sent> {
        let mut header = [0; virtio::HEADER_LEN + 2];
        let first = match transmit.header() {
            [] => transmit.payload().first().map_or(&[][..], |slice| slice),
            header => header,
        };
        self.header.write(&mut header, virtio::header_for(transmit), first, self.medium);
        match write_vectored(&self.fd, &header[..self.header.len()], transmit) {
            Err(error) if self.is_gone(&error) => Err(error),
            Err(error) => {
                log::debug!("{}: a frame of {} bytes is lost: {error}", self.name, transmit.len());
                Ok(Sent::Taken)
            }
            sent => sent,
        }
    }

    fn recv(&mut self) -> io::Result<Option<Frame>> {
        loop {
            match self.buffer.read_frame(|room| host_fd::read(&self.fd, room)) {
                Ok(None) => return Ok(None),
                Ok(Some(bytes)) if bytes.is_empty() && self.has_end => {
                    return Err(io::Error::new(io::ErrorKind::NotConnected, "the other end has closed"));
                }
                Ok(Some(bytes)) => match self.header.read(bytes) {
                    Some(frame) => return Ok(Some(frame)),
                    None => log::debug!("{}: a frame is shorter than its header", self.name),
                },
                Err(error) if self.is_gone(&error) => return Err(error),
                Err(error) => {
                    log::debug!("{}: a frame could not be read: {error}", self.name);
                    return Ok(None);
                }
            }
        }
    }

    /// Whether the error concerns the descriptor, and not only one frame.
    fn is_gone(&self, error: &io::Error) -> bool {
        let is_end = matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
        );
        host_fd::is_gone(error) || (self.has_end && is_end)
    }
}

impl Device for FdDevice {
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
        Readiness::fd(self.fd.as_fd())
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        outgoing.send_each(|transmit| self.send(transmit))
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        received.fill_with(|| self.recv())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::device::single::{receive, send};
    use portolan::{ChecksumState, InterfaceId, PartialChecksum, SegmentKind, Segments};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn transmit(bytes: &[u8]) -> Transmit {
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes.to_vec()))
    }

    fn pair(header: FrameHeader) -> (FdDevice, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let device = FdDevice::new(ours, Medium::Ip, 1500).unwrap().header(header, Offloads::ALL);
        theirs.set_nonblocking(true).unwrap();
        (device, theirs)
    }

    fn read(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 2000];
        let len = socket.recv(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn a_datagram_is_a_frame() {
        let (mut device, socket) = pair(FrameHeader::None);
        assert_eq!(device.offloads(), Offloads::NONE, "nothing could say what is left to do");
        assert_eq!(send(&mut device, &transmit(&[0x45, 1, 2])), Sent::Taken);
        assert_eq!(read(&socket), [0x45, 1, 2]);
        for frame in [&b"one"[..], b"two"] {
            socket.send(frame).unwrap();
        }
        assert_eq!(&receive(&mut device).unwrap().bytes[..], b"one");
        assert_eq!(&receive(&mut device).unwrap().bytes[..], b"two");
        assert!(receive(&mut device).is_none());
    }

    #[test]
    fn packet_information_names_the_protocol() {
        let (mut device, socket) = pair(FrameHeader::PacketInfo);
        for (first, ethertype) in [(0x45, [0x08, 0x00]), (0x60, [0x86, 0xdd])] {
            assert_eq!(send(&mut device, &transmit(&[first, 7])), Sent::Taken);
            assert_eq!(read(&socket), [0, 0, ethertype[0], ethertype[1], first, 7]);
        }
        socket.send(&[0, 0, 8]).unwrap();
        socket.send(&[0, 0, 8, 0, 0x45, 9]).unwrap();
        assert_eq!(receive(&mut device).unwrap().bytes[..], [0x45, 9], "a part of a header is no frame");
        assert!(receive(&mut device).is_none());
    }

    #[test]
    fn virtio_headers_go_both_ways() {
        let checksum = PartialChecksum { start: 20, offset: 16 };
        let segments = Segments { kind: SegmentKind::TcpV4, len: 1000 };
        let run = Frame::new(vec![0x45; 60])
            .with_checksum(ChecksumState::Partial(checksum))
            .with_segments(Some(segments));
        let transmit = Transmit::from_frame(InterfaceId::from_index(0), run);
        for (header, len) in [(FrameHeader::Virtio, 10), (FrameHeader::VirtioWithBuffers, 12)] {
            let (mut device, socket) = pair(header);
            assert_eq!(device.offloads(), Offloads::ALL);
            assert_eq!(send(&mut device, &transmit), Sent::Taken);
            let bytes = read(&socket);
            let [flags, gso, rest @ ..] = &bytes[..] else { panic!("a header") };
            // NEEDS_CSUM and GSO_TCPV4; the segment length, and where the checksum is.
            let fields: Vec<u16> =
                rest.chunks(2).take(4).map(|field| u16::from_ne_bytes(field.try_into().unwrap())).collect();
            assert_eq!((*flags, *gso, &fields[1..]), (1, 1, &[1000, 20, 16][..]));
            assert_eq!(bytes[10..len], vec![0; len - 10]);
            assert_eq!(bytes[len..], [0x45; 60]);
            socket.send(&bytes).unwrap();
            let frame = receive(&mut device).unwrap();
            assert_eq!(frame.bytes[..], [0x45; 60]);
            assert_eq!((frame.checksum, frame.segments), (ChecksumState::Partial(checksum), Some(segments)));
        }
    }

    #[test]
    fn a_full_socket_keeps_frames_back_and_a_missing_end_loses_them() {
        let (mut device, socket) = pair(FrameHeader::None);
        let sent =
            (0..10_000).take_while(|_| send(&mut device, &transmit(&[1; 1000])) == Sent::Taken).count();
        assert!(sent > 0 && sent < 10_000);
        drop(socket);
        assert_eq!(send(&mut device, &transmit(b"lost")), Sent::Taken);
    }

    #[test]
    fn the_end_of_a_packet_socket_is_an_error() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
        let mut device = FdDevice::new(ours, Medium::Ip, 1500).unwrap();
        rustix::io::write(&theirs, b"last").unwrap();
        assert_eq!(&receive(&mut device).unwrap().bytes[..], b"last");
        drop(theirs);
        let mut frames = Vec::new();
        let error = device.receive(&mut Received::new(&mut frames, 1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
