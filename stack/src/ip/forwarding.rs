//! What a router changes in a packet: it decrements the hop limit, cuts fragments, and does the
//! work that the receiving device left undone and the sending device does not do.
//!
//! The bytes behind the headers are not copied, except where noted.

use alloc::vec::Vec;
use core::iter;

use bytes::{Bytes, BytesMut};

use super::checksum::{Checksum, internet_checksum, transport_checksum, verify_transport_checksum};
use super::fragmentation::cut;
use super::input::ReceiveOffload;
use super::packet::IpPacket;
use super::{IpHeader, extension, ipv4, protocol, read_u8};
use crate::drop_reason::DropReason;
use crate::frame::{HeaderBuf, MAX_LINK_HEADER_LEN, Payload, payload_len};
use crate::offload::{ChecksumState, PartialChecksum, SegmentKind, Segments};

/// The most bytes in front of a packet that fit a [`HeaderBuf`] behind a link header. Every IP
/// header fits.
const MAX_FRONT_LEN: usize = HeaderBuf::CAPACITY - MAX_LINK_HEADER_LEN;

/// A run of segments in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRun {
    kind: SegmentKind,
    /// The payload length of each segment but the last.
    len: u16,
    transport_at: usize,
    payload_at: usize,
}

impl SegmentRun {
    /// The length of its longest packet once it is cut.
    pub(crate) fn longest_packet(&self) -> usize {
        self.payload_at + usize::from(self.len)
    }

    /// How a device cuts it.
    pub(crate) fn segments(&self) -> Segments {
        Segments { kind: self.kind, len: self.len }
    }

    fn checksum(&self) -> PartialChecksum {
        let offset = if self.kind == SegmentKind::Udp { 6 } else { 16 };
        PartialChecksum { start: self.transport_at as u16, offset }
    }

    fn protocol(&self) -> u8 {
        if self.kind == SegmentKind::Udp { protocol::UDP } else { protocol::TCP }
    }
}

/// What the receiving device left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceWork {
    Nothing,
    /// The transport's checksum is to be completed. Offsets count from the IP header.
    Checksum(PartialChecksum),
    /// The packet is a run of segments, whose checksum is to be completed.
    Run(SegmentRun),
}

/// Reads what a device says about a packet, which may come from a guest that lies.
pub(crate) fn device_work(
    offload: &ReceiveOffload,
    header: &IpHeader,
    packet: &[u8],
) -> Result<DeviceWork, DropReason> {
    if let Some(segments) = offload.segments
        && let Some(run) = run_of(segments, header, packet).ok_or(DropReason::BadOffload)?
    {
        let is_right = match offload.checksum {
            ChecksumState::Unknown => {
                let transport = packet.get(run.transport_at..).unwrap_or_default();
                verify_transport_checksum(header.src, header.dst, run.protocol(), transport)
            }
            ChecksumState::Verified => true,
            ChecksumState::Partial(partial) => {
                let expected = run.checksum();
                usize::from(partial.start) == offload.link_header_len + run.transport_at
                    && partial.offset == expected.offset
            }
        };
        return if is_right { Ok(DeviceWork::Run(run)) } else { Err(DropReason::BadOffload) };
    }
    let ChecksumState::Partial(partial) = offload.checksum else { return Ok(DeviceWork::Nothing) };
    let start = usize::from(partial.start).checked_sub(offload.link_header_len);
    let start = start.filter(|&start| start >= header.header_len).ok_or(DropReason::BadOffload)?;
    // The link header that goes in front must not make the offset overflow.
    let fits = start + usize::from(partial.offset) + 2 <= packet.len()
        && start + MAX_LINK_HEADER_LEN <= usize::from(u16::MAX);
    let checksum = PartialChecksum { start: start as u16, ..partial };
    if fits { Ok(DeviceWork::Checksum(checksum)) } else { Err(DropReason::BadOffload) }
}

/// The run that a packet is according to its device. `Some(None)`: it is a single segment. `None`:
/// it is not what the device says.
fn run_of(segments: Segments, header: &IpHeader, packet: &[u8]) -> Option<Option<SegmentRun>> {
    let Segments { kind, len } = segments;
    let chain = if header.src.is_ipv6() { Some(extension::walk(packet, false).ok()?) } else { None };
    let (protocol, transport_at, fragment) = match chain {
        Some(chain) => (chain.protocol, chain.offset, chain.fragment),
        None => (header.protocol, header.header_len, header.fragment),
    };
    let (expected, transport_len) = match kind {
        SegmentKind::Udp => (protocol::UDP, 8),
        SegmentKind::TcpV4 | SegmentKind::TcpV6 => {
            (protocol::TCP, usize::from(read_u8(packet, transport_at + 12)? >> 4) * 4)
        }
    };
    let is_of_family = match kind {
        SegmentKind::TcpV4 => header.src.is_ipv4(),
        SegmentKind::TcpV6 => header.src.is_ipv6(),
        SegmentKind::Udp => true,
    };
    let payload_at = transport_at + transport_len;
    let is_right = protocol == expected
        && is_of_family
        && fragment.is_none()
        && len > 0
        && (kind == SegmentKind::Udp || transport_len >= 20)
        && payload_at <= packet.len();
    let run = SegmentRun { kind, len, transport_at, payload_at };
    is_right.then(|| (packet.len() > run.longest_packet()).then_some(run))
}

