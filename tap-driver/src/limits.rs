//! What a TAP device can be.

/// The largest MTU of a TAP device: 65,535 less the Ethernet header.
pub const MAX_MTU: usize = 65_521;
/// The smallest MTU that is taken: every IPv4 host must take packets of 576 bytes (RFC 1122
/// §3.3.2).
pub const MIN_MTU: usize = 576;
/// The smallest MTU for IPv6 (RFC 8200 §5).
pub const MIN_IPV6_MTU: usize = 1280;
/// The most queues that the kernel gives a device (MAX_TAP_QUEUES).
pub const MAX_QUEUES: usize = 256;
