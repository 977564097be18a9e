//! [`SocketWalk`]: a walk over all sockets, in steps between which the stack may change.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::common::Common;
use super::info::SocketInfo;
use super::table::Descriptor;
use super::tcp::TcpSockets;
use crate::demux::{Endpoint, FourTuple};
use crate::id::SocketId;

/// A walk over the sockets of a stack in steps
/// ([`Stack::walk_sockets`](crate::Stack::walk_sockets)).
///
/// The stack may change between the steps. A socket that is open during the whole walk is listed
/// once. One that is opened or closed meanwhile may be missing, and a connection that enters
/// TIME-WAIT meanwhile may be listed in both states, as with the dumps of Linux's `sock_diag`.
///
/// The walk remembers the descriptors of the stack, about 24 bytes for each descriptor, and 4 for
/// each socket.
#[derive(Debug, Default)]
pub struct SocketWalk {
    place: Place,
    holders: HolderIndex,
    /// The addresses of listed sockets in TIME-WAIT, whose records are not listed again.
    listed_time_waits: BTreeSet<(Endpoint, Endpoint, u16)>,
}

/// The next entry that the walk looks at.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A number in the descriptor table of the owner in this slot.
    Descriptor {
        owner: u32,
        number: u32,
    },
    /// A slot of the records, and the number of slots.
    Record(u32, u32),
    /// A slot of the handshakes, and the number of slots.
    Handshake(u32, u32),
    /// The number of a TIME-WAIT record, and how many are left.
    TimeWait(u32, u32),
    End,
}

impl Default for Place {
    fn default() -> Self {
        Place::Descriptor { owner: 0, number: 0 }
    }
}

/// What a step of a walk has found.
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum WalkStep {
    Socket(SocketInfo),
    /// A free entry, or one of the descriptors, which come first.
    Other,
    End,
}

/// The descriptors of each socket, collected from the tables of the owners.
#[derive(Debug, Default)]
struct HolderIndex {
    entries: Vec<Holder>,
    /// For each slot of a socket the last of its entries, by its number from 1.
    last: Vec<Option<NonZeroU32>>,
}

#[derive(Debug)]
struct Holder {
    socket: SocketId,
    descriptor: Descriptor,
    /// The previous entry of the same slot, by its number from 1.
    previous: Option<NonZeroU32>,
}

impl HolderIndex {
    fn add(&mut self, descriptor: Descriptor, socket: SocketId) {
        if self.last.len() <= socket.index() {
            self.last.resize(socket.index() + 1, None);
        }
        let previous = self.last[socket.index()];
        self.entries.push(Holder { socket, descriptor, previous });
        // The descriptors of all owners are counted in 32 bits.
        self.last[socket.index()] = u32::try_from(self.entries.len()).ok().and_then(NonZeroU32::new);
    }

    /// Writes the descriptors of a socket into its description.
    fn describe(&self, id: SocketId, info: &mut SocketInfo) {
        let mut next = self.last.get(id.index()).copied().flatten();
        while let Some(holder) = next.and_then(|number| self.entries.get(number.get() as usize - 1)) {
            next = holder.previous;
            // The slot may have been given to another socket during the walk.
            if holder.socket == id {
                info.other_descriptors.extend(info.descriptor.replace(holder.descriptor));
            }
        }
        info.other_descriptors.reverse();
    }
}

impl SocketWalk {
    /// A walk that begins.
    pub fn new() -> Self {
        SocketWalk::default()
    }

    /// Whether it has passed all sockets.
    pub fn is_finished(&self) -> bool {
        matches!(self.place, Place::End)
    }

    /// Looks at the next entry.
    pub(super) fn step(&mut self, common: &Common, tcp: &TcpSockets) -> WalkStep {
        let (found, next) = match self.place {
            Place::Descriptor { owner, number } => {
                self.place = self.step_descriptors(common, owner, number);
                return WalkStep::Other;
            }
            Place::Record(slot, end) if slot < end => {
                (self.record(common, slot), Place::Record(slot + 1, end))
            }
            Place::Record(..) => (None, Place::Handshake(0, tcp.handshake_slots())),
            Place::Handshake(slot, end) if slot < end => {
                (tcp.handshake_info(common, slot), Place::Handshake(slot + 1, end))
            }
            Place::Handshake(..) => {
                let (first, count) = tcp.time_wait_range();
                (None, Place::TimeWait(first, count))
            }
            Place::TimeWait(number, left) if left > 0 => {
                let found = tcp.time_wait_info(number).filter(|(tuple, _)| !self.is_listed(tuple));
                (found.map(|(_, info)| info), Place::TimeWait(number.wrapping_add(1), left - 1))
            }
            Place::TimeWait(..) => (None, Place::End),
            Place::End => return WalkStep::End,
        };
        self.place = next;
        found.map_or(WalkStep::Other, WalkStep::Socket)
    }

    /// Remembers one descriptor. Returns the next place.
    fn step_descriptors(&mut self, common: &Common, owner: u32, number: u32) -> Place {
        let owners = &common.owners;
        if owner >= owners.slots() {
            return Place::Record(0, common.records.slots());
        }
        match owners.entry(owner, number) {
            None => Place::Descriptor { owner: owner + 1, number: 0 },
            Some(held) => {
                if let Some((descriptor, socket)) = held {
                    self.holders.add(descriptor, socket);
                }
                Place::Descriptor { owner, number: number + 1 }
            }
        }
    }

    fn record(&mut self, common: &Common, slot: u32) -> Option<SocketInfo> {
        let (id, socket) = common.records.at(slot)?;
        self.listed_time_waits.extend(socket.protocol.time_wait_tuple().map(ends));
        let mut info = SocketInfo { id: Some(id), ..socket.info() };
        if let Ok(unix) = socket.unix() {
            info.peer_socket = unix.peer;
            info.peer = common.peer_name(id).ok();
        }
        self.holders.describe(id, &mut info);
        Some(info)
    }

    fn is_listed(&self, tuple: &FourTuple) -> bool {
        self.listed_time_waits.contains(&ends(tuple))
    }
}

fn ends(tuple: &FourTuple) -> (Endpoint, Endpoint, u16) {
    (tuple.local, tuple.remote, tuple.scope)
}

/// The iterator of [`Stack::sockets`](crate::Stack::sockets).
#[derive(Debug)]
pub(crate) struct SocketInfos<'a> {
    common: &'a Common,
    tcp: &'a TcpSockets,
    walk: SocketWalk,
}

impl<'a> SocketInfos<'a> {
    pub(super) fn new(common: &'a Common, tcp: &'a TcpSockets) -> Self {
        SocketInfos { common, tcp, walk: SocketWalk::new() }
    }
}

impl Iterator for SocketInfos<'_> {
    type Item = SocketInfo;

    fn next(&mut self) -> Option<SocketInfo> {
        loop {
            match self.walk.step(self.common, self.tcp) {
                WalkStep::Socket(info) => return Some(info),
                WalkStep::Other => {}
                WalkStep::End => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
