//! Reassembly of fragments (RFC 791 §3.2, RFC 815, RFC 8200 §4.5).
//!
//! Strangers send all of this, so everything is bounded: the bytes and packets in all, the
//! fragments of one packet, and the time. When a limit is reached, the oldest packet of the source
//! that holds the most is dropped, so that no source crowds out the others. A packet whose
//! fragments overlap is dropped, with all its fragments that arrive later (RFC 5722), in IPv4, too:
//! no regular host makes them, and hosts resolve overlaps in different ways, which lets attackers
//! pass filters.
//!
//! Every dropped fragment is counted, including those that had waited.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::checksum::internet_checksum;
use super::ecn::IpEcn;
use super::extension::FRAGMENT_HEADER_LEN;
use super::{Cast, ipv6};
use crate::config::IpConfig;
use crate::drop_reason::DropReason;
use crate::hash::{HashMap, Keyed, hash_map};
use crate::interface_id::InterfaceId;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::subject::Subject;
use crate::time::Instant;

/// The most fragments of one packet: 64 KiB in pieces of 256 bytes.
const MAX_FRAGMENTS: usize = 256;
/// What a fragment or a packet costs beside its bytes.
const FRAGMENT_OVERHEAD: usize = 64;
const PACKET_OVERHEAD: usize = 256;
/// The number of shares of the memory. Sources with the same hash have one together.
const SOURCES: usize = 256;
/// The source of a deadline whose packet is gone.
const GONE: u16 = u16::MAX;

/// The packet that a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PacketKey {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// IPv4's protocol; 0 in IPv6, where the fragments of a packet may differ in it (RFC 8200
    /// §4.5).
    pub(crate) protocol: u8,
    pub(crate) id: u32,
    /// The link, if the source address does not tell the link, or if the link is in another zone
    /// than zone 0.
    pub(crate) iface: Option<InterfaceId>,
}

/// One fragment. Its length was checked.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Everything in front of the data: the IP header, and in IPv6 all headers up to and including
    /// the fragment header.
    pub(crate) header: Bytes,
    pub(crate) data: Bytes,
    /// The offset of the data in the packet, in bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
    /// IPv6: the protocol that the fragment header names, and where the fragment header itself is
    /// named.
    pub(crate) protocol: u8,
    pub(crate) named_at: usize,
    pub(crate) iface: InterfaceId,
    pub(crate) cast: Cast,
    /// The ECN field.
    pub(crate) ecn: u8,
}

/// What happened to a fragment.
#[derive(Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// It waits for others of its packet.
    Held,
    /// It was the last missing one.
    Complete {
        packet: Bytes,
        /// How the packet was addressed: not unicast if any fragment was not.
        cast: Cast,
    },
    /// It was dropped for this reason, which the caller counts.
    Dropped(DropReason),
}

/// A packet that expired, and whose first fragment had arrived: its sender gets an ICMP error.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The first fragment as it was received.
    pub(crate) packet: Bytes,
    pub(crate) iface: InterfaceId,
    pub(crate) cast: Cast,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
}

/// The memory and packets that one source holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SourceUsage {
    bytes: usize,
    packets: usize,
}

/// The time at which a packet expires.
#[derive(Clone, Copy, Debug)]
struct Expiry {
    at: Instant,
    key: PacketKey,
    serial: u64,
    /// The share that the packet counts in; [`GONE`] once the packet is known to be gone.
    source: u16,
}

#[derive(Debug)]
struct Packet {
    /// Distinguishes it from an earlier packet with the same key.
    serial: u64,
    source: u16,
    /// The fragments' offsets and data, in order and without overlaps.
    pieces: Vec<(usize, Bytes)>,
    /// The sum of their lengths.
    data_len: usize,
    /// The length of all the data, once the last fragment has arrived.
    total_len: Option<usize>,
    /// The first fragment's header, once it has arrived: it becomes the packet's.
    first: Option<First>,
    iface: InterfaceId,
    cast: Cast,
    /// Which ECN values were seen: bit n for value n.
    ecn_seen: u8,
    /// Its fragments overlapped: later ones are dropped.
    refused: bool,
    accounted_bytes: usize,
}

#[derive(Debug)]
struct First {
    header: Bytes,
    protocol: u8,
    named_at: usize,
}

/// Reassembles the packets of all interfaces; see the [module](self).
#[derive(Debug)]
pub(crate) struct Reassembler {
    packets: HashMap<PacketKey, Packet>,
    /// In order of time; some of their packets are gone.
    deadlines: VecDeque<Expiry>,
    next_serial: u64,
    /// The bytes of all shares.
    bytes: usize,
    shares: Vec<SourceUsage>,
    source_key: Keyed,
    max_bytes: usize,
    max_packets: usize,
    timeout: Duration,
}

