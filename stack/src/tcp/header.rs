//! The TCP header as our own type: flags, window, options (RFC 9293 §3.1).
//!
//! Read and written by hand: every segment passes here, most carry timestamps alone in the layout that RFC 7323
//! Appendix A recommends, and that case should cost a few loads.

use alloc::boxed::Box;
use core::fmt;

use smallvec::SmallVec;

use super::seq::SeqNumber;
use crate::frame::HeaderBuf;
use crate::ip::ecn::IpEcn;

/// The control bits; AE, the latest of them, stands in the byte before the others.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(pub(crate) u16);

impl Flags {
    pub(crate) const FIN: Flags = Flags(0x01);
    pub(crate) const SYN: Flags = Flags(0x02);
    pub(crate) const RST: Flags = Flags(0x04);
    pub(crate) const PSH: Flags = Flags(0x08);
    pub(crate) const ACK: Flags = Flags(0x10);
    pub(crate) const URG: Flags = Flags(0x20);
    pub(crate) const ECE: Flags = Flags(0x40);
    pub(crate) const CWR: Flags = Flags(0x80);
    /// Accurate ECN (RFC 9768 §3.1); it was the nonce sum of RFC 3540.
    pub(crate) const AE: Flags = Flags(0x100);
    /// The bits that speak of congestion, once ECN is agreed on.
    pub(crate) const ECN: Flags = Flags::AE.with(Flags::CWR).with(Flags::ECE);
    pub(crate) const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
    pub(crate) const PSH_ACK: Flags = Flags::PSH.with(Flags::ACK);
    pub(crate) const RST_ACK: Flags = Flags::RST.with(Flags::ACK);

    pub(crate) const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this is a SYN that opens a connection, not one that answers.
    pub(crate) const fn is_first_syn(self) -> bool {
        self.0 & Flags::SYN_ACK.with(Flags::RST).0 == Flags::SYN.0
    }

    /// Neither ACK nor one of the flags that go without it. The fifth step of RFC 9293 §3.10.7.4 drops such a segment; as on
    /// Linux that comes first, so that it draws no answer wherever it lies.
    pub(crate) const fn lacks_ack(self) -> bool {
        self.0 & Flags::ACK.with(Flags::SYN).with(Flags::RST).0 == 0
    }

    pub(crate) const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// The names of the bits that are set: `SYN|ACK`.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Flags::FIN, "FIN"),
            (Flags::SYN, "SYN"),
            (Flags::RST, "RST"),
            (Flags::PSH, "PSH"),
            (Flags::ACK, "ACK"),
            (Flags::URG, "URG"),
            (Flags::ECE, "ECE"),
            (Flags::CWR, "CWR"),
            (Flags::AE, "AE"),
        ];
        let mut separator = "";
        for (_, name) in names.into_iter().filter(|&(flag, _)| self.contains(flag)) {
            write!(f, "{separator}{name}")?;
            separator = "|";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// RFC 7323 timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timestamps {
    pub(crate) value: u32,
    pub(crate) echo: u32,
}

/// Up to four SACK blocks (RFC 2018): left edge, right edge.
pub(crate) type SackBlocks = SmallVec<[(SeqNumber, SeqNumber); 4]>;

/// A TCP Fast Open cookie (RFC 7413 §4.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FastOpenCookie {
    len: u8,
    bytes: [u8; FastOpenCookie::MAX_LEN],
    /// It stands in the experimental option (kind 254 with a magic number, RFC 6994) that came before kind 34. Some servers
    /// know only that.
    experimental: bool,
}

/// The options that we understand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) sack: SackBlocks,
    pub(crate) accecn: Option<AccEcnOption>,
    /// RFC 7413 §4.1.1: a cookie, or an empty one that asks for it. In SYNs only, and there rare.
    pub(crate) fast_open: Option<Box<FastOpenCookie>>,
}

/// Which counter an [`AccEcnOption`] begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccEcnOrder {
    /// Kind 172: ECT(0), CE, ECT(1).
    Ect0First,
    /// Kind 174: ECT(1), CE, ECT(0).
    Ect1First,
}

