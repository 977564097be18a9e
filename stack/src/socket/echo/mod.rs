//! Echo sockets, Linux's ping sockets: their messages are ICMP echo messages.
//!
//! Read `calls` (the calls of programs, and the sending), then `input` (replies and errors). The
//! queues are those of `datagram_queue`; the identifier of the messages takes the place of the
//! port.

mod calls;
mod input;

use super::binding::Groups;
use super::bound_ports::{BoundPorts, PortRules};
use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::rng::Rng;
use crate::steering::Share;

/// The two ICMPs differ, so that a socket speaks one of them.
const RULES: PortRules = PortRules { peers_have_ports: false, is_dual_stack: false, groups: Groups::Refused };

/// The tables of echo sockets.
#[derive(Debug)]
pub(crate) struct EchoSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// The sockets by identifier.
    ports: BoundPorts,
}

impl EchoSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        EchoSockets {
            default_options: SocketOptions::for_datagrams(config).into(),
            ports: BoundPorts::new(RULES, config, share, rng),
        }
    }
}
