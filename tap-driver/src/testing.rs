//! Virtio-net headers without a device, for tests.

use bytes::Bytes;
use portolan::{Frame, Transmit};

use crate::vnet;

/// The frame behind a virtio-net header, from the bytes of both as a TAP device reads them; `None`
/// if the header is incomplete.
pub fn vnet_frame(bytes: Bytes) -> Option<Frame> {
    vnet::frame_from(bytes)
}

/// The virtio-net header for an outgoing frame.
pub fn vnet_header(transmit: &Transmit) -> [u8; vnet::HEADER_LEN] {
    vnet::header_for(transmit)
}