/// RFC 9768 §3.2.3: the low 24 bits of up to three counters of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AccEcnOption {
    pub(crate) order: AccEcnOrder,
    /// How many of the counters are there.
    len: u8,
    counters: [[u8; 3]; 3],
}

impl AccEcnOption {
    /// With these counters, three at most; what is beyond 24 bits is cut off.
    pub(crate) fn new(order: AccEcnOrder, counters: &[u32]) -> AccEcnOption {
        let mut option = AccEcnOption { order, len: 0, counters: [[0; 3]; 3] };
        for (place, counter) in option.counters.iter_mut().zip(counters) {
            let [_, high, middle, low] = counter.to_be_bytes();
            *place = [high, middle, low];
            option.len += 1;
        }
        option
    }

    /// The counters that are there, in the option's order.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u32> + '_ {
        let present = self.counters.iter().take(usize::from(self.len));
        present.map(|&[high, middle, low]| u32::from_be_bytes([0, high, middle, low]))
    }

    /// §3.2.3: the whole fields of three bytes count, and what is left over is padding.
    fn parse(order: AccEcnOrder, value: &[u8]) -> AccEcnOption {
        let mut option = AccEcnOption::new(order, &[]);
        for (place, field) in option.counters.iter_mut().zip(value.as_chunks::<3>().0) {
            *place = *field;
            option.len += 1;
        }
        option
    }

    /// On the wire, without the NOPs that align it.
    pub(crate) fn len_with(counters: usize) -> usize {
        2 + 3 * counters
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        let len = AccEcnOption::len_with(usize::from(self.len));
        (len..len.next_multiple_of(4)).for_each(|_| writer.put([kind::NOP]));
        let option_kind = match self.order {
            AccEcnOrder::Ect0First => kind::ACCECN0,
            AccEcnOrder::Ect1First => kind::ACCECN1,
        };
        // At most 11.
        writer.put([option_kind, len as u8]);
        self.counters.iter().take(usize::from(self.len)).for_each(|&counter| writer.put(counter));
    }
}

/// A TCP header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    /// As on the wire: not scaled, an unsigned number (MUST-1).
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// Not of the TCP header, but it travels with each: how the IP packet was marked, or is to be.
    pub(crate) ip_ecn: IpEcn,
    /// Nor this: another number lets the IPv6 flow take another path.
    pub(crate) path_seed: u8,
    /// Nor is this: a device joined what came in from segments of so many bytes (the last may have had fewer); 0 if it
    /// is one segment.
    pub(crate) joined_len: u16,
    pub(crate) options: Options,
}

/// The header without options.
const FIXED_LEN: usize = 20;
/// What the data offset field leaves for options.
pub(super) const MAX_OPTIONS_LEN: usize = 40;
/// RFC 7323 §2.3: a larger shift count is used as 14.
const MAX_WINDOW_SHIFT: u8 = 14;

/// Option kinds (IANA "TCP Option Kind Numbers") and their lengths on the wire.
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const FAST_OPEN: u8 = 34;
    pub(super) const ACCECN0: u8 = 172;
    pub(super) const ACCECN1: u8 = 174;
    pub(super) const EXPERIMENTAL: u8 = 254;

    pub(super) const MSS_LEN: u8 = 4;
    pub(super) const WINDOW_SCALE_LEN: u8 = 3;
    pub(super) const SACK_PERMITTED_LEN: u8 = 2;
    pub(super) const TIMESTAMPS_LEN: u8 = 10;
}

impl Header {
    /// How many segments came in under this header, with so many bytes in all.
    pub(crate) fn segments(&self, payload_len: usize) -> u32 {
        match usize::from(self.joined_len) {
            0 => 1,
            // A frame is at most 64 KiB.
            joined_len => payload_len.div_ceil(joined_len).max(1) as u32,
        }
    }

    /// The bytes in the longest of them.
    pub(super) fn longest(&self, payload_len: usize) -> usize {
        match usize::from(self.joined_len) {
            0 => payload_len,
            joined_len => payload_len.min(joined_len),
        }
    }