/// Splits a packet into `front_len` bytes, at most [`MAX_FRONT_LEN`], that can be changed, and the
/// rest.
fn split(packet: &Bytes, front_len: usize) -> IpPacket {
    let mut header = HeaderBuf::new();
    header.prepend(front_len).copy_from_slice(&packet[..front_len]);
    let rest = packet.slice(front_len..);
    IpPacket::new(header, if rest.is_empty() { Payload::new() } else { Payload::from_iter([rest]) })
}

/// The packet as it was received, with its IP header in a buffer of its own.
pub(crate) fn whole(header: &IpHeader, packet: &Bytes) -> IpPacket {
    split(packet, header.header_len)
}

/// The packet with a new checksum of its transport. If the checksum is far behind, the packet is
/// copied.
fn with_checksum(header: &IpHeader, packet: &Bytes, checksum: PartialChecksum, sum: u16) -> IpPacket {
    let at = usize::from(checksum.start) + usize::from(checksum.offset);
    if at + 2 <= MAX_FRONT_LEN {
        let mut packet = split(packet, at + 2);
        packet.header.as_mut_slice()[at..].copy_from_slice(&sum.to_be_bytes());
        return packet;
    }
    let mut copy = BytesMut::from(&packet[..]);
    copy[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    split(&copy.freeze(), header.header_len)
}

/// The packet with the checksum that a device left to be completed.
pub(crate) fn complete_checksum(header: &IpHeader, packet: &Bytes, checksum: PartialChecksum) -> IpPacket {
    let mut sum = Checksum::default();
    sum.add(&packet[usize::from(checksum.start)..]);
    // RFC 768: zero means "no checksum". For TCP the two representations of zero are equal.
    let sum = match sum.finish() {
        0 => 0xffff,
        sum => sum,
    };
    with_checksum(header, packet, checksum, sum)
}

/// The whole run, with the sum of the pseudo-header where the device completes the checksum.
pub(crate) fn whole_run(header: &IpHeader, packet: &Bytes, run: &SegmentRun) -> IpPacket {
    let checksum = run.checksum();
    let mut sum = Checksum::default();
    sum.add_pseudo_header(header.src, header.dst, run.protocol(), packet.len() - run.transport_at);
    let whole = with_checksum(header, packet, checksum, sum.unfinished());
    IpPacket { checksum: Some(checksum), segments: Some(run.segments()), ..whole }
}

const TCP_PSH_AND_FIN: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

/// Cuts a run into packets with complete checksums, as a device with that offload does. If the
/// headers are longer than [`MAX_FRONT_LEN`], the payload is copied.
pub(crate) fn cut_run(header: &IpHeader, packet: &Bytes, run: &SegmentRun) -> Vec<IpPacket> {
    let len = usize::from(run.len);
    let starts = (run.payload_at..packet.len()).step_by(len);
    let segment = |(index, at): (usize, usize)| {
        let end = packet.len().min(at + len);
        let payload = packet.slice(at..end);
        let mut front = BytesMut::from(&packet[..run.payload_at]);
        set_lengths(header, &mut front, payload.len(), index as u16);
        let (_, transport) = front.split_at_mut(run.transport_at);
        let checksum_at = usize::from(run.checksum().offset);
        if run.kind == SegmentKind::Udp {
            let udp_len = (transport.len() + payload.len()) as u16;
            transport[4..6].copy_from_slice(&udp_len.to_be_bytes());
        } else {
            let seq = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            let seq = seq.wrapping_add((index * len) as u32);
            transport[4..8].copy_from_slice(&seq.to_be_bytes());
            if end < packet.len() {
                transport[13] &= !TCP_PSH_AND_FIN;
            }
            if index > 0 {
                transport[13] &= !TCP_CWR;
            }
        }
        transport[checksum_at..checksum_at + 2].fill(0);
        let payload = Payload::from_iter([payload]);
        let sum = match transport_checksum(header.src, header.dst, run.protocol(), transport, &payload) {
            0 if run.kind == SegmentKind::Udp => 0xffff,
            sum => sum,
        };
        transport[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        if front.len() > MAX_FRONT_LEN {
            payload.iter().for_each(|slice| front.extend_from_slice(slice));
            return split(&front.freeze(), header.header_len);
        }
        let mut buf = HeaderBuf::new();
        buf.prepend(front.len()).copy_from_slice(&front);
        IpPacket::new(buf, payload)
    };
    starts.enumerate().map(segment).collect()
}

/// Writes the lengths of one segment of a run, and for IPv4 its identification and checksum, into
/// the headers in front of it.
fn set_lengths(header: &IpHeader, front: &mut [u8], payload_len: usize, index: u16) {
    if header.src.is_ipv6() {
        let len = (front.len() - header.header_len + payload_len) as u16;
        front[4..6].copy_from_slice(&len.to_be_bytes());
        return;
    }
    let ident = u16::from_be_bytes([front[4], front[5]]).wrapping_add(index);
    let total_len = (front.len() + payload_len) as u16;
    front[2..4].copy_from_slice(&total_len.to_be_bytes());
    front[4..6].copy_from_slice(&ident.to_be_bytes());
    set_header_checksum(&mut front[..header.header_len]);
}

fn set_header_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = internet_checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Decrements the TTL or hop limit of the packet that begins with these bytes. It must not be zero.
pub(crate) fn decrement_hop_limit(packet: &mut [u8]) {
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return;
    }
    let word = |packet: &[u8]| u16::from_be_bytes([packet[8], packet[9]]);
    let old = word(packet);
    packet[8] -= 1;
    // RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m').
    let sum = u32::from(!u16::from_be_bytes([packet[10], packet[11]]));
    let sum = sum + u32::from(!old) + u32::from(word(packet));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Whether an IPv4 packet must not be fragmented.
pub(crate) fn dont_fragment(packet: &[u8]) -> bool {
    packet.get(6).is_some_and(|flags| flags & 0x40 != 0)
}

/// Cuts an IPv4 packet, which may be a fragment itself, into fragments of at most `mtu` bytes (RFC
/// 791 §3.2). `None`: the MTU leaves no room for data.
pub(crate) fn refragment(header: &IpHeader, packet: &IpPacket, mtu: usize) -> Option<Vec<IpPacket>> {
    let (ip, transport) = packet.header.as_slice().split_at(header.header_len);
    let mut slices = Payload::from_iter([Bytes::copy_from_slice(transport)]);
    slices.extend(packet.payload.iter().cloned());
    let total = payload_len(&slices);
    let (base, more) = header.fragment.map_or((0, false), |fragment| (fragment.offset, fragment.more));
    let room = mtu.checked_sub(header.header_len).filter(|&room| room >= 8)?;
    let len_at = |offset: usize| if total - offset <= room { total - offset } else { room & !7 };
    let offsets =
        iter::successors(Some(0), |&offset| Some(offset + len_at(offset)).filter(|&next| next < total));
    let fragment = |offset: usize| {
        let len = len_at(offset);
        let mut buf = HeaderBuf::new();
        let front = buf.prepend(ip.len());
        front.copy_from_slice(ip);
        front[2..4].copy_from_slice(&((ip.len() + len) as u16).to_be_bytes());
        let place = ((base + offset) / 8) as u16 | u16::from(more || offset + len < total) << 13;
        front[6..8].copy_from_slice(&place.to_be_bytes());
        if base == 0 && offset > 0 {
            ipv4::clear_first_options(front);
        }
        set_header_checksum(front);
        IpPacket::new(buf, cut(&slices, offset, len))
    };
    Some(offsets.map(fragment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::PacketBuilder;
    use proptest::prelude::*;

    proptest! {
        /// RFC 1624: the result is that of a new computation, 0xffff and 0 included.
        #[test]
        fn rfc_1624_the_checksum_follows_the_ttl(ttl in 1u8.., id in any::<[u8; 2]>(), protocol in any::<u8>()) {
            let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.1.0.1".parse().unwrap());
            let mut packet = PacketBuilder::new(src, dst).hop_limit(ttl).raw(protocol, b"x");
            packet[4..6].copy_from_slice(&id);
            set_header_checksum(&mut packet[..20]);
            decrement_hop_limit(&mut packet);
            prop_assert_eq!(packet[8], ttl - 1);
            let forwarded = [packet[10], packet[11]];
            set_header_checksum(&mut packet[..20]);
            prop_assert_eq!(forwarded, [packet[10], packet[11]]);
        }
    }
}