impl Reassembler {
    pub(crate) fn new(config: &IpConfig, share_bytes: usize, rng: &mut Rng) -> Self {
        Reassembler {
            packets: hash_map(rng),
            deadlines: VecDeque::new(),
            next_serial: 0,
            bytes: 0,
            shares: vec![SourceUsage::default(); SOURCES],
            source_key: Keyed::new(rng),
            max_bytes: config.reassembly_limit_bytes.min(share_bytes),
            max_packets: config.max_reassemblies,
            timeout: config.reassembly_timeout,
        }
    }

    /// Adds a fragment.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        key: PacketKey,
        piece: Piece,
    ) -> Outcome {
        let cost = piece.data.len() + piece.header.len() + FRAGMENT_OVERHEAD + PACKET_OVERHEAD;
        if cost > self.max_bytes || self.max_packets == 0 {
            return Outcome::Dropped(DropReason::ReassemblyLimit);
        }
        let is_new = !self.packets.contains_key(&key);
        loop {
            let has_room = if self.bytes + cost > self.max_bytes {
                self.make_room(stats, |share| share.bytes)
            } else if is_new && self.packets.len() >= self.max_packets {
                self.make_room(stats, |share| share.packets)
            } else {
                break;
            };
            if !has_room {
                return Outcome::Dropped(DropReason::ReassemblyLimit);
            }
        }
        let serial = match self.packets.get(&key) {
            Some(packet) => packet.serial,
            None => self.begin(now, key, &piece),
        };
        let Some(packet) = self.packets.get_mut(&key) else {
            return Outcome::Dropped(DropReason::ReassemblyLimit);
        };
        if packet.refused {
            return Outcome::Dropped(DropReason::FragmentOverlap);
        }
        let (source, before) = (packet.source, packet.accounted_bytes);
        let added = packet.add(piece);
        let grown = packet.accounted_bytes - before;
        let is_complete = packet.is_complete();
        self.share_mut(source).bytes += grown;
        self.bytes += grown;
        match added {
            Ok(()) if is_complete => {}
            Ok(()) => return Outcome::Held,
            Err(
                reason
                @ (DropReason::FragmentOverlap | DropReason::BadFragment | DropReason::ReassemblyLimit),
            ) => {
                self.refuse(stats, key, reason);
                return Outcome::Dropped(reason);
            }
            Err(reason) => return Outcome::Dropped(reason),
        }
        let Some(packet) = self.remove(&key, serial) else { return Outcome::Held };
        match packet.build() {
            Some(bytes) => {
                stats.ip.reasm_oks += 1;
                Outcome::Complete { packet: bytes, cast: packet.cast }
            }
            None => {
                count(stats, &key, packet.pieces.len() - 1, DropReason::BadFragment);
                Outcome::Dropped(DropReason::BadFragment)
            }
        }
    }

    /// Drops the packets that come in through this interface, which was removed.
    pub(crate) fn remove_of(&mut self, iface: InterfaceId, stats: &mut Stats) {
        let is_of =
            |(key, packet): (&PacketKey, &Packet)| (packet.iface == iface).then_some((*key, packet.serial));
        let removed: Vec<(PacketKey, u64)> = self.packets.iter().filter_map(is_of).collect();
        for (key, serial) in removed {
            if let Some(packet) = self.remove(&key, serial) {
                count(stats, &key, packet.pieces.len(), DropReason::LinkDown);
            }
        }
    }

    /// Drops the packets that have expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant, stats: &mut Stats) -> Vec<Expired> {
        let mut expired = Vec::new();
        while let Some(&Expiry { at, key, serial, .. }) =
            self.deadlines.front().filter(|deadline| deadline.at <= now)
        {
            log::trace!("reassembly over at {at}");
            self.deadlines.pop_front();
            let Some(packet) = self.remove(&key, serial) else { continue };
            count(stats, &key, packet.pieces.len(), DropReason::ReassemblyTimeout);
            // RFC 792, RFC 8200 §4.5: an error is sent only if the first fragment is there to be
            // quoted.
            if let (Some(first), Some((0, data))) = (&packet.first, packet.pieces.first()) {
                let mut quoted = BytesMut::from(&first.header[..]);
                quoted.extend_from_slice(data);
                let (iface, cast) = (packet.iface, packet.cast);
                expired.push(Expired { packet: quoted.freeze(), iface, cast, src: key.src, dst: key.dst });
            }
        }
        self.drop_stale_deadlines();
        expired
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|deadline| deadline.at)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes + self.deadlines.len() * size_of::<Expiry>()
    }

    /// Creates the record of a packet of which this is the first fragment to arrive.
    fn begin(&mut self, now: Instant, key: PacketKey, piece: &Piece) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        let source = self.source_of(key.src, key.iface);
        let packet = Packet {
            serial,
            source,
            pieces: Vec::new(),
            data_len: 0,
            total_len: None,
            first: None,
            iface: piece.iface,
            cast: piece.cast,
            ecn_seen: 0,
            refused: false,
            accounted_bytes: PACKET_OVERHEAD,
        };
        self.bytes += packet.accounted_bytes;
        let share = self.share_mut(source);
        share.bytes += packet.accounted_bytes;
        share.packets += 1;
        self.packets.insert(key, packet);
        self.deadlines.push_back(Expiry { at: now + self.timeout, key, serial, source });
        serial
    }

    /// The share of a source. An IPv6 host counts as its network of 64 bits, in which it may have
    /// any address.
    fn source_of(&self, src: IpAddr, link: Option<InterfaceId>) -> u16 {
        let link = link.map_or(0, |iface| u64::from(iface.scope_id()) << 8);
        let words = match src {
            IpAddr::V4(addr) => [link | 4, u64::from(addr.to_bits())],
            IpAddr::V6(addr) => [link | 6, (addr.to_bits() >> 64) as u64],
        };
        (self.source_key.hash_words(words) as usize % SOURCES) as u16
    }

    fn share_mut(&mut self, source: u16) -> &mut SourceUsage {
        &mut self.shares[usize::from(source)]
    }

    /// Drops the fragments of a packet, and remembers until its expiry to drop those that arrive
    /// later.
    fn refuse(&mut self, stats: &mut Stats, key: PacketKey, reason: DropReason) {
        let Some(packet) = self.packets.get_mut(&key) else { return };
        count(stats, &key, packet.pieces.len(), reason);
        packet.pieces = Vec::new();
        packet.first = None;
        packet.refused = true;
        let (source, freed) = (packet.source, packet.accounted_bytes - PACKET_OVERHEAD);
        packet.accounted_bytes = PACKET_OVERHEAD;
        self.bytes -= freed;
        self.share_mut(source).bytes -= freed;
    }

    /// Drops the oldest packet of the source that has the most by the measure `of`. `false`: there
    /// is none.
    fn make_room(&mut self, stats: &mut Stats, of: impl Fn(&SourceUsage) -> usize) -> bool {
        let largest = self.shares.iter().enumerate().max_by_key(|(_, share)| of(share));
        let Some((largest, _)) = largest else { return false };
        let mut oldest = None;
        for deadline in self.deadlines.iter_mut().filter(|deadline| usize::from(deadline.source) == largest) {
            // The packet is removed now, or was before: either way the deadline is settled.
            deadline.source = GONE;
            if self.packets.get(&deadline.key).is_some_and(|packet| packet.serial == deadline.serial) {
                oldest = Some((deadline.key, deadline.serial));
                break;
            }
        }
        let Some((key, serial)) = oldest else { return false };
        let Some(packet) = self.remove(&key, serial) else { return false };
        count(stats, &key, packet.pieces.len(), DropReason::ReassemblyLimit);
        true
    }

    /// Removes a packet if it still has this serial number.
    fn remove(&mut self, key: &PacketKey, serial: u64) -> Option<Packet> {
        if self.packets.get(key)?.serial != serial {
            return None;
        }
        let packet = self.packets.remove(key)?;
        self.bytes -= packet.accounted_bytes;
        let share = self.share_mut(packet.source);
        share.bytes -= packet.accounted_bytes;
        share.packets -= 1;
        self.drop_stale_deadlines();
        Some(packet)
    }

    /// Removes deadlines whose packets are gone: those at the front at once, so that no timer fires
    /// without need; the others when they outnumber the live ones.
    fn drop_stale_deadlines(&mut self) {
        let packets = &self.packets;
        let is_live = |deadline: &Expiry| {
            deadline.source != GONE
                && packets.get(&deadline.key).is_some_and(|packet| packet.serial == deadline.serial)
        };
        while self.deadlines.front().is_some_and(|deadline| !is_live(deadline)) {
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > 2 * packets.len() + 32 {
            self.deadlines.retain(is_live);
        }
    }
}

