//! Echo sockets, Linux's ping sockets: their messages are ICMP echo messages.
//!
//! Read `calls` (what a program does with them, and how they send), then `input` (replies and
//! errors that come in). The queues are those of `datagram_queue`; the identifier of the messages
//! plays the port.

mod calls;
mod input;

use super::binding::BoundPorts;
use super::kind::SocketKind;
use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::rng::Rng;
use crate::steering::Share;

/// The tables of echo sockets.
#[derive(Debug)]
pub(crate) struct EchoSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// By identifier.
    ports: BoundPorts,
}

impl EchoSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        EchoSockets {
            default_options: SocketOptions::new(config, SocketKind::Echo).into(),
            ports: BoundPorts::new(config, share, rng),
        }
    }
}
