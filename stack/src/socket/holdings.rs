//! An index of connections by the memory that they hold and the time without progress. It exists
//! only while memory is short.
//!
//! It costs nothing while there is enough memory. When memory gets short, each connection is
//! entered in turn, and updated with each call on it and in every round of
//! [`relief`](super::relief). When the shortage is over, the entries are removed again, some with
//! every call.
//!
//! Shares are by peer first, then by connection: a peer with ten thousand connections is one peer.
//! A peer is an IPv4 address or an IPv6 network of 64 bits, because a host chooses its addresses in
//! such a network freely (RFC 7721, RFC 8981).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::scope::is_link_local;
use crate::hash::{HashMap, Keyed};
use crate::id::SocketId;
use crate::rng::Rng;
use crate::slab::{Key, Slab};
use crate::time::Instant;

/// This many bytes must drain from the queues to count as progress. Otherwise a peer that takes
/// single bytes would never be reset.
const PROGRESS_BYTES: u32 = 4096;

/// The peer whose share of the memory a connection counts in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Peer {
    addr: IpAddr,
    /// The scope of the connection.
    scope: u16,
}

impl Peer {
    /// A link-local address is a peer of its own: it belongs to one station on the link.
    pub(super) fn of(addr: IpAddr, scope: u16) -> Peer {
        let addr = match addr {
            IpAddr::V6(v6) if !is_link_local(addr) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            addr => addr,
        };
        Peer { addr, scope }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V6(_) if !is_link_local(self.addr) => write!(f, "{}/64", self.addr),
            addr => write!(f, "{addr}"),
        }
    }
}

/// The values of a connection that the index uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryUse {
    /// The bytes charged for it.
    pub(super) bytes: usize,
    /// Whether data waits in its queues.
    pub(super) holds_data: bool,
    /// Bytes that have ever left its queues; wraps.
    pub(super) drained: u32,
    /// When data last moved, as far as known when it was entered.
    pub(super) moved_at: Instant,
}

/// The rank of a connection for resets: those that hold data before others, then by what the peer
/// holds, in powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    holds_data: bool,
    magnitude: u8,
}

#[derive(Clone, Copy, Debug)]
struct ConnectionEntry {
    id: SocketId,
    peer: Key,
    bytes: usize,
    rank: Rank,
    /// The time of its last progress.
    since: Instant,
    drained: u32,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The sum over the connections of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub(super) peer: Peer,
    pub(super) bytes: usize,
    pub(super) connections: usize,
    /// Of these, those that hold data.
    holders: usize,
}

impl Sum {
    fn magnitude(&self) -> u8 {
        // Of a 64-bit number.
        self.bytes.max(1).ilog2() as u8
    }
}

/// The number of a socket's slot.
fn slot_of(id: SocketId) -> usize {
    Key::from(id).into_numbers().0 as usize
}

/// The index; see the [module](self).
#[derive(Debug)]
pub(super) struct Holdings {
    peers: HashMap<Peer, Key>,
    sums: Slab<Key, Sum>,
    /// The entries, by the number of the socket's slot.
    entries: Vec<Option<ConnectionEntry>>,
    order: BTreeSet<(Rank, Instant, SocketId)>,
    /// The number of peers whose connections hold data.
    holding_peers: usize,
    /// The peer that held the most when it was last checked.
    largest: Option<Key>,
}

