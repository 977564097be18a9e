//! Packetization-layer path MTU discovery (RFC 4821): what the path takes is found by trying, for
//! routers that should say so are silent, or something drops their ICMP messages. As Linux's
//! `tcp_mtu_probing`.
//!
//! A black hole shows itself by time-outs in a row of a segment that is larger than what every path
//! takes. The segments are made small then, and from there probes, segments of real data that are
//! larger than the others, look for the largest that gets through. A probe that is lost alone says
//! "too large" and nothing about congestion (§7.6.2).

use alloc::boxed::Box;

use super::congestion::Phase;
use super::recovery::RepeatCause;
use super::{Connection, Run, SeqNumber, State};
use crate::Ctx;
use crate::config::{MtuProbing, TcpConfig};
use crate::time::Instant;

/// The smallest cwnd, in segments, with which a probe goes out: its loss must show without a
/// time-out, and stand out from other losses (Linux's tcp_mtu_probe).
const MIN_CWND_SEGS: u32 = 11;
/// Segments of data that follow a probe, so that its loss is seen.
const FOLLOWING_SEGS: u32 = 4;
/// Nearer than this the search has come to its end (Linux's tcp_probe_threshold).
const PRECISION: u16 = 8;

/// A probe in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    seq: SeqNumber,
    end: SeqNumber,
    mss: u16,
}

/// A search for the path's MSS (options included, as in [`PathMss`]) between what is known to get
/// through and what may.
#[derive(Debug)]
pub(super) struct MtuSearch {
    low: u16,
    high: u16,
    /// Whether `high` itself is to be tried first: it did get through once.
    tries_high: bool,
    probe: Option<Probe>,
    /// No probe before this.
    next_at: Instant,
}

impl MtuSearch {
    /// Everything up to `low` gets through, and perhaps more, up to `high`.
    fn new(low: u16, high: u16, next_at: Instant) -> MtuSearch {
        MtuSearch { low, high: high.max(low), tries_high: true, probe: None, next_at }
    }

    /// The size to try next; `None` when nothing between the two is worth it.
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
        // What a router said meanwhile is tried next.
        self.tries_high &= self.high < mss;
        self.high = self.high.min(mss - 1).max(self.low);
    }
}

/// How large the segments are that the path takes.
#[derive(Debug)]
pub(super) struct PathMss {
    pub(super) mss: u16,
    /// What every path takes, by the rules of the address family.
    pub(super) least_mss: u16,
    /// While more than `mss` may get through, or may later.
    pub(super) search: Option<Box<MtuSearch>>,
}

/// What becomes of a probe whose turn it might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum MtuProbe {
    /// It goes out, with an MSS of so much.
    Send(u16),
    /// It waits for room, and everything else behind it.
    Wait,
    /// Not now.
    Pass,
}

impl Connection {
    /// What every path takes, by the rules of the address family.
    pub(crate) fn set_least_path_mss(&mut self, mss: u16) {
        self.path.least_mss = mss;
    }

    /// The connection is open.
    pub(super) fn begin_mtu_search(&mut self, ctx: &Ctx<'_>) {
        let config = &ctx.config.tcp;
        let known = self.base_mss(config);
        if config.mtu_probing == MtuProbing::Always && self.send_mss(ctx) > known {
            let high = self.send_mss(ctx);
            self.path.mss = known;
            self.path.search = Some(Box::new(MtuSearch::new(known, high, ctx.now)));
        }
    }

    /// What is believed to get through everywhere: Linux's tcp_base_mss, and over IPv6 what RFC
    /// 8200 §5 promises.
    fn base_mss(&self, config: &TcpConfig) -> u16 {
        config.mtu_probe_base.max(self.mtu_floor(config))
    }

    /// Never less than this.
    fn mtu_floor(&self, config: &TcpConfig) -> u16 {
        self.path.least_mss.max(config.mtu_probe_floor)
    }

