//! Two stacks and a link in memory: the common part of the benchmarks of Portolan and smoltcp.

pub(crate) mod portolan_side;
pub(crate) mod smoltcp_side;

/// Whether the programs at both ends copy their data.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Copies {
    /// `send` and `recv` with buffers of 64 KiB.
    Both,
    /// Portolan's `send_bytes` and `recv_bytes`; smoltcp's `send` and `recv` with closures that
    /// look at nothing, as in its own loopback benchmark.
    None,
}

/// The number of bytes in a bulk transfer.
pub(crate) const BULK_BYTES: usize = 16 << 20;
/// The payload of a full segment with timestamps, at an MTU of 1,500.
pub(crate) const SEGMENT_BYTES: usize = 1448;
/// The number of segments that are prepared, and then timed together, so that reading the clock
/// costs nothing.
pub(crate) const BATCH: usize = 64;
/// SO_SNDBUF and SO_RCVBUF of both stacks.
const SOCKET_BUFFER: usize = 256 << 10;
/// The most frames that wait in one direction of the link.
const LINK_FRAMES: usize = 64;