impl Packet {
    /// Adds a piece. `DuplicateFragment` concerns the piece alone, other errors the whole packet.
    fn add(&mut self, piece: Piece) -> Result<(), DropReason> {
        let (start, end) = (piece.offset, piece.offset + piece.data.len());
        // RFC 8200 §4.5: the last fragment determines the length for all of them.
        let end_is_right = match (self.total_len, piece.more) {
            (Some(total), true) => end <= total,
            (Some(total), false) => end == total,
            (None, true) => true,
            (None, false) => self.pieces.last().is_none_or(|(at, data)| at + data.len() <= end),
        };
        let at = self.pieces.partition_point(|&(offset, _)| offset < start);
        let next = self.pieces.get(at);
        if next.is_some_and(|(offset, data)| *offset == start && data.len() == piece.data.len())
            && end_is_right
        {
            return Err(DropReason::DuplicateFragment);
        }
        let previous = at.checked_sub(1).and_then(|at| self.pieces.get(at));
        let overlaps = next.is_some_and(|&(offset, _)| offset < end)
            || previous.is_some_and(|(offset, data)| offset + data.len() > start);
        if overlaps {
            return Err(DropReason::FragmentOverlap);
        }
        if !end_is_right {
            return Err(DropReason::BadFragment);
        }
        if self.pieces.len() >= MAX_FRAGMENTS {
            return Err(DropReason::ReassemblyLimit);
        }
        if !piece.more {
            self.total_len = Some(end);
        }
        if start == 0 {
            // The header is copied, as the data are below: a slice would keep the whole frame
            // alive, however small the fragment is.
            let header = Bytes::copy_from_slice(&piece.header);
            self.accounted_bytes += header.len();
            self.first = Some(First { header, protocol: piece.protocol, named_at: piece.named_at });
        }
        if piece.cast != Cast::Unicast {
            self.cast = piece.cast;
        }
        self.ecn_seen |= 1 << (piece.ecn & 3);
        self.data_len += piece.data.len();
        self.accounted_bytes += piece.data.len() + FRAGMENT_OVERHEAD;
        self.pieces.insert(at, (start, Bytes::copy_from_slice(&piece.data)));
        Ok(())
    }