    /// Parses the header at the front of a segment, and says how long it is. `None` if it is malformed. Unknown
    /// options are skipped; a malformed option ends the list.
    pub(crate) fn parse(segment: &[u8]) -> Option<(Header, usize)> {
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1]: [u8;
            FIXED_LEN] = *segment.first_chunk()?;
        let header_len = usize::from(offset >> 4) * 4;
        // An offset below five words makes this range empty of sense, and `get` refuses it.
        let options = segment.get(FIXED_LEN..header_len)?;
        let flags = Flags(u16::from(offset & 1) << 8 | u16::from(flags));
        let header = Header {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            seq: SeqNumber(u32::from_be_bytes([q0, q1, q2, q3])),
            ack: SeqNumber(u32::from_be_bytes([a0, a1, a2, a3])),
            flags,
            window: u16::from_be_bytes([w0, w1]),
            urgent: u16::from_be_bytes([u0, u1]),
            ip_ecn: IpEcn::NotEct,
            path_seed: 0,
            joined_len: 0,
            options: Options::parse(options, flags.contains(Flags::SYN)),
        };
        Some((header, header_len))
    }

    /// Prepends the header, options in Linux's order (MSS, SACK-permitted, timestamps, NOP, window scale). NOPs align them,
    /// so that nothing is left to pad (RFC 9293 §3.1, MUST-69). The checksum is zero: who knows the addresses fills it in.
    pub(crate) fn emit(&self, out: &mut HeaderBuf) {
        let header_len = self.wire_len();
        let mut writer = Writer { rest: out.prepend(header_len) };
        writer.put(self.src_port.to_be_bytes());
        writer.put(self.dst_port.to_be_bytes());
        writer.put(self.seq.0.to_be_bytes());
        writer.put(self.ack.0.to_be_bytes());
        // At most 60 / 4 = 15 words, so the shift keeps them all.
        let [ae, flags] = self.flags.0.to_be_bytes();
        writer.put([((header_len / 4) << 4) as u8 | ae, flags]);
        writer.put(self.window.to_be_bytes());
        writer.put([0, 0]);
        writer.put(self.urgent.to_be_bytes());
        self.options.emit(&mut writer);
    }

    /// How long the header is on the wire, options included: 20 to 60 bytes, a multiple of four.
    pub(crate) fn wire_len(&self) -> usize {
        FIXED_LEN + self.options.wire_len()
    }

    /// SEG.LEN: the sequence space that the segment takes, SYN and FIN included (RFC 9293 §3.4).
    pub(crate) fn segment_len(&self, payload_len: usize) -> u32 {
        // A segment is at most 64 KiB; a super-segment, too.
        payload_len as u32
            + u32::from(self.flags.contains(Flags::SYN))
            + u32::from(self.flags.contains(Flags::FIN))
    }
}

impl Options {
    /// How long the options are on the wire, padding included: at most 40 bytes.
    pub(crate) fn wire_len(&self) -> usize {
        let sack_blocks = self.sack_blocks_that_fit();
        self.len_without_sack() + if sack_blocks > 0 { 4 + 8 * sack_blocks } else { 0 }
    }

    /// What is left for an option beside these.
    pub(crate) fn room(&self) -> usize {
        MAX_OPTIONS_LEN.saturating_sub(self.wire_len())
    }

    fn len_without_sack(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            // SACK-permitted stands where two NOPs would.
            len += 12;
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if let Some(accecn) = &self.accecn {
            len += AccEcnOption::len_with(usize::from(accecn.len)).next_multiple_of(4);
        }
        if let Some(cookie) = &self.fast_open {
            len += cookie.len_with_kind().next_multiple_of(4);
        }
        len
    }

    /// Three beside timestamps, otherwise four (RFC 2018 §3).
    fn sack_blocks_that_fit(&self) -> usize {
        let room = MAX_OPTIONS_LEN.saturating_sub(self.len_without_sack());
        self.sack.len().min(room.saturating_sub(4) / 8)
    }

    fn parse(bytes: &[u8], syn: bool) -> Options {
        // RFC 7323 Appendix A's layout: nearly every segment has it, and nothing else.
        if let &[kind::NOP, kind::NOP, kind::TIMESTAMPS, kind::TIMESTAMPS_LEN, ref rest @ ..] = bytes
            && let Some(timestamps) = Timestamps::parse(rest)
            && rest.len() == 8
        {
            return Options { timestamps: Some(timestamps), ..Options::default() };
        }
        Options::parse_list(bytes, syn)
    }

