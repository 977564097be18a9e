//! Pacing: data goes out at a rate, in bursts of about a millisecond, instead of as fast as the
//! windows allow.
//!
//! BBR is always paced, at the rate that its model gives. The other algorithms are if
//! SO_MAX_PACING_RATE or [`TcpConfig::pacing`](crate::TcpConfig::pacing) asks for it, at a multiple
//! of a window a round trip.

use core::time::Duration;

use super::pacer::quantum;
use super::rate::per_second;
use super::timer::Timer;
use super::{Connection, Run};
use crate::Ctx;
use crate::config::Config;

impl Connection {
    /// The rate at which data goes out, in bytes a second; `None` for as fast as the windows allow.
    pub(super) fn pacing_rate(&self, config: &Config) -> Option<u64> {
        let limit = self.settings.max_pacing_rate;
        let rate = match self.congestion.pacing_rate() {
            Some(rate) => Some(rate.max(self.least_rate())),
            None if limit.is_some() || config.tcp.pacing => self.window_rate(),
            None => return None,
        };
        match (rate, limit) {
            (Some(rate), Some(limit)) => Some(rate.min(limit)),
            (rate, limit) => rate.or(limit),
        }
    }

    /// A segment a round trip, which the smallest window allows: whatever an algorithm believes of
    /// the path, and a burst of marks can take its estimate down to nothing, a pause between two
    /// segments must not outlast the connection.
    fn least_rate(&self) -> u64 {
        per_second(self.congestion.mss(), self.rtt.srtt().unwrap_or(Duration::from_secs(1)))
    }

    /// Linux's tcp_update_pacing_rate. None before there is a round trip.
    fn window_rate(&self) -> Option<u64> {
        let srtt = self.rtt.srtt()?;
        let ratio = self.congestion.window_ratio();
        Some(per_second(self.congestion.cwnd(), srtt).saturating_mul(ratio) / 100)
    }

    /// Data and FIN, at the pace.
    pub(super) fn poll_paced_data(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        let Some(rate) = self.pacing_rate(ctx.config) else { return self.poll_data(ctx, u32::MAX) };
        if !self.has_data_to_send() {
            self.timers.stop(Timer::Pacing);
            return None;
        }
        if let Some(at) = self.pacer.wait_until(ctx.now)
            && !self.pending.loss_probe
        {
            self.timers.arm(Timer::Pacing, at);
            return None;
        }
        let quantum = quantum(rate, self.congestion.mss());
        let run = self.poll_data(ctx, self.pacer.room(quantum))?;
        // A run is at most 64 KiB.
        self.pacer.on_sent(ctx.now, run.payload_len() as u32, rate, quantum);
        Some(run)
    }
}
