//! Explicit congestion notification (RFC 9293 §3.8.2, SHLD-8): RFC 3168's feedback, and the
//! reaction to a mark. The negotiation is in [`ecn_handshake`](super::ecn_handshake), the feedback
//! of RFC 9768 in [`accecn`](super::accecn).
//!
//! A router marks an ECN-capable packet CE instead of dropping it. The receiver reports that in its
//! acknowledgements, and the sender reduces its window as for a loss, but without a retransmission.

use alloc::boxed::Box;

use super::accecn::{AccEcn, AckDemand, Delivered};
use super::congestion::{Cause, Phase};
use super::ecn_handshake::{EcnAnswer, EcnMode};
use super::{Connection, Flags, Header, SeqNumber};
use crate::Ctx;
use crate::config::Ecn;
use crate::ip::ecn::IpEcn;

/// The ECN state of one connection.
#[derive(Debug, Default)]
pub(super) struct EcnState {
    mode: EcnMode,
    /// The mode that our SYN requests.
    asked: EcnMode,
    /// RFC 3168 §6.1.3: CE has arrived, and ECE is sent until the peer sends CWR.
    echoes: bool,
    /// RFC 3168 §6.1.2: the window was reduced, and the next new data carries CWR.
    owes_cwr: bool,
    /// The peer's data was ECN-capable, so data that is not is a retransmission.
    has_seen_ect: bool,
    /// SND.NXT when the window was last reduced.
    reduced_at: SeqNumber,
    /// Data before this was sent once, and is not ECN-capable when it is sent again.
    sent_to: SeqNumber,
    accurate: Option<Box<AccEcn>>,
}

impl EcnState {
    /// The state before our SYN.
    pub(super) fn asking(policy: Ecn) -> EcnState {
        let asked = match policy {
            Ecn::Off | Ecn::Accept | Ecn::AcceptRfc3168 => EcnMode::Off,
            Ecn::Request | Ecn::AcceptAllRequestRfc3168 => EcnMode::Rfc3168,
            Ecn::RequestAccurate => EcnMode::AccEcn,
        };
        EcnState { asked, ..EcnState::default() }
    }

    /// The state after a passive handshake, whose SYN-ACK was repeated `repeated` times.
    pub(super) fn accepted(answer: EcnAnswer, repeated: u8) -> EcnState {
        let mut state = EcnState { mode: answer.mode, ..EcnState::default() };
        if answer.mode == EcnMode::AccEcn {
            state.accurate = Some(Box::new(AccEcn::of_server(answer.syn_ecn, repeated, answer.is_doubtful)));
        }
        state
    }

    /// Our SYN is acknowledged, and our data begins at `data_at`.
    pub(super) fn on_established(&mut self, data_at: SeqNumber) {
        self.reduced_at = data_at;
        self.sent_to = data_at;
    }

    pub(super) fn mode(&self) -> EcnMode {
        self.mode
    }

    /// Whether an ECN-capable packet has arrived.
    pub(super) fn has_seen_ect(&self) -> bool {
        self.accurate.as_ref().map_or(self.has_seen_ect, |accurate| accurate.has_seen_ect())
    }

    /// The ECN flags of our SYN. If a SYN gets no answer, a middlebox may drop SYNs with ECN: the
    /// repeated SYN has no flags with RFC 3168 §6.1.1.1 (as on Linux), and from the second
    /// repetition on with RFC 9768 §3.1.4.1.
    pub(super) fn syn_flags(&self, repeated: u8) -> Flags {
        match self.asked {
            EcnMode::Rfc3168 if repeated == 0 => Flags::ECE.with(Flags::CWR),
            EcnMode::AccEcn if repeated <= 1 => Flags::ECN,
            _ => Flags::default(),
        }
    }

    /// The peer's answer to our SYN.
    pub(super) fn on_syn_ack(&mut self, header: &Header) {
        self.mode = EcnMode::for_syn_ack(self.asked, header.flags);
        if self.mode == EcnMode::AccEcn {
            self.accurate = Some(Box::new(AccEcn::of_client(header)));
        }
    }

