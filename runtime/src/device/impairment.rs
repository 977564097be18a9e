//! [`ImpairQueue`]: the effects of a bad network on frames, in virtual time and without a device.

mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use portolan::{Frame, Instant, Transmit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::policy::HELD_DELAY;

pub use settings::{Impairment, Outage, ParseImpairmentError};

/// The counters of an [`ImpairQueue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImpairCounts {
    /// Frames that went in.
    pub seen: u64,
    /// Frames that were lost.
    pub lost: u64,
    /// Frames that were sent while the link was down.
    pub cut_off: u64,
    /// Frames that were sent twice.
    pub duplicated: u64,
    /// Frames that were overtaken by later ones.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames that were marked "congestion experienced".
    pub marked: u64,
    /// Frames (copies included) for which the queue had no room.
    pub overflowed: u64,
    /// Frames (copies included) that came out.
    pub delivered: u64,
}

/// A frame that can be impaired.
pub trait Impairable: Clone {
    /// Returns the length in bytes.
    fn len_bytes(&self) -> usize;

    /// Returns the frame with bit number `bit` flipped, counted from the highest bit of the first
    /// byte.
    fn with_bit_flipped(&self, bit: usize) -> Self;

    /// Returns the frame marked "congestion experienced" (RFC 3168 §5); `None` unless it holds an
    /// IP packet that is ECN-capable.
    fn with_congestion_experienced(&self) -> Option<Self>;
}

impl Impairable for Frame {
    fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn with_bit_flipped(&self, bit: usize) -> Self {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 0x80 >> (bit % 8);
        }
        // The checksum was verified for other content, so it counts as unverified.
        Frame::new(bytes.freeze()).with_segments(self.segments)
    }

    fn with_congestion_experienced(&self) -> Option<Self> {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        let at = ip_header_at(&bytes)?;
        let is_marked = mark(bytes.get_mut(at..)?);
        let (checksum, segments) = (self.checksum, self.segments);
        is_marked.then(|| Frame::new(bytes.freeze()).with_checksum(checksum).with_segments(segments))
    }
}

/// Finds the IP header: behind an Ethernet header, or at the start if the length in that header
/// equals the frame's.
fn ip_header_at(frame: &[u8]) -> Option<usize> {
    const ETHERNET_LEN: usize = 14;
    let version_at = |at: usize| frame.get(at).map(|byte| byte >> 4);
    let field = |at: usize| Some(usize::from(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?])));
    match (field(12)?, version_at(ETHERNET_LEN)) {
        (0x0800, Some(4)) | (0x86dd, Some(6)) => Some(ETHERNET_LEN),
        _ if version_at(0) == Some(4) && field(2) == Some(frame.len()) => Some(0),
        _ if version_at(0) == Some(6) && field(4)? + 40 == frame.len() => Some(0),
        _ => None,
    }
}

/// Marks an IP packet whose ECN field is ECT(0) or ECT(1). Returns whether it did.
fn mark(packet: &mut [u8]) -> bool {
    match packet {
        [first, tos, _, _, _, _, _, _, _, _, high, low, ..]
            if *first >> 4 == 4 && matches!(*tos & 3, 1 | 2) =>
        {
            // RFC 1624: the checksum changes by as much as the word.
            let grown = u16::from(3 - (*tos & 3));
            *tos |= 3;
            let (sum, carry) = (!u16::from_be_bytes([*high, *low])).overflowing_add(grown);
            [*high, *low] = (!(sum + u16::from(carry))).to_be_bytes();
            true
        }
        [first, second, ..] if *first >> 4 == 6 && matches!(*second >> 4 & 3, 1 | 2) => {
            *second |= 0x30;
            true
        }
        _ => false,
    }
}

impl Impairable for Transmit {
    fn len_bytes(&self) -> usize {
        self.len()
    }

    fn with_bit_flipped(&self, bit: usize) -> Self {
        Transmit::from_frame(self.iface(), self.to_frame().with_bit_flipped(bit))
    }

    fn with_congestion_experienced(&self) -> Option<Self> {
        let frame = self.to_frame().with_congestion_experienced()?;
        Some(Transmit::from_frame(self.iface(), frame))
    }
}

