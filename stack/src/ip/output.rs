//! What goes in front of an outgoing packet, and how packets are numbered.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::ipv4::{self, Ipv4Fields};
use super::ipv6::{self, Ipv6Fields};
use crate::error::{Error, Result};
use crate::frame::HeaderBuf;
use crate::hash::Keyed;
use crate::interface_id::InterfaceId;
use crate::offload::Segments;
use crate::rng::Rng;
use crate::time::Instant;

/// What becomes of packets that are too long for a link, as with Linux's IP_MTU_DISCOVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MtuDiscovery {
    /// They are fragmented, here or on the way.
    Dont,
    /// What does not fit is fragmented here; what fits must not be fragmented on the way, so that
    /// the path MTU is learned.
    Want,
    /// They are not fragmented: the transport makes no longer ones. On the way they may be only
    /// where the path takes less than the smallest that we make.
    Do,
}

/// Where a transport's packet goes and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// Config's, if none.
    pub(crate) hop_limit: Option<u8>,
    pub(crate) traffic_class: u8,
    pub(crate) mtu_discovery: MtuDiscovery,
    /// For link-local and multicast destinations: through this interface.
    pub(crate) iface: Option<InterfaceId>,
    /// Where in the transport header the checksum is missing that the network layer fills in, or
    /// leaves to the device. None: the transport has done that.
    pub(crate) checksum_at: Option<u8>,
    /// Over IPv6: another seed gives the flow another label, and perhaps another path.
    pub(crate) path_seed: u8,
    /// It is a run of segments of so many bytes, for a device that cuts it
    /// ([`Network::can_cut`](crate::network::Network::can_cut)).
    pub(crate) run: Option<Segments>,
}

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
                flow_label: 0,
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
/// Counters, so that a number returns as late as possible (RFC 6864 §4.3), each for the
/// destinations of one hash bucket, with an offset of each destination's own: from the numbers that
/// one host sees it can tell neither those that another sees nor how much we send to others (RFC
/// 7739 §5.3). As destinations that share a bucket could still see each other's rate, a counter
/// that was left alone also moves on at random, by at most one for each [`TICK`] (Linux's
/// `ip_idents_reserve`).
#[derive(Debug)]
pub(crate) struct Identifications {
    counters: Vec<IdentificationCounter>,
    bucket_key: Keyed,
    offset_key: Keyed,
}

#[derive(Clone, Copy, Debug, Default)]
struct IdentificationCounter {
    last: u32,
    /// In ticks; wraps after half a year.
    used_at: u32,
}

/// A jiffy of Linux at 250 Hz.
const TICK: Duration = Duration::from_millis(4);

/// A power of two.
const BUCKETS: usize = 1024;

impl Identifications {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Identifications {
            counters: vec![IdentificationCounter::default(); BUCKETS],
            bucket_key: Keyed::new(rng),
            offset_key: Keyed::new(rng),
        }
    }

    /// The next number for this pair of hosts and protocol. IPv4 takes the lower half.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut Rng, flow: (IpAddr, IpAddr, u8)) -> u32 {
        self.reserve(now, rng, flow, 1)
    }

    /// The first of so many numbers in a row.
    pub(crate) fn reserve(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        (src, dst, protocol): (IpAddr, IpAddr, u8),
        count: u32,
    ) -> u32 {
        let mut flow = [0; 33];
        for (to, from) in flow.iter_mut().zip(octets(src).into_iter().chain(octets(dst)).chain([protocol])) {
            *to = from;
        }
        let bucket = self.bucket_key.hash_bytes(&flow) as usize & (BUCKETS - 1);
        let offset = self.offset_key.hash_bytes(&flow) as u32;
        let Some(counter) = self.counters.get_mut(bucket) else { return offset };
        let ticks = (now.as_nanos() / TICK.as_nanos() as u64) as u32;
        let idle_ticks = ticks.wrapping_sub(counter.used_at);
        let step = if idle_ticks > 0 { rng.below(u64::from(idle_ticks)) as u32 } else { 0 };
        let first = counter.last.wrapping_add(step).wrapping_add(1);
        *counter = IdentificationCounter { last: first.wrapping_add(count - 1), used_at: ticks };
        first.wrapping_add(offset)
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

    fn flow(dst: &str) -> (IpAddr, IpAddr, u8) {
        ("10.0.0.1".parse().unwrap(), dst.parse().unwrap(), 17)
    }

    #[test]
    fn rfc_6864_numbers_do_not_return_and_differ_between_destinations() {
        let mut rng = Rng::new([7; 32]);
        let mut ids = Identifications::new(&mut rng);
        let mut next = |dst: &str| ids.next(Instant::ZERO, &mut rng, flow(dst)) as u16;
        let first = next("10.0.0.2");
        assert_ne!(next("10.0.0.3"), first.wrapping_add(1));
        let mut seen = std::collections::HashSet::from([first]);
        for _ in 0..60_000 {
            assert!(seen.insert(next("10.0.0.2")));
        }
        let mut rng = Rng::new([8; 32]);
        let mut other = Identifications::new(&mut rng);
        assert_ne!(other.next(Instant::ZERO, &mut rng, flow("10.0.0.2")) as u16, first);
    }

    /// What a host sees of its own numbers does not tell what another in its bucket was sent
    /// meanwhile.
    #[test]
    fn numbers_move_on_at_random_with_time() {
        let mut rng = Rng::new([7; 32]);
        let mut ids = Identifications::new(&mut rng);
        let mut step_after = |now: &mut Instant, pause: Duration| {
            let before = ids.next(*now, &mut rng, flow("10.0.0.2"));
            *now += pause;
            ids.next(*now, &mut rng, flow("10.0.0.2")).wrapping_sub(before)
        };
        let mut now = Instant::from_secs(1);
        assert!((0..100).all(|_| step_after(&mut now, Duration::from_micros(10)) == 1), "within a tick");
        let steps: Vec<u32> = (0..1000).map(|_| step_after(&mut now, 100 * TICK)).collect();
        assert!(steps.iter().all(|step| (1..=100).contains(step)), "{steps:?}");
        let mean = steps.iter().sum::<u32>() / 1000;
        assert!((45..56).contains(&mean), "{mean}");
        assert!(steps.iter().collect::<std::collections::HashSet<_>>().len() > 90);
    }

    #[test]
    fn numbers_that_were_reserved_are_not_given_again() {
        let mut rng = Rng::new([7; 32]);
        let mut ids = Identifications::new(&mut rng);
        let first = ids.reserve(Instant::ZERO, &mut rng, flow("10.0.0.2"), 10);
        assert_eq!(ids.next(Instant::ZERO, &mut rng, flow("10.0.0.2")), first.wrapping_add(10));
    }
}
