//! Packetization-layer path MTU discovery (RFC 4821): finds the largest segment that the path takes
//! by trying, because some routers send no ICMP messages, or the messages are dropped. As Linux's
//! `tcp_mtu_probing`.
//!
//! A black hole is assumed after several time-outs in a row of a segment that is larger than what
//! every path takes. Then segments become small, and probes, which are larger segments of ordinary
//! data, search for the largest size that gets through. If a probe alone is lost, it was too large;
//! that is no sign of congestion (§7.6.2).

use alloc::boxed::Box;

use super::congestion::Phase;
use super::recovery::RepeatCause;
use super::{Connection, Run, SeqNumber, State};
use crate::Ctx;
use crate::config::{MtuProbing, TcpConfig};
use crate::time::Instant;

/// The smallest cwnd, in segments, for a probe. The loss of a probe must be detected without a
/// time-out, and be told apart from other losses (Linux's tcp_mtu_probe).
const MIN_CWND_SEGS: u32 = 11;
/// Segments of data that must follow a probe, so that its loss is detected.
const FOLLOWING_SEGS: u32 = 4;
/// The search ends when the limits are closer than this (Linux's tcp_probe_threshold).
const PRECISION: u16 = 8;

/// A probe in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    seq: SeqNumber,
    end: SeqNumber,
    mss: u16,
}

/// A search for the path's MSS (options included, as in [`PathMss`]) between a size that gets
/// through and one that may.
#[derive(Debug)]
pub(super) struct MtuSearch {
    low: u16,
    high: u16,
    /// Whether `high` itself is tried first, because it got through once.
    tries_high: bool,
    probe: Option<Probe>,
    /// No probe before this.
    next_at: Instant,
}

impl MtuSearch {
    /// Sizes up to `low` get through, and perhaps larger ones, up to `high`.
    fn new(low: u16, high: u16, next_at: Instant) -> MtuSearch {
        MtuSearch { low, high: high.max(low), tries_high: true, probe: None, next_at }
    }

    /// The size to try next; `None` when the search is over.
    fn next_size(&self) -> Option<u16> {
        let distance = self.high - self.low;
        if distance == 0 || (distance < PRECISION && !self.tries_high) {
            return None;
        }
        Some(if self.tries_high { self.high } else { self.low + distance.div_ceil(2) })
    }

    fn on_success(&mut self, mss: u16) {
        self.low = mss.max(self.low);
        self.high = self.high.max(self.low);
    }

    fn on_failure(&mut self, mss: u16) {
        // If a router has lowered `high` meanwhile, that size is tried next.
        self.tries_high &= self.high < mss;
        self.high = self.high.min(mss - 1).max(self.low);
    }
}

/// The size of segments that the path takes.
#[derive(Debug)]
pub(super) struct PathMss {
    pub(super) mss: u16,
    /// The MSS that every path takes, by the rules of the address family.
    pub(super) least_mss: u16,
    /// Present while more than `mss` may get through, now or later.
    pub(super) search: Option<Box<MtuSearch>>,
}

/// Whether the next segment is a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum MtuProbe {
    /// A probe with this MSS is sent.
    Send(u16),
    /// The probe waits for room in cwnd, and other data waits behind it.
    Wait,
    /// No probe now.
    Pass,
}

impl Connection {
    /// Sets the MSS that every path takes, by the rules of the address family.
    pub(crate) fn set_least_path_mss(&mut self, mss: u16) {
        self.path.least_mss = mss;
    }

    /// Begins the search when the connection opens, if the configuration says so.
    pub(super) fn begin_mtu_search(&mut self, ctx: &Ctx<'_>) {
        let config = &ctx.config.tcp;
        let known = self.base_mss(config);
        if config.mtu_probing == MtuProbing::Always && self.send_mss(ctx) > known {
            let high = self.send_mss(ctx);
            self.path.mss = known;
            self.path.search = Some(Box::new(MtuSearch::new(known, high, ctx.now)));
        }
    }

    /// The MSS with which a search begins: Linux's tcp_base_mss, and over IPv6 at least what RFC
    /// 8200 §5 guarantees.
    fn base_mss(&self, config: &TcpConfig) -> u16 {
        config.mtu_probe_base.max(self.mtu_floor(config))
    }

