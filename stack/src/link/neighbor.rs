//! The neighbour cache: IP addresses of this link and the stations that have them, for ARP and NDP
//! alike.
//!
//! The states are those of RFC 4861 §7.3.2, for IPv4 too, as in Linux:
//!
//! ```text
//!               answer                  30 s without confirmation
//! INCOMPLETE ------------> REACHABLE -----------------------------> STALE
//!     |  \                   ^    ^                                   | a packet is sent
//!     |   \ heard of         |    | confirmation     5 s              v
//!     |    `---> STALE       |    `---------------------------- DELAY
//!     | no answer            | answer                                 | 5 s without confirmation
//!     v                      |                                        v
//!   (gone)                   `------------------------------------- PROBE ---> (gone) no answer
//! ```
//!
//! The cache sends nothing itself. It says what is to be solicited ([`NeighborEvent`]), and gives
//! back the packets that waited when their neighbour is found or given up.
//!
//! A station on the link can ask for us in the name of any number of addresses. Each makes an entry
//! while there is room; such entries are the first to go when we have a question of our own. The
//! table holds at most [`NeighborConfig::max_entries`] entries of about 100 bytes, and the packets
//! that wait have a limit of their own.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::mac::MacAddr;
use crate::config::NeighborConfig;
use crate::hash::{HashMap, hash_map};
use crate::ip::packet::IpPacket;
use crate::rng::Rng;
use crate::time::Instant;

/// Where a neighbour stands (RFC 4861 §7.3.2).
// Exhaustive: these are the states of RFC 4861.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighborState {
    /// Being asked for; its MAC address is not known yet.
    Incomplete,
    /// Lately confirmed.
    Reachable,
    /// Not confirmed for a while; used, and then checked.
    Stale,
    /// Was used while stale: an upper layer has some seconds to confirm it.
    Delay,
    /// Being asked whether it is still there.
    Probe,
}

/// A neighbour as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighborInfo {
    /// Its IP address.
    pub addr: IpAddr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// Where it stands.
    pub state: NeighborState,
}

/// Packets that waited for a neighbour, oldest first.
pub(crate) type PendingPackets = VecDeque<IpPacket>;

/// What the cache wants done.
#[derive(Debug)]
pub(crate) enum NeighborEvent {
    /// Ask for `addr`: the station that had it, or all.
    Solicit { addr: IpAddr, mac: Option<MacAddr> },
    /// It does not answer, and these packets waited.
    Unreachable { pending: PendingPackets },
}

/// What follows when a packet is to wait for its neighbour.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Enqueued {
    /// It is the first, and the neighbour is to be asked for.
    pub(crate) solicit: bool,
    /// Packets that gave way; or the packet itself, where none may wait.
    pub(crate) dropped: PendingPackets,
}

/// What an ARP reply or a neighbour advertisement says (RFC 4861 §7.2.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advertised {
    pub(crate) mac: Option<MacAddr>,
    /// It answers a question of ours.
    pub(crate) solicited: bool,
    /// It may replace a MAC address that we have.
    pub(crate) override_: bool,
}

/// An address as one number, an IPv4 address as an IPv4-mapped one: hashed in one go, once per
/// packet sent.
type AddressKey = u128;

fn key(addr: IpAddr) -> AddressKey {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn addr_of(key: AddressKey) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(key)).to_canonical()
}

#[derive(Debug)]
struct NeighborEntry {
    state: NeighborState,
    /// Zeros while INCOMPLETE.
    mac: MacAddr,
    /// REACHABLE: until when. INCOMPLETE, DELAY and PROBE: when their timer fires. STALE: nothing.
    timer_at: Instant,
    /// Solicitations sent in INCOMPLETE or PROBE.
    solicitations: u8,
    /// Whether a packet of ours was ever for it. Otherwise it only asked for us.
    is_used: bool,
    /// When a packet was last for it; if none was, when it asked.
    used_at: Instant,
    pending: PendingPackets,
}

impl NeighborEntry {
    fn has_timer(&self) -> bool {
        matches!(self.state, NeighborState::Incomplete | NeighborState::Delay | NeighborState::Probe)
    }

    /// Which entry goes first when there is no room: those of stations that only asked for us, then
    /// those that nobody has answered for, then those that packets went through; of each kind the
    /// one that was used longest ago. (Linux 6.18 spares entries whose timer runs and those that
    /// changed in the last five seconds. After 10,000 ARP requests from as many addresses it cannot
    /// ask for a new neighbour until these five seconds are over; measured.)
    fn eviction_rank(&self) -> (u8, Instant) {
        let class = match self.state {
            _ if !self.is_used => 0,
            NeighborState::Incomplete => 1,
            _ => 2,
        };
        (class, self.used_at)
    }
}

/// The neighbours of one interface.
#[derive(Debug)]
pub(crate) struct NeighborCache {
    entries: HashMap<AddressKey, NeighborEntry>,
    config: NeighborConfig,
    /// REACHABLE_TIME of RFC 4861 §6.3.2: the configured time, spread so that hosts do not ask in
    /// step.
    reachable_delay: Duration,
    /// The most packets that wait, for all neighbours together.
    max_pending: usize,
    pending_packets: usize,
    pending_bytes: usize,
    /// Not later than the first timer.
    next_timer_at: Option<Instant>,
}