    /// A SYN that crossed ours; our SYN-ACK answers it. We accept only what we asked for.
    pub(super) fn on_crossing_syn(&mut self, policy: Ecn, header: &Header) {
        self.mode = match (self.asked, EcnMode::for_syn(policy, header)) {
            (EcnMode::Off, _) | (_, EcnMode::Off) => EcnMode::Off,
            (EcnMode::AccEcn, EcnMode::AccEcn) => EcnMode::AccEcn,
            _ => EcnMode::Rfc3168,
        };
        if self.mode == EcnMode::AccEcn {
            self.accurate = Some(Box::new(AccEcn::of_crossing(header.ip_ecn)));
        }
    }

    /// The flags of the SYN-ACK that answers a crossing SYN.
    pub(super) fn crossing_flags(&self, repeated: u8) -> Flags {
        let syn_ecn = self.accurate.as_ref().map_or(IpEcn::NotEct, |accurate| accurate.syn_ecn());
        self.mode.syn_ack_flags(syn_ecn, repeated)
    }

    pub(super) fn accurate(&self) -> Option<&AccEcn> {
        self.accurate.as_deref()
    }

    /// Whether a pure acknowledgement must be sent before any data (RFC 9768 §3.2.2.1).
    pub(super) fn owes_pure_ack(&self) -> bool {
        self.accurate.as_ref().is_some_and(|accurate| accurate.reflects())
    }

    /// Notes a repeated SYN-ACK, whose acknowledgement reflects its marking again.
    pub(super) fn on_repeated_syn_ack(&mut self, header: &Header, rcv_nxt: SeqNumber) {
        if let Some(accurate) = &mut self.accurate
            && header.flags.contains(Flags::SYN_ACK)
            && header.seq + 1 == rcv_nxt
        {
            accurate.reflect(header.ip_ecn);
        }
    }

    /// The congestion window was reduced, for any reason (RFC 3168 §6.1.2, RFC3168-6.1.2-d);
    /// SND.NXT was `nxt`.
    pub(super) fn on_reduced(&mut self, nxt: SeqNumber) {
        self.reduced_at = nxt;
        self.owes_cwr = self.mode == EcnMode::Rfc3168;
    }

    /// Moves stored sequence numbers up to SND.UNA.
    pub(super) fn forget_before(&mut self, una: SeqNumber) {
        self.reduced_at = self.reduced_at.max(una - 1);
    }

    /// The retransmission timer has fired.
    pub(super) fn on_timeout(&mut self, nxt: SeqNumber) {
        self.on_reduced(nxt);
        if let Some(accurate) = &mut self.accurate {
            accurate.on_timeout();
        }
    }

    /// Withdraws CWR after a spurious reduction.
    pub(super) fn withdraw_cwr(&mut self) {
        self.owes_cwr = false;
    }

    /// Whether the next new data carries CWR. That segment is sent alone, because all segments of a
    /// run would have the flag.
    pub(super) fn owes_cwr(&self) -> bool {
        self.owes_cwr
    }

    /// Marks a segment or run with `len` bytes of data, which is no window probe. Only new data is
    /// ECN-capable (RFC 3168 §6.1.4 to §6.1.6): the loss of other ECN-capable packets would not be
    /// noticed.
    pub(super) fn write_data(&mut self, header: &mut Header, len: u32) {
        if header.seq.before(self.sent_to) {
            return;
        }
        self.sent_to = header.seq + len;
        let sends_ect = match &self.accurate {
            Some(accurate) => accurate.sends_ect(),
            None => self.mode == EcnMode::Rfc3168,
        };
        if sends_ect {
            header.ip_ecn = IpEcn::Ect0;
        }
        if core::mem::take(&mut self.owes_cwr) {
            header.flags = header.flags.with(Flags::CWR);
        }
    }

    /// Writes the ECN flags of a segment without SYN.
    pub(super) fn write(&mut self, header: &mut Header) {
        match &mut self.accurate {
            Some(accurate) => accurate.write(header),
            None if self.echoes => header.flags = header.flags.with(Flags::ECE),
            None => {}
        }
    }

