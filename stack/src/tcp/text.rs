//! Processing of a segment's text and FIN: the seventh and eighth step of RFC 9293 §3.10.7.4.

use core::ops::ControlFlow::{Break, Continue};
use core::time::Duration;

use bytes::Bytes;

use super::connection::Reset;
use super::input::Step;
use super::receiver::{AckTimer, Stored};
use super::timer::Timer;
use super::{Connection, Flags, Header, SeqNumber, State};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{CloseReason, Error};

/// The delay of the acknowledgement of a FIN before which no data came: a tick of Linux's clock.
const BARE_FIN_ACK_DELAY: Duration = Duration::from_millis(4);

impl Connection {
    /// Seventh step: the data, from `seq` on; and the eighth, the FIN.
    pub(super) fn process_text(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        seq: SeqNumber,
        payload: Bytes,
        fin: bool,
    ) -> Step {
        if header.flags.contains(Flags::URG) || self.rcv.urgent.is_some() {
            self.process_urgent(ctx, header, seq, &payload);
        }
        if payload.is_empty() && !fin {
            return Continue(());
        }
        if !self.state.can_receive() {
            // After the peer's FIN no text is expected.
            if self.rcv.has_unacknowledged() {
                // The peer may not know that its FIN has arrived.
                self.rcv.acks.acknowledge_now();
            }
            return if payload.is_empty() {
                Continue(())
            } else {
                Break(Some(DropReason::UnexpectedSegment))
            };
        }
        let is_unwanted = self.ending.orphaned || self.ending.read_shut;
        // A segment is at most 64 KiB.
        let brings_news = (seq + payload.len() as u32).after(self.rcv.nxt);
        if is_unwanted && self.state != State::Established && brings_news {
            // RFC 9293 §3.6.1 (SHLD-3), RFC 2525 §2.17: the program has closed and will not read
            // it. The reset has the number that the peer expects, as on Linux: with SND.NXT the
            // peer would challenge it if our FIN was lost.
            self.pending.reset = Some(Reset::answering(header, self.snd.una));
            self.end(ctx, CloseReason::Aborted, "data after close");
            // A program that has shut the connection down and still holds it sees a reset, as on
            // Linux.
            self.ending.error = Some(Error::ConnectionReset);
            return Break(Some(DropReason::ReceiverClosed));
        }
        if !payload.is_empty() && !self.has_memory_for(ctx, seq, payload.len()) {
            self.rcv.acks.owe_duplicate();
            if seq.before_eq(self.rcv.nxt) {
                self.rcv.close_for_memory();
            }
            return Break(Some(DropReason::MemoryLimit));
        }
        let config = &ctx.config.tcp;
        self.rcv.acks.renew_quick_acks(ctx.now, || self.rtt.rto(), config.quick_acks);
        let was_in_order = self.rcv.is_in_order();
        if !payload.is_empty() {
            self.rcv.queue_mut().prepare(ctx.free_list);
        }
        let (len, nxt) = (payload.len(), self.rcv.nxt);
        self.rcv.acks.note_segment(ctx.now, header.longest(len));
        let stored = self.rcv.on_text(seq, payload, fin, config.max_out_of_order_ranges);
        self.forget_unreported(ctx);
        self.tune_receiver(ctx, header, len, stored);
        self.count_data(len, header.segments(len), nxt, stored);
        match stored {
            Stored::InOrder => self.on_in_order(ctx, was_in_order),
            Stored::OutOfOrder | Stored::Duplicate | Stored::Refused | Stored::Full => {
                self.rcv.acks.owe_duplicate();
            }
        }
        if self.rcv.is_fin_received() {
            self.on_fin(ctx);
        }
        match stored {
            Stored::InOrder | Stored::OutOfOrder => Continue(()),
            Stored::Duplicate => Break(Some(DropReason::DuplicateData)),
            Stored::Refused => Break(Some(DropReason::OutOfWindow)),
            Stored::Full => {
                log::debug!("{}: too many out-of-order ranges: {:?} refused", ctx.subject, header.seq);
                Break(Some(DropReason::ReassemblyQueueFull))
            }
        }
    }

    /// Forgets a duplicate if D-SACK is switched off.
    pub(super) fn forget_unreported(&mut self, ctx: &Ctx<'_>) {
        if !ctx.config.tcp.dsack {
            self.rcv.forget_duplicate();
        }
    }

    fn on_in_order(&mut self, ctx: &Ctx<'_>, was_in_order: bool) {
        if self.rcv.on_in_order(was_in_order) == AckTimer::Leave {
            return;
        }
        // As on Linux, whose delay depends on the time between data segments and is short without
        // any.
        let is_bare_fin = self.rcv.is_fin_received() && !self.counters.has_received_data();
        let longest = if is_bare_fin { BARE_FIN_ACK_DELAY } else { Duration::MAX };
        let delay = ctx.config.tcp.delayed_ack.min(longest);
        if delay.is_zero() {
            self.rcv.acks.acknowledge_now();
        } else {
            self.timers.arm(Timer::DelayedAck, ctx.now + delay);
        }
    }

    /// Eighth step: the peer's FIN and everything before it have arrived. In ESTABLISHED the
    /// acknowledgement is delayed as that of data is: most programs close in turn, and their FIN
    /// carries it.
    fn on_fin(&mut self, ctx: &mut Ctx<'_>) {
        if self.state == State::Established {
            return self.set_state(ctx, State::CloseWait, "FIN");
        }
        self.rcv.acks.acknowledge_now();
        match self.state {
            // Had our FIN been acknowledged, the fifth step would have led to FIN-WAIT-2.
            State::FinWait1 => self.set_state(ctx, State::Closing, "FIN"),
            State::FinWait2 => self.set_state(ctx, State::TimeWait, "FIN"),
            _ => {}
        }
    }
}
