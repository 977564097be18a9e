//! Cuts a run of TCP segments into frames, as a device with TSO does.
//!
//! The first frame of a run takes the ordinary path: route, IP header, neighbour, link header. The
//! others are built from its headers, one each time the device has room. They count as already in
//! the device: later changes of the path or the connection do not affect them.

use core::net::IpAddr;
use core::ops::Range;

use crate::demux::FourTuple;
use crate::frame::{HeaderBuf, PayloadCursor, Transmit};
use crate::ip::checksum::{Checksum, internet_checksum};
use crate::ip::protocol;
use crate::ip::{ipv4, ipv6};
use crate::network::InterfaceId;
use crate::offload::PartialChecksum;
use crate::tcp::{Flags, Run, SeqNumber};

/// Where the checksum is in a TCP header.
pub(super) const CHECKSUM_AT: Range<usize> = 16..18;
/// Where other fields are in a TCP header.
const SEQ_AT: Range<usize> = 4..8;
const FLAGS_AT: usize = 13;
/// Where fields are in the IP headers: total length, identification, flags and checksum in IPv4,
/// payload length in IPv6.
const V4_LEN_AT: Range<usize> = 2..4;
const V4_IDENT_AT: Range<usize> = 4..6;
const V4_FLAGS_AT: usize = 6;
const DONT_FRAGMENT: u8 = 0x40;
const V4_CHECKSUM_AT: Range<usize> = 10..12;
const V6_LEN_AT: Range<usize> = 4..6;

/// The frames of a run that remain to be sent.
#[derive(Debug)]
pub(super) struct Segmentation {
    iface: InterfaceId,
    src: IpAddr,
    dst: IpAddr,
    /// The headers of the previous frame.
    headers: HeaderBuf,
    /// The length of the TCP header.
    tcp_len: usize,
    /// The sequence number of the next frame.
    seq: SeqNumber,
    /// The flags of the last frame; those before it have neither PSH nor FIN.
    last_flags: Flags,
    payload: PayloadCursor,
    segment_len: usize,
    /// The sum over pseudo-header and TCP header without the sequence number.
    constant: Checksum,
    /// Where the device completes the checksums, if it does.
    partial: Option<PartialChecksum>,
    /// Whether the packets are IPv4 and may be fragmented: then each has its own identification.
    is_numbered: bool,
}

impl Segmentation {
    /// What remains of `run` after its first segment, which was sent in the frame `first`. `None`
    /// if nothing remains.
    pub(super) fn new(first: &Transmit, tuple: &FourTuple, run: Run) -> Option<Segmentation> {
        let segment_len = run.segment_len();
        let (header, payload) = run.rest()?;
        let mut segmentation = Segmentation {
            iface: first.iface(),
            src: tuple.local.addr,
            dst: tuple.remote.addr,
            headers: first.header_buf().clone(),
            tcp_len: header.wire_len(),
            seq: header.seq,
            last_flags: header.flags,
            payload,
            segment_len,
            constant: Checksum::default(),
            partial: first.checksum(),
            is_numbered: false,
        };
        segmentation.is_numbered =
            tuple.remote.addr.is_ipv4() && segmentation.ip()[V4_FLAGS_AT] & DONT_FRAGMENT == 0;
        segmentation.sum_headers(segment_len);
        Some(segmentation)
    }

