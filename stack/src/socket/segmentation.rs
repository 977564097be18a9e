//! Cuts a run of TCP segments into frames, as a device with TSO does.
//!
//! The first frame of a run goes the ordinary way: path, IP header, neighbour, link header. The others are made of its
//! headers, one each time the device has room. They are to be thought of as waiting in the device: what becomes of path
//! or connection meanwhile does not change them.

use core::net::IpAddr;
use core::ops::Range;

use super::stream_input::{CHECKSUM_AT, TCP};
use crate::demux::FourTuple;
use crate::frame::{HeaderBuf, PayloadCursor, Transmit};
use crate::ip::checksum::{Checksum, internet_checksum};
use crate::ip::{ipv4, ipv6};
use crate::network::InterfaceId;
use crate::tcp::{Flags, Run, SeqNumber};

/// Fields of the TCP header.
const SEQ_AT: Range<usize> = 4..8;
const FLAGS_AT: usize = 13;
/// Fields of the IP headers: total length and checksum in IPv4, payload length in IPv6.
const V4_LEN_AT: Range<usize> = 2..4;
const V4_CHECKSUM_AT: Range<usize> = 10..12;
const V6_LEN_AT: Range<usize> = 4..6;

/// The frames of a run that are not out yet.
#[derive(Debug)]
pub(super) struct Segmentation {
    iface: InterfaceId,
    src: IpAddr,
    dst: IpAddr,
    /// As in the frame before.
    headers: HeaderBuf,
    /// The TCP header's length.
    tcp_len: usize,
    /// Of the next frame.
    seq: SeqNumber,
    /// Of the last frame; those before it have neither PSH nor FIN.
    last_flags: Flags,
    payload: PayloadCursor,
    segment_len: usize,
    /// The sum over pseudo-header and TCP header, the sequence number not counted.
    constant: Checksum,
}

impl Segmentation {
    /// What is left of `run` after its first segment, which left in the frame `first`. `None` if that was all.
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
        };
        segmentation.sum_headers(segment_len);
        Some(segmentation)
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
        let payload = self.payload.take(self.segment_len);
        let seq = self.seq.0.to_be_bytes();
        let mut checksum = self.constant;
        checksum.add(&seq);
        for slice in &payload {
            checksum.add(slice);
        }
        let tcp = self.tcp();
        tcp[SEQ_AT].copy_from_slice(&seq);
        tcp[CHECKSUM_AT].copy_from_slice(&checksum.finish().to_be_bytes());
        // A run is at most 64 KiB.
        self.seq += self.segment_len as u32;
        Some(Transmit::new(self.iface, self.headers.clone(), payload))
    }

    /// The headers become those of the last frame, with `len` bytes of payload.
    fn make_last(&mut self, len: usize) {
        let transport_len = self.tcp_len + len;
        let is_ipv4 = self.src.is_ipv4();
        let ip_len = if is_ipv4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let ip_at = self.headers.len() - self.tcp_len - ip_len;
        let ip = &mut self.headers.as_mut_slice()[ip_at..ip_at + ip_len];
        // It is no longer than the first, whose lengths fitted.
        if is_ipv4 {
            ip[V4_LEN_AT].copy_from_slice(&((ip_len + transport_len) as u16).to_be_bytes());
            ip[V4_CHECKSUM_AT].fill(0);
            let checksum = internet_checksum(ip);
            ip[V4_CHECKSUM_AT].copy_from_slice(&checksum.to_be_bytes());
        } else {
            ip[V6_LEN_AT].copy_from_slice(&(transport_len as u16).to_be_bytes());
        }
        self.tcp()[FLAGS_AT] = self.last_flags.0;
        self.sum_headers(len);
    }

    /// Sums up what stays the same in frames with `len` bytes of payload.
    fn sum_headers(&mut self, len: usize) {
        let tcp = self.tcp();
        tcp[SEQ_AT].fill(0);
        tcp[CHECKSUM_AT].fill(0);
        let mut checksum = Checksum::default();
        checksum.add(tcp);
        checksum.add_pseudo_header(self.src, self.dst, TCP, self.tcp_len + len);
        self.constant = checksum;
    }

    /// The TCP header: the last of the headers.
    fn tcp(&mut self) -> &mut [u8] {
        let at = self.headers.len() - self.tcp_len;
        &mut self.headers.as_mut_slice()[at..]
    }
}
