//! How the record of a handshake becomes a connection.

use core::time::Duration;

use super::connection::TimedOut;
use super::ecn::EcnState;
use super::timer::Timer;
use super::{Connection, Header, OpenParams, Settings, State, SynReceived};
use crate::Ctx;
use crate::copy_on_write::CopyOnWrite;

impl SynReceived {
    /// The established connection. The caller must then pass the segment that completed the
    /// handshake to `handle_segment`, because it may carry data or a FIN.
    pub(crate) fn into_connection(
        self,
        ctx: &mut Ctx<'_>,
        settings: impl Into<CopyOnWrite<Settings>>,
        path_mss: u16,
    ) -> Connection {
        let params = OpenParams {
            isn: self.iss,
            timestamp_offset: self.timestamps.offset,
            announced_mss: self.offer.mss,
            default_mss: self.peer.mss,
            path_mss,
            settings: settings.into(),
        };
        let mut connection = Connection::new(ctx, params);
        let mut syn = Header { seq: self.irs, window: self.peer.window, ..Header::default() };
        syn.options.mss = Some(self.peer.mss);
        syn.options.window_scale = self.peer.scale;
        syn.options.sack_permitted = self.peer.sack_permitted;
        connection.negotiate(ctx, &syn);
        connection.timestamps = self.timestamps;
        connection.ecn = EcnState::accepted(self.ecn, self.syn_acks.retries);
        connection.rcv.set_syn_window(self.offer.window);
        connection.snd.on_syn_sent();
        connection.retries.timeouts = self.syn_acks.retries;
        connection.syn.repeats = self.syn_acks.resent;
        connection.syn.is_passive = true;
        // The first repetition was at least one tick of the timestamp clock later.
        connection.retries.unanswered_since = self.sent_at + Duration::from_millis(1);
        connection.retries.path_seed = self.syn_acks.retries;
        if self.from_cookie {
            // The time of the SYN-ACK is not known: the echoed timestamp has options in its low
            // bits.
            let clock = connection.timestamps.clock(ctx.now);
            connection.timed_out = Some(TimedOut { end: self.iss + 1, clock });
        } else if self.syn_acks.retries == 0 {
            let acked_after =
                self.acked_after_micros.map(|micros| Duration::from_micros(micros.get().into()));
            connection.syn.sent_at = Some(acked_after.map_or(self.sent_at, |after| ctx.now - after));
        }
        // The transition was counted when the record was made.
        connection.state = State::SynReceived;
        connection.timers.arm(Timer::Retransmit, self.deadline);
        connection
    }
}
