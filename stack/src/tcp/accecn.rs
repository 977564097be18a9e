//! Accurate ECN (RFC 9768): every segment carries the low three bits of the number of packets that
//! arrived marked CE, and an option carries how many bytes arrived with each marking. The counters
//! have the RFC's names: `r` counts what we received, `s` is what the peer has reported.

use super::options::{AccEcnOption, AccEcnOrder};
use super::{Flags, Header};
use crate::ip::ecn::IpEcn;

/// §3.2.1: the initial counters. They are not zero, so that a zeroed field is recognised.
const CEP_AT_FIRST: u32 = 5;
const BYTES_AT_FIRST: Bytes = Bytes { e0b: 1, ceb: 0, e1b: 1 };
/// The largest number in the three bits.
const ACE_MAX: u32 = 7;
/// A field of the option has 24 bits.
const FIELD_MASK: u32 = 0xff_ffff;
/// §3.2.2.5.1: an ACK is due after this many CE marks, while data is unacknowledged or not.
const CE_PER_ACK: u8 = 2;
const CE_PER_ACK_OF_ACKS: u8 = 3;

/// Bytes of payload by their marking. The counters wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes {
    e0b: u32,
    ceb: u32,
    e1b: u32,
}

impl Bytes {
    /// The counters in the option's order.
    fn in_order(self, order: AccEcnOrder) -> [u32; 3] {
        match order {
            AccEcnOrder::Ect0First => [self.e0b, self.ceb, self.e1b],
            AccEcnOrder::Ect1First => [self.e1b, self.ceb, self.e0b],
        }
    }

    fn from_order(order: AccEcnOrder, [first, ceb, last]: [u32; 3]) -> Bytes {
        match order {
            AccEcnOrder::Ect0First => Bytes { e0b: first, ceb, e1b: last },
            AccEcnOrder::Ect1First => Bytes { e0b: last, ceb, e1b: first },
        }
    }
}

/// How soon the receiver must acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum AckDemand {
    Ordinary,
    /// At once.
    Now,
    /// At once, and so for the next segments.
    Quick,
}

/// Data that an acknowledgement has newly delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) bytes: u32,
    pub(super) segs: u32,
    pub(super) mss: u32,
}

/// The meaning of the ACE field in the peer's next segment without SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// At the server: the encoding of the handshake, if the segment is a pure ACK (§3.2.2.1).
    HandshakeAck,
    /// The first counter (§3.2.2.4).
    FirstCounter,
    Counter,
}

/// Whether the peer's options are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// No option has arrived yet.
    Unknown,
    Believed,
    /// A middlebox sets the counters to zero (§3.2.3.2.4).
    Ignored,
}

/// The state of a connection that negotiated AccECN.
#[derive(Debug)]
pub(super) struct AccEcn {
    r_cep: u32,
    r: Bytes,
    /// The counters in the last option that was sent.
    reported: Bytes,
    /// CE marks since an acknowledgement was sent.
    ce_since_ack: u8,
    /// The marking of the last packet.
    last: IpEcn,
    /// How many options with all counters are still to be sent. They test whether the path lets
    /// options through.
    whole_options: u8,
    /// Whether the last option is sent a second time, in case it was lost.
    repeats: bool,
    /// Cleared when a SYN-ACK with an option was lost.
    sends_options: bool,
    /// The marking of a packet of the handshake that the next pure ACK reports.
    reflection: Option<IpEcn>,
    /// The marking of the SYN that our SYN-ACK answers.
    syn_ecn: IpEcn,

    s_cep: u32,
    /// Bytes that marked packets may have held, and that no option has reported yet.
    unreported_ce_bytes: u32,
    s: Bytes,
    awaits: Awaits,
    trust: Trust,
    /// The timestamp of the last segment whose feedback was used.
    timestamp: u32,
    /// Whether our data may be sent as ECN-capable.
    sends_ect: bool,
    /// Whether the peer's counters are used.
    uses_feedback: bool,
}

impl AccEcn {
    fn new(awaits: Awaits) -> AccEcn {
        AccEcn {
            r_cep: CEP_AT_FIRST,
            r: BYTES_AT_FIRST,
            reported: BYTES_AT_FIRST,
            ce_since_ack: 0,
            last: IpEcn::NotEct,
            whole_options: 0,
            repeats: false,
            sends_options: true,
            reflection: None,
            syn_ecn: IpEcn::NotEct,
            s_cep: CEP_AT_FIRST,
            unreported_ce_bytes: 0,
            s: BYTES_AT_FIRST,
            awaits,
            trust: Trust::Unknown,
            timestamp: 0,
            sends_ect: true,
            uses_feedback: true,
        }
    }