    /// Fragments do not overlap, so comparing the sum of their lengths is enough.
    fn is_complete(&self) -> bool {
        self.total_len == Some(self.data_len)
    }

    /// The whole packet; `None` if its fragments cannot belong to one packet.
    fn build(&self) -> Option<Bytes> {
        let first = self.first.as_ref()?;
        let data = self.pieces.iter().map(|(_, data)| data);
        let mut packet = join(&first.header, first.protocol, first.named_at, data)?;
        // RFC 3168 §5.3: if one fragment has CE, the packet gets CE. A mix of Not-ECT and CE is
        // dropped, because a router does not mark packets of a sender without ECN.
        let has_seen = |ecn: IpEcn| self.ecn_seen & 1 << ecn.bits() != 0;
        if has_seen(IpEcn::Ce) {
            if has_seen(IpEcn::NotEct) {
                return None;
            }
            mark_congestion(&mut packet);
        }
        Some(packet.freeze())
    }
}

/// Joins header and data into one packet without fragment fields.
fn join<'a>(
    header: &[u8],
    protocol: u8,
    named_at: usize,
    data: impl Iterator<Item = &'a Bytes>,
) -> Option<BytesMut> {
    let is_v4 = header.first()? >> 4 == 4;
    let kept = if is_v4 { header } else { header.get(..header.len().checked_sub(FRAGMENT_HEADER_LEN)?)? };
    let mut packet = BytesMut::from(kept);
    data.for_each(|data| packet.extend_from_slice(data));
    let len = if is_v4 { packet.len() } else { packet.len().checked_sub(ipv6::HEADER_LEN)? };
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    if is_v4 {
        packet.get_mut(2..4)?.copy_from_slice(&[high, low]);
        packet.get_mut(6..8)?.fill(0);
        fill_checksum(packet.get_mut(..kept.len())?)?;
    } else {
        packet.get_mut(4..6)?.copy_from_slice(&[high, low]);
        *packet.get_mut(named_at)? = protocol;
    }
    Some(packet)
}

/// The packet of an atomic fragment (RFC 6946): it neither waits for others nor belongs to
/// fragments with the same identification.
pub(crate) fn join_atomic(piece: &Piece) -> Option<Bytes> {
    join(&piece.header, piece.protocol, piece.named_at, core::iter::once(&piece.data)).map(BytesMut::freeze)
}

/// Sets both bits of the ECN field.
fn mark_congestion(packet: &mut BytesMut) {
    let Some([version, second, ..]) = packet.first_chunk_mut::<20>() else { return };
    if *version >> 4 == 4 {
        *second |= 3;
        let header_len = usize::from(*version & 0x0f) * 4;
        packet.get_mut(..header_len).and_then(fill_checksum);
    } else {
        // The traffic class begins in the middle of the first byte.
        *second |= 0x30;
    }
}

/// Writes the checksum into an IPv4 header.
fn fill_checksum(header: &mut [u8]) -> Option<()> {
    header.get_mut(10..12)?.fill(0);
    let sum = internet_checksum(header);
    header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

fn count(stats: &mut Stats, key: &PacketKey, fragments: usize, reason: DropReason) {
    let subject = Subject::Packet { src: key.src, dst: key.dst, protocol: key.protocol };
    (0..fragments).for_each(|_| stats.count_drop(reason, &subject));
}

#[cfg(test)]
mod tests;
