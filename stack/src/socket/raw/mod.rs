//! Raw IP sockets: IP packets of one protocol, past the transport layer (Linux's raw(7) and RFC
//! 3542 §3).
//!
//! Read `calls` (the calls of programs, and the sending), `packet` (packets whose header is the
//! program's), then `input` (received packets, and errors about sent ones). The queues are those of
//! `datagram_queue`. The protocol number takes the place of the port.

mod calls;
mod input;
mod packet;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::kind::Domain;
use super::options::{RawOptions, SocketOptions};
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::id::SocketId;
use crate::rng::Rng;
use crate::steering::Share;

/// IPPROTO_RAW.
const IPPROTO_RAW: u8 = 255;

/// The tables of raw sockets.
#[derive(Debug)]
pub(crate) struct RawSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// The sockets of each family (whether it is IPv4) and protocol, at most `max_receivers` of
    /// each. A list is never empty.
    receivers: BTreeMap<(bool, u8), Vec<SocketId>>,
    max_receivers: usize,
}

impl RawSockets {
    pub(super) fn new(config: &Config, _: Option<&Share>, _: &mut Rng) -> Self {
        let mut options = SocketOptions::for_datagrams(config);
        options.raw = Some(RawOptions::default().into());
        // As on Linux, where it has no effect.
        options.reuse_addr = true;
        RawSockets {
            default_options: options.into(),
            receivers: BTreeMap::new(),
            max_receivers: config.ip.max_raw_receivers,
        }
    }

    /// The sockets of a family and protocol.
    fn receivers(&self, is_v4: bool, protocol: u8) -> &[SocketId] {
        self.receivers.get(&(is_v4, protocol)).map_or(&[], Vec::as_slice)
    }

    fn add_receiver(&mut self, domain: Domain, protocol: u8, id: SocketId) {
        self.receivers.entry((domain == Domain::V4, protocol)).or_default().push(id);
    }

    fn remove_receiver(&mut self, domain: Domain, protocol: u8, id: SocketId) {
        let key = (domain == Domain::V4, protocol);
        if let Some(ids) = self.receivers.get_mut(&key) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.receivers.remove(&key);
            }
        }
    }
}