    /// The retransmission timer has fired once more. After several times for a segment that may be
    /// too large it is a black hole, or may be: with smaller ones (RFC 4821 §7.7; Linux's
    /// tcp_mtu_probing after `tcp_retries1`).
    pub(super) fn suspect_black_hole(&mut self, ctx: &mut Ctx<'_>) {
        let config = &ctx.config.tcp;
        if let Some(search) = &mut self.path.search {
            // Everything was lost: that says nothing about the probe (§7.6.4).
            search.probe = None;
        }
        let current = self.send_mss(ctx);
        let base = self.base_mss(config);
        // That the path takes less than the base is less likely than an outage: half comes after
        // twice as many.
        let (smaller, patience) = match current > base {
            true => (base, config.mtu_probe_timeouts),
            false => ((current / 2).max(self.mtu_floor(config)), config.mtu_probe_timeouts.saturating_mul(2)),
        };
        if config.mtu_probing == MtuProbing::Off || self.retries.timeouts < patience {
            return;
        }
        // Of the payload.
        let fits = self.effective_mss(ctx).saturating_sub(u32::from(current.saturating_sub(smaller)));
        let is_large = self.flight.scoreboard.first().is_some_and(|first| first.largest_segment() > fits);
        if smaller >= current || !is_large {
            return;
        }
        log::debug!("{}: a black hole for segments of {current}, {smaller} from now on", ctx.subject);
        ctx.stats.mtu.black_holes += 1;
        let high = self.path.search.as_ref().map_or(current, |search| search.high.max(current));
        self.path.search = Some(Box::new(MtuSearch::new(smaller, high, ctx.now)));
        self.set_path_mss(ctx, smaller);
    }

    /// A router has said that the path takes this much, which is less than we send: no more is
    /// tried for a while (RFC 8201 §4).
    pub(super) fn on_mtu_message(&mut self, ctx: &Ctx<'_>, path_mss: u16) {
        let config = &ctx.config.tcp;
        if config.mtu_probing != MtuProbing::Off {
            let next_at = ctx.now + config.mtu_probe_interval;
            let search = MtuSearch::new(path_mss, self.mss_limit(config), next_at);
            self.path.search = Some(Box::new(search));
        }
    }

    /// A router has said so of what began at `seq`, and we send no more already. If that was the
    /// probe, the search is nearly over.
    pub(super) fn limit_mtu_search(&mut self, seq: SeqNumber, path_mss: u16) {
        if let Some(search) = &mut self.path.search
            && search.probe.is_some_and(|probe| probe.seq == seq && probe.mss > path_mss)
        {
            search.high = path_mss.max(search.low);
            search.tries_high = true;
        }
    }

    /// What the link and the peer take.
    fn mss_limit(&self, config: &TcpConfig) -> u16 {
        self.snd.mss(self.syn.announced_mss, config.min_mss)
    }

    /// Segments are of this size from now on.
    pub(super) fn set_path_mss(&mut self, ctx: &Ctx<'_>, path_mss: u16) {
        self.path.mss = path_mss;
        self.congestion.set_mss(self.steady_mss(ctx));
    }

    /// New data may go out: perhaps as a probe (RFC 4821 §7.4, Linux's tcp_mtu_probe).
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
        // A probe does not join records.
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

    /// The planned probe.
    pub(super) fn send_mtu_probe(&mut self, ctx: &mut Ctx<'_>, mss: u32, size: u16) -> Run {
        let len = self.mtu_probe_len(ctx, mss, size);
        let seq = self.snd.nxt;
        let run = self.send_next(ctx, len, len as usize, false);
        log::debug!("{}: a probe of the path with a segment of {size}", ctx.subject);
        ctx.stats.mtu.probes += 1;
        if let Some(search) = &mut self.path.search {
            search.probe = Some(Probe { seq, end: self.snd.nxt, mss: size });
        }
        run
    }

    /// SND.UNA has moved: did the probe get through?
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

    /// Something is lost. If it is the probe and nothing else, that was too large: it is sent again
    /// in smaller segments, and the network is not congested (RFC 4821 §7.6.2). Whether it was so.
    pub(super) fn is_mtu_probe_lost(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(search) = &mut self.path.search else { return false };
        let Some(probe) = search.probe.filter(|probe| self.flight.scoreboard.is_lost_at(probe.seq)) else {
            return false;
        };
        search.probe = None;
        if self.flight.scoreboard.lost() != probe.end - probe.seq {
            // §7.6.4: whatever took the others may have taken the probe, too.
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
