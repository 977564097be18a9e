//! [`Impairment`]: the settings of a bad network, as a value and as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The settings of a bad network, the same in both directions.
///
/// As text it is written
///
/// `loss=3%,dup=1%,reorder=1%,delay=20ms,jitter=5ms,rate=100mbit,queue=625kB,corrupt=0.1%,mark=1%,limit=1000,seed=7`,
///
/// with any of these settings, each at most once and in any order.
///
/// ```
/// use std::time::Duration;
///
/// use portolan_runtime::device::Impairment;
///
/// let impairment: Impairment = "loss=3%,delay=20ms".parse()?;
/// let mut same = Impairment::default();
/// (same.loss, same.delay) = (0.03, Duration::from_millis(20));
/// assert_eq!(impairment, same);
/// let error = "loss=lots".parse::<Impairment>().unwrap_err();
/// println!("{error}"); // says what is wrong
/// # Ok::<(), portolan_runtime::device::ParseImpairmentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Impairment {
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// How many frames in a row are lost, on average (a Gilbert model; `loss` stays the share of
    /// all frames). With 1, the loss of a frame does not depend on others.
    pub loss_burst: f64,
    /// The time at which the link is down.
    pub outage: Option<Outage>,
    /// The share of frames that arrive twice.
    pub duplication: f64,
    /// The share of frames that are overtaken by later frames.
    pub reordering: f64,
    /// How late overtaken frames arrive. With `None`, each is overtaken by one to three frames, or
    /// arrives 5 ms late where no frame follows.
    pub reorder_delay: Option<Duration>,
    /// The share of frames in which one bit is flipped.
    pub corruption: f64,
    /// The share of ECN-capable packets that are marked "congestion experienced" (RFC 3168).
    pub marking: f64,
    /// The time that a frame takes.
    pub delay: Duration,
    /// How much the delay varies, up and down, with equal probability. Frames keep their order.
    pub jitter: Duration,
    /// The rate of the link in bits a second; frames queue for it. `None` is unlimited.
    pub bits_per_second: Option<u64>,
    /// The bytes that may queue for a link with a rate; a frame for which there is no room is
    /// dropped and counted. With `None`, only `limit` bounds the queue.
    pub queue_bytes: Option<usize>,
    /// The most frames that may be in flight or queued in each direction; further ones are dropped
    /// and counted. 1,000 by default.
    pub limit: usize,
    /// The seed: the same seed makes the same decisions about the same frames.
    pub seed: u64,
}

impl Default for Impairment {
    /// A network without faults.
    fn default() -> Self {
        Impairment {
            loss: 0.0,
            loss_burst: 1.0,
            outage: None,
            duplication: 0.0,
            reordering: 0.0,
            reorder_delay: None,
            corruption: 0.0,
            marking: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            bits_per_second: None,
            queue_bytes: None,
            limit: 1000,
            seed: 0,
        }
    }
}

/// A time during which frames that are sent are lost. Frames that are in flight arrive.
// Exhaustive: programs construct it, and a start and a length are all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the outage begins, counted from the start of the network.
    pub begins_after: Duration,
    /// How long the outage lasts.
    pub lasts: Duration,
}

/// The error for settings of [`Impairment`] that cannot be parsed. It says what to write instead.
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
        let mut seen: Vec<&str> = Vec::new();
        for setting in text.split(',').map(str::trim) {
            if setting.is_empty() {
                return Err(ParseImpairmentError(
                    "a setting is empty; write them like `loss=3%,delay=20ms`, without a comma at the end"
                        .to_owned(),
                ));
            }
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                ParseImpairmentError(format!("`{setting}` has no value; write it like `loss=3%`"))
            })?;
            let (key, value) = (key.trim(), value.trim());
            if seen.contains(&key) {
                return Err(ParseImpairmentError(format!("`{key}` is given twice; leave one out")));
            }
            seen.push(key);
            impairment.set(key, value).map_err(|fault| fault.in_setting(setting, key))?;
        }
        for (key, needed) in [("burst", "loss"), ("reorder_by", "reorder"), ("queue", "rate")] {
            if seen.contains(&key) && !seen.contains(&needed) {
                return Err(ParseImpairmentError(format!(
                    "`{key}` does nothing without `{needed}`; give that, too, or leave `{key}` out"
                )));
            }
        }
        Ok(impairment)
    }
}

/// The fault of a setting.
enum Fault {
    UnknownKey,
    /// What the value should be, and an example of one.
    Value(&'static str, &'static str),
}

impl Fault {
    fn in_setting(self, setting: &str, key: &str) -> ParseImpairmentError {
        ParseImpairmentError(match self {
            Fault::UnknownKey => format!(
                "there is no setting `{key}`; the settings are loss, burst, outage, dup, reorder, reorder_by, corrupt, mark, \
                 delay, jitter, rate, queue, limit and seed, as in `loss=3%,delay=20ms,rate=100mbit`"
            ),
            Fault::Value(what, example) => {
                format!("`{setting}`: {what}; write it like `{key}={example}`")
            }
        })
    }
}