    /// The client's state after a SYN-ACK that accepts AccECN. The flags report the marking with
    /// which our SYN arrived. We sent it as not ECN-capable; another marking means that the path
    /// changes markings (§3.2.2.3).
    pub(super) fn of_client(syn_ack: &Header) -> AccEcn {
        let mut accurate = AccEcn::new(Awaits::FirstCounter);
        // 101 is reserved, and treated as an unchanged marking (§3.1.3).
        accurate.sends_ect = matches!(ace(syn_ack.flags), 0b010 | 0b101);
        accurate.reflect(syn_ack.ip_ecn);
        // §3.2.3.2.1: options go on the ACK of the SYN-ACK and on the first data.
        accurate.whole_options = 2;
        accurate.read_option(syn_ack);
        accurate
    }

    /// The server's state, after the SYN-ACK was repeated `repeated` times. The third SYN-ACK has
    /// no flags. If it was sent, or if a SYN had no flags, the client may be in another mode
    /// (§3.1.5). Any repetition means that the first SYN-ACK, which had an option, was lost
    /// (§3.2.3.2.2).
    pub(super) fn of_server(syn_ecn: IpEcn, repeated: u8, is_doubtful: bool) -> AccEcn {
        let mut accurate = AccEcn { syn_ecn, ..AccEcn::new(Awaits::HandshakeAck) };
        accurate.sends_ect = repeated <= 1 && !is_doubtful;
        accurate.sends_options = repeated == 0;
        accurate
    }

    /// The state after a simultaneous open in which both SYNs asked for AccECN.
    pub(super) fn of_crossing(syn_ecn: IpEcn) -> AccEcn {
        AccEcn { syn_ecn, ..AccEcn::new(Awaits::FirstCounter) }
    }

    pub(super) fn syn_ecn(&self) -> IpEcn {
        self.syn_ecn
    }

    /// The option of the first SYN-ACK.
    pub(super) fn first_option() -> AccEcnOption {
        AccEcnOption::new(AccEcnOrder::Ect0First, &BYTES_AT_FIRST.in_order(AccEcnOrder::Ect0First))
    }

    /// The ACE field before any packet was marked.
    pub(super) fn first_ace() -> Flags {
        ace_flags(CEP_AT_FIRST as u8)
    }

    pub(super) fn reflects(&self) -> bool {
        self.reflection.is_some()
    }

    /// Notes the marking of a SYN-ACK. Only the first CE mark of a SYN-ACK is counted (§3.2.2.2).
    pub(super) fn reflect(&mut self, syn_ack_ecn: IpEcn) {
        self.reflection = Some(syn_ack_ecn);
        if syn_ack_ecn == IpEcn::Ce && self.r_cep == CEP_AT_FIRST {
            self.r_cep += 1;
        }
    }

    /// `count` acceptable packets arrived with this marking (§3.2, §3.2.2.5.1), with `payload_len`
    /// bytes in all. They are more than one if the device merged them.
    pub(super) fn on_packets(
        &mut self,
        ecn: IpEcn,
        count: u32,
        payload_len: usize,
        has_unacknowledged: bool,
    ) -> AckDemand {
        // A segment is at most 64 KiB.
        let bytes = payload_len as u32;
        match ecn {
            IpEcn::NotEct => {}
            IpEcn::Ect0 => self.r.e0b = self.r.e0b.wrapping_add(bytes),
            IpEcn::Ect1 => self.r.e1b = self.r.e1b.wrapping_add(bytes),
            IpEcn::Ce => {
                self.r.ceb = self.r.ceb.wrapping_add(bytes);
                self.r_cep = self.r_cep.wrapping_add(count);
                self.ce_since_ack = self.ce_since_ack.saturating_add(u8::try_from(count).unwrap_or(u8::MAX));
            }
        }
        let has_changed = ecn == IpEcn::Ce && self.last != IpEcn::Ce && bytes > 0;
        self.last = ecn;
        let limit = if bytes > 0 || has_unacknowledged { CE_PER_ACK } else { CE_PER_ACK_OF_ACKS };
        let is_due = has_changed || (ecn == IpEcn::Ce && self.ce_since_ack >= limit);
        if is_due { AckDemand::Now } else { AckDemand::Ordinary }
    }

