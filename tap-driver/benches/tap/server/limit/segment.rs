//! TCP segments over IPv4 over Ethernet, as far as the pump reads and writes them: all fields are
//! at fixed offsets.

use super::tap::VNET_HEADER_LEN;

const ETHERNET_LEN: usize = 14;
const IP_LEN: usize = 20;
const TCP_LEN: usize = 20;
/// The length of Ethernet, IPv4 and TCP headers without options.
pub(super) const HEADERS_LEN: usize = ETHERNET_LEN + IP_LEN + TCP_LEN;
/// The MSS for packets of 1,500 bytes without timestamps.
pub(super) const MSS: usize = 1460;
/// The number of segments that fit under one header: 65,535 bytes with the IP and TCP headers.
pub(super) const MAX_SEGMENTS: usize = (65_535 - IP_LEN - TCP_LEN) / MSS;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

const UDP: u8 = 17;
const TCP: u8 = 6;
/// From `linux/virtio_net.h`.
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const TCP_CHECKSUM_OFFSET: u16 = 16;

/// The kind of a frame.
pub(super) enum Packet {
    Tcp(Segment),
    /// A datagram for this port.
    Udp {
        port: u16,
    },
    Other,
}

/// The content of a segment. `payload` is the position and the length of the payload in the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) client_port: u16,
    pub(super) server_port: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) payload_at: usize,
    pub(super) payload_len: usize,
    /// The window scale of a SYN.
    pub(super) window_scale: Option<u8>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads a frame whose Ethernet header is at `start`. The peer is our own kernel, so everything but
/// complete IPv4 packets without options is ignored.
pub(super) fn parse(frame: &[u8], start: usize) -> Packet {
    let ip = start + ETHERNET_LEN;
    let l4 = ip + IP_LEN;
    if frame.len() < l4 + 8 || u16_at(frame, start + 12) != 0x0800 || frame[ip] != 0x45 {
        return Packet::Other;
    }
    match frame[ip + 9] {
        UDP => Packet::Udp { port: u16_at(frame, l4 + 2) },
        TCP if frame.len() >= l4 + TCP_LEN => {
            let header_len = usize::from(frame[l4 + 12] >> 4) * 4;
            let payload_at = l4 + header_len;
            let end = ip + usize::from(u16_at(frame, ip + 2));
            let Some(payload_len) = end.min(frame.len()).checked_sub(payload_at) else {
                return Packet::Other;
            };
            Packet::Tcp(Segment {
                client_port: u16_at(frame, l4),
                server_port: u16_at(frame, l4 + 2),
                seq: u32_at(frame, l4 + 4),
                ack: u32_at(frame, l4 + 8),
                flags: frame[l4 + 13],
                window: u16_at(frame, l4 + 14),
                payload_at,
                payload_len,
                window_scale: window_scale(&frame[l4 + TCP_LEN..payload_at]),
            })
        }
        _ => Packet::Other,
    }
}

fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match options {
            [3, 3, scale, ..] => return Some(*scale),
            [1, rest @ ..] => rest,
            [0 | 2.., len, ..] => options.get(usize::from(*len).max(2)..)?,
            _ => return None,
        };
    }
}

/// Turns a datagram around by swapping source and destination. The checksums stay right, because
/// sums do not depend on the order.
pub(super) fn turn_datagram(frame: &mut [u8], start: usize) {
    let swap = |frame: &mut [u8], a: usize, b: usize, len: usize| {
        for index in 0..len {
            frame.swap(a + index, b + index);
        }
    };
    let (ip, l4) = (start + ETHERNET_LEN, start + ETHERNET_LEN + IP_LEN);
    swap(frame, start, start + 6, 6);
    swap(frame, ip + 12, ip + 16, 4);
    swap(frame, l4, l4 + 2, 2);
}

/// The headers of a connection's segments, which hardly change from one to the next.
pub(super) struct Headers {
    bytes: [u8; VNET_HEADER_LEN + HEADERS_LEN + SYN_OPTIONS.len()],
    vnet_len: usize,
    /// The sum of the IPv4 header with zero lengths.
    ip_sum: u32,
    /// The sum of the pseudo-header without the length, and of the ports.
    pseudo_sum: u32,
    ports_sum: u32,
}

/// The fields that are new in a segment.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
    /// The sum of the payload, which only plain frames need.
    pub(super) payload_sum: u32,
}

/// The maximum segment size, and a window scale of 14, the largest.
const SYN_OPTIONS: [u8; 8] = [2, 4, (MSS >> 8) as u8, (MSS & 0xff) as u8, 1, 3, 3, 14];

