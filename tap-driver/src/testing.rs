//! For tests: virtio-net headers without a device.

use bytes::Bytes;
use portolan::{Frame, Transmit};

use crate::vnet;

/// The frame behind a virtio-net header, as a TAP device hands both over; `None` if there is no
/// whole header.
pub fn vnet_frame(bytes: Bytes) -> Option<Frame> {
    vnet::frame_from(bytes)
}

/// The virtio-net header for a frame that goes out.
pub fn vnet_header(transmit: &Transmit) -> [u8; vnet::HEADER_LEN] {
    vnet::header_for(transmit)
}
