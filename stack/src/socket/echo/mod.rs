//! Echo sockets, Linux's ping sockets: their messages are ICMP echo messages.
//!
//! Read `identifiers`, then `calls` (the calls of programs, and the sending), then `input` (replies
//! and errors). The queues are those of `datagram_queue`; the identifier of the messages takes the
//! place of the port.

mod calls;
mod identifiers;
mod input;
#[cfg(test)]
mod tests;

use super::options::SocketOptions;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::rng::Rng;
use crate::steering::Share;
use identifiers::Identifiers;

/// The tables of echo sockets.
#[derive(Debug)]
pub(crate) struct EchoSockets {
    default_options: CopyOnWrite<SocketOptions>,
    identifiers: Identifiers,
}

impl EchoSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, _: &mut Rng) -> Self {
        let mut options = SocketOptions::for_datagrams(config);
        // As on Linux.
        options.reuse_addr = true;
        EchoSockets { default_options: options.into(), identifiers: Identifiers::new(share.cloned()) }
    }
}
