//! The negotiation of ECN (RFC 3168 §6.1.1, RFC 9768 §3.1).

use super::accecn::{AccEcn, ace, ace_flags, handshake_encoding};
use super::options::AccEcnOption;
use super::{Flags, Header};
use crate::config::Ecn;
use crate::ip::ecn::IpEcn;

/// How the two ends of a connection report congestion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EcnMode {
    #[default]
    Off,
    /// RFC 3168: ECE until CWR, one signal a round trip.
    Rfc3168,
    /// RFC 9768: a counter in every segment.
    AccEcn,
}

impl EcnMode {
    /// The mode with which a listener answers this SYN (RFC 9768 §3.1, table 2).
    pub(crate) fn for_syn(policy: Ecn, syn: &Header) -> EcnMode {
        // Linux 6.18 with tcp_ecn of 1 or 2: a SYN that asks for accurate ECN has both flags of RFC
        // 3168, and gets that.
        let is_classic = policy.knows_only_rfc3168();
        let known = if is_classic { 0b011 } else { 0b111 };
        match ace(syn.flags) & known {
            _ if policy == Ecn::Off => EcnMode::Off,
            0b000 => EcnMode::Off,
            // Linux's tcp_ecn_create_request: a SYN of RFC 3168 is never ECN-capable, so a
            // middlebox has changed the field.
            0b011 if syn.ip_ecn != IpEcn::NotEct => EcnMode::Off,
            0b011 => EcnMode::Rfc3168,
            _ if is_classic => EcnMode::Off,
            // §3.1.3: also for the values that are reserved today.
            _ => EcnMode::AccEcn,
        }
    }

    /// The mode that follows from this SYN-ACK, after a SYN that asked for `asked` (RFC 9768
    /// §3.1.2, RFC 3168 §6.1.1).
    pub(super) fn for_syn_ack(asked: EcnMode, flags: Flags) -> EcnMode {
        match (asked, ace(flags)) {
            (EcnMode::Off, _) | (EcnMode::AccEcn, 0b000) => EcnMode::Off,
            // All flags set: a host that copies the reserved bits of the SYN.
            (EcnMode::AccEcn, 0b111) => EcnMode::Off,
            (EcnMode::AccEcn, 0b001) => EcnMode::Rfc3168,
            (EcnMode::AccEcn, _) => EcnMode::AccEcn,
            (EcnMode::Rfc3168, bits) if bits & 0b011 == 0b001 => EcnMode::Rfc3168,
            (EcnMode::Rfc3168, _) => EcnMode::Off,
        }
    }

    /// The ECN flags of a SYN-ACK. With AccECN they report the marking of the SYN. After two lost
    /// SYN-ACKs the next has no ECN flags (RFC 9768 §3.2.3.2.2).
    pub(crate) fn syn_ack_flags(self, syn_ecn: IpEcn, repeated: u8) -> Flags {
        match self {
            EcnMode::Off => Flags::default(),
            EcnMode::Rfc3168 => Flags::ECE,
            EcnMode::AccEcn if repeated > 1 => Flags::default(),
            EcnMode::AccEcn => ace_flags(handshake_encoding(syn_ecn)),
        }
    }
}

/// The ECN state in a listener's record of a handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct EcnAnswer {
    pub(super) mode: EcnMode,
    /// The marking of the latest SYN.
    pub(super) syn_ecn: IpEcn,
    /// A SYN without ECN flags has arrived: the client may have stopped asking for ECN.
    pub(super) is_doubtful: bool,
}

impl EcnAnswer {
    pub(super) fn new(policy: Ecn, syn: &Header) -> EcnAnswer {
        EcnAnswer { mode: EcnMode::for_syn(policy, syn), syn_ecn: syn.ip_ecn, is_doubtful: false }
    }

    /// The SYN was repeated. The mode stays that of the first SYN, and the next SYN-ACK reports the
    /// marking of the latest (RFC 9768 §3.1.5). Returns whether the two SYNs contradict each other.
    pub(super) fn on_repeated_syn(&mut self, syn: &Header) -> bool {
        self.syn_ecn = syn.ip_ecn;
        self.is_doubtful |= ace(syn.flags) == 0b000;
        let asks_rfc3168 = ace(syn.flags) == 0b011;
        match self.mode {
            EcnMode::Off => false,
            EcnMode::AccEcn => asks_rfc3168,
            EcnMode::Rfc3168 => !asks_rfc3168 && ace(syn.flags) != 0b000,
        }
    }

    pub(super) fn is_rfc3168(&self) -> bool {
        self.mode == EcnMode::Rfc3168
    }

    /// The SYN-ACK carries a SYN cookie; `comes_back` says whether the cookie can encode RFC 3168.
    pub(super) fn limit_to_cookie(&mut self, comes_back: bool) {
        if self.is_rfc3168() && !comes_back {
            self.mode = EcnMode::Off;
        }
    }

    /// The answer restored from a SYN cookie. An ACK of accurate ECN is recognised by its flags
    /// (RFC 9768 §5.1).
    pub(super) fn from_cookie(policy: Ecn, is_rfc3168: bool, ack: &Header) -> EcnAnswer {
        let mode = match ace(ack.flags) {
            _ if policy == Ecn::Off => EcnMode::Off,
            0b010.. if !policy.knows_only_rfc3168() => EcnMode::AccEcn,
            _ if is_rfc3168 => EcnMode::Rfc3168,
            _ => EcnMode::Off,
        };
        EcnAnswer { mode, syn_ecn: IpEcn::NotEct, is_doubtful: false }
    }

    /// The ECN flags of a SYN-ACK that was repeated `repeated` times.
    pub(super) fn syn_ack_flags(&self, repeated: u8) -> Flags {
        self.mode.syn_ack_flags(self.syn_ecn, repeated)
    }

    /// The option of the first SYN-ACK, which tests whether the path lets the option through. A
    /// repeated SYN-ACK has none (RFC 9768 §3.2.3.2).
    pub(super) fn syn_ack_option(&self, repeated: u8) -> Option<AccEcnOption> {
        (self.mode == EcnMode::AccEcn && repeated == 0).then(AccEcn::first_option)
    }

    /// The flags of an acknowledgement before the handshake is over.
    pub(super) fn ack_flags(&self) -> Flags {
        if self.mode == EcnMode::AccEcn { AccEcn::first_ace() } else { Flags::default() }
    }
}

#[cfg(test)]
mod tests;
