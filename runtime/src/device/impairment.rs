//! What a bad network does to frames, in virtual time: the fault injector without a device.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::BytesMut;
use portolan::{Frame, Instant, Transmit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a network does to frames, the same in both directions.
///
/// It is written `loss=3%,dup=1%,reorder=1%,delay=20ms,jitter=5ms,rate=100mbit,corrupt=0.1%,seed=7`, any of these in
/// any order.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Impairment {
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// The share that arrive twice.
    pub duplication: f64,
    /// The share that are overtaken by one to three later frames (or arrive 5 ms late, where no frame follows).
    pub reordering: f64,
    /// The share in which one bit is flipped.
    pub corruption: f64,
    /// How long a frame is under way.
    pub delay: Duration,
    /// By how much that varies, up and down, evenly spread. Frames keep their order.
    pub jitter: Duration,
    /// The bits that the link takes a second; frames queue for it. Unlimited if none.
    pub bits_per_second: Option<u64>,
    /// The frames that may be under way or queued in each direction; further ones are dropped (and counted). 1,000.
    pub limit: usize,
    /// The same seed makes the same decisions about the same frames.
    pub seed: u64,
}

impl Default for Impairment {
    /// A perfect network.
    fn default() -> Self {
        Impairment {
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            corruption: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            bits_per_second: None,
            limit: 1000,
            seed: 0,
        }
    }
}

/// A setting of [`Impairment`] that could not be read; says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseImpairmentError(String);

impl fmt::Display for ParseImpairmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseImpairmentError {}

impl FromStr for Impairment {
    type Err = ParseImpairmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut impairment = Impairment::default();
        for setting in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                ParseImpairmentError(format!("`{setting}` has no value; write it like `loss=3%`"))
            })?;
            let (key, value) = (key.trim(), value.trim());
            let wrong =
                |example: &str| ParseImpairmentError(format!("`{setting}`: write it like `{key}={example}`"));
            match key {
                "loss" => impairment.loss = parse_share(value).ok_or_else(|| wrong("3%"))?,
                "dup" => impairment.duplication = parse_share(value).ok_or_else(|| wrong("1%"))?,
                "reorder" => impairment.reordering = parse_share(value).ok_or_else(|| wrong("1%"))?,
                "corrupt" => impairment.corruption = parse_share(value).ok_or_else(|| wrong("0.1%"))?,
                "delay" => impairment.delay = parse_delay(value).ok_or_else(|| wrong("20ms"))?,
                "jitter" => impairment.jitter = parse_delay(value).ok_or_else(|| wrong("5ms"))?,
                "rate" => {
                    impairment.bits_per_second = Some(parse_rate(value).ok_or_else(|| wrong("100mbit"))?);
                }
                "limit" => {
                    impairment.limit =
                        value.parse().ok().filter(|&limit| limit > 0).ok_or_else(|| wrong("1000"))?;
                }
                "seed" => impairment.seed = value.parse().map_err(|_| wrong("7"))?,
                _ => {
                    return Err(ParseImpairmentError(format!(
                        "there is no setting `{key}`; the settings are loss, dup, reorder, corrupt, delay, jitter, \
                         rate, limit and seed, as in `loss=3%,delay=20ms,rate=100mbit`"
                    )));
                }
            }
        }
        Ok(impairment)
    }
}

/// `3%`, or `0.03`.
fn parse_share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// `20ms`, `1.5s`, `250us`; at most a minute.
fn parse_delay(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit {
        "s" => number,
        "ms" => number / 1e3,
        "us" | "µs" => number / 1e6,
        _ => return None,
    };
    (0.0..=60.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// `100mbit`, `1.5gbit`, `64kbit`, `9600bit`.
fn parse_rate(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bits = match unit {
        "bit" => number,
        "kbit" => number * 1e3,
        "mbit" => number * 1e6,
        "gbit" => number * 1e9,
        _ => return None,
    };
    (1.0..=1e15).contains(&bits).then_some(bits as u64)
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// As it is parsed; only what is not the default.
impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut settings = Vec::new();
        for (key, share) in [
            ("loss", self.loss),
            ("dup", self.duplication),
            ("reorder", self.reordering),
            ("corrupt", self.corruption),
        ] {
            if share > 0.0 {
                settings.push(format!("{key}={}%", share * 100.0));
            }
        }
        for (key, delay) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !delay.is_zero() {
                settings.push(format!("{key}={}ms", delay.as_secs_f64() * 1e3));
            }
        }
        if let Some(bits) = self.bits_per_second {
            settings.push(format!("rate={bits}bit"));
        }
        if self.limit != Impairment::default().limit {
            settings.push(format!("limit={}", self.limit));
        }
        settings.push(format!("seed={}", self.seed));
        f.write_str(&settings.join(","))
    }
}

/// What an [`ImpairQueue`] did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImpairCounts {
    /// Frames that went in.
    pub seen: u64,
    /// Of these: lost.
    pub lost: u64,
    /// Of these: sent twice.
    pub duplicated: u64,
    /// Of these: overtaken by later ones.
    pub reordered: u64,
    /// Of these: with a bit flipped.
    pub corrupted: u64,
    /// Frames (copies included) for which the queue had no room.
    pub overflowed: u64,
    /// Frames (copies included) that came out.
    pub delivered: u64,
}

/// A frame that can be impaired.
pub trait Impairable: Clone {
    /// Its length in bytes.
    fn len_bytes(&self) -> usize;