    /// The smallest MSS that is used.
    fn mtu_floor(&self, config: &TcpConfig) -> u16 {
        self.path.least_mss.max(config.mtu_probe_floor)
    }

    /// The retransmission timer has fired again. After several time-outs of a segment that may be
    /// too large, a black hole is assumed, and segments become smaller (RFC 4821 §7.7; Linux's
    /// tcp_mtu_probing after `tcp_retries1`).
    pub(super) fn suspect_black_hole(&mut self, ctx: &mut Ctx<'_>) {
        let config = &ctx.config.tcp;
        if let Some(search) = &mut self.path.search {
            // All segments were lost, so the probe's loss proves nothing (§7.6.4).
            search.probe = None;
        }
        let current = self.send_mss(ctx);
        let base = self.base_mss(config);
        // An outage is more likely than a path that takes less than the base, so the size is halved
        // only after twice as many time-outs.
        let (smaller, patience) = match current > base {
            true => (base, config.mtu_probe_timeouts),
            false => ((current / 2).max(self.mtu_floor(config)), config.mtu_probe_timeouts.saturating_mul(2)),
        };
        if config.mtu_probing == MtuProbing::Off || self.retries.timeouts < patience {
            return;
        }
        // In bytes of payload.
        let fits = self.effective_mss(ctx).saturating_sub(u32::from(current.saturating_sub(smaller)));
        let is_large = self.flight.scoreboard.first().is_some_and(|first| first.largest_segment() > fits);
        if smaller >= current || !is_large {
            return;
        }
        log::debug!("{}: black hole for segments of {current}, sending {smaller} now", ctx.subject);
        ctx.stats.mtu.black_holes += 1;
        let high = self.path.search.as_ref().map_or(current, |search| search.high.max(current));
        self.path.search = Some(Box::new(MtuSearch::new(smaller, high, ctx.now)));
        self.set_path_mss(ctx, smaller);
    }

    /// A router has reported an MSS smaller than ours: larger sizes are not tried for some time
    /// (RFC 8201 §4).
    pub(super) fn on_mtu_message(&mut self, ctx: &Ctx<'_>, path_mss: u16) {
        let config = &ctx.config.tcp;
        if config.mtu_probing != MtuProbing::Off {
            let next_at = ctx.now + config.mtu_probe_interval;
            let search = MtuSearch::new(path_mss, self.mss_limit(config), next_at);
            self.path.search = Some(Box::new(search));
        }
    }

    /// A router has reported `path_mss` for the segment at `seq`, but other segments are no larger.
    /// If that segment was the probe, the search is nearly over.
    pub(super) fn limit_mtu_search(&mut self, seq: SeqNumber, path_mss: u16) {
        if let Some(search) = &mut self.path.search
            && search.probe.is_some_and(|probe| probe.seq == seq && probe.mss > path_mss)
        {
            search.high = path_mss.max(search.low);
            search.tries_high = true;
        }
    }

    /// The link takes `path_mss` now. Returns the size to use: while a search goes on, no more than
    /// what has got through (Linux's tcp_sync_mss).
    pub(super) fn limit_to_search(&mut self, path_mss: u16) -> u16 {
        let Some(search) = &mut self.path.search else { return path_mss };
        search.low = search.low.min(path_mss);
        search.high = search.high.min(path_mss).max(search.low);
        search.low
    }

    /// The MSS that the link and the peer take.
    fn mss_limit(&self, config: &TcpConfig) -> u16 {
        self.snd.mss(self.syn.announced_mss, config.min_mss)
    }

    /// Sets the size of segments from now on.
    pub(super) fn set_path_mss(&mut self, ctx: &Ctx<'_>, path_mss: u16) {
        self.path.mss = path_mss;
        self.congestion.set_mss(self.steady_mss(ctx));
    }