impl Holdings {
    pub(super) fn new(rng: &mut Rng) -> Holdings {
        Holdings {
            peers: HashMap::with_hasher(Keyed::new(rng)),
            sums: Slab::new(),
            entries: Vec::new(),
            order: BTreeSet::new(),
            holding_peers: 0,
            largest: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Nearly all memory of the index.
    pub(super) fn memory_bytes(&self) -> usize {
        let order = self.order.len() * mem::size_of::<(Rank, Instant, SocketId)>() * 3 / 2;
        let peers = self.peers.capacity() * (mem::size_of::<(Peer, Key)>() + 1)
            + self.sums.slots() as usize * mem::size_of::<Sum>();
        self.entries.capacity() * mem::size_of::<Option<ConnectionEntry>>() + order + peers
    }

    /// Enters a connection, or updates its entry.
    pub(super) fn update(&mut self, now: Instant, id: SocketId, peer: Peer, used: MemoryUse) {
        let slot = slot_of(id);
        let mut old = self.entries.get(slot).copied().flatten();
        if let Some(stale) = old.take_if(|old| old.id != id) {
            self.forget(stale.id);
        }
        let peer = old.map_or_else(|| self.key_of(peer), |old| old.peer);
        let Some(magnitude) = self.count(peer, old.as_ref(), &used) else { return };
        let rank = Rank { holds_data: used.holds_data, magnitude };
        let mut entry = ConnectionEntry {
            id,
            peer,
            bytes: used.bytes,
            rank,
            since: used.moved_at.min(now),
            drained: used.drained,
        };
        if let Some(old) = old {
            let drained = used.drained.wrapping_sub(old.drained);
            // Data that was just queued has not waited since the time at which data last drained.
            let begins = used.holds_data && !old.rank.holds_data;
            let is_progress = drained >= PROGRESS_BYTES || (drained > 0 && !used.holds_data);
            if begins || is_progress {
                entry.since = now;
            } else {
                (entry.since, entry.drained) = (old.since, old.drained);
            }
        }
        let place = |entry: &ConnectionEntry| (entry.rank, entry.since, id);
        if old.as_ref().map(place) != Some(place(&entry)) {
            if let Some(old) = &old {
                self.order.remove(&place(old));
            }
            self.order.insert(place(&entry));
        }
        if self.entries.len() <= slot {
            self.entries.resize(slot + 1, None);
        }
        self.entries[slot] = Some(entry);
    }

    fn key_of(&mut self, peer: Peer) -> Key {
        let Holdings { peers, sums, .. } = self;
        *peers.entry(peer).or_insert_with(|| sums.insert(Sum { peer, bytes: 0, connections: 0, holders: 0 }))
    }

    /// Updates the sums. Returns the magnitude of the peer's sum.
    fn count(&mut self, peer: Key, old: Option<&ConnectionEntry>, used: &MemoryUse) -> Option<u8> {
        let sum = self.sums.get_mut(peer)?;
        let held = sum.holders > 0;
        if let Some(old) = old {
            sum.bytes -= old.bytes;
            sum.holders -= usize::from(old.rank.holds_data);
        } else {
            sum.connections += 1;
        }
        sum.bytes += used.bytes;
        sum.holders += usize::from(used.holds_data);
        self.holding_peers = self.holding_peers + usize::from(sum.holders > 0) - usize::from(held);
        let (bytes, magnitude) = (sum.bytes, sum.magnitude());
        if self.largest().is_none_or(|largest| bytes > largest.bytes) {
            self.largest = Some(peer);
        }
        Some(magnitude)
    }

    /// Removes a connection, if it was entered.
    pub(super) fn forget(&mut self, id: SocketId) {
        let slot = slot_of(id);
        let Some(entry) = self.entries.get_mut(slot).and_then(|entry| entry.take_if(|entry| entry.id == id))
        else {
            return;
        };
        self.order.remove(&(entry.rank, entry.since, id));
        let Some(sum) = self.sums.get_mut(entry.peer) else { return };
        sum.bytes -= entry.bytes;
        sum.connections -= 1;
        if entry.rank.holds_data {
            sum.holders -= 1;
            self.holding_peers -= usize::from(sum.holders == 0);
        }
        if sum.connections == 0 {
            self.peers.remove(&sum.peer);
            self.sums.remove(entry.peer);
        }
        if self.order.is_empty() {
            self.entries = Vec::new();
            self.peers.shrink_to_fit();
            self.sums = Slab::new();
            self.largest = None;
        }
    }

    /// Removes up to `count` connections.
    pub(super) fn forget_some(&mut self, count: usize) {
        for _ in 0..count {
            let Some(&(_, _, id)) = self.order.first() else { return };
            self.forget(id);
        }
    }

    /// The number of connections that share `whole` bytes evenly with this one, itself included.
    /// Only holders of data count: first peers, then the connections of its peer. `None` if its
    /// peer has used up its part.
    pub(super) fn sharers(&self, id: SocketId, whole: usize) -> Option<usize> {
        let Some((entry, sum)) = self.entry(id) else { return Some(1) };
        let peers = self.holding_peers.max(1) + usize::from(sum.holders == 0);
        let holders = sum.holders + usize::from(!entry.rank.holds_data);
        (sum.bytes <= whole / peers).then(|| peers.saturating_mul(holders))
    }

    /// Whether a connection, or its peer, holds more than its even part of `whole`.
    pub(super) fn is_over_share(&self, id: SocketId, whole: usize) -> bool {
        let Some((entry, _)) = self.entry(id) else { return false };
        self.sharers(id, whole).is_none_or(|sharers| entry.bytes > whole / sharers)
    }

    fn entry(&self, id: SocketId) -> Option<(&ConnectionEntry, &Sum)> {
        let entry = self.entries.get(slot_of(id))?.as_ref().filter(|entry| entry.id == id)?;
        Some((entry, self.sums.get(entry.peer)?))
    }

    /// The connection whose peer has kept the most memory for the longest time without progress.
    /// The measure is the product of what the peer holds, rounded to a power of two, and the time
    /// since this connection made progress. Among connections of one peer, or of peers that hold
    /// about the same, it is the one that has waited longest. Connections that hold no data come
    /// after all others.
    ///
    /// In each rank only the connection that has waited longest is compared. There are at most as
    /// many ranks as a number of bytes has bits.
    pub(super) fn worst(&mut self, now: Instant) -> Option<SocketId> {
        let first_id = SocketId::from(Key::from_numbers((0, 0)));
        let mut best: Option<(u128, SocketId)> = None;
        let mut outdated = Vec::new();
        let mut rank = self.order.last()?.0;
        let holds_data = rank.holds_data;
        loop {
            let &(_, since, id) = self.order.range((rank, Instant::ZERO, first_id)..).next()?;
            let magnitude = self.entry(id)?.1.magnitude();
            if magnitude != rank.magnitude {
                outdated.push(id);
            }
            let waited = now.duration_since(since).max(Duration::from_millis(1)).as_nanos();
            let score = waited << magnitude;
            if best.is_none_or(|(least, _)| score > least) {
                best = Some((score, id));
            }
            match self.order.range(..(rank, Instant::ZERO, first_id)).next_back() {
                Some(&(next, _, _)) if next.holds_data == holds_data => rank = next,
                _ => break,
            }
        }
        for id in outdated {
            self.renew_rank(id);
        }
        best.map(|(_, id)| id)
    }

    /// Updates a connection's rank after its peer's sum has changed.
    fn renew_rank(&mut self, id: SocketId) {
        let Some((&(mut entry), sum)) = self.entry(id) else { return };
        let magnitude = sum.magnitude();
        self.order.remove(&(entry.rank, entry.since, id));
        entry.rank.magnitude = magnitude;
        self.order.insert((entry.rank, entry.since, id));
        self.entries[slot_of(id)] = Some(entry);
    }

    /// The time of a connection's last progress.
    pub(super) fn stalled_since(&self, id: SocketId) -> Option<Instant> {
        self.entry(id).map(|(entry, _)| entry.since)
    }

    /// The sum of the peer seen to hold the most.
    pub(super) fn largest(&self) -> Option<Sum> {
        self.sums.get(self.largest?).copied()
    }
}

#[cfg(test)]
mod tests;
