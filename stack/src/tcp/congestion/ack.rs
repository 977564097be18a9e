//! What the loss recovery tells congestion control of an acknowledgement.

use core::time::Duration;

use crate::tcp::SeqNumber;
use crate::tcp::rate::RateSample;
use crate::time::Instant;

/// What the sender is doing about losses. In `Recovery` and `Cwr` cwnd is the business of
/// proportional rate reduction, unless the algorithm [controls it
/// itself](super::Congestion::controls_recovery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known to be lost; there may be SACK blocks that could be reordering.
    Open,
    /// Repairing losses that acknowledgements told of.
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

/// An acknowledgement that delivers something or tells of a loss. All byte counts are of data and
/// are made of what this one acknowledgement changed, but for the two in-flight figures.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) now: Instant,
    /// After the acknowledgement was processed.
    pub(crate) phase: Phase,
    /// Cumulatively acknowledged: by how much SND.UNA moved.
    pub(crate) acked_bytes: u32,
    /// Newly delivered, be it cumulatively or selectively; each byte counts once.
    pub(crate) delivered_bytes: u32,
    /// Newly marked lost.
    pub(crate) lost_bytes: u32,
    /// Of the delivered ones, those that met congestion (RFC 3168, RFC 9768).
    pub(crate) ce_bytes: u32,
    /// What is believed to be in the network (RFC 6675's pipe), before and after.
    pub(crate) prior_in_flight: u32,
    pub(crate) in_flight: u32,
    /// The round trip that this acknowledgement measured, if any.
    pub(crate) rtt: Option<Duration>,
    /// The smallest of the last minutes.
    pub(crate) min_rtt: Option<Duration>,
    pub(crate) srtt: Option<Duration>,
    /// SND.UNA and the highest SND.NXT, after.
    pub(crate) una: SeqNumber,
    pub(crate) nxt: SeqNumber,
    pub(crate) rate: Option<RateSample>,
}

/// Data that went out.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) now: Instant,
    /// SND.UNA and the highest SND.NXT, after.
    pub(crate) una: SeqNumber,
    pub(crate) nxt: SeqNumber,
    /// What is in flight with it.
    pub(crate) in_flight: u32,
    pub(crate) rto: Duration,
    /// The restart window of RFC 5681 §4.1, in segments.
    pub(crate) restart_segs: u32,
}