    /// Decides whether the next new data is sent as a probe (RFC 4821 §7.4, Linux's tcp_mtu_probe).
    pub(super) fn plan_mtu_probe(&mut self, ctx: &Ctx<'_>, mss: u32, in_flight: u32) -> MtuProbe {
        let limit = self.mss_limit(&ctx.config.tcp);
        let Some(search) = &mut self.path.search else { return MtuProbe::Pass };
        if search.probe.is_some() || ctx.now < search.next_at {
            return MtuProbe::Pass;
        }
        let Some(size) = search.next_size() else {
            // The search is over. Later the path may take more (RFC 4821 §7.5: not before ten
            // minutes).
            if search.low >= limit {
                self.path.search = None;
            } else {
                **search = MtuSearch::new(search.low, limit, ctx.now + ctx.config.tcp.mtu_probe_interval);
            }
            return MtuProbe::Pass;
        };
        let len = self.mtu_probe_len(ctx, mss, size);
        let needed = len + FOLLOWING_SEGS * mss;
        let cwnd = self.congestion.cwnd();
        let is_calm = self.flight.recovery.phase() == Phase::Open && self.flight.scoreboard.sacked() == 0;
        let has_enough = self.snd.unsent() >= needed as usize
            && self.snd.usable_window() >= needed
            && cwnd >= needed.max(MIN_CWND_SEGS * mss);
        // A probe would cross the ends of records.
        let has_records = self.snd.records.is_some();
        if !is_calm || !has_enough || has_records || self.state == State::SynReceived {
            return MtuProbe::Pass;
        }
        if cwnd.saturating_sub(in_flight) < len && in_flight > 0 {
            return MtuProbe::Wait;
        }
        MtuProbe::Send(size)
    }

    /// Bytes of data in a probe of this size, where other segments have `mss`.
    fn mtu_probe_len(&self, ctx: &Ctx<'_>, mss: u32, size: u16) -> u32 {
        let options = u32::from(self.send_mss(ctx)).saturating_sub(mss);
        u32::from(size).saturating_sub(options)
    }

    /// Builds the planned probe.
    pub(super) fn send_mtu_probe(&mut self, ctx: &mut Ctx<'_>, mss: u32, size: u16) -> Run {
        let len = self.mtu_probe_len(ctx, mss, size);
        let seq = self.snd.nxt;
        let run = self.send_next(ctx, len, len as usize, false);
        log::debug!("{}: path MTU probe with a segment of {size}", ctx.subject);
        ctx.stats.mtu.probes += 1;
        if let Some(search) = &mut self.path.search {
            search.probe = Some(Probe { seq, end: self.snd.nxt, mss: size });
        }
        run
    }

    /// SND.UNA has moved. Checks whether the probe got through.
    pub(super) fn check_mtu_probe(&mut self, ctx: &mut Ctx<'_>) {
        let una = self.snd.una;
        let Some(search) = &mut self.path.search else { return };
        let Some(probe) = search.probe.filter(|probe| una.after_eq(probe.end)) else { return };
        search.probe = None;
        search.on_success(probe.mss);
        let path_mss = search.low;
        log::debug!("{}: the path takes segments of {path_mss}", ctx.subject);
        ctx.stats.mtu.probe_success += 1;
        self.set_path_mss(ctx, path_mss);
    }

    /// Data was lost. If only the probe is lost, it was too large: it is sent again in smaller
    /// segments, without a reduction of cwnd (RFC 4821 §7.6.2). Returns whether that is so.
    pub(super) fn is_mtu_probe_lost(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(search) = &mut self.path.search else { return false };
        let Some(probe) = search.probe.filter(|probe| self.flight.scoreboard.is_lost_at(probe.seq)) else {
            return false;
        };
        search.probe = None;
        if self.flight.scoreboard.lost() != probe.end - probe.seq {
            // §7.6.4: the cause of the other losses may be that of the probe's loss, too.
            return false;
        }
        search.on_failure(probe.mss);
        log::debug!("{}: a segment of {} is too large for the path", ctx.subject, probe.mss);
        ctx.stats.mtu.probe_fail += 1;
        self.flight.recovery.enter_loss(self.snd.una, self.snd.nxt, RepeatCause::PathMtu);
        true
    }
}

#[cfg(test)]
mod tests;
