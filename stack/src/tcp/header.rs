//! The TCP header as our own type: flags, window, [`options`](super::options) (RFC 9293 §3.1).
//!
//! Parsed and written by hand, because every segment passes here. Most segments carry only
//! timestamps, in the layout that RFC 7323 Appendix A recommends, and that case takes only a few
//! loads.

use core::fmt;

use super::options::{Options, Writer};
use super::seq::SeqNumber;
use crate::frame::HeaderBuf;
use crate::ip::ecn::IpEcn;

/// The control bits. AE, the newest, is in the byte before the others.
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
    /// The bits that report congestion once ECN is negotiated.
    pub(crate) const ECN: Flags = Flags::AE.with(Flags::CWR).with(Flags::ECE);
    pub(crate) const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
    pub(crate) const PSH_ACK: Flags = Flags::PSH.with(Flags::ACK);
    pub(crate) const RST_ACK: Flags = Flags::RST.with(Flags::ACK);

    pub(crate) const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this is a SYN that opens a connection, not a SYN-ACK.
    pub(crate) const fn is_first_syn(self) -> bool {
        self.0 & Flags::SYN_ACK.with(Flags::RST).0 == Flags::SYN.0
    }

    /// Whether the segment has no ACK, although neither SYN nor RST is set. The fifth step of RFC
    /// 9293 §3.10.7.4 drops such a segment. As on Linux this is checked first, so that it gets no
    /// answer, whatever its sequence number.
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
    /// Not part of the TCP header: the ECN field of the IP packet.
    pub(crate) ip_ecn: IpEcn,
    /// Not part of the TCP header: another number gives the packets another IPv6 flow label, and so
    /// perhaps another path.
    pub(crate) path_seed: u8,
    /// Not part of the TCP header: the size of the segments that a device merged into this one (the
    /// last may have been shorter); 0 if it is a single segment.
    pub(crate) joined_len: u16,
    /// Not part of the TCP header: the TOS or traffic class of the received packet. For a segment
    /// to send: that of the packet which it answers, or `None` to use the socket's.
    pub(crate) tos: Option<u8>,
    pub(crate) options: Options,
}

/// The header without options.
const FIXED_LEN: usize = 20;
impl Header {
    /// How many segments were received under this header, with `payload_len` bytes in all.
    pub(crate) fn segments(&self, payload_len: usize) -> u32 {
        match usize::from(self.joined_len) {
            0 => 1,
            // A frame is at most 64 KiB.
            joined_len => payload_len.div_ceil(joined_len).max(1) as u32,
        }
    }

    /// The payload of the longest of these segments.
    pub(super) fn longest(&self, payload_len: usize) -> usize {
        match usize::from(self.joined_len) {
            0 => payload_len,
            joined_len => payload_len.min(joined_len),
        }
    }

    /// Parses the header at the front of a segment. Returns it with its length. `None` if it is
    /// malformed. Unknown options are skipped; a malformed option ends the list.
    pub(crate) fn parse(segment: &[u8]) -> Option<(Header, usize)> {
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1]: [u8;
            FIXED_LEN] = *segment.first_chunk()?;
        let header_len = usize::from(offset >> 4) * 4;
        // With an offset below five words the range is invalid, and `get` returns `None`.
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
            tos: None,
            options: Options::parse(options, flags.contains(Flags::SYN)),
        };
        Some((header, header_len))
    }

    /// Prepends the header, options in Linux's order (MSS, SACK-permitted, timestamps, NOP, window
    /// scale). NOPs align the options, so no padding is needed (RFC 9293 §3.1, MUST-69). The
    /// checksum is left zero; a caller that knows the addresses fills it in.
    pub(crate) fn emit(&self, out: &mut HeaderBuf) {
        let header_len = self.wire_len();
        let mut writer = Writer { rest: out.prepend(header_len) };
        writer.put(self.src_port.to_be_bytes());
        writer.put(self.dst_port.to_be_bytes());
        writer.put(self.seq.0.to_be_bytes());
        writer.put(self.ack.0.to_be_bytes());
        // At most 60 / 4 = 15 words, which fit into four bits.
        let [ae, flags] = self.flags.0.to_be_bytes();
        writer.put([((header_len / 4) << 4) as u8 | ae, flags]);
        writer.put(self.window.to_be_bytes());
        writer.put([0, 0]);
        writer.put(self.urgent.to_be_bytes());
        self.options.emit(&mut writer);
    }

    /// The length of the header on the wire with its options: 20 to 60 bytes, a multiple of four.
    pub(crate) fn wire_len(&self) -> usize {
        FIXED_LEN + self.options.wire_len()
    }

    /// SEG.LEN: the sequence numbers that the segment takes, SYN and FIN included (RFC 9293 §3.4).
    pub(crate) fn segment_len(&self, payload_len: usize) -> u32 {
        // A segment is at most 64 KiB, also a merged one.
        payload_len as u32
            + u32::from(self.flags.contains(Flags::SYN))
            + u32::from(self.flags.contains(Flags::FIN))
    }
}

/// The reset that answers a segment without a connection (RFC 9293 §3.10.7.1); `None` for a reset.
/// As on Linux (tcp_v4_send_reset) its packet has the TOS of the segment's packet.
pub(crate) fn reset_for(header: &Header, payload_len: usize) -> Option<Header> {
    if header.flags.contains(Flags::RST) {
        return None;
    }
    let (src_port, dst_port) = (header.dst_port, header.src_port);
    let mut reset = Header { src_port, dst_port, tos: header.tos, ..Header::default() };
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