    /// Writes the ACE field of a segment without SYN, whose option is already filled in.
    pub(super) fn write(&mut self, header: &mut Header) {
        // `ace_flags` takes the low three bits.
        header.flags = header.flags.without(Flags::ECN).with(ace_flags(self.r_cep as u8));
        self.ce_since_ack = 0;
        if header.options.accecn.is_some() {
            self.repeats = self.reported != self.r;
            self.reported = self.r;
            self.whole_options = self.whole_options.saturating_sub(1);
        }
    }

    /// The retransmission timer has fired. If no segment has arrived since the handshake, the path
    /// may drop segments with the option (§3.2.3.2.2).
    pub(super) fn on_timeout(&mut self) {
        self.sends_options &= self.awaits == Awaits::Counter;
    }

    /// Writes the handshake's encoding into the pure ACK of a SYN-ACK (§3.2.2.1).
    pub(super) fn write_reflection(&mut self, header: &mut Header) {
        if let Some(ecn) = self.reflection.take() {
            header.flags = header.flags.without(Flags::ECN).with(ace_flags(handshake_encoding(ecn)));
        }
    }

    /// Whether bytes marked CE have arrived that no option has reported yet. The option then takes
    /// precedence over a third SACK block.
    pub(super) fn has_news_of_ce(&self) -> bool {
        self.sends_options && self.r.ceb != self.reported.ceb
    }

    /// The option for the next segment, in at most `room` bytes (§3.2.3.3, the simple scheme): sent
    /// while counters change, and once more. It has all counters that ever changed, or, if there is
    /// too little room, those that changed since the last option.
    pub(super) fn option(&self, room: usize) -> Option<AccEcnOption> {
        let is_due = self.whole_options > 0 || self.repeats || self.r != self.reported;
        if !is_due || !self.sends_options {
            return None;
        }
        let never_ect0 = self.r.e0b == BYTES_AT_FIRST.e0b && self.r.e1b != BYTES_AT_FIRST.e1b;
        let order = if never_ect0 { AccEcnOrder::Ect1First } else { AccEcnOrder::Ect0First };
        let now = self.r.in_order(order);
        let fields_other_than = |then: Bytes| {
            let differs = now.into_iter().zip(then.in_order(order)).rposition(|(now, then)| now != then);
            differs.map_or(0, |last| last + 1)
        };
        let least = fields_other_than(self.reported);
        let wanted = if self.whole_options > 0 { 3 } else { fields_other_than(BYTES_AT_FIRST) };
        let fits = |&count: &usize| AccEcnOption::len_with(count).next_multiple_of(4) <= room;
        let count = (least..=wanted).rev().find(fits)?;
        now.get(..count).map(|counters| AccEcnOption::new(order, counters))
    }

    /// Takes the peer's counters from an acceptable segment without SYN. Returns how many more
    /// packets arrived there marked CE.
    pub(super) fn on_feedback(&mut self, header: &Header, payload_len: usize, delivered: Delivered) -> u32 {
        // §3.2.2.2, Appendix A.1: feedback that may be older than the last is ignored.
        let timestamp = header.options.timestamps.map(|timestamps| timestamps.value);
        let is_later = timestamp.is_some_and(|value| (value.wrapping_sub(self.timestamp) as i32) > 0);
        let is_first = self.awaits != Awaits::Counter;
        if delivered.bytes == 0 && !is_later && !is_first {
            return 0;
        }
        self.timestamp = timestamp.unwrap_or(self.timestamp);
        let ce_bytes = self.read_option(header);
        let number = ace(header.flags);
        let is_pure_ack = payload_len == 0 && header.options.sack.is_empty();
        match core::mem::replace(&mut self.awaits, Awaits::Counter) {
            Awaits::HandshakeAck if is_pure_ack => return self.on_handshake_ack(number),
            // §3.2.2.4.
            Awaits::HandshakeAck | Awaits::FirstCounter if number == 0 => self.distrust(),
            _ => {}
        }
        let ce_segs = self.new_ce_segs(number, delivered, ce_bytes);
        self.s_cep = self.s_cep.wrapping_add(ce_segs);
        // An option may arrive later than the counter, if an ACK with an option was lost.
        self.unreported_ce_bytes =
            self.unreported_ce_bytes.saturating_add(ce_segs.saturating_mul(delivered.mss));
        let told = ce_bytes.unwrap_or(0);
        if told > self.unreported_ce_bytes && ce_segs == 0 && delivered.segs <= ACE_MAX {
            // §3.2.3.2.5: bytes were marked but no packets, so a middlebox changes one of the
            // counters.
            self.sends_ect = false;
        }
        self.unreported_ce_bytes = self.unreported_ce_bytes.saturating_sub(told);
        if self.uses_feedback { ce_segs } else { 0 }
    }

