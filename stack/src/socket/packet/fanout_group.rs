//! A group of packet sockets (PACKET_FANOUT).

use alloc::vec::Vec;

use crate::bpf::Filter;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::socket::options::PacketFanout;

/// A group of sockets with one interface and EtherType.
#[derive(Debug)]
pub(super) struct FanoutGroup {
    pub(super) fanout: PacketFanout,
    pub(super) iface: Option<InterfaceId>,
    pub(super) protocol: u16,
    /// In the order of joining. As on Linux the last one takes the place of one that leaves.
    pub(super) members: Vec<SocketId>,
    /// The number of the last frame, for `RoundRobin`.
    pub(super) turn: u32,
    /// The program of `Program`.
    pub(super) program: Option<Filter>,
}
