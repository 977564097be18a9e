//! The neighbour cache: the IP addresses on this link and the stations that have them, for both ARP
//! and NDP.
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
//! The cache sends nothing. It returns what is to be solicited ([`NeighborEvent`]), and the packets
//! that waited for a neighbour once it is found or given up.
//!
//! A station on the link can ask for us from any number of addresses. Each creates an entry if
//! there is room, and such entries are evicted first when we need an entry for a neighbour that we
//! ask for. The table holds at most [`NeighborConfig::max_entries`] entries of about 100 bytes, and
//! the waiting packets have a limit of their own.

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

/// The state of a neighbour (RFC 4861 §7.3.2).
// Exhaustive: these are the states of RFC 4861.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighborState {
    /// Solicited; its MAC address is not known yet.
    Incomplete,
    /// Recently confirmed.
    Reachable,
    /// Not confirmed for a while. It may be used, and is probed when it is.
    Stale,
    /// Used while stale: upper layers have some seconds to confirm it.
    Delay,
    /// Being probed: is it still there?
    Probe,
}

/// A neighbour in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighborInfo {
    /// Its IP address.
    pub addr: IpAddr,
    /// Its MAC address, if known.
    pub mac: Option<MacAddr>,
    /// Its state.
    pub state: NeighborState,
}

/// Packets that waited for a neighbour, oldest first.
pub(crate) type PendingPackets = VecDeque<IpPacket>;

/// What the cache asks its caller to do.
#[derive(Debug)]
pub(crate) enum NeighborEvent {
    /// Solicit `addr`: from the station that had it, or from all.
    Solicit { addr: IpAddr, mac: Option<MacAddr> },
    /// The neighbour did not answer, and these packets waited for it.
    Unreachable { addr: IpAddr, pending: PendingPackets },
}

/// The result of queueing a packet for a neighbour.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Enqueued {
    /// Whether the neighbour is to be solicited, because this is the first packet.
    pub(crate) solicit: bool,
    /// Packets that were dropped to make room; or the packet itself, if none may wait.
    pub(crate) dropped: PendingPackets,
}

/// The content of an ARP reply or a neighbour advertisement (RFC 4861 §7.2.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advertised {
    pub(crate) mac: Option<MacAddr>,
    /// Whether it answers a solicitation of ours.
    pub(crate) solicited: bool,
    /// Whether it may replace a known MAC address.
    pub(crate) override_: bool,
}

/// An address as one number, an IPv4 address as an IPv4-mapped one: it is hashed for each packet
/// that is sent, and one number is hashed faster.
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
    /// The MAC address; zeros while INCOMPLETE.
    mac: MacAddr,
    /// REACHABLE: when that ends. INCOMPLETE, DELAY and PROBE: when the timer fires. STALE: unused.
    timer_at: Instant,
    /// The number of solicitations sent in INCOMPLETE or PROBE.
    solicitations: u8,
    /// Whether we ever sent it a packet. If not, it only asked for us.
    is_used: bool,
    /// When we last sent it a packet; if we never did, when it asked.
    used_at: Instant,
    pending: PendingPackets,
}

impl NeighborEntry {
    fn has_timer(&self) -> bool {
        matches!(self.state, NeighborState::Incomplete | NeighborState::Delay | NeighborState::Probe)
    }

    /// The order of eviction when there is no room: first the stations that only asked for us, then
    /// those that were never confirmed, then those that packets were sent to; within each kind the
    /// one that was used longest ago first. (Linux 6.18 keeps entries whose timer runs and those
    /// that changed in the last five seconds. After 10,000 ARP requests from as many addresses it
    /// cannot ask for a new neighbour until these five seconds are over; measured.)
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
    /// REACHABLE_TIME of RFC 4861 §6.3.2: the configured time, randomized so that hosts do not
    /// probe in step.
    reachable_delay: Duration,
    /// The most packets that may wait, for all neighbours together.
    max_pending: usize,
    pending_packets: usize,
    pending_bytes: usize,
    /// A time not later than the first timer.
    next_timer_at: Option<Instant>,
}