    /// RFC 9293 §3.2 (MUST-4, MUST-5, MUST-64, MUST-68): options one after the other, in any segment, on any boundary,
    /// each with its length; unknown ones are skipped (MUST-6). As Linux, one of a known kind with a wrong length is skipped,
    /// and a length that cannot be ends the list (MUST-7).
    fn parse_list(mut bytes: &[u8], syn: bool) -> Options {
        let mut options = Options::default();
        while let [option_kind, rest @ ..] = bytes {
            match *option_kind {
                kind::END => break,
                kind::NOP => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(value) = rest.first().and_then(|&len| bytes.get(2..usize::from(len))) else { break };
            options.parse_one(*option_kind, value, syn);
            bytes = bytes.get(2 + value.len()..).unwrap_or(&[]);
        }
        options
    }

    /// MSS, window scale and SACK-permitted mean something in a SYN only (RFC 9293 §3.7.1, RFC 7323 §2.2: RFC7323-2.2-b,
    /// RFC 2018 §2).
    fn parse_one(&mut self, option_kind: u8, value: &[u8], syn: bool) {
        match (option_kind, value) {
            // An MSS of zero cannot be meant; Linux ignores it too.
            (kind::MSS, &[high, low]) if syn && (high | low) != 0 => {
                self.mss = Some(u16::from_be_bytes([high, low]));
            }
            (kind::WINDOW_SCALE, &[shift]) if syn => self.window_scale = Some(shift.min(MAX_WINDOW_SHIFT)),
            (kind::SACK_PERMITTED, []) if syn => self.sack_permitted = true,
            (kind::FAST_OPEN, cookie) if syn => {
                self.fast_open = FastOpenCookie::from_wire(cookie, false).map(Box::new);
            }
            (kind::EXPERIMENTAL, [high, low, cookie @ ..])
                if syn && [*high, *low] == EXPERIMENTAL_FAST_OPEN =>
            {
                self.fast_open = FastOpenCookie::from_wire(cookie, true).map(Box::new);
            }
            (kind::TIMESTAMPS, value) if value.len() == 8 => self.timestamps = Timestamps::parse(value),
            (kind::SACK, blocks) if blocks.len().is_multiple_of(8) => {
                self.sack.clear();
                for block in blocks.chunks_exact(8) {
                    let &[l0, l1, l2, l3, r0, r1, r2, r3] = block else { break };
                    let left = SeqNumber(u32::from_be_bytes([l0, l1, l2, l3]));
                    let right = SeqNumber(u32::from_be_bytes([r0, r1, r2, r3]));
                    self.sack.push((left, right));
                }
            }
            (kind::ACCECN0, value) => self.accecn = Some(AccEcnOption::parse(AccEcnOrder::Ect0First, value)),
            (kind::ACCECN1, value) => self.accecn = Some(AccEcnOption::parse(AccEcnOrder::Ect1First, value)),
            _ => {}
        }
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            writer.put([kind::MSS, kind::MSS_LEN, high, low]);
        }
        match (self.timestamps, self.sack_permitted) {
            (Some(timestamps), sack_permitted) => {
                if sack_permitted {
                    writer.put([kind::SACK_PERMITTED, kind::SACK_PERMITTED_LEN]);
                } else {
                    writer.put([kind::NOP, kind::NOP]);
                }
                writer.put([kind::TIMESTAMPS, kind::TIMESTAMPS_LEN]);
                writer.put(timestamps.value.to_be_bytes());
                writer.put(timestamps.echo.to_be_bytes());
            }
            (None, true) => {
                writer.put([kind::NOP, kind::NOP, kind::SACK_PERMITTED, kind::SACK_PERMITTED_LEN]);
            }
            (None, false) => {}
        }
        if let Some(shift) = self.window_scale {
            let shift = shift.min(MAX_WINDOW_SHIFT);
            writer.put([kind::NOP, kind::WINDOW_SCALE, kind::WINDOW_SCALE_LEN, shift]);
        }
        let sack_blocks = self.sack_blocks_that_fit();
        if sack_blocks > 0 {
            writer.put([kind::NOP, kind::NOP, kind::SACK, (2 + 8 * sack_blocks) as u8]);
            for (left, right) in self.sack.iter().take(sack_blocks) {
                writer.put(left.0.to_be_bytes());
                writer.put(right.0.to_be_bytes());
            }
        }
        if let Some(accecn) = &self.accecn {
            accecn.emit(writer);
        }
        if let Some(cookie) = &self.fast_open {
            cookie.emit(writer);
        }
    }
}

