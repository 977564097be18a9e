//! What the two ends of a connection agree on about ECN (RFC 3168 §6.1.1, RFC 9768 §3.1).

use super::accecn::{AccEcn, ace, ace_flags, handshake_encoding};
use super::options::AccEcnOption;
use super::{Flags, Header};
use crate::config::Ecn;
use crate::ip::ecn::IpEcn;

/// How the two ends of a connection speak of congestion.
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
    /// What a listener answers to this SYN (RFC 9768 §3.1, table 2).
    pub(crate) fn for_syn(policy: Ecn, syn: &Header) -> EcnMode {
        // Linux 6.18 with tcp_ecn of 1 or 2: a SYN that asks for accurate ECN has both flags of RFC
        // 3168, and gets that.
        let is_classic = policy.knows_only_rfc3168();
        let known = if is_classic { 0b011 } else { 0b111 };
        match ace(syn.flags) & known {
            _ if policy == Ecn::Off => EcnMode::Off,
            0b000 => EcnMode::Off,
            // Linux's tcp_ecn_create_request: no SYN of RFC 3168 is ECN-capable, so somebody on the
            // way writes there.
            0b011 if syn.ip_ecn != IpEcn::NotEct => EcnMode::Off,
            0b011 => EcnMode::Rfc3168,
            _ if is_classic => EcnMode::Off,
            // §3.1.3: also what is reserved today.
            _ => EcnMode::AccEcn,
        }
    }

    /// What a SYN that asked for `asked` has got with this SYN-ACK (RFC 9768 §3.1.2, RFC 3168
    /// §6.1.1).
    pub(super) fn for_syn_ack(asked: EcnMode, flags: Flags) -> EcnMode {
        match (asked, ace(flags)) {
            (EcnMode::Off, _) | (EcnMode::AccEcn, 0b000) => EcnMode::Off,
            // Both flags come from a host that mirrors what it does not know.
            (EcnMode::AccEcn, 0b111) => EcnMode::Off,
            (EcnMode::AccEcn, 0b001) => EcnMode::Rfc3168,
            (EcnMode::AccEcn, _) => EcnMode::AccEcn,
            (EcnMode::Rfc3168, bits) if bits & 0b011 == 0b001 => EcnMode::Rfc3168,
            (EcnMode::Rfc3168, _) => EcnMode::Off,
        }
    }

    /// The flags of a SYN-ACK. That of AccECN says how the SYN came. After two that were lost it is
    /// sent as of old (RFC 9768 §3.2.3.2.2).
    pub(crate) fn syn_ack_flags(self, syn_ecn: IpEcn, repeated: u8) -> Flags {
        match self {
            EcnMode::Off => Flags::default(),
            EcnMode::Rfc3168 => Flags::ECE,
            EcnMode::AccEcn if repeated > 1 => Flags::default(),
            EcnMode::AccEcn => ace_flags(handshake_encoding(syn_ecn)),
        }
    }
}

/// What a listener's record of a handshake keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct EcnAnswer {
    pub(super) mode: EcnMode,
    /// How the packet of the latest SYN was marked.
    pub(super) syn_ecn: IpEcn,
    /// A SYN came that asked for nothing: the client may have given up asking.
    pub(super) is_doubtful: bool,
}

impl EcnAnswer {
    pub(super) fn new(policy: Ecn, syn: &Header) -> EcnAnswer {
        EcnAnswer { mode: EcnMode::for_syn(policy, syn), syn_ecn: syn.ip_ecn, is_doubtful: false }
    }

    /// The SYN again. The mode stays that of the first, and the next SYN-ACK speaks of the latest
    /// (RFC 9768 §3.1.5). Whether the two asked for things that cannot both be meant.
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

    /// The SYN-ACK is a cookie, and this is whether RFC 3168 comes back with it.
    pub(super) fn limit_to_cookie(&mut self, comes_back: bool) {
        if self.is_rfc3168() && !comes_back {
            self.mode = EcnMode::Off;
        }
    }

    /// A cookie has come back, and this with it. An ACK of accurate ECN shows that it is one (RFC
    /// 9768 §5.1).
    pub(super) fn from_cookie(policy: Ecn, is_rfc3168: bool, ack: &Header) -> EcnAnswer {
        let mode = match ace(ack.flags) {
            _ if policy == Ecn::Off => EcnMode::Off,
            0b010.. if !policy.knows_only_rfc3168() => EcnMode::AccEcn,
            _ if is_rfc3168 => EcnMode::Rfc3168,
            _ => EcnMode::Off,
        };
        EcnAnswer { mode, syn_ecn: IpEcn::NotEct, is_doubtful: false }
    }

    /// The flags of a SYN-ACK that was repeated so often.
    pub(super) fn syn_ack_flags(&self, repeated: u8) -> Flags {
        self.mode.syn_ack_flags(self.syn_ecn, repeated)
    }

    /// It tries whether the path lets the option through, and if it is lost, not again (RFC 9768
    /// §3.2.3.2).
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