impl NeighborCache {
    pub(crate) fn new(config: &NeighborConfig, max_pending: usize, rng: &mut Rng) -> Self {
        let reachable_delay = randomized(config.reachable_delay, rng);
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

    /// Sets REACHABLE_TIME, randomized, and RETRANS_TIMER; `None` leaves them as they are.
    pub(crate) fn set_times(
        &mut self,
        reachable: Option<Duration>,
        retransmit: Option<Duration>,
        rng: &mut Rng,
    ) {
        // RFC 4861 §6.3.4: another random time only if the advertised one has changed.
        if let Some(time) = reachable.filter(|&time| time != self.config.reachable_delay) {
            self.config.reachable_delay = time;
            self.reachable_delay = randomized(time, rng);
        }
        self.config.retransmit_delay = retransmit.unwrap_or(self.config.retransmit_delay);
    }

    /// RETRANS_TIMER.
    pub(crate) fn retransmit_delay(&self) -> Duration {
        self.config.retransmit_delay
    }

    /// The MAC address to send a packet to. `None` if the packet must wait
    /// ([`NeighborCache::enqueue`]).
    pub(crate) fn resolve(&mut self, now: Instant, addr: IpAddr) -> Option<MacAddr> {
        let entry = self.entries.get_mut(&key(addr))?;
        (entry.is_used, entry.used_at) = (true, now);
        match entry.state {
            NeighborState::Incomplete => return None,
            NeighborState::Reachable if now < entry.timer_at => {}
            // REACHABLE ends without a timer: its end is noticed when a packet is sent.
            NeighborState::Reachable | NeighborState::Stale => {
                // RFC 4861 §7.3.3: the first packet to a stale neighbour starts
                // DELAY_FIRST_PROBE_TIME.
                entry.state = NeighborState::Delay;
                entry.timer_at = now + self.config.delay_first_probe;
                arm(&mut self.next_timer_at, entry.timer_at);
            }
            NeighborState::Delay | NeighborState::Probe => {}
        }
        Some(entry.mac)
    }

    /// Queues a packet until its neighbour is found (RFC 4861 §7.2.2).
    pub(crate) fn enqueue(&mut self, now: Instant, addr: IpAddr, packet: IpPacket) -> Enqueued {
        if self.max_pending == 0 {
            return Enqueued { solicit: false, dropped: [packet].into() };
        }
        let (mut solicit, mut dropped) = (false, PendingPackets::new());
        while self.pending_packets >= self.max_pending {
            // The packets that wait longest are dropped: neighbours that answer do so within
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

    /// Handles a neighbour that asked for our address and gave its own (RFC 4861 §7.2.3; an ARP
    /// request to us). Returns the packets that waited for it.
    ///
    /// Only this lets a stranger create an entry, so it evicts no other entry.
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

    /// Handles an ARP reply, a gratuitous ARP or a neighbour advertisement (RFC 4861 §7.2.5).
    /// Returns the packets that waited for the neighbour. `None`: the neighbour has no entry, and
    /// none is created, because nobody asked for it.
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
            // Another station claims the address: keep the known MAC address, but probe it soon.
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

    /// Forgets all neighbours, because the link is down or our MAC address has changed. Returns the
    /// packets that waited.
    pub(crate) fn clear(&mut self) -> PendingPackets {
        // Sorted, because the order of the table is that of a hash.
        let mut waiting: Vec<(AddressKey, PendingPackets)> =
            self.entries.drain().map(|(key, entry)| (key, entry.pending)).collect();
        waiting.sort_unstable_by_key(|(key, _)| *key);
        (self.pending_packets, self.pending_bytes, self.next_timer_at) = (0, 0, None);
        waiting.into_iter().flat_map(|(_, pending)| pending).collect()
    }

    /// Notes that an upper layer made progress with this neighbour (RFC 4861 §7.3.1).
    pub(crate) fn confirm(&mut self, now: Instant, addr: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&key(addr))
            && entry.state != NeighborState::Incomplete
        {
            entry.state = NeighborState::Reachable;
            entry.timer_at = now + self.reachable_delay;
        }
    }

    /// Handles the timers that are due.
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
                    // RFC 4861 §7.3.3: no upper layer confirmed it, so it is probed.
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
            events.push(NeighborEvent::Unreachable { addr, pending });
        }
        events
    }

    /// The time for the next [`NeighborCache::handle_timeout`]; it may be early, but never late.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_timer_at
    }

    /// The entries, in no particular order.
    pub(crate) fn infos(&self, now: Instant) -> Vec<NeighborInfo> {
        let info = |(&key, entry): (&AddressKey, &NeighborEntry)| {
            let expired = entry.state == NeighborState::Reachable && now >= entry.timer_at;
            let state = if expired { NeighborState::Stale } else { entry.state };
            let mac = (state != NeighborState::Incomplete).then_some(entry.mac);
            NeighborInfo { addr: addr_of(key), mac, state }
        };
        self.entries.iter().map(info).collect()
    }

    /// Whether half of the packets that may wait do.
    pub(crate) fn is_half_full(&self) -> bool {
        self.pending_packets >= self.max_pending.div_ceil(2)
    }

    /// The bytes of the waiting packets.
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

    /// Makes room for a neighbour that we ask for: evicts one of these entries, and returns the
    /// packets that waited for it. Strangers can make us ask (with spoofed packets that we answer),
    /// but they only evict entries that they made us create.
    fn evict(&mut self, is_candidate: impl Fn(&NeighborEntry) -> bool) -> PendingPackets {
        let candidates = self.entries.iter().filter(|(_, entry)| is_candidate(entry));
        let first = candidates.min_by_key(|(_, entry)| entry.eviction_rank());
        let Some(addr) = first.map(|(&key, _)| addr_of(key)) else { return PendingPackets::new() };
        let pending = self.take_pending(addr);
        self.entries.remove(&key(addr));
        pending
    }
}

/// RFC 4861 §6.3.2: between MIN_RANDOM_FACTOR (0.5) and MAX_RANDOM_FACTOR (1.5) of a time.
fn randomized(time: Duration, rng: &mut Rng) -> Duration {
    time / 2 + time / 1024 * rng.below(1025) as u32
}

/// Sets `next` to the earlier of the two times.
fn arm(next: &mut Option<Instant>, at: Instant) {
    *next = Some(next.map_or(at, |next| next.min(at)));
}

#[cfg(test)]
mod tests;
