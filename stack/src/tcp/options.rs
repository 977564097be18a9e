//! The options of a TCP header (RFC 9293 §3.2), as values and on the wire.

use alloc::boxed::Box;

use smallvec::SmallVec;

use super::seq::SeqNumber;

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
    /// Whether it is in the experimental option (kind 254 with a magic number, RFC 6994) that was
    /// used before kind 34. Some servers know only that.
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
    /// RFC 7413 §4.1.1: a cookie, or an empty one, which requests a cookie. Only in SYNs. Boxed,
    /// because it is rare.
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
    /// How many counters are present.
    len: u8,
    counters: [[u8; 3]; 3],
}

impl AccEcnOption {
    /// An option with up to three counters, of which the low 24 bits are sent.
    pub(crate) fn new(order: AccEcnOrder, counters: &[u32]) -> AccEcnOption {
        let mut option = AccEcnOption { order, len: 0, counters: [[0; 3]; 3] };
        for (place, counter) in option.counters.iter_mut().zip(counters) {
            let [_, high, middle, low] = counter.to_be_bytes();
            *place = [high, middle, low];
            option.len += 1;
        }
        option
    }

    /// The counters that are present, in the option's order.
    pub(crate) fn counters(&self) -> impl Iterator<Item = u32> + '_ {
        let present = self.counters.iter().take(usize::from(self.len));
        present.map(|&[high, middle, low]| u32::from_be_bytes([0, high, middle, low]))
    }

    /// §3.2.3: complete fields of three bytes count, and the rest is padding.
    fn parse(order: AccEcnOrder, value: &[u8]) -> AccEcnOption {
        let mut option = AccEcnOption::new(order, &[]);
        for (place, field) in option.counters.iter_mut().zip(value.as_chunks::<3>().0) {
            *place = *field;
            option.len += 1;
        }
        option
    }

    /// Its length on the wire, without the NOPs that align it.
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

/// The longest options that the data offset field allows.
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

impl Options {
    /// The length of the options on the wire, padding included: at most 40 bytes.
    pub(crate) fn wire_len(&self) -> usize {
        let sack_blocks = self.sack_blocks_that_fit();
        self.len_without_sack() + if sack_blocks > 0 { 4 + 8 * sack_blocks } else { 0 }
    }

    /// The room that is left for another option.
    pub(crate) fn room(&self) -> usize {
        MAX_OPTIONS_LEN.saturating_sub(self.wire_len())
    }

    fn len_without_sack(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            // SACK-permitted takes the place of two NOPs.
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
    pub(super) fn sack_blocks_that_fit(&self) -> usize {
        let room = MAX_OPTIONS_LEN.saturating_sub(self.len_without_sack());
        self.sack.len().min(room.saturating_sub(4) / 8)
    }

    pub(super) fn parse(bytes: &[u8], syn: bool) -> Options {
        // RFC 7323 Appendix A's layout: nearly every segment has exactly this layout.
        if let &[kind::NOP, kind::NOP, kind::TIMESTAMPS, kind::TIMESTAMPS_LEN, ref rest @ ..] = bytes
            && let Some(timestamps) = Timestamps::parse(rest)
            && rest.len() == 8
        {
            return Options { timestamps: Some(timestamps), ..Options::default() };
        }
        Options::parse_list(bytes, syn)
    }

    /// RFC 9293 §3.2 (MUST-4, MUST-5, MUST-64, MUST-68): options one after the other, in any
    /// segment, on any boundary, each with its length; unknown ones are skipped (MUST-6). As on
    /// Linux, an option of a known kind with a wrong length is skipped, and an impossible length
    /// ends the list (MUST-7).
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

    /// MSS, window scale and SACK-permitted count only in a SYN (RFC 9293 §3.7.1, RFC 7323 §2.2:
    /// RFC7323-2.2-b, RFC 2018 §2).
    fn parse_one(&mut self, option_kind: u8, value: &[u8], syn: bool) {
        match (option_kind, value) {
            // An MSS of zero is ignored, as on Linux.
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

    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
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
    /// Parses the first eight bytes of the option's value.
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
    /// The longest cookie, which fits beside the other options of a SYN (RFC 7413 §4.1.1).
    const MAX_LEN: usize = 16;

    /// The empty cookie, which requests one.
    pub(crate) const REQUEST: FastOpenCookie =
        FastOpenCookie { len: 0, bytes: [0; Self::MAX_LEN], experimental: false };

    /// A cookie of eight bytes, like those that we make.
    pub(crate) fn new(value: [u8; 8]) -> FastOpenCookie {
        let mut cookie = FastOpenCookie { len: 8, ..FastOpenCookie::REQUEST };
        cookie.bytes[..8].copy_from_slice(&value);
        cookie
    }

    /// Parses a cookie of no bytes, or of an even number of 4 to 16 bytes (RFC 7413 §4.1.1). Any
    /// other length is treated as no option.
    pub(super) fn from_wire(value: &[u8], experimental: bool) -> Option<FastOpenCookie> {
        if !matches!(value.len(), 0 | 4..=Self::MAX_LEN) || !value.len().is_multiple_of(2) {
            return None;
        }
        // At most 16.
        let mut cookie = FastOpenCookie { len: value.len() as u8, experimental, ..FastOpenCookie::REQUEST };
        cookie.bytes[..value.len()].copy_from_slice(value);
        Some(cookie)
    }

    /// The same cookie in the experimental or in the standard option.
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

    /// The length of its option, without the NOPs that align it.
    fn len_with_kind(&self) -> usize {
        usize::from(self.len) + if self.experimental { 4 } else { 2 }
    }

    /// Writes the option, and NOPs after it up to a whole word, as Linux pads it.
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
pub(super) struct Writer<'a> {
    pub(super) rest: &'a mut [u8],
}

impl Writer<'_> {
    /// `wire_len` has computed the room from the same fields that are written.
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.put_slice(&bytes);
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        let (place, rest) = core::mem::take(&mut self.rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.rest = rest;
    }
}
