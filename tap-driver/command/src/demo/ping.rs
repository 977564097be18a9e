//! Pings through the kernel: ICMP echo over a ping socket, or over a raw socket where ping sockets
//! are forbidden.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

/// How long to wait for a reply.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The length of the payload, the same as in `ping`.
const PAYLOAD_LEN: usize = 56;
const HEADER_LEN: usize = 8;

/// The result of a series of pings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) sent: usize,
    /// The round-trip times of the pings that were answered.
    pub(crate) round_trips: Vec<Duration>,
}

/// Pings `count` times, each time as soon as the previous ping was answered.
pub(crate) fn ping(target: IpAddr, count: u16) -> io::Result<Series> {
    let pinger = Pinger::open(target)?;
    let mut round_trips = Vec::new();
    for sequence in 1..=count {
        round_trips.extend(pinger.once(sequence)?);
    }
    Ok(Series { sent: count.into(), round_trips })
}

struct Pinger {
    socket: OwnedFd,
    ipv6: bool,
    /// Whether it is a raw socket: then we set identifier and checksum, receive replies to others,
    /// too, and the IPv4 header before each.
    raw: bool,
    identifier: u16,
}

impl Pinger {
    fn open(target: IpAddr) -> io::Result<Self> {
        let (family, protocol) = match target {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let open = |kind| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol));
        let (socket, raw) = match open(SocketType::DGRAM) {
            Ok(socket) => (socket, false),
            Err(Errno::ACCESS | Errno::PERM) => (open(SocketType::RAW)?, true),
            Err(errno) => return Err(errno.into()),
        };
        set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
        rustix::net::connect(&socket, &SocketAddr::new(target, 0))?;
        let identifier = (std::process::id() & 0xffff) as u16;
        Ok(Pinger { socket, ipv6: target.is_ipv6(), raw, identifier })
    }

    /// Sends one ping. Returns `None` if it was not answered in time.
    fn once(&self, sequence: u16) -> io::Result<Option<Duration>> {
        let request = echo_request(self.ipv6, self.identifier, sequence);
        let sent_at = Instant::now();
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        let mut buffer = [0; 2048];
        while sent_at.elapsed() < TIMEOUT {
            let len = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let round_trip = sent_at.elapsed();
            let message = buffer.get(..len).unwrap_or_default();
            if self.answers(message, &request) {
                return Ok(Some(round_trip));
            }
        }
        Ok(None)
    }

    /// Whether a message is the reply to this request: it has the same sequence number and payload.
    fn answers(&self, message: &[u8], request: &[u8]) -> bool {
        let message = if self.raw && !self.ipv6 { after_ipv4_header(message) } else { message };
        let reply_type = if self.ipv6 { 129 } else { 0 };
        message.first() == Some(&reply_type)
            && (!self.raw || message.get(4..6) == request.get(4..6))
            && message.get(6..) == request.get(6..)
    }
}

fn after_ipv4_header(packet: &[u8]) -> &[u8] {
    let header_len = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    packet.get(header_len..).unwrap_or_default()
}

/// An echo request (RFC 792, RFC 4443 §4.1). The kernel fills in the checksum of ICMPv6, and on a
/// ping socket the identifier and the checksum.
fn echo_request(ipv6: bool, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![0; HEADER_LEN + PAYLOAD_LEN];
    message[0] = if ipv6 { 128 } else { 8 };
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    for (index, byte) in message[HEADER_LEN..].iter_mut().enumerate() {
        *byte = index as u8;
    }
    if !ipv6 {
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// The checksum of RFC 1071 over an even number of bytes.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_all_ones() {
        let request = echo_request(false, 0x1234, 7);
        assert_eq!(internet_checksum(&request), 0);
        assert_eq!(request.len(), 64);
        assert_eq!(request[..2], [8, 0]);
        assert_eq!(request[4..8], [0x12, 0x34, 0, 7]);
    }

    /// Ping sockets may need privileges, so the test is skipped without them.
    #[test]
    fn the_kernel_answers_on_its_loopback() {
        match ping("127.0.0.1".parse().expect("an address"), 2) {
            Ok(series) => assert_eq!((series.sent, series.round_trips.len()), (2, 2)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
