//! What loss recovery reports to congestion control.

use core::time::Duration;

use crate::tcp::SeqNumber;
use crate::tcp::rate::RateSample;
use crate::time::Instant;

/// What the sender is doing about losses. In `Recovery` and `Cwr` proportional rate reduction sets
/// cwnd, unless the algorithm [controls it itself](super::Congestion::controls_recovery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No loss is known. There may be SACK blocks that could also come from reordering.
    Open,
    /// Repairing losses that acknowledgements have shown.
    Recovery,
    /// Reducing the window because of ECN; nothing is lost.
    Cwr,
    /// After a time-out: slow start from one segment.
    Loss,
}

/// Why a congestion episode begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Loss,
    Ecn,
}

/// An acknowledgement that delivers data or shows a loss. All byte counts except the two in-flight
/// values are what this acknowledgement changed; they count data only.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) now: Instant,
    /// The phase after the acknowledgement was processed.
    pub(crate) phase: Phase,
    /// How far SND.UNA moved.
    pub(crate) acked_bytes: u32,
    /// Bytes newly acknowledged, cumulatively or selectively; each byte counts once.
    pub(crate) delivered_bytes: u32,
    /// Bytes newly marked lost.
    pub(crate) lost_bytes: u32,
    /// Those of the delivered bytes that were marked CE (RFC 3168, RFC 9768).
    pub(crate) ce_bytes: u32,
    /// The estimated bytes in the network (RFC 6675's pipe), before and after.
    pub(crate) prior_in_flight: u32,
    pub(crate) in_flight: u32,
    /// The round trip that this acknowledgement measured, if any.
    pub(crate) rtt: Option<Duration>,
    /// The smallest round trip of the last minutes.
    pub(crate) min_rtt: Option<Duration>,
    pub(crate) srtt: Option<Duration>,
    /// SND.UNA and SND.NXT, after.
    pub(crate) una: SeqNumber,
    pub(crate) nxt: SeqNumber,
    pub(crate) rate: Option<RateSample>,
}

/// Data that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) now: Instant,
    /// SND.UNA and SND.NXT, after.
    pub(crate) una: SeqNumber,
    pub(crate) nxt: SeqNumber,
    /// Bytes in flight, this data included.
    pub(crate) in_flight: u32,
    pub(crate) rto: Duration,
    /// The restart window of RFC 5681 §4.1, in segments.
    pub(crate) restart_segs: u32,
}
