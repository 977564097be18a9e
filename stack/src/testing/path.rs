//! One direction of a simulated link: what it does to packets, and the packets in flight.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::queue::{Queue, QueueConfig};
use crate::rng::Rng;
use crate::time::Instant;

/// What one direction of a link does to packets. Probabilities are from 0 to 1, each drawn
/// independently. The default is a link without a rate limit and faults, with a delay of 1 ms.
///
/// A packet first meets the MTU, then the queue, then the line that sends it at its rate, and then
/// everything that can happen on the way: an outage, loss, duplication, reordering, corruption,
/// delay.
#[derive(Clone, Debug, PartialEq)]
pub struct PathConfig {
    /// The rate in bits a second; without one, packets are not queued.
    pub rate: Option<u64>,
    /// The queue in which packets wait for the line.
    pub queue: QueueConfig,
    /// The time that a packet takes once it is sent.
    pub delay: Duration,
    /// The most additional delay, drawn for each packet.
    pub jitter: Duration,
    /// The effect of jitter on the order of packets.
    pub jitter_order: JitterOrder,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// Loss in bursts, in addition to `loss`.
    pub burst_loss: Option<GilbertElliott>,
    /// The probability that a packet is held back, so that later ones overtake it.
    pub reorder: f64,
    /// How long it is held back.
    pub reorder_by: HoldBack,
    /// The probability that a packet arrives twice.
    pub duplicate: f64,
    /// The probability that one bit of a packet is inverted.
    pub corrupt: f64,
    /// The probability that an ECN-capable packet is marked with CE (RFC 3168).
    pub mark: f64,
    /// The size of the largest packet that passes; without one, all pass.
    pub mtu: Option<usize>,
    /// What happens to a packet that is larger.
    pub too_big: TooBig,
    /// The times at which the link is down: packets sent then are lost.
    pub outages: Vec<Outage>,
}

impl Default for PathConfig {
    fn default() -> Self {
        PathConfig {
            rate: None,
            queue: QueueConfig::default(),
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            jitter_order: JitterOrder::Kept,
            loss: 0.0,
            burst_loss: None,
            reorder: 0.0,
            reorder_by: HoldBack::Exactly(Duration::from_millis(5)),
            duplicate: 0.0,
            corrupt: 0.0,
            mark: 0.0,
            mtu: None,
            too_big: TooBig::Answered,
            outages: Vec::new(),
        }
    }
}

impl PathConfig {
    /// A line with a rate in bits a second, a delay, and a tail-drop queue of `queue_bytes`.
    pub fn rated(rate: u64, delay: Duration, queue_bytes: usize) -> PathConfig {
        PathConfig {
            rate: Some(rate),
            delay,
            queue: QueueConfig::bytes(queue_bytes),
            ..PathConfig::default()
        }
    }

    /// A link with this delay and without a rate limit.
    pub fn delayed(delay: Duration) -> PathConfig {
        PathConfig { delay, ..PathConfig::default() }
    }
}

/// The bandwidth-delay product in bytes, for a rate in bits a second and a round-trip time.
pub fn bdp_bytes(rate: u64, rtt: Duration) -> usize {
    (u128::from(rate) * rtt.as_nanos() / 8_000_000_000) as usize
}

/// The effect of jitter on the order of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterOrder {
    /// No packet overtakes another: it waits behind the one that is late.
    Kept,
    /// Packets may overtake each other.
    Free,
}

/// How long a packet is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldBack {
    /// Always this long.
    Exactly(Duration),
    /// At most this long, drawn for each packet.
    UpTo(Duration),
}

/// Loss in bursts (the model of Gilbert and Elliott): the link is good or bad, and may change its
/// state with each packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GilbertElliott {
    /// The probability of changing from good to bad.
    pub enter: f64,
    /// The probability of changing from bad to good: bursts have a mean length of `1 / leave`
    /// packets.
    pub leave: f64,
    /// The probability of loss while the link is bad. While it is good, none are lost.
    pub loss: f64,
}

/// What happens to a packet that is larger than the MTU. No packet is fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooBig {
    /// The sender gets an ICMP error if the packet is IPv6 or must not be fragmented.
    Answered,
    /// The packet is lost without a message: a black hole.
    Silent,
}

/// A time during which a link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The start: packets sent from here on are lost.
    pub from: Instant,
    /// The end: packets sent from here on arrive.
    pub until: Instant,
}