impl NeighborCache {
    pub(crate) fn new(config: &NeighborConfig, max_pending: usize, rng: &mut Rng) -> Self {
        // RFC 4861 §6.3.2: between MIN_RANDOM_FACTOR (0.5) and MAX_RANDOM_FACTOR (1.5).
        let reachable_delay =
            config.reachable_delay / 2 + config.reachable_delay / 1024 * rng.below(1025) as u32;
        NeighborCache {
            entries: hash_map(rng),
            config: config.clone(),
            reachable_delay,
            max_pending,
            pending_packets: 0,
            pending_bytes: 0,
            next_timer_at: None,
        }
    }

    /// The MAC address to send a packet to. None if it must wait ([`NeighborCache::enqueue`]).
    pub(crate) fn resolve(&mut self, now: Instant, addr: IpAddr) -> Option<MacAddr> {
        let entry = self.entries.get_mut(&key(addr))?;
        (entry.is_used, entry.used_at) = (true, now);
        match entry.state {
            NeighborState::Incomplete => return None,
            NeighborState::Reachable if now < entry.timer_at => {}
            // REACHABLE ends without a timer: it is noticed here, when it first matters.
            NeighborState::Reachable | NeighborState::Stale => {
                // RFC 4861 §7.3.3: the first packet through a stale entry starts
                // DELAY_FIRST_PROBE_TIME.
                entry.state = NeighborState::Delay;
                entry.timer_at = now + self.config.delay_first_probe;
                arm(&mut self.next_timer_at, entry.timer_at);
            }
            NeighborState::Delay | NeighborState::Probe => {}
        }
        Some(entry.mac)
    }

    /// Keeps a packet until its neighbour is found (RFC 4861 §7.2.2).
    pub(crate) fn enqueue(&mut self, now: Instant, addr: IpAddr, packet: IpPacket) -> Enqueued {
        if self.max_pending == 0 {
            return Enqueued { solicit: false, dropped: [packet].into() };
        }
        let (mut solicit, mut dropped) = (false, PendingPackets::new());
        while self.pending_packets >= self.max_pending {
            // Whoever waits longest will hardly be answered any more; those who are, are within
            // milliseconds.
            dropped.extend(self.evict(|entry| !entry.pending.is_empty()));
        }
        if !self.entries.contains_key(&key(addr)) {
            while self.entries.len() >= self.config.max_entries.max(1) {
                dropped.extend(self.evict(|_| true));
            }
            let timer_at = now + self.config.retransmit_delay;
            self.insert(now, addr, NeighborState::Incomplete, MacAddr([0; 6]), timer_at);
            solicit = true;
        }
        let Some(entry) = self.entries.get_mut(&key(addr)) else {
            dropped.push_back(packet);
            return Enqueued { solicit, dropped };
        };
        if entry.pending.len() >= self.config.max_pending_packets.max(1)
            && let Some(oldest) = entry.pending.pop_front()
        {
            self.pending_packets -= 1;
            self.pending_bytes -= oldest.memory_bytes();
            dropped.push_back(oldest);
        }
        self.pending_packets += 1;
        self.pending_bytes += packet.memory_bytes();
        entry.pending.push_back(packet);
        Enqueued { solicit, dropped }
    }

    /// A neighbour asked us for our address and named its own (RFC 4861 §7.2.3; an ARP request to
    /// us). Returns what waited for it.
    ///
    /// This is the only way in which a stranger makes an entry by itself, so it takes no room from
    /// others.
    pub(crate) fn on_solicited_by(&mut self, now: Instant, addr: IpAddr, mac: MacAddr) -> PendingPackets {
        let Some(entry) = self.entries.get_mut(&key(addr)) else {
            if self.entries.len() < self.config.max_entries {
                self.insert(now, addr, NeighborState::Stale, mac, now);
            }
            return PendingPackets::new();
        };
        if entry.mac != mac || entry.state == NeighborState::Incomplete {
            entry.mac = mac;
            entry.state = NeighborState::Stale;
        }
        self.take_pending(addr)
    }

    /// An ARP reply, a gratuitous ARP or a neighbour advertisement (RFC 4861 §7.2.5). Returns what
    /// waited for it, or nothing if nobody here knows the neighbour: nobody asked, so no entry is
    /// made.
    pub(crate) fn on_advertised(
        &mut self,
        now: Instant,
        addr: IpAddr,
        said: Advertised,
    ) -> Option<PendingPackets> {
        let reachable_until = now + self.reachable_delay;
        let entry = self.entries.get_mut(&key(addr))?;
        if entry.state == NeighborState::Incomplete {
            // Without a link address there is nothing to learn.
            let Some(mac) = said.mac else { return Some(PendingPackets::new()) };
            entry.mac = mac;
            entry.state = if said.solicited { NeighborState::Reachable } else { NeighborState::Stale };
            entry.timer_at = reachable_until;
            return Some(self.take_pending(addr));
        }
        let mac = said.mac.unwrap_or(entry.mac);
        let differs = mac != entry.mac;
        if differs && !said.override_ {
            // Somebody else claims the address, too: keep to the one we have, but check it soon.
            if entry.state == NeighborState::Reachable {
                entry.state = NeighborState::Stale;
            }
        } else if said.solicited {
            entry.mac = mac;
            entry.state = NeighborState::Reachable;
            entry.timer_at = reachable_until;
        } else if differs {
            entry.mac = mac;
            entry.state = NeighborState::Stale;
        }
        Some(PendingPackets::new())
    }

