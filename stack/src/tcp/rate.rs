//! Delivery-rate samples (draft-ietf-ccwg-bbr §4.1, before that
//! draft-cheng-iccrg-delivery-rate-estimation): how fast the path delivers data.
//!
//! Each record is stamped at its transmission with how much was delivered by then, and when. Its
//! acknowledgement gives a sample: the bytes delivered since, divided by the longer of two times,
//! that in which they were sent and that in which they were acknowledged. With the shorter time,
//! acknowledgements that arrive in a bunch, or data sent in a burst, would make the path look
//! faster than it is.

use core::time::Duration;

use crate::time::Instant;

/// The state when a record was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    delivered: u64,
    delivered_at: Instant,
    /// When the first data was sent whose delivery this record's sample measures.
    first_sent_at: Instant,
    /// This count and the next one wrap.
    delivered_ce: u32,
    lost: u32,
    /// The bytes in flight, this record included. The top bit says that the sender was
    /// application-limited; cwnd is at most 2^30.
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

/// The sample of the path's rate from one acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    /// The bytes delivered in `interval`, and those of them that were marked CE.
    pub(crate) delivered: u32,
    pub(crate) delivered_ce: u32,
    pub(crate) interval: Duration,
    /// The bytes delivered in total when the newest acknowledged record was sent. Round trips are
    /// counted with it.
    pub(crate) prior_delivered: u64,
    /// The bytes delivered in total now.
    pub(crate) total_delivered: u64,
    /// The bytes in flight when the record was sent, and those marked lost since.
    pub(crate) tx_in_flight: u32,
    pub(crate) lost: u32,
    /// The path could perhaps have carried more, but the program had no more data.
    pub(crate) is_application_limited: bool,
}

impl RateSample {
    /// The rate in bytes a second.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        per_second(self.delivered, self.interval)
    }
}

const NANOS: u64 = 1_000_000_000;

/// A rate in bytes a second. An interval counts as at least a microsecond.
pub(crate) fn per_second(bytes: u32, interval: Duration) -> u64 {
    // In 64 bits, because this runs for every acknowledgement.
    let nanos = interval.as_secs().saturating_mul(NANOS).saturating_add(u64::from(interval.subsec_nanos()));
    u64::from(bytes) * NANOS / nanos.max(1_000)
}

/// A record that was marked lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) bytes: u32,
    /// The bytes in flight when the record was sent, and those lost since, this record included.
    pub(crate) tx_in_flight: u32,
    pub(crate) lost: u32,
    pub(crate) is_application_limited: bool,
}

/// The newest of the records that an acknowledgement delivers, for which the sample is taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newest(Option<(Stamp, Instant)>);

/// The state of one connection. Its methods are called in the order in which they stand here.
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

    /// The stamp of a record of `bytes` that is sent or retransmitted, with `in_flight` bytes in
    /// flight before it.
    pub(crate) fn stamp(&mut self, now: Instant, in_flight: u32, bytes: u32) -> Stamp {
        if in_flight == 0 {
            // Nothing is in flight: the idle time is not measured.
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

    /// There is no data to send although the windows have room. Samples are application-limited
    /// until everything now in flight is delivered.
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

    /// `bytes` of the delivered bytes were marked CE.
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

    /// The sample of an acknowledgement, after all its records were reported. `None` if it
    /// delivered no record, or if the interval is shorter than any round trip: then it acknowledges
    /// the original of a retransmitted record, and the rate would be too high.
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

    /// The bytes delivered in total.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Of these, the bytes that were marked CE. The count wraps.
    pub(crate) fn delivered_ce(&self) -> u32 {
        self.delivered_ce
    }
}

#[cfg(test)]
mod tests;
