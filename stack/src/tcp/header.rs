//! The TCP header as our own type: flags, window, options (RFC 9293 §3.1), parsed and emitted through
//! `smoltcp::wire`.

use smallvec::SmallVec;

use super::seq::SeqNumber;
use crate::frame::HeaderBuf;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const FIN: Flags = Flags(0x01);
    pub(crate) const SYN: Flags = Flags(0x02);
    pub(crate) const RST: Flags = Flags(0x04);
    pub(crate) const PSH: Flags = Flags(0x08);
    pub(crate) const ACK: Flags = Flags(0x10);
    pub(crate) const URG: Flags = Flags(0x20);
    pub(crate) const ECE: Flags = Flags(0x40);
    pub(crate) const CWR: Flags = Flags(0x80);

    pub(crate) const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
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

/// The options that we understand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) sack: SackBlocks,
}

/// A TCP header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    /// As on the wire: not scaled.
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Options,
}

impl Header {
    /// Parses the header at the front of a segment, and says how long it is. `None` if it is malformed. Unknown
    /// options are skipped; a malformed option ends the list.
    pub(crate) fn parse(_segment: &[u8]) -> Option<(Header, usize)> {
        todo!()
    }

    /// Prepends the header, options in Linux's order (MSS, SACK-permitted, timestamps, NOP, window scale), checksum zero.
    pub(crate) fn emit(&self, _out: &mut HeaderBuf) {
        todo!()
    }
}

/// The reset that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); none for a reset.
pub(crate) fn reset_for(_header: &Header, _payload_len: usize) -> Option<Header> {
    todo!()
}
