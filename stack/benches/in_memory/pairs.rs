//! Two stacks and a link in memory: what the benchmarks of Portolan and of smoltcp have in common.

pub(crate) mod portolan_side;
pub(crate) mod smoltcp_side;

/// Whether the programs at both ends have their data copied.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Copies {
    /// `send` and `recv` with buffers of 64 KiB.
    Both,
    /// Portolan's `send_bytes` and `recv_bytes`; smoltcp's `send` and `recv` with closures that
    /// look at nothing, as in its own loopback benchmark.
    None,
}

/// What a bulk transfer moves.
pub(crate) const BULK_BYTES: usize = 16 << 20;
/// The payload of a full segment with timestamps, at an MTU of 1,500.
pub(crate) const SEGMENT_BYTES: usize = 1448;
/// Segments that are made before, and timed as one, so that reading the clock costs nothing.
pub(crate) const BATCH: usize = 64;
/// SO_SNDBUF and SO_RCVBUF of both.
const SOCKET_BUFFER: usize = 256 << 10;
/// Frames that wait in one direction of the link.
const LINK_FRAMES: usize = 64;
