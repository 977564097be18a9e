//! UDP sockets (RFC 768).
//!
//! Read `calls` (the calls of programs, and the sending), then `input` (datagrams and errors). The
//! queues are those of `datagram_queue`.

mod calls;
mod input;

use super::binding::Groups;
use super::bound_ports::{BoundPorts, PortRules};
use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::demux::FourTuple;
use crate::hash::{HashMap, hash_map};
use crate::id::SocketId;
use crate::rng::Rng;
use crate::steering::Share;

/// A broadcast or multicast address may be bound, to hear that group only.
const RULES: PortRules = PortRules { peers_have_ports: true, is_dual_stack: true, groups: Groups::Allowed };

/// The tables of UDP's sockets.
#[derive(Debug)]
pub(crate) struct UdpSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// Connected sockets, which receive only from their peers.
    connected: HashMap<FourTuple, SocketId>,
    ports: BoundPorts,
}

impl UdpSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        UdpSockets {
            default_options: SocketOptions::for_datagrams(config).into(),
            connected: hash_map(rng),
            ports: BoundPorts::new(RULES, config, share, rng),
        }
    }
}