/// One direction of a bad network, in virtual time: frames go in with [`push`](ImpairQueue::push),
/// and those that are not lost come out of [`pop`](ImpairQueue::pop) when they are due.
///
/// The queue first decides whether a frame is lost, corrupted or duplicated. Then the frame waits
/// for the link (rate and queue) and for its arrival (delay, jitter and the delay of reordered
/// frames). Each frame draws the same number of random values whatever is switched on, so a seed's
/// losses stay the same when a delay is added.
#[derive(Debug)]
pub struct ImpairQueue<T> {
    impairment: Impairment,
    rng: ChaCha8Rng,
    counts: ImpairCounts,
    started_at: Instant,
    /// Whether the last frame was lost, and the next one may belong to the same burst.
    in_burst: bool,
    /// Frames in flight by their arrival. The second part of the key preserves the order of frames
    /// that arrive at the same time.
    under_way: BTreeMap<(Instant, u64), T>,
    next_number: u64,
    /// Frames that wait to be overtaken.
    held: VecDeque<Held<T>>,
    /// When the link will have sent all frames that were given to it.
    link_free_at: Instant,
    last_arrival_at: Instant,
}

#[derive(Debug)]
struct Held<T> {
    frame: T,
    overtakers_left: u32,
    give_up_at: Instant,
}

