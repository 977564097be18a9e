//! UDP sockets (RFC 768).
//!
//! Read `calls` (the calls of programs, and the sending), then `input` (datagrams and errors) and
//! `connected` (which connected socket a datagram is for), then `flows`, `flow_queue` and
//! `intercept` (datagrams to other hosts). The queues are those of `datagram_queue`.

mod calls;
mod connected;
pub(super) mod flow_queue;
mod flows;
mod input;
mod intercept;

use super::binding::Groups;
use super::bound_ports::{BoundPorts, PortRules};
use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::rng::Rng;
use crate::steering::Share;

use connected::Connected;
use flows::Flows;

/// A broadcast or multicast address may be bound, to hear that group only.
const RULES: PortRules = PortRules { peers_have_ports: true, is_dual_stack: true, groups: Groups::Allowed };

/// The tables of UDP's sockets.
#[derive(Debug)]
pub(crate) struct UdpSockets {
    default_options: CopyOnWrite<SocketOptions>,
    connected: Connected,
    ports: BoundPorts,
    flows: Flows,
}

impl UdpSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        UdpSockets {
            default_options: SocketOptions::for_datagrams(config).into(),
            connected: Connected::new(rng),
            ports: BoundPorts::new(RULES, config, share, rng),
            flows: Flows::default(),
        }
    }
}

#[cfg(test)]
mod tests;
