//! Packet sockets: frames as they are on the link (Linux's packet(7)).
//!
//! Read `address` and `header` (what a program chooses), `queue` (the record of a socket, and what
//! a program gets), then `calls` (the calls of programs, and the sending), `membership`
//! (promiscuous mode), `input` (the copies of frames), and `fanout_group` and `fanout`
//! (groups of sockets that share frames).

mod address;
mod calls;
mod fanout;
mod fanout_group;
mod header;
mod input;
mod membership;
mod queue;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use address::LinkAddr;
use fanout_group::FanoutGroup;
pub use header::LinkHeader;
pub(super) use queue::PacketQueue;
pub use queue::{PacketMeta, PacketStatistics};

use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::hash::Keyed;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;
use crate::rng::Rng;
use crate::steering::Share;

/// The tables of packet sockets.
#[derive(Debug)]
pub(crate) struct PacketSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// The sockets that take copies of frames.
    taps: Vec<Tap>,
    max_taps: usize,
    /// The frames for other stations that memberships show: of an interface, all or those for one
    /// station; and how many memberships do.
    shown: BTreeMap<(InterfaceId, Option<MacAddr>), usize>,
    /// The groups of PACKET_FANOUT.
    fanouts: Vec<FanoutGroup>,
    /// The key of the hash that chooses among the members of a group.
    fanout_key: Keyed,
    /// The socket whose frame is on its way to the device. The socket does not get a copy of it.
    sender: Option<FrameSender>,
}

/// A socket that takes copies of frames.
#[derive(Clone, Copy, Debug)]
struct Tap {
    id: SocketId,
    /// The interface that it is bound to; `None` for all.
    iface: Option<InterfaceId>,
    /// The EtherType of the frames, or ETH_P_ALL.
    protocol: u16,
}

/// The socket that sent a frame, and the EtherType that it gave the frame.
#[derive(Clone, Copy, Debug)]
struct FrameSender {
    id: SocketId,
    protocol: Option<u16>,
}

impl PacketSockets {
    pub(super) fn new(config: &Config, _: Option<&Share>, rng: &mut Rng) -> Self {
        PacketSockets {
            default_options: SocketOptions::for_datagrams(config).into(),
            taps: Vec::new(),
            max_taps: config.max_packet_taps,
            shown: BTreeMap::new(),
            fanouts: Vec::new(),
            fanout_key: Keyed::new(&mut rng.stream(3)),
            sender: None,
        }
    }

    /// Whether any socket takes copies of frames.
    #[inline]
    pub(crate) fn has_taps(&self) -> bool {
        !self.taps.is_empty()
    }
}
