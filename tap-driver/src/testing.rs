//! Virtio-net headers without a device, for tests.

use bytes::Bytes;
use portolan::{Frame, Transmit};
use portolan_runtime::device::virtio;

/// The frame behind a virtio-net header, from the bytes of both as a TAP device reads them; `None`
/// if the header is incomplete.
pub fn vnet_frame(bytes: Bytes) -> Option<Frame> {
    virtio::frame_from(bytes)
}

/// The virtio-net header for an outgoing frame.
pub fn vnet_header(transmit: &Transmit) -> [u8; virtio::HEADER_LEN] {
    virtio::header_for(transmit)
}