    /// An upper layer made progress with this neighbour (RFC 4861 §7.3.1).
    pub(crate) fn confirm(&mut self, now: Instant, addr: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&key(addr))
            && entry.state != NeighborState::Incomplete
        {
            entry.state = NeighborState::Reachable;
            entry.timer_at = now + self.reachable_delay;
        }
    }

    /// Fires the timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<NeighborEvent> {
        let mut events = Vec::new();
        if self.next_timer_at.is_none_or(|at| now < at) {
            return events;
        }
        let mut failed = Vec::new();
        let mut next = None;
        for (&key, entry) in &mut self.entries {
            let addr = addr_of(key);
            if entry.has_timer() && entry.timer_at <= now {
                match entry.state {
                    // RFC 4861 §7.3.3: nobody confirmed it; it is asked by itself.
                    NeighborState::Delay => {
                        entry.state = NeighborState::Probe;
                        entry.solicitations = 0;
                    }
                    _ if entry.solicitations >= self.config.max_solicitations => {
                        failed.push(addr);
                        continue;
                    }
                    _ => {}
                }
                entry.solicitations = entry.solicitations.saturating_add(1);
                entry.timer_at = now + self.config.retransmit_delay;
                let mac = (entry.state == NeighborState::Probe).then_some(entry.mac);
                events.push(NeighborEvent::Solicit { addr, mac });
            }
            if entry.has_timer() {
                arm(&mut next, entry.timer_at);
            }
        }
        self.next_timer_at = next;
        for addr in failed {
            let pending = self.take_pending(addr);
            self.entries.remove(&key(addr));
            events.push(NeighborEvent::Unreachable { pending });
        }
        events
    }

    /// When to call [`NeighborCache::handle_timeout`]; perhaps early, never late.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_timer_at
    }

    /// The entries as they are now, in no order.
    pub(crate) fn infos(&self, now: Instant) -> Vec<NeighborInfo> {
        let info = |(&key, entry): (&AddressKey, &NeighborEntry)| {
            let expired = entry.state == NeighborState::Reachable && now >= entry.timer_at;
            let state = if expired { NeighborState::Stale } else { entry.state };
            let mac = (state != NeighborState::Incomplete).then_some(entry.mac);
            NeighborInfo { addr: addr_of(key), mac, state }
        };
        self.entries.iter().map(info).collect()
    }

    /// Bytes of the packets that wait.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(AddressKey, NeighborEntry)>() + self.pending_bytes
    }

    fn insert(&mut self, now: Instant, addr: IpAddr, state: NeighborState, mac: MacAddr, timer_at: Instant) {
        let is_asked_for = state == NeighborState::Incomplete;
        let entry = NeighborEntry {
            state,
            mac,
            timer_at,
            solicitations: u8::from(is_asked_for),
            is_used: is_asked_for,
            used_at: now,
            pending: PendingPackets::new(),
        };
        if entry.has_timer() {
            arm(&mut self.next_timer_at, timer_at);
        }
        self.entries.insert(key(addr), entry);
    }

    fn take_pending(&mut self, addr: IpAddr) -> PendingPackets {
        let Some(entry) = self.entries.get_mut(&key(addr)) else { return PendingPackets::new() };
        let pending = core::mem::take(&mut entry.pending);
        self.pending_packets -= pending.len();
        self.pending_bytes -= pending.iter().map(IpPacket::memory_bytes).sum::<usize>();
        pending
    }

    /// Makes room for a question of ours by dropping one of these entries, and says how many
    /// packets waited for the one that went. Strangers can make us ask (by spoofed packets that we
    /// answer): what they crowd out is what they made us ask before.
    fn evict(&mut self, is_candidate: impl Fn(&NeighborEntry) -> bool) -> PendingPackets {
        let candidates = self.entries.iter().filter(|(_, entry)| is_candidate(entry));
        let first = candidates.min_by_key(|(_, entry)| entry.eviction_rank());
        let Some(addr) = first.map(|(&key, _)| addr_of(key)) else { return PendingPackets::new() };
        let pending = self.take_pending(addr);
        self.entries.remove(&key(addr));
        pending
    }
}

/// Remembers the earlier of two times.
fn arm(next: &mut Option<Instant>, at: Instant) {
    *next = Some(next.map_or(at, |next| next.min(at)));
}

#[cfg(test)]
mod tests;
