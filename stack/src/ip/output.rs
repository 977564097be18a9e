//! What goes in front of an outgoing packet, and how packets are numbered.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::ipv4::{self, Ipv4Fields};
use super::ipv6::{self, Ipv6Fields};
use crate::error::{Error, Result};
use crate::frame::HeaderBuf;
use crate::hash::Keyed;
use crate::network::IpMeta;
use crate::rng::Rng;

/// The IP header of an outgoing packet, before it is known how it goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutgoingHeader {
    V4(Ipv4Fields),
    V6(Ipv6Fields),
}

impl OutgoingHeader {
    /// The header for a packet of a transport; `default_hop_limit` where it names none. It may be
    /// fragmented, and its identification is zero.
    pub(crate) fn new(meta: &IpMeta, default_hop_limit: u8) -> Result<Self> {
        let hop_limit = meta.hop_limit.unwrap_or(default_hop_limit);
        match (meta.src, meta.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Ok(OutgoingHeader::V4(Ipv4Fields {
                src,
                dst,
                protocol: meta.protocol,
                hop_limit,
                traffic_class: meta.traffic_class,
                ident: 0,
                dont_fragment: false,
                offset: 0,
                more: false,
            })),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Ok(OutgoingHeader::V6(Ipv6Fields {
                src,
                dst,
                next_header: meta.protocol,
                hop_limit,
                traffic_class: meta.traffic_class,
            })),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// Source, destination, protocol.
    pub(crate) fn flow(&self) -> (IpAddr, IpAddr, u8) {
        match *self {
            OutgoingHeader::V4(Ipv4Fields { src, dst, protocol, .. }) => (src.into(), dst.into(), protocol),
            OutgoingHeader::V6(Ipv6Fields { src, dst, next_header, .. }) => {
                (src.into(), dst.into(), next_header)
            }
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            OutgoingHeader::V4(_) => ipv4::HEADER_LEN,
            OutgoingHeader::V6(_) => ipv6::HEADER_LEN,
        }
    }

    /// The largest packet that it can describe.
    pub(crate) fn max_packet_len(&self) -> usize {
        match self {
            OutgoingHeader::V4(_) => ipv4::MAX_PACKET_LEN,
            OutgoingHeader::V6(_) => ipv6::MAX_PACKET_LEN,
        }
    }

    /// Puts it in front of what will be `payload_len` bytes in all.
    pub(crate) fn prepend(&self, header: &mut HeaderBuf, payload_len: usize) {
        match self {
            OutgoingHeader::V4(fields) => fields.prepend(header, payload_len),
            OutgoingHeader::V6(fields) => fields.prepend(header, payload_len),
        }
    }
}

/// Identifications of packets that are or may be fragmented.
///
/// Counters, so that a number returns as late as possible (RFC 6864 §4.3), each for the destinations of one hash
/// bucket, with an offset of each destination's own: from the numbers that one host sees it can tell neither those
/// that another sees nor how much we send to others (RFC 7739 §5.3).
#[derive(Debug)]
pub(crate) struct Identifications {
    counters: Vec<u32>,
    bucket_key: Keyed,
    offset_key: Keyed,
}

/// A power of two.
const BUCKETS: usize = 1024;

impl Identifications {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Identifications {
            counters: vec![0; BUCKETS],
            bucket_key: Keyed::new(rng),
            offset_key: Keyed::new(rng),
        }
    }

    /// The next number for this pair of hosts and protocol. IPv4 takes the lower half.
    pub(crate) fn next(&mut self, src: IpAddr, dst: IpAddr, protocol: u8) -> u32 {
        let mut flow = [0; 33];
        for (to, from) in flow.iter_mut().zip(octets(src).into_iter().chain(octets(dst)).chain([protocol])) {
            *to = from;
        }
        let bucket = self.bucket_key.hash_bytes(&flow) as usize & (BUCKETS - 1);
        let offset = self.offset_key.hash_bytes(&flow) as u32;
        let Some(counter) = self.counters.get_mut(bucket) else { return offset };
        *counter = counter.wrapping_add(1);
        counter.wrapping_add(offset)
    }
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6864_numbers_do_not_return_and_differ_between_destinations() {
        let mut ids = Identifications::new(&mut Rng::new([7; 32]));
        let (src, a, b) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        let mut next = |dst: &str| ids.next(src.parse().unwrap(), dst.parse().unwrap(), 17) as u16;
        let first = next(a);
        assert_ne!(next(b), first.wrapping_add(1));
        let mut seen = std::collections::HashSet::from([first]);
        for _ in 0..60_000 {
            assert!(seen.insert(next(a)));
        }
        let mut other = Identifications::new(&mut Rng::new([8; 32]));
        assert_ne!(other.next(src.parse().unwrap(), a.parse().unwrap(), 17) as u16, first);
    }
}
