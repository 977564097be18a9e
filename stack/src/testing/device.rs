//! What a device with offloads sends on the wire. This code shares nothing with the stack's own for
//! cutting runs, so that the two can be compared.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::build::internet_checksum;
use crate::frame::Frame;
use crate::network::Medium;
use crate::offload::{ChecksumState, PartialChecksum, SegmentKind, Segments};

const PSH_AND_FIN: u8 = 0x09;
const CWR: u8 = 0x80;

/// The packets that a device makes of a frame: it cuts runs into segments and completes checksums.
///
/// # Panics
///
/// If the frame contradicts its own description.
pub fn cut(medium: Medium, frame: &Frame) -> Vec<Bytes> {
    let link_len = if matches!(medium, Medium::Ethernet(_)) { 14 } else { 0 };
    let Some(Segments { kind, len }) = frame.segments else {
        let ChecksumState::Partial(checksum) = frame.checksum else { return vec![frame.bytes.clone()] };
        let mut packet = frame.bytes.to_vec();
        complete(&mut packet, checksum);
        return vec![packet.into()];
    };
    let ChecksumState::Partial(checksum) = frame.checksum else { panic!("a run with checksums") };
    let start = usize::from(checksum.start);
    let header_len = match kind {
        SegmentKind::TcpV4 | SegmentKind::TcpV6 => start + usize::from(frame.bytes[start + 12] >> 4) * 4,
        SegmentKind::Udp => start + 8,
    };
    let (header, payload) = frame.bytes.split_at(header_len);
    let count = payload.len().div_ceil(usize::from(len));
    let pieces = payload.chunks(usize::from(len)).enumerate();
    let packet = |(index, piece): (usize, &[u8])| {
        let mut packet = [header, piece].concat();
        let transport_len = packet.len() - start;
        let is_ipv4 = packet[link_len] >> 4 == 4;
        set_ip_length(&mut packet[link_len..start], transport_len);
        match kind {
            SegmentKind::TcpV4 | SegmentKind::TcpV6 => {
                assert_eq!(is_ipv4, kind == SegmentKind::TcpV4, "the family is that of the kind");
                cut_tcp(&mut packet[start..], index, usize::from(len), index + 1 == count);
            }
            SegmentKind::Udp => {
                packet[start + 4..start + 6].copy_from_slice(&(transport_len as u16).to_be_bytes())
            }
        }
        // The pseudo-header's sum is that of the whole run; the length in it is replaced by this
        // segment's.
        let at = start + usize::from(checksum.offset);
        let whole_len = frame.bytes.len() - start;
        let sum = u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let sum = sum + u32::from(!(whole_len as u16)) + transport_len as u32;
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        complete(&mut packet, checksum);
        Bytes::from(packet)
    };
    pieces.map(packet).collect()
}

/// Sets the sequence number and flags of one segment of a run.
fn cut_tcp(tcp: &mut [u8], index: usize, len: usize, is_last: bool) {
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let seq = seq.wrapping_add((index * len) as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if !is_last {
        tcp[13] &= !PSH_AND_FIN;
    }
    if index > 0 {
        tcp[13] &= !CWR;
    }
}

fn set_ip_length(ip: &mut [u8], transport_len: usize) {
    if ip[0] >> 4 == 4 {
        let total_len = (ip.len() + transport_len) as u16;
        ip[2..4].copy_from_slice(&total_len.to_be_bytes());
        ip[10..12].fill(0);
        let sum = internet_checksum(&[&*ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let payload_len = (ip.len() - 40 + transport_len) as u16;
        ip[4..6].copy_from_slice(&payload_len.to_be_bytes());
    }
}

/// Completes a checksum. The field holds the sum of the pseudo-header, which is added up with the
/// rest.
fn complete(packet: &mut [u8], checksum: PartialChecksum) {
    let (start, at) = (usize::from(checksum.start), usize::from(checksum.start + checksum.offset));
    let sum = internet_checksum(&[&packet[start..]]);
    // RFC 768: zero means "no checksum". For TCP the two representations of zero are equal.
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