/// Counts of a path's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// Packets that were given to the path.
    pub offered: u64,
    /// Packets that arrived, counting each copy.
    pub delivered: u64,
    /// The bytes of the packets that arrived.
    pub delivered_bytes: u64,
    /// Packets dropped because the queue had no room.
    pub queue_full: u64,
    /// Packets dropped by CoDel.
    pub codel_drops: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets lost because the link was down.
    pub lost_in_outages: u64,
    /// Packets larger than the MTU.
    pub too_big: u64,
    /// Additional copies.
    pub duplicated: u64,
    /// Packets held back.
    pub reordered: u64,
    /// Packets with an inverted bit.
    pub corrupted: u64,
    /// Packets marked with CE.
    pub marked: u64,
    /// The most bytes that were in the queue at once.
    pub max_queued_bytes: u64,
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The queue had no room.
    QueueFull,
    /// CoDel dropped it.
    Codel,
    /// It was lost at random.
    Random,
    /// The link was down.
    Outage,
    /// It was larger than the MTU.
    TooBig,
    /// A router had no route to its destination, or its hop limit was used up.
    Unroutable,
}

/// A packet in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) arrives_at: Instant,
    pub(super) packet: Bytes,
    /// Whether a bit of it was inverted.
    pub(super) is_damaged: bool,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Path {
    config: PathConfig,
    rng: Rng,
    /// The length of the part in front that [`PathConfig::corrupt`] leaves alone: a link header.
    undamaged_bytes: usize,
    queue: Queue,
    /// When the line has sent all packets that it was given.
    line_free_at: Instant,
    /// In order of arrival; packets that arrive at the same time, in the order in which they were
    /// sent.
    in_flight: VecDeque<InFlight>,
    last_arrival: Instant,
    is_bad: bool,
    stats: PathStats,
    /// The packets that did not arrive, and why, if they are kept.
    losses: Option<Vec<(Instant, Loss, Bytes)>>,
}

impl Path {
    pub(super) fn new(config: PathConfig, undamaged_bytes: usize, rng: Rng) -> Path {
        Path {
            config,
            rng,
            undamaged_bytes,
            queue: Queue::default(),
            line_free_at: Instant::ZERO,
            in_flight: VecDeque::new(),
            last_arrival: Instant::ZERO,
            is_bad: false,
            stats: PathStats::default(),
            losses: None,
        }
    }

    pub(super) fn config(&self) -> &PathConfig {
        &self.config
    }

    /// Changes the configuration. Packets in flight are not affected.
    pub(super) fn set_config(&mut self, config: PathConfig) {
        self.config = config;
    }

    pub(super) fn stats(&self) -> &PathStats {
        &self.stats
    }

    /// Keeps losses from now on, until they are taken.
    pub(super) fn keep_losses(&mut self) {
        self.losses.get_or_insert_default();
    }

    pub(super) fn take_losses(&mut self) -> Vec<(Instant, Loss, Bytes)> {
        self.losses.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Whether no packet is queued or in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.queue.is_empty()
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, now: Instant, packet: Bytes) {
        self.stats.offered += 1;
        if self.config.mtu.is_some_and(|mtu| packet.len() > mtu) {
            self.stats.too_big += 1;
            return self.note_loss(now, Loss::TooBig, packet);
        }
        if self.config.rate.is_none() && self.queue.is_empty() {
            return self.launch(now, packet);
        }
        self.serve(now);
        match self.queue.push(now, &self.config.queue, packet) {
            Ok(is_marked) => self.stats.marked += u64::from(is_marked),
            Err(packet) => {
                self.stats.queue_full += 1;
                self.note_loss(now, Loss::QueueFull, packet);
            }
        }
        self.stats.max_queued_bytes = self.stats.max_queued_bytes.max(self.queue.len_bytes() as u64);
        self.serve(now);
    }

