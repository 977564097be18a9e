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
