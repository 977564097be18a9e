//! The identifiers of echo sockets.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::rng::Rng;
use crate::socket::common::Common;
use crate::steering::Share;

/// The most sockets that share an identifier: a reply is looked for among all of them.
const MAX_SHARERS: usize = 64;

/// The sockets by identifier. Both families share the numbers, as on Linux.
#[derive(Debug)]
pub(super) struct Identifiers {
    /// Oldest first; never empty.
    holders: BTreeMap<u16, SmallVec<[SocketId; 2]>>,
    share: Option<Share>,
}

impl Identifiers {
    pub(super) fn new(share: Option<Share>) -> Self {
        Identifiers { holders: BTreeMap::new(), share }
    }

    /// Gives a socket this identifier; 0 draws one that no other has. EADDRINUSE, also if the
    /// socket or another with the identifier has cleared SO_REUSEADDR; ENOBUFS.
    pub(super) fn take(&mut self, common: &Common, rng: &mut Rng, wanted: u16, id: SocketId) -> Result<u16> {
        let identifier = match wanted {
            0 => self.draw(rng).ok_or(Error::AddressInUse)?,
            wanted => wanted,
        };
        let shares = |id: SocketId| common.record(id).is_ok_and(|socket| socket.options.reuse_addr);
        let holders = self.holders.entry(identifier).or_default();
        let is_free = holders.is_empty() || (shares(id) && holders.iter().all(|&other| shares(other)));
        if !is_free {
            return Err(Error::AddressInUse);
        }
        if holders.len() >= MAX_SHARERS {
            return Err(Error::NoBufferSpace);
        }
        holders.push(id);
        Ok(identifier)
    }

    pub(super) fn release(&mut self, identifier: u16, id: SocketId) {
        if let Some(holders) = self.holders.get_mut(&identifier) {
            holders.retain(|other| *other != id);
            if holders.is_empty() {
                self.holders.remove(&identifier);
            }
        }
    }

    /// The socket that gets a message with this identifier to one of our addresses: as on Linux the
    /// one that took the identifier last, whatever it is connected to. From an interface of another
    /// zone than zone 0 (`is_apart`) it is one that is bound to that interface.
    pub(super) fn find(
        &self,
        common: &Common,
        identifier: u16,
        local: IpAddr,
        (iface, is_apart): (Option<InterfaceId>, bool),
    ) -> Option<SocketId> {
        let hears = |id: &&SocketId| {
            common
                .record(**id)
                .is_ok_and(|socket| socket.hears(local, iface) && (!is_apart || socket.device() == iface))
        };
        self.holders.get(&identifier)?.iter().rev().find(hears).copied()
    }

    /// A free identifier that leads replies to this stack.
    fn draw(&self, rng: &mut Rng) -> Option<u16> {
        let first = rng.next_u32() as u16;
        let is_free = |&identifier: &u16| {
            identifier != 0
                && !self.holders.contains_key(&identifier)
                && self.share.as_ref().is_none_or(|share| share.has_port(identifier))
        };
        (0..=u16::MAX).map(|step| first.wrapping_add(step)).find(is_free)
    }
}