    /// The time for the next [`receive`](Path::receive).
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let arrival = self.in_flight.front().map(|packet| packet.arrives_at);
        // A queued packet arrives no sooner than one delay after the line is free.
        let waiting = (!self.queue.is_empty()).then(|| self.line_free_at + self.config.delay);
        arrival.into_iter().chain(waiting).min()
    }

    /// The next packet, if it has arrived.
    pub(super) fn receive(&mut self, now: Instant) -> Option<InFlight> {
        self.serve(now);
        if self.in_flight.front()?.arrives_at > now {
            return None;
        }
        let arrived = self.in_flight.pop_front()?;
        self.stats.delivered += 1;
        self.stats.delivered_bytes += arrived.packet.len() as u64;
        Some(arrived)
    }

    /// Loses all packets that are queued or in flight.
    pub(super) fn cut(&mut self) {
        self.in_flight.clear();
        self.queue = Queue::default();
    }

    /// Sends the queued packets that the line had time for until now. Their times are exact,
    /// however late this is called. It must be called before a packet is queued.
    fn serve(&mut self, now: Instant) {
        while let Some(queued_at) = self.queue.first_queued_at() {
            let start = self.line_free_at.max(queued_at);
            if start > now {
                return;
            }
            let taken = self.queue.pop(start, &self.config.queue);
            self.stats.codel_drops += taken.dropped.len() as u64;
            self.stats.marked += u64::from(taken.is_marked);
            for dropped in taken.dropped {
                self.note_loss(start, Loss::Codel, dropped);
            }
            let Some(packet) = taken.packet else { return };
            self.line_free_at = start + self.time_on_line(packet.len());
            self.launch(self.line_free_at, packet);
        }
    }

    fn time_on_line(&self, len: usize) -> Duration {
        match self.config.rate {
            Some(rate) => Duration::from_nanos(len as u64 * 8_000_000_000 / rate.max(1)),
            None => Duration::ZERO,
        }
    }

    /// A packet leaves the line: draws all random effects.
    fn launch(&mut self, departs_at: Instant, packet: Bytes) {
        if self.config.outages.iter().any(|outage| outage.from <= departs_at && departs_at < outage.until) {
            self.stats.lost_in_outages += 1;
            return self.note_loss(departs_at, Loss::Outage, packet);
        }
        // Numbers are drawn even for faults that are off, so that changing one fault does not
        // change the others.
        if self.happens(self.config.loss) | self.is_lost_in_burst() {
            self.stats.lost += 1;
            return self.note_loss(departs_at, Loss::Random, packet);
        }
        let packet = self.mark(packet);
        let is_doubled = self.happens(self.config.duplicate);
        self.stats.duplicated += u64::from(is_doubled);
        for _ in 0..if is_doubled { 2 } else { 1 } {
            self.launch_copy(departs_at, packet.clone());
        }
    }

    fn launch_copy(&mut self, departs_at: Instant, packet: Bytes) {
        let mut arrives_at = departs_at + self.config.delay;
        if !self.config.jitter.is_zero() {
            arrives_at += self.up_to(self.config.jitter);
            if self.config.jitter_order == JitterOrder::Kept {
                arrives_at = arrives_at.max(self.last_arrival);
            }
        }
        if self.happens(self.config.reorder) {
            self.stats.reordered += 1;
            arrives_at += match self.config.reorder_by {
                HoldBack::Exactly(time) => time,
                HoldBack::UpTo(time) => self.up_to(time),
            };
        } else {
            self.last_arrival = self.last_arrival.max(arrives_at);
        }
        let is_damaged = self.happens(self.config.corrupt);
        let packet = if is_damaged { self.damage(&packet) } else { packet };
        self.stats.corrupted += u64::from(is_damaged);
        let place = match self.in_flight.back() {
            Some(last) if last.arrives_at > arrives_at => {
                self.in_flight.partition_point(|other| other.arrives_at <= arrives_at)
            }
            _ => self.in_flight.len(),
        };
        self.in_flight.insert(place, InFlight { arrives_at, packet, is_damaged });
    }

    fn is_lost_in_burst(&mut self) -> bool {
        let Some(GilbertElliott { enter, leave, loss }) = self.config.burst_loss else { return false };
        let changes = self.happens(if self.is_bad { leave } else { enter });
        self.is_bad ^= changes;
        self.is_bad && self.happens(loss)
    }

    fn mark(&mut self, packet: Bytes) -> Bytes {
        if self.config.mark == 0.0 || !self.happens(self.config.mark) {
            return packet;
        }
        match super::queue::marked(&packet) {
            Some(marked) => {
                self.stats.marked += 1;
                marked
            }
            None => packet,
        }
    }

    fn note_loss(&mut self, at: Instant, loss: Loss, packet: Bytes) {
        if let Some(losses) = &mut self.losses {
            losses.push((at, loss, packet));
        }
    }

    fn happens(&mut self, probability: f64) -> bool {
        let drawn = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        drawn < probability
    }

    /// A random duration above zero, at most `longest`.
    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(1 + self.rng.below((longest.as_nanos() as u64).max(1)))
    }

    fn damage(&mut self, packet: &[u8]) -> Bytes {
        let mut packet = Vec::from(packet);
        let damageable = packet.len().saturating_sub(self.undamaged_bytes) as u64;
        if damageable > 0 {
            let place = self.undamaged_bytes + self.rng.below(damageable) as usize;
            packet[place] ^= 1 << self.rng.below(8);
        }
        packet.into()
    }
}

#[cfg(test)]
mod tests;
