//! An outgoing IP packet.

use crate::frame::{HeaderBuf, Payload, Transmit, payload_len};
use crate::interface_id::InterfaceId;
use crate::offload::{PartialChecksum, Segments};

/// An IP packet with all its headers but the link header.
#[derive(Clone, Debug)]
pub(crate) struct IpPacket {
    pub(crate) header: HeaderBuf,
    pub(crate) payload: Payload,
    /// The checksum that the device completes; offsets count from the IP header.
    pub(crate) checksum: Option<PartialChecksum>,
    /// How the device cuts the packet.
    pub(crate) segments: Option<Segments>,
    /// Whether it is a packet of another host, which is forwarded.
    pub(crate) is_forwarded: bool,
}

impl IpPacket {
    /// A packet that needs no work by the device.
    pub(crate) fn new(header: HeaderBuf, payload: Payload) -> IpPacket {
        IpPacket { header, payload, checksum: None, segments: None, is_forwarded: false }
    }

    /// The frame for the device, once the link header is in front.
    pub(crate) fn into_transmit(self, iface: InterfaceId, link_len: usize) -> Transmit {
        let checksum = self
            .checksum
            .map(|checksum| PartialChecksum { start: checksum.start + link_len as u16, ..checksum });
        Transmit::new(iface, self.header, self.payload).with_offload(checksum, self.segments)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<IpPacket>() + payload_len(&self.payload)
    }
}
