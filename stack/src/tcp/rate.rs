//! Delivery-rate samples (draft-ietf-ccwg-bbr §4.1, before that
//! draft-cheng-iccrg-delivery-rate-estimation): how fast the path delivered what was in flight.
//!
//! Each record that goes out is stamped with how much was delivered by then, and when. Its
//! acknowledgement makes the sample: what was delivered since, over the longer of the time in which
//! it was sent and the time in which it was acknowledged. The longer, because acknowledgements that
//! come in a bunch, and data that went out in one, would both make the path look faster than it is.

use core::time::Duration;

use crate::time::Instant;

/// What a record keeps of the moment at which it went out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    delivered: u64,
    delivered_at: Instant,
    /// When the first of the data was sent whose delivery this record's sample measures.
    first_sent_at: Instant,
    /// These two wrap.
    delivered_ce: u32,
    lost: u32,
    /// With this record; the top bit says that the sender was application-limited. cwnd is at most
    /// 2^30.
    in_flight: u32,
}

const APPLICATION_LIMITED: u32 = 1 << 31;

impl Stamp {
    fn is_application_limited(&self) -> bool {
        self.in_flight & APPLICATION_LIMITED != 0
    }

    fn tx_in_flight(&self) -> u32 {
        self.in_flight & !APPLICATION_LIMITED
    }
}

/// What an acknowledgement says of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    /// Bytes delivered in `interval`; of these with CE.
    pub(crate) delivered: u32,
    pub(crate) delivered_ce: u32,
    pub(crate) interval: Duration,
    /// All that was ever delivered when the newest acknowledged record went out: round trips are
    /// counted with it.
    pub(crate) prior_delivered: u64,
    /// All that is delivered now.
    pub(crate) total_delivered: u64,
    /// What was in flight with the record, and what was marked lost since.
    pub(crate) tx_in_flight: u32,
    pub(crate) lost: u32,
    /// The path might have carried more, had there been more to send.
    pub(crate) is_application_limited: bool,
}

impl RateSample {
    /// Bytes a second.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        per_second(self.delivered, self.interval)
    }
}

const NANOS: u64 = 1_000_000_000;

/// Bytes a second; nothing takes less than a microsecond.
pub(crate) fn per_second(bytes: u32, interval: Duration) -> u64 {
    // In 64 bits: asked for with every acknowledgement.
    let nanos = interval.as_secs().saturating_mul(NANOS).saturating_add(u64::from(interval.subsec_nanos()));
    u64::from(bytes) * NANOS / nanos.max(1_000)
}

/// A record that was marked lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) bytes: u32,
    /// What was in flight with it when it went out, and what was lost since, this record included.
    pub(crate) tx_in_flight: u32,
    pub(crate) lost: u32,
    pub(crate) is_application_limited: bool,
}

/// The newest of the records that an acknowledgement delivers: the sample is about it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newest(Option<(Stamp, Instant)>);

/// The counts of one connection. Call it in the order of its methods.
#[derive(Clone, Debug)]
pub(crate) struct RateSampler {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    delivered_ce: u32,
    lost: u32,
    /// Samples are application-limited until `delivered` is beyond this; 0 if they are not.
    application_limited_until: u64,
}

impl RateSampler {
    pub(crate) fn new(now: Instant) -> RateSampler {
        RateSampler {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            delivered_ce: 0,
            lost: 0,
            application_limited_until: 0,
        }
    }

    /// A record of `bytes` goes out, be it again, with `in_flight` bytes before it.
    pub(crate) fn stamp(&mut self, now: Instant, in_flight: u32, bytes: u32) -> Stamp {
        if in_flight == 0 {
            // Nothing is on its way: the time in which nothing happened is not measured.
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        let limited = if self.application_limited_until > 0 { APPLICATION_LIMITED } else { 0 };
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            delivered_ce: self.delivered_ce,
            lost: self.lost,
            in_flight: in_flight.saturating_add(bytes).min(APPLICATION_LIMITED - 1) | limited,
        }
    }

    /// There is nothing to send although the windows have room: until all that is in flight now is
    /// delivered, samples are of the program and not of the path.
    pub(crate) fn on_application_limited(&mut self, in_flight: u32) {
        self.application_limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// A record, last sent at `sent_at`, is acknowledged for the first time, cumulatively or
    /// selectively.
    pub(crate) fn on_delivered(
        &mut self,
        newest: &mut Newest,
        now: Instant,
        bytes: u32,
        sent_at: Instant,
        stamp: &Stamp,
    ) {
        self.delivered += u64::from(bytes);
        self.delivered_at = now;
        let is_newest = newest.0.is_none_or(|(newest, newest_sent_at)| {
            let before = newest.delivered;
            stamp.delivered > before || (stamp.delivered == before && sent_at >= newest_sent_at)
        });
        if is_newest {
            newest.0 = Some((*stamp, sent_at));
        }
    }

    /// So many of the delivered bytes met congestion.
    pub(crate) fn on_ce(&mut self, bytes: u32) {
        self.delivered_ce = self.delivered_ce.wrapping_add(bytes);
    }

    /// A record is marked lost.
    pub(crate) fn on_lost(&mut self, bytes: u32, stamp: &Stamp) -> Lost {
        self.lost = self.lost.wrapping_add(bytes);
        Lost {
            bytes,
            tx_in_flight: stamp.tx_in_flight(),
            lost: self.lost.wrapping_sub(stamp.lost),
            is_application_limited: stamp.is_application_limited(),
        }
    }

    /// The sample of an acknowledgement, once all its records are told. `None` if it delivered
    /// none, and if the time is shorter than any round trip was: then it acknowledges something
    /// else than what it seems to (a retransmission that was not needed), and the rate would be too
    /// high.
    pub(crate) fn take_sample(&mut self, newest: Newest, min_rtt: Option<Duration>) -> Option<RateSample> {
        if self.delivered > self.application_limited_until {
            self.application_limited_until = 0;
        }
        let (stamp, sent_at) = newest.0?;
        self.first_sent_at = self.first_sent_at.max(sent_at);
        let nanos = |from: Instant, to: Instant| to.as_nanos().saturating_sub(from.as_nanos());
        let send_elapsed = nanos(stamp.first_sent_at, sent_at);
        let ack_elapsed = nanos(stamp.delivered_at, self.delivered_at);
        let interval = Duration::from_nanos(send_elapsed.max(ack_elapsed));
        if interval.is_zero() || min_rtt.is_some_and(|min_rtt| interval < min_rtt) {
            return None;
        }
        Some(RateSample {
            delivered: u32::try_from(self.delivered - stamp.delivered).unwrap_or(u32::MAX),
            delivered_ce: self.delivered_ce.wrapping_sub(stamp.delivered_ce),
            interval,
            prior_delivered: stamp.delivered,
            total_delivered: self.delivered,
            tx_in_flight: stamp.tx_in_flight(),
            lost: self.lost.wrapping_sub(stamp.lost),
            is_application_limited: stamp.is_application_limited(),
        })
    }

    /// All that was ever delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Of this, what met congestion; it wraps.
    pub(crate) fn delivered_ce(&self) -> u32 {
        self.delivered_ce
    }
}

#[cfg(test)]
mod tests;