    /// Table 4: the marking with which our SYN-ACK arrived. We sent it as not ECN-capable.
    fn on_handshake_ack(&mut self, number: u8) -> u32 {
        match number {
            0b000 => self.distrust(),
            0b001 | 0b010 | 0b101 | 0b111 => {}
            // §3.2.2.3: the path changes markings.
            0b110 => {
                self.sends_ect = false;
                self.s_cep = CEP_AT_FIRST + 1;
                return 1;
            }
            _ => self.sends_ect = false,
        }
        0
    }

    /// The three flags are zero where they cannot be: the peer does not use AccECN, or a middlebox
    /// clears them.
    fn distrust(&mut self) {
        self.sends_ect = false;
        self.uses_feedback = false;
    }

    /// How much s.cep grows. If an ACK covers many segments, the three bits may have wrapped: then
    /// the largest possible number is taken, unless an option shows a smaller one (§3.2.2.5.2,
    /// Appendix A.2).
    fn new_ce_segs(&self, number: u8, delivered: Delivered, ce_bytes: Option<u32>) -> u32 {
        let least = u32::from(number).wrapping_sub(self.s_cep) & ACE_MAX;
        if delivered.segs <= ACE_MAX {
            return least;
        }
        let most = delivered.segs - ((delivered.segs - least) & ACE_MAX);
        let Some(ce_bytes) = ce_bytes else { return most };
        let likely = ce_bytes.min(delivered.bytes).div_ceil(delivered.mss.max(1));
        (least + likely.saturating_sub(least).next_multiple_of(ACE_MAX + 1)).min(most)
    }

    /// The bytes that an option newly reports as marked, if there is an option that is trusted
    /// (§3.2.3.1). If the peer's options arrive at all, a segment without one means that nothing
    /// has changed, unless other options left no room for it.
    fn read_option(&mut self, header: &Header) -> Option<u32> {
        let has_room = header.options.room() >= AccEcnOption::len_with(2);
        let option = match &header.options.accecn {
            None if self.trust == Trust::Believed && has_room => return Some(0),
            option => option.as_ref().filter(|_| self.trust != Trust::Ignored)?,
        };
        let known = self.s.in_order(option.order);
        let is_zeroed = |at: usize, field: u32| at != 1 && field == 0;
        if self.trust == Trust::Unknown {
            let has_zero = option.counters().enumerate().any(|(at, field)| is_zeroed(at, field));
            self.trust = if has_zero { Trust::Ignored } else { Trust::Believed };
        }
        let mut counters = known;
        for (counter, field) in counters.iter_mut().zip(option.counters()) {
            let growth = field.wrapping_sub(*counter) & FIELD_MASK;
            // A difference of more than half the range is negative: the segment is older.
            if self.trust == Trust::Ignored || growth > FIELD_MASK / 2 {
                return None;
            }
            *counter = counter.wrapping_add(growth);
        }
        let before = self.s.ceb;
        self.s = Bytes::from_order(option.order, counters);
        // An option that ends before ECEB says that it did not change (§3.2.3).
        Some(self.s.ceb.wrapping_sub(before))
    }

    /// Whether an ECN-capable packet with data has arrived.
    pub(super) fn has_seen_ect(&self) -> bool {
        self.r != BYTES_AT_FIRST
    }

    pub(super) fn sends_ect(&self) -> bool {
        self.sends_ect
    }
}

/// The three flags as a number (RFC 9768 §3.2.2).
pub(super) fn ace(flags: Flags) -> u8 {
    u8::from(flags.contains(Flags::AE)) << 2
        | u8::from(flags.contains(Flags::CWR)) << 1
        | u8::from(flags.contains(Flags::ECE))
}

/// The low three bits of a number as flags.
pub(super) fn ace_flags(number: u8) -> Flags {
    let bits = [(0b100, Flags::AE), (0b010, Flags::CWR), (0b001, Flags::ECE)];
    let set = bits.into_iter().filter(|(bit, _)| number & bit != 0);
    set.fold(Flags::default(), |all, (_, flag)| all.with(flag))
}

/// RFC 9768 tables 2 and 3: the code for the marking of a packet of the handshake.
pub(super) fn handshake_encoding(ecn: IpEcn) -> u8 {
    match ecn {
        IpEcn::NotEct => 0b010,
        IpEcn::Ect1 => 0b011,
        IpEcn::Ect0 => 0b100,
        IpEcn::Ce => 0b110,
    }
}

#[cfg(test)]
mod tests;
