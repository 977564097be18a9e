//! The limits of a TAP device.

/// The largest MTU of a TAP device: 65,535 less the Ethernet header.
pub const MAX_MTU: usize = 65_521;
/// The smallest MTU that is accepted: every IPv4 host must accept packets of 576 bytes (RFC 1122
/// §3.3.2).
pub const MIN_MTU: usize = 576;
/// The smallest MTU for IPv6 (RFC 8200 §5).
pub const MIN_IPV6_MTU: usize = 1280;
/// The most queues that the kernel allows for a device (MAX_TAP_QUEUES).
pub const MAX_QUEUES: usize = 256;

/// IFNAMSIZ less the terminating zero.
pub(crate) const MAX_NAME_LEN: usize = 15;
pub(crate) const ETHERNET_HEADER_LEN: usize = 14;
/// The longest packet that is joined from several: the longest that an IP header can express.
pub(crate) const MAX_JOINED_LEN: usize = 65_575;
/// Room beyond the longest frame, so that a frame that is too long is seen as such, and is counted.
/// It includes an 802.1Q tag.
pub(crate) const OVERSIZE_LEN: usize = 64;