    /// The same for a pure acknowledgement.
    pub(super) fn write_pure_ack(&mut self, header: &mut Header) {
        if let Some(accurate) = &mut self.accurate {
            accurate.write_reflection(header);
        }
    }
}

/// Linux's tcp_enter_quickack_mode after CE: this many acknowledgements are not delayed.
const QUICK_ACKS: u8 = 2;

impl Connection {
    /// The receiver's side: processes the marking of an acceptable segment.
    pub(super) fn on_marking(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) {
        if self.ecn.mode == EcnMode::Off {
            return;
        }
        let segs = header.segments(payload_len);
        ctx.stats.ecn.ce_received += if header.ip_ecn == IpEcn::Ce { u64::from(segs) } else { 0 };
        let demand = match &mut self.ecn.accurate {
            Some(accurate) => {
                accurate.on_packets(header.ip_ecn, segs, payload_len, self.rcv.has_unacknowledged())
            }
            None => self.ecn.on_packet(header, payload_len),
        };
        match demand {
            AckDemand::Ordinary => {}
            AckDemand::Now => self.rcv.acks.acknowledge_now(),
            AckDemand::Quick => self.rcv.acks.acknowledge_quickly(QUICK_ACKS),
        }
    }

    /// The sender's side: reads the feedback of an acceptable acknowledgement that has delivered
    /// `bytes`. `None` if it reports no CE, otherwise how many of the bytes were marked. ECE has no
    /// count; as on Linux it stands for all of them.
    pub(super) fn read_ecn(&mut self, header: &Header, payload_len: usize, bytes: u32) -> Option<u32> {
        if self.ecn.mode == EcnMode::Off || header.flags.contains(Flags::SYN) {
            return None;
        }
        let Some(accurate) = &mut self.ecn.accurate else {
            return header.flags.contains(Flags::ECE).then_some(bytes);
        };
        let mss = self.congestion.mss().max(1);
        let delivered = Delivered { bytes, segs: bytes.div_ceil(mss), mss };
        let ce_segs = accurate.on_feedback(header, payload_len, delivered);
        (ce_segs > 0).then(|| ce_segs.saturating_mul(mss).min(bytes))
    }

    /// Reduces the window after a CE mark, as for a loss but without a retransmission, once a round
    /// trip (RFC 3168 §6.1.2).
    pub(super) fn on_congestion_experienced(&mut self, ctx: &mut Ctx<'_>) {
        // As on Linux, at most once until data that was sent after the last reduction is
        // acknowledged.
        let is_reduced = self.snd.una.before_eq(self.ecn.reduced_at);
        if is_reduced || self.flight.recovery.phase() != Phase::Open {
            return;
        }
        log::debug!("{}: congestion experienced at {:?}", ctx.subject, self.snd.una);
        ctx.stats.ecn.reductions += 1;
        self.reduce(ctx, Phase::Cwr, Cause::Ecn);
    }
}

impl EcnState {
    /// RFC 3168 §6.1.3.
    fn on_packet(&mut self, header: &Header, payload_len: usize) -> AckDemand {
        if payload_len == 0 {
            return AckDemand::Ordinary;
        }
        let mut demand = AckDemand::Ordinary;
        if header.flags.contains(Flags::CWR) {
            self.echoes = false;
            // The peer's window may be down to this one segment (Linux's tcp_ecn_accept_cwr).
            demand = AckDemand::Now;
        }
        match header.ip_ecn {
            IpEcn::Ce => {
                if !self.echoes {
                    demand = AckDemand::Quick;
                }
                self.echoes = true;
                self.has_seen_ect = true;
            }
            // New data is ECN-capable, so this is a retransmission: the peer is in recovery
            // (Linux's tcp_data_ecn_check).
            IpEcn::NotEct if self.has_seen_ect => demand = AckDemand::Quick,
            IpEcn::NotEct => {}
            IpEcn::Ect0 | IpEcn::Ect1 => self.has_seen_ect = true,
        }
        demand
    }
}

#[cfg(test)]
mod tests;