impl Headers {
    /// The headers for answers to a frame whose Ethernet header is behind the virtio-net header.
    pub(super) fn answering(frame: &[u8], vnet_len: usize) -> Headers {
        let mut headers = Headers {
            bytes: [0; VNET_HEADER_LEN + HEADERS_LEN + SYN_OPTIONS.len()],
            vnet_len,
            ip_sum: 0,
            pseudo_sum: 0,
            ports_sum: 0,
        };
        let (ip, l4) = (vnet_len + ETHERNET_LEN, vnet_len + ETHERNET_LEN + IP_LEN);
        let bytes = &mut headers.bytes;
        bytes[vnet_len..l4 + TCP_LEN].copy_from_slice(&frame[vnet_len..l4 + TCP_LEN]);
        turn_datagram(bytes, vnet_len);
        // Length and checksum change. The identification is not needed for packets that are not
        // fragmented (RFC 6864 §4.1).
        bytes[ip + 2..ip + 6].fill(0);
        bytes[ip + 10..ip + 12].fill(0);
        // No ECN bits, an open window, no urgent data.
        bytes[ip + 1] = 0;
        bytes[ip + 6] = 0x40;
        bytes[l4 + 14..l4 + 16].fill(0xff);
        bytes[l4 + 16..l4 + 20].fill(0);
        headers.ip_sum = sum(&bytes[ip..l4]);
        headers.pseudo_sum = sum(&bytes[ip + 12..l4]) + u32::from(TCP);
        headers.ports_sum = sum(&bytes[l4..l4 + 4]);
        headers
    }

    /// Returns all headers of a segment.
    pub(super) fn make(&mut self, next: Next<'_>) -> &[u8] {
        let (ip, l4) = (self.vnet_len + ETHERNET_LEN, self.vnet_len + ETHERNET_LEN + IP_LEN);
        let is_syn = next.flags & SYN != 0;
        let tcp_len = TCP_LEN + if is_syn { SYN_OPTIONS.len() } else { 0 };
        let bytes = &mut self.bytes;
        let tcp_total = (tcp_len + next.payload.len()) as u16;
        let ip_total = tcp_total + IP_LEN as u16;
        bytes[ip + 2..ip + 4].copy_from_slice(&ip_total.to_be_bytes());
        let ip_checksum = !fold(self.ip_sum + u32::from(ip_total));
        bytes[ip + 10..ip + 12].copy_from_slice(&ip_checksum.to_be_bytes());
        bytes[l4 + 4..l4 + 8].copy_from_slice(&next.seq.to_be_bytes());
        bytes[l4 + 8..l4 + 12].copy_from_slice(&next.ack.to_be_bytes());
        bytes[l4 + 12] = ((tcp_len / 4) as u8) << 4;
        bytes[l4 + 13] = next.flags;
        if is_syn {
            bytes[l4 + TCP_LEN..l4 + tcp_len].copy_from_slice(&SYN_OPTIONS);
        }
        let pseudo_sum = self.pseudo_sum + u32::from(tcp_total);
        let checksum = if self.vnet_len == 0 {
            let header_sum =
                self.ports_sum + sum(&bytes[l4 + 4..l4 + 16]) + sum(&bytes[l4 + TCP_LEN..l4 + tcp_len]);
            !fold(pseudo_sum + header_sum + next.payload_sum)
        } else {
            // A checksum that the kernel completes begins with the sum of the pseudo-header.
            fold(pseudo_sum)
        };
        bytes[l4 + 16..l4 + 18].copy_from_slice(&checksum.to_be_bytes());
        if self.vnet_len > 0 {
            let is_long = next.payload.len() > MSS;
            bytes[0] = NEEDS_CSUM;
            bytes[1] = if is_long { GSO_TCPV4 } else { 0 };
            bytes[2..4].copy_from_slice(&(HEADERS_LEN as u16).to_ne_bytes());
            bytes[4..6].copy_from_slice(&(if is_long { MSS as u16 } else { 0 }).to_ne_bytes());
            bytes[6..8].copy_from_slice(&((ETHERNET_LEN + IP_LEN) as u16).to_ne_bytes());
            bytes[8..10].copy_from_slice(&TCP_CHECKSUM_OFFSET.to_ne_bytes());
        }
        &bytes[..l4 + tcp_len]
    }
}

/// The sum of RFC 1071 before folding. It does not overflow for up to 64 KiB.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let pairs =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    pairs.sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
