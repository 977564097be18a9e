//! [`PendingSyn`]: a connection that a program has yet to decide on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::demux::FourTuple;
use crate::interface_id::InterfaceId;
use crate::ip::ecn::IpEcn;
use crate::ip::{ipv4, ipv6, protocol, read_u32};
use crate::network::Datagram;
use crate::rate_limit::PeerKey;
use crate::tcp::{Header, SeqNumber};
use crate::time::Instant;

/// The longest headers that are kept: those of IPv6 and TCP with all its options.
pub(super) const MAX_HEADERS: usize = ipv6::HEADER_LEN + 60;

/// The headers of a SYN.
///
/// They are all that is kept of it: the options for the SYN-ACK are read again when a program
/// accepts, and an ICMP error quotes them.
#[derive(Debug)]
pub(super) struct SynHeaders {
    /// The header of IP, without its options, and that of TCP.
    headers: Box<[u8]>,
}

impl SynHeaders {
    /// The SYN of a packet. `header_len` is the length of its TCP header.
    pub(super) fn new(datagram: &Datagram, header_len: usize) -> SynHeaders {
        let (packet, at) = (&datagram.packet, datagram.transport_at());
        let tcp = packet.get(at..at + header_len).unwrap_or_default();
        let ip_len = if datagram.src.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let mut headers = Vec::with_capacity(ip_len + tcp.len());
        headers.extend_from_slice(packet.get(..ip_len).unwrap_or_default());
        if at > ip_len {
            // The header no longer has options, or is no longer followed by extension headers.
            match &mut headers[..] {
                [first, ..] if datagram.src.is_ipv4() => *first = 0x45,
                [_, _, _, _, _, _, next, ..] => *next = protocol::TCP,
                _ => {}
            }
        }
        headers.extend_from_slice(tcp);
        debug_assert!(headers.len() <= MAX_HEADERS);
        SynHeaders { headers: headers.into() }
    }

    /// The headers, as an ICMP error quotes them.
    pub(super) fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// The TOS or traffic class of its packet.
    pub(super) fn traffic_class(&self) -> u8 {
        match self.headers.first_chunk() {
            Some(&[first, second]) if first >> 4 == 4 => second,
            Some(&[first, second]) => first << 4 | second >> 4,
            None => 0,
        }
    }

    fn tcp(&self) -> &[u8] {
        let is_v4 = self.headers.first().is_some_and(|first| first >> 4 == 4);
        let ip_len = if is_v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        self.headers.get(ip_len..).unwrap_or_default()
    }

    /// Its sequence number.
    pub(super) fn irs(&self) -> SeqNumber {
        SeqNumber(read_u32(self.tcp(), 4).unwrap_or(0))
    }

    /// Its TCP header, with the facts from its packet.
    pub(super) fn header(&self) -> Option<Header> {
        let (mut header, _) = Header::parse(self.tcp())?;
        header.ip_ecn = IpEcn::of_traffic_class(self.traffic_class());
        header.tos = Some(self.traffic_class());
        Some(header)
    }
}

/// A connection that a program has yet to decide on.
#[derive(Debug)]
pub(in crate::socket::tcp) struct PendingSyn {
    pub(in crate::socket::tcp) tuple: FourTuple,
    /// Its latest SYN, and the interface that it came in through.
    pub(super) syn: SynHeaders,
    pub(super) iface: InterfaceId,
    /// When its first SYN came.
    pub(super) since: Instant,
    /// The key under which it counts in the limits of its source.
    pub(super) source: PeerKey,
    /// If the SYN reopens a connection in TIME-WAIT, our new sequence number must be after this
    /// one.
    pub(super) isn_after: Option<SeqNumber>,
    /// Whether the SYN was repeated.
    pub(super) is_repeated: bool,
    /// Whether the program knows of it.
    pub(super) is_seen: bool,
}

impl PendingSyn {
    /// The bytes that the account holds for it.
    pub(super) fn charge(&self) -> usize {
        mem::size_of::<PendingSyn>() + self.syn.headers.len()
    }
}

/// Whoever sends SYNs must not fill memory with them.
const _: () = assert!(mem::size_of::<PendingSyn>() + MAX_HEADERS <= 200);