    /// The same frame with bit `bit` flipped, counted from the first byte's highest.
    fn with_bit_flipped(&self, bit: usize) -> Self;
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
        Frame::new(bytes.freeze())
    }
}

impl Impairable for Transmit {
    fn len_bytes(&self) -> usize {
        self.len()
    }

    fn with_bit_flipped(&self, bit: usize) -> Self {
        Transmit::from_frame(self.iface(), self.to_frame().with_bit_flipped(bit))
    }
}

/// For how long a frame waits to be overtaken before it goes on alone.
const HELD_DELAY: Duration = Duration::from_millis(5);

/// One direction of an impaired network, in virtual time: frames go in with [`push`](ImpairQueue::push) and come out
/// of [`pop`](ImpairQueue::pop) when they are due, if they do.
///
/// A frame is lost or not, corrupted or not, duplicated or not; then it waits for the link (rate) and for its
/// arrival (delay and jitter). Each frame draws the same number of random values whatever is switched on, so a
/// seed's losses stay the same when a delay is added.
#[derive(Debug)]
pub struct ImpairQueue<T> {
    impairment: Impairment,
    rng: ChaCha8Rng,
    counts: ImpairCounts,
    /// What is under way, by arrival; the second part of the key keeps the order of those that arrive together.
    under_way: BTreeMap<(Instant, u64), T>,
    next_number: u64,
    /// What waits to be overtaken.
    held: VecDeque<Held<T>>,
    /// When the link has sent all that was given to it.
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
    /// A queue. The directions of a link share an [`Impairment`] and differ in `direction`.
    pub fn new(impairment: Impairment, direction: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(impairment.seed);
        rng.set_stream(direction);
        ImpairQueue {
            impairment,
            rng,
            counts: ImpairCounts::default(),
            under_way: BTreeMap::new(),
            next_number: 0,
            held: VecDeque::new(),
            link_free_at: Instant::ZERO,
            last_arrival_at: Instant::ZERO,
        }
    }

    /// A frame enters the network.
    pub fn push(&mut self, now: Instant, frame: T) {
        self.counts.seen += 1;
        let dice = Dice::throw(&mut self.rng);
        if dice.loss < self.impairment.loss {
            self.counts.lost += 1;
            return;
        }
        let mut frame = frame;
        if dice.corruption < self.impairment.corruption && frame.len_bytes() > 0 {
            self.counts.corrupted += 1;
            frame = frame.with_bit_flipped((dice.bit % (frame.len_bytes() as u64 * 8)) as usize);
        }
        if dice.duplication < self.impairment.duplication {
            self.counts.duplicated += 1;
            self.schedule(now, frame.clone(), dice.jitter);
        }
        if dice.reordering < self.impairment.reordering && self.has_room() {
            self.counts.reordered += 1;
            let overtakers_left = 1 + (dice.bit % 3) as u32;
            let give_up_at = now + HELD_DELAY;
            self.held.push_back(Held { frame, overtakers_left, give_up_at });
            return;
        }
        self.schedule(now, frame, dice.jitter);
        self.on_overtaken(now, dice.jitter);
    }

    /// The next frame that has arrived by now.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        while let Some(held) = self.held.pop_front_if(|held| held.give_up_at <= now) {
            self.schedule(held.give_up_at, held.frame, 0.5);
        }
        let entry = self.under_way.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        self.counts.delivered += 1;
        Some(entry.remove())
    }

    /// When the next frame may be due.
    pub fn next_at(&self) -> Option<Instant> {
        let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let held = self.held.front().map(|held| held.give_up_at);
        [arrival, held].into_iter().flatten().min()
    }

    /// What it did so far.
    pub fn counts(&self) -> ImpairCounts {
        self.counts
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.under_way.len() + self.held.len()
    }

    /// Whether it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn has_room(&self) -> bool {
        self.len() < self.impairment.limit
    }

    /// Puts a frame on the link; `jitter` is in 0..1.
    fn schedule(&mut self, now: Instant, frame: T, jitter: f64) {
        if !self.has_room() {
            self.counts.overflowed += 1;
            return;
        }
        if let Some(bits_per_second) = self.impairment.bits_per_second {
            let nanos = frame.len_bytes() as u128 * 8 * 1_000_000_000 / u128::from(bits_per_second.max(1));
            let serialization = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.link_free_at = self.link_free_at.max(now) + serialization;
        } else {
            self.link_free_at = now;
        }
        let latest = self.link_free_at + self.impairment.delay + self.impairment.jitter.mul_f64(2.0 * jitter);
        let arrival_at = (latest - self.impairment.jitter).max(self.last_arrival_at).max(now);
        self.last_arrival_at = arrival_at;
        self.under_way.insert((arrival_at, self.next_number), frame);
        self.next_number += 1;
    }

    /// A frame went ahead of those that are held; the ones that were overtaken often enough follow it.
    fn on_overtaken(&mut self, now: Instant, jitter: f64) {
        for held in &mut self.held {
            held.overtakers_left = held.overtakers_left.saturating_sub(1);
        }
        // In the order in which they came: one that is due behind one that is not waits for it.
        while let Some(held) = self.held.pop_front_if(|held| held.overtakers_left == 0) {
            self.schedule(now, held.frame, jitter);
        }
    }
}

/// What is drawn for each frame: shares are in 0..1.
struct Dice {
    loss: f64,
    corruption: f64,
    duplication: f64,
    reordering: f64,
    jitter: f64,
    bit: u64,
}

impl Dice {
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