impl<T: Impairable> ImpairQueue<T> {
    /// Makes a queue. The two directions of a link have the same [`Impairment`] and a different
    /// `direction`. The times of outages count from `started_at`.
    pub fn new(impairment: Impairment, direction: u64, started_at: Instant) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(impairment.seed);
        rng.set_stream(direction);
        ImpairQueue {
            impairment,
            rng,
            counts: ImpairCounts::default(),
            started_at,
            in_burst: false,
            under_way: BTreeMap::new(),
            next_number: 0,
            held: VecDeque::new(),
            link_free_at: Instant::ZERO,
            last_arrival_at: Instant::ZERO,
        }
    }

    /// Whether frames may be corrupted.
    pub fn damages(&self) -> bool {
        self.impairment.corruption > 0.0
    }

    /// Sends a frame.
    pub fn push(&mut self, now: Instant, frame: T) {
        self.counts.seen += 1;
        let dice = Dice::throw(&mut self.rng);
        self.in_burst = dice.loss < self.loss_share();
        if self.is_down(now) {
            self.counts.cut_off += 1;
            return;
        }
        if self.in_burst {
            self.counts.lost += 1;
            return;
        }
        let mut frame = frame;
        if dice.corruption < self.impairment.corruption && frame.len_bytes() > 0 {
            self.counts.corrupted += 1;
            frame = frame.with_bit_flipped((dice.bit % (frame.len_bytes() as u64 * 8)) as usize);
        }
        if dice.marking() < self.impairment.marking
            && let Some(marked) = frame.with_congestion_experienced()
        {
            self.counts.marked += 1;
            frame = marked;
        }
        if dice.duplication < self.impairment.duplication {
            self.counts.duplicated += 1;
            self.schedule(now, frame.clone(), dice.jitter);
        }
        let is_reordered = dice.reordering < self.impairment.reordering && self.has_room();
        if is_reordered && let Some(late) = self.impairment.reorder_delay {
            self.counts.reordered += 1;
            if let Some(arrival_at) = self.pass_link(now, frame.len_bytes(), dice.jitter) {
                self.insert(arrival_at + late, frame);
            }
            return;
        }
        if is_reordered {
            self.counts.reordered += 1;
            let overtakers_left = 1 + (dice.bit % 3) as u32;
            let give_up_at = now + HELD_DELAY;
            self.held.push_back(Held { frame, overtakers_left, give_up_at });
            return;
        }
        self.schedule(now, frame, dice.jitter);
        self.on_overtaken(now, dice.jitter);
    }

    /// Takes the next frame, if it has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        while self.held.front().is_some_and(|held| held.give_up_at <= now)
            && let Some(held) = self.held.pop_front()
        {
            self.schedule(held.give_up_at, held.frame, 0.5);
        }
        let entry = self.under_way.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        self.counts.delivered += 1;
        Some(entry.remove())
    }

    /// Returns when the next frame may be due.
    pub fn next_at(&self) -> Option<Instant> {
        let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let held = self.held.front().map(|held| held.give_up_at);
        [arrival, held].into_iter().flatten().min()
    }

    /// Returns the counters.
    pub fn counts(&self) -> ImpairCounts {
        self.counts
    }

    /// Returns how many frames are in the network.
    pub fn len(&self) -> usize {
        self.under_way.len() + self.held.len()
    }

    /// Whether no frame is in the network.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn has_room(&self) -> bool {
        self.len() < self.impairment.limit
    }

    /// The probability that the next frame is lost. In bursts of `b` frames on average, each frame
    /// is the last of its burst with probability 1/b; bursts begin so often that the share of lost
    /// frames is `loss`.
    fn loss_share(&self) -> f64 {
        let Impairment { loss, loss_burst, .. } = self.impairment;
        if loss_burst <= 1.0 || loss <= 0.0 || loss >= 1.0 {
            return loss;
        }
        if self.in_burst { 1.0 - 1.0 / loss_burst } else { loss / (loss_burst * (1.0 - loss)) }
    }

    fn is_down(&self, now: Instant) -> bool {
        self.impairment.outage.is_some_and(|outage| {
            let begins_at = self.started_at + outage.begins_after;
            begins_at <= now && now < begins_at + outage.lasts
        })
    }

    /// Puts a frame on the link; `jitter` is in 0..1.
    fn schedule(&mut self, now: Instant, frame: T, jitter: f64) {
        if let Some(arrival_at) = self.pass_link(now, frame.len_bytes(), jitter) {
            self.insert(arrival_at, frame);
        }
    }

    /// Gives a frame to the link now. Returns when it arrives; `None` if it is dropped.
    fn pass_link(&mut self, now: Instant, len_bytes: usize, jitter: f64) -> Option<Instant> {
        let Impairment { bits_per_second, queue_bytes, delay, jitter: max_jitter, .. } = self.impairment;
        let free_at = self.link_free_at.max(now);
        let sent_at = match bits_per_second {
            Some(rate) => free_at + transmission_time(len_bytes, rate),
            None => now,
        };
        // The time until the link is free, converted to bytes, is the length of the queue.
        let fits = match (bits_per_second, queue_bytes) {
            (Some(rate), Some(limit)) => sent_at - now <= transmission_time(limit.max(len_bytes), rate),
            _ => true,
        };
        if !fits || !self.has_room() {
            self.counts.overflowed += 1;
            return None;
        }
        self.link_free_at = sent_at;
        let latest = sent_at + delay + max_jitter.mul_f64(2.0 * jitter);
        let arrival_at = (latest - max_jitter).max(self.last_arrival_at).max(now);
        self.last_arrival_at = arrival_at;
        Some(arrival_at)
    }

    fn insert(&mut self, arrival_at: Instant, frame: T) {
        self.under_way.insert((arrival_at, self.next_number), frame);
        self.next_number += 1;
    }

    /// Counts a frame that has overtaken the held ones, and releases those that were overtaken
    /// often enough.
    fn on_overtaken(&mut self, now: Instant, jitter: f64) {
        for held in &mut self.held {
            held.overtakers_left = held.overtakers_left.saturating_sub(1);
        }
        // Held frames keep their order: one that may go waits for an earlier one that may not.
        while self.held.front().is_some_and(|held| held.overtakers_left == 0)
            && let Some(held) = self.held.pop_front()
        {
            self.schedule(now, held.frame, jitter);
        }
    }
}

fn transmission_time(bytes: usize, bits_per_second: u64) -> Duration {
    let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The random values of one frame. Shares are in 0..1.
struct Dice {
    loss: f64,
    corruption: f64,
    duplication: f64,
    reordering: f64,
    jitter: f64,
    bit: u64,
}

impl Dice {
    /// The random value for marking. It comes from the half of `bit` that nothing else uses, so
    /// that the other values are the same as without marking.
    fn marking(&self) -> f64 {
        f64::from((self.bit >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }

    fn throw(rng: &mut ChaCha8Rng) -> Self {
        let mut share = || f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        Dice {
            loss: share(),
            corruption: share(),
            duplication: share(),
            reordering: share(),
            jitter: share(),
            bit: rng.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests;