const SHARE: &str = "a share is 0% to 100%, or 0 to 1";
const DELAY: &str = "a time is a number with us, ms or s, at most 60s";

impl Impairment {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let share = |example| parse_share(value).ok_or(Fault::Value(SHARE, example));
        let delay = |example| parse_delay(value).ok_or(Fault::Value(DELAY, example));
        match key {
            "loss" => self.loss = share("3%")?,
            "burst" => {
                let frames = "a burst is 1 to 1000 frames on average";
                self.loss_burst = parse_burst(value).ok_or(Fault::Value(frames, "4"))?;
            }
            "outage" => {
                let times = "an outage is two times of at most 60s with us, ms or s: for how long, and when";
                self.outage = Some(parse_outage(value).ok_or(Fault::Value(times, "200ms@5s"))?);
            }
            "dup" => self.duplication = share("1%")?,
            "reorder" => self.reordering = share("1%")?,
            "reorder_by" => self.reorder_delay = Some(delay("5ms")?),
            "corrupt" => self.corruption = share("0.1%")?,
            "mark" => self.marking = share("1%")?,
            "delay" => self.delay = delay("20ms")?,
            "jitter" => self.jitter = delay("5ms")?,
            "rate" => {
                let rate = "a rate is a number with bit, kbit, mbit or gbit, from 1bit to 1000000gbit";
                self.bits_per_second = Some(parse_rate(value).ok_or(Fault::Value(rate, "100mbit"))?);
            }
            "queue" => {
                let size = "a size is a number with B, kB or MB, from 1B to 1000000MB";
                self.queue_bytes = Some(parse_size(value).ok_or(Fault::Value(size, "625kB"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|&limit| limit > 0);
                self.limit =
                    limit.ok_or(Fault::Value("the limit is a number of frames, at least 1", "1000"))?;
            }
            "seed" => {
                self.seed = value.parse().map_err(|_| Fault::Value("the seed is a number from 0", "7"))?;
            }
            _ => return Err(Fault::UnknownKey),
        }
        Ok(())
    }
}

/// Parses `3%` or `0.03`.
fn parse_share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// Parses `20ms`, `1.5s`, `250us`; at most a minute.
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

/// Parses `100mbit`, `1.5gbit`, `64kbit`, `9600bit`.
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

/// Parses `625kB`, `1.5MB`, `9000B`, in powers of ten, as for rates.
fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "B" => number,
        "kB" => number * 1e3,
        "MB" => number * 1e6,
        _ => return None,
    };
    (1.0..=1e12).contains(&bytes).then_some(bytes as usize)
}

/// Parses a number of frames: 1 to 1,000.
fn parse_burst(text: &str) -> Option<f64> {
    text.parse().ok().filter(|frames| (1.0..=1000.0).contains(frames))
}

/// Parses `200ms@5s`: the length, and the start counted from that of the network.
fn parse_outage(text: &str) -> Option<Outage> {
    let (lasts, begins_after) = text.split_once('@')?;
    Some(Outage { begins_after: parse_delay(begins_after)?, lasts: parse_delay(lasts)? })
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Writes the settings that have an effect and are not the default, in the form in which they are
/// parsed.
impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut settings = Vec::new();
        for (key, share) in [
            ("loss", self.loss),
            ("dup", self.duplication),
            ("reorder", self.reordering),
            ("corrupt", self.corruption),
            ("mark", self.marking),
        ] {
            if share > 0.0 {
                settings.push(format!("{key}={}%", share * 100.0));
            }
        }
        if self.loss_burst > 1.0 && self.loss > 0.0 {
            settings.push(format!("burst={}", self.loss_burst));
        }
        let millis = |delay: Duration| format!("{}ms", delay.as_secs_f64() * 1e3);
        if let Some(Outage { begins_after, lasts }) = self.outage {
            settings.push(format!("outage={}@{}", millis(lasts), millis(begins_after)));
        }
        if let Some(delay) = self.reorder_delay.filter(|_| self.reordering > 0.0) {
            settings.push(format!("reorder_by={}", millis(delay)));
        }
        for (key, delay) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !delay.is_zero() {
                settings.push(format!("{key}={}", millis(delay)));
            }
        }
        if let Some(bits) = self.bits_per_second {
            settings.push(format!("rate={bits}bit"));
        }
        if let Some(bytes) = self.queue_bytes.filter(|_| self.bits_per_second.is_some()) {
            settings.push(format!("queue={bytes}B"));
        }
        if self.limit != Impairment::default().limit {
            settings.push(format!("limit={}", self.limit));
        }
        settings.push(format!("seed={}", self.seed));
        f.write_str(&settings.join(","))
    }
}
