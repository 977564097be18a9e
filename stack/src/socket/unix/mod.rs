//! Unix-domain sockets: communication between the owners of one stack.
//!
//! Read `state` (what a socket holds) and `names`, then `calls` (the calls), `connecting`
//! (`listen`, `connect`, `accept`, `socketpair`), `transfer` (sending and receiving), `urgent`
//! (MSG_OOB), `waiting` (how senders learn that a full queue has room again), `rights` (descriptors
//! that are passed, and the search for those that nobody can receive) and `releasing` (closing
//! those).
//!
//! Nothing here becomes a packet: a message goes from the call that sends it to the queue of its
//! receiver.

mod calls;
mod connecting;
mod names;
mod releasing;
mod rights;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod urgent;
mod waiting;

pub use calls::{UnixMessage, UnixSend};
pub(super) use state::UnixSocket;
pub(super) use waiting::{full_peer, wait_at, wait_for_peer};

use self::names::Names;
use self::rights::Rights;
use super::options::SocketOptions;
use super::protocol::ProtocolInput;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::rng::Rng;
use crate::steering::Share;

/// The tables of Unix-domain sockets.
#[derive(Debug)]
pub(crate) struct UnixSockets {
    default_options: CopyOnWrite<SocketOptions>,
    max_datagrams: usize,
    names: Names,
    rights: Rights,
}

impl UnixSockets {
    pub(super) fn new(config: &Config, _: Option<&Share>, _: &mut Rng) -> Self {
        UnixSockets {
            default_options: SocketOptions::for_datagrams(config).into(),
            max_datagrams: config.unix.max_datagrams,
            names: Names::new(config.unix.max_names),
            rights: Rights::default(),
        }
    }
}

impl ProtocolInput for UnixSockets {}