impl Timestamps {
    /// From the option's value, its first eight bytes.
    fn parse(value: &[u8]) -> Option<Timestamps> {
        let &[v0, v1, v2, v3, e0, e1, e2, e3] = value.first_chunk()?;
        Some(Timestamps {
            value: u32::from_be_bytes([v0, v1, v2, v3]),
            echo: u32::from_be_bytes([e0, e1, e2, e3]),
        })
    }
}

/// The magic number of Fast Open's experimental option (IANA's registry of TCP ExIDs).
const EXPERIMENTAL_FAST_OPEN: [u8; 2] = [0xf9, 0x89];

impl FastOpenCookie {
    /// The longest that fits beside the other options of a SYN (RFC 7413 §4.1.1).
    const MAX_LEN: usize = 16;

    /// The empty one, which asks for a cookie.
    pub(crate) const REQUEST: FastOpenCookie =
        FastOpenCookie { len: 0, bytes: [0; Self::MAX_LEN], experimental: false };

    /// One of eight bytes, as our own are.
    pub(crate) fn new(value: [u8; 8]) -> FastOpenCookie {
        let mut cookie = FastOpenCookie { len: 8, ..FastOpenCookie::REQUEST };
        cookie.bytes[..8].copy_from_slice(&value);
        cookie
    }

    /// Nothing, or 4 to 16 bytes, an even number (RFC 7413 §4.1.1); anything else is as if it were not there.
    fn from_wire(value: &[u8], experimental: bool) -> Option<FastOpenCookie> {
        if !matches!(value.len(), 0 | 4..=Self::MAX_LEN) || !value.len().is_multiple_of(2) {
            return None;
        }
        // At most 16.
        let mut cookie = FastOpenCookie { len: value.len() as u8, experimental, ..FastOpenCookie::REQUEST };
        cookie.bytes[..value.len()].copy_from_slice(value);
        Some(cookie)
    }

    /// The same in the experimental option or in the other.
    pub(crate) fn in_option(self, experimental: bool) -> FastOpenCookie {
        FastOpenCookie { experimental, ..self }
    }

    pub(crate) fn is_request(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_experimental(&self) -> bool {
        self.experimental
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// How long its option is, without the NOPs that align it.
    fn len_with_kind(&self) -> usize {
        usize::from(self.len) + if self.experimental { 4 } else { 2 }
    }

    /// The option, and NOPs behind it up to a whole word, as Linux pads it.
    fn emit(&self, writer: &mut Writer<'_>) {
        // At most 20.
        let len = self.len_with_kind() as u8;
        if self.experimental {
            let [high, low] = EXPERIMENTAL_FAST_OPEN;
            writer.put([kind::EXPERIMENTAL, len, high, low]);
        } else {
            writer.put([kind::FAST_OPEN, len]);
        }
        writer.put_slice(self.as_bytes());
        if !len.is_multiple_of(4) {
            writer.put([kind::NOP, kind::NOP]);
        }
    }
}

/// Fills a header from the front.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    /// The room was reckoned by `wire_len`, from the same fields that are written.
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.put_slice(&bytes);
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        let (place, rest) = core::mem::take(&mut self.rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.rest = rest;
    }
}

/// The reset that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); none for a reset.
pub(crate) fn reset_for(header: &Header, payload_len: usize) -> Option<Header> {
    if header.flags.contains(Flags::RST) {
        return None;
    }
    let mut reset = Header { src_port: header.dst_port, dst_port: header.src_port, ..Header::default() };
    if header.flags.contains(Flags::ACK) {
        reset.seq = header.ack;
        reset.flags = Flags::RST;
    } else {
        reset.ack = header.seq + header.segment_len(payload_len);
        reset.flags = Flags::RST.with(Flags::ACK);
    }
    Some(reset)
}

#[cfg(test)]
mod tests;
