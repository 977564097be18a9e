//! Pacing: data is sent at a rate, in bursts of about a millisecond, instead of as fast as the
//! windows allow.
//!
//! BBR is always paced, at the rate of its model. The other algorithms are paced if
//! SO_MAX_PACING_RATE or [`TcpConfig::pacing`](crate::TcpConfig::pacing) asks for it, at a multiple
//! of one window a round trip.

use core::time::Duration;

use super::pacer::quantum;
use super::rate::per_second;
use super::timer::Timer;
use super::{Connection, Run};
use crate::Ctx;
use crate::config::Config;

impl Connection {
    /// The pacing rate in bytes a second; `None` without pacing.
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

    /// The lowest rate: one segment a round trip, which the smallest window allows. A burst of
    /// marks can reduce an algorithm's estimate to almost zero, and without a lowest rate the pause
    /// between two segments would outlast the connection.
    fn least_rate(&self) -> u64 {
        per_second(self.congestion.mss(), self.rtt.srtt().unwrap_or(Duration::from_secs(1)))
    }

    /// The rate from cwnd and the round trip, as in Linux's tcp_update_pacing_rate. `None` before
    /// the first measurement.
    fn window_rate(&self) -> Option<u64> {
        let srtt = self.rtt.srtt()?;
        let ratio = self.congestion.window_ratio();
        Some(per_second(self.congestion.cwnd(), srtt).saturating_mul(ratio) / 100)
    }

    /// Data and FIN, as far as pacing allows.
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