    /// The interface that it leaves through.
    pub(super) fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// How many IPv4 identifications its frames need, after that of the first frame.
    pub(super) fn identifications(&self) -> u32 {
        if self.is_numbered { self.payload.len().div_ceil(self.segment_len) as u32 } else { 0 }
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Option<Transmit> {
        let left = self.payload.len();
        if left == 0 {
            return None;
        }
        if left <= self.segment_len {
            self.make_last(left);
        }
        if self.is_numbered {
            self.next_number();
        }
        let payload = self.payload.take(self.segment_len);
        let seq = self.seq.0.to_be_bytes();
        let mut checksum = self.constant;
        let sum = if self.partial.is_some() {
            checksum.unfinished()
        } else {
            checksum.add(&seq);
            for slice in &payload {
                checksum.add(slice);
            }
            checksum.finish()
        };
        let tcp = self.tcp();
        tcp[SEQ_AT].copy_from_slice(&seq);
        tcp[CHECKSUM_AT].copy_from_slice(&sum.to_be_bytes());
        // A run is at most 64 KiB.
        self.seq += self.segment_len as u32;
        Some(Transmit::new(self.iface, self.headers.clone(), payload).with_offload(self.partial, None))
    }

    /// Turns the headers into those of the last frame, with `len` bytes of payload.
    fn make_last(&mut self, len: usize) {
        let transport_len = self.tcp_len + len;
        let is_ipv4 = self.src.is_ipv4();
        let ip = self.ip();
        // It is no longer than the first frame, so its lengths fit.
        if is_ipv4 {
            ip[V4_LEN_AT].copy_from_slice(&((ipv4::HEADER_LEN + transport_len) as u16).to_be_bytes());
            set_header_checksum(ip);
        } else {
            ip[V6_LEN_AT].copy_from_slice(&(transport_len as u16).to_be_bytes());
        }
        // AE is in another byte, and is the same in all segments.
        self.tcp()[FLAGS_AT] = self.last_flags.0 as u8;
        self.sum_headers(len);
    }

    /// Computes the sum of what stays the same in frames with `len` bytes of payload; if the device
    /// completes the checksums, only that of the pseudo-header.
    fn sum_headers(&mut self, len: usize) {
        let mut checksum = Checksum::default();
        if self.partial.is_none() {
            let tcp = self.tcp();
            tcp[SEQ_AT].fill(0);
            tcp[CHECKSUM_AT].fill(0);
            checksum.add(tcp);
        }
        checksum.add_pseudo_header(self.src, self.dst, protocol::TCP, self.tcp_len + len);
        self.constant = checksum;
    }

    /// Sets the identification after that of the previous frame.
    fn next_number(&mut self) {
        let ip = self.ip();
        let [high, low] = [ip[V4_IDENT_AT.start], ip[V4_IDENT_AT.start + 1]];
        let next = u16::from_be_bytes([high, low]).wrapping_add(1);
        ip[V4_IDENT_AT].copy_from_slice(&next.to_be_bytes());
        set_header_checksum(ip);
    }

    /// The IP header.
    fn ip(&mut self) -> &mut [u8] {
        let ip_len = if self.src.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let ip_at = self.headers.len() - self.tcp_len - ip_len;
        &mut self.headers.as_mut_slice()[ip_at..ip_at + ip_len]
    }

    /// The TCP header, which is the last of the headers.
    fn tcp(&mut self) -> &mut [u8] {
        let at = self.headers.len() - self.tcp_len;
        &mut self.headers.as_mut_slice()[at..]
    }
}

fn set_header_checksum(ip: &mut [u8]) {
    ip[V4_CHECKSUM_AT].fill(0);
    let checksum = internet_checksum(ip);
    ip[V4_CHECKSUM_AT].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Endpoint;
    use crate::frame::{Payload, payload_len};
    use crate::ip::checksum::transport_checksum;
    use crate::ip::ecn::IpEcn;
    use crate::ip::output::OutgoingHeader;
    use crate::link::ethernet::{self, EtherType};
    use crate::network::MacAddr;
    use crate::socket::options::IpFields;
    use crate::socket::tcp::output::segment_packet;
    use crate::stats::Stats;
    use crate::tcp::{Header, Options, Timestamps};
    use crate::{Config, Ctx, Instant, rng::Rng};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// One segment that was built on its own, with this identification if it needs one.
    fn frame(tuple: &FourTuple, link: Link, ident: u16, mut header: Header, payload: Payload) -> Transmit {
        let (config, mut stats, mut rng) = (Config::default(), Stats::new(), Rng::new([1; 32]));
        let now = Instant::ZERO;
        let mut ctx = Ctx {
            now,
            received_at: now,
            config: &config,
            stats: &mut stats,
            rng: &mut rng,
            memory: crate::memory::Budget::UNLIMITED,
            free_list: &mut crate::tcp::FreeList::default(),
            subject: crate::subject::Subject::Stack,
        };
        let (meta, mut headers) = segment_packet(&mut ctx, tuple, &mut header, IpFields::default());
        let len = headers.len() + payload_len(&payload);
        let sum = if link.completes_checksums {
            let mut checksum = Checksum::default();
            checksum.add_pseudo_header(meta.src, meta.dst, protocol::TCP, len);
            checksum.unfinished()
        } else {
            transport_checksum(meta.src, meta.dst, protocol::TCP, headers.as_slice(), &payload)
        };
        headers.as_mut_slice()[CHECKSUM_AT].copy_from_slice(&sum.to_be_bytes());
        let mut ip = OutgoingHeader::new(&meta, 64).unwrap();
        if let OutgoingHeader::V4(fields) = &mut ip {
            fields.dont_fragment = !link.fragments;
            fields.ident = if link.fragments { ident } else { 0 };
        }
        ip.prepend(&mut headers, len);
        if link.has_header {
            let (own, peer) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
            ethernet::prepend(&mut headers, own, peer, EtherType::Ipv4);
        }
        let start = ip.len() as u16 + if link.has_header { 14 } else { 0 };
        let partial = link.completes_checksums.then_some(PartialChecksum { start, offset: 16 });
        Transmit::new(InterfaceId::from_index(3), headers, payload).with_offload(partial, None)
    }

    #[derive(Clone, Copy, Debug)]
    struct Link {
        has_header: bool,
        completes_checksums: bool,
        /// Whether packets may be fragmented on the way.
        fragments: bool,
    }

    fn options() -> impl Strategy<Value = Options> {
        let timestamps = any::<Option<(u32, u32)>>();
        let sack = prop::collection::vec(any::<(u32, u32)>(), 0..4);
        (timestamps, sack).prop_map(|(timestamps, sack)| Options {
            timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
            sack: sack.into_iter().map(|(left, right)| (SeqNumber(left), SeqNumber(right))).collect(),
            ..Options::default()
        })
    }

    proptest! {
        #[test]
        fn frames_are_those_of_single_segments(
            is_ipv4: bool, link: (bool, bool, bool), ident: u16, seq: u32, ack: u32, window: u16, ends: bool, is_ect: bool, options in options(),
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 1..20),
            segment_len in 1usize..1461,
        ) {
            let link = Link { has_header: link.0, completes_checksums: link.1, fragments: link.2 };
            let addrs = if is_ipv4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] };
            let [local, remote] = addrs.map(|addr| Endpoint::new(addr.parse().unwrap(), 40_000));
            let tuple = FourTuple { local, remote, scope: 0 };
            let flags = if ends { Flags::PSH_ACK.with(Flags::FIN) } else { Flags::ACK };
            // As in AccECN, where the three bits count.
            let (flags, ip_ecn) = match is_ect {
                true => (flags.with(Flags::ECN), IpEcn::Ect0),
                false => (flags, IpEcn::NotEct),
            };
            let (src_port, dst_port) = (local.port, remote.port);
            let (seq, ack) = (SeqNumber(seq), SeqNumber(ack));
            let header = Header {
                src_port, dst_port, seq, ack, flags, window, urgent: 0, ip_ecn, path_seed: 0, joined_len: 0, tos: None, options,
            };
            let payload: Payload = slices.into_iter().map(Bytes::from).collect();
            let single = Run::new(header.clone(), payload.clone(), segment_len);
            let single: Vec<_> = single
                .enumerate()
                .map(|(number, (header, payload))| {
                    frame(&tuple, link, ident.wrapping_add(number as u16), header, payload)
                })
                .collect();

            let mut run = Run::new(header, payload, segment_len);
            let (header, payload) = run.next().unwrap();
            let first = frame(&tuple, link, ident, header, payload);
            let mut rest = Segmentation::new(&first, &tuple, run);
            prop_assert_eq!(rest.is_some(), single.len() > 1);
            let numbers = rest.as_ref().map_or(0, Segmentation::identifications) as usize;
            prop_assert_eq!(numbers, if is_ipv4 && link.fragments { single.len() - 1 } else { 0 });
            let rest = core::iter::from_fn(|| rest.as_mut().and_then(Segmentation::next));
            let frames: Vec<_> = core::iter::once(first.clone()).chain(rest).collect();
            prop_assert_eq!(frames.len(), single.len());
            for (frame, single) in frames.iter().zip(&single) {
                prop_assert_eq!(frame.to_vec(), single.to_vec());
                prop_assert_eq!(frame.iface(), single.iface());
                prop_assert_eq!(frame.checksum(), single.checksum());
            }
        }
    }
}
