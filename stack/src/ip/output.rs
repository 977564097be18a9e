//! The headers and identifications of outgoing packets.

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

/// What happens to packets that are too long for a link, as in Linux's IP_MTU_DISCOVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MtuDiscovery {
    /// They are fragmented, by us or by a router.
    Dont,
    /// We fragment packets that do not fit the path MTU. Routers must not fragment the others, so
    /// that we learn the path MTU.
    Want,
    /// We do not fragment them: the transport makes no packets that are too long. Routers may
    /// fragment them only if the path MTU is smaller than the smallest packets that we make.
    Do,
    /// IP_PMTUDISC_DO of datagrams: nobody may fragment them.
    Never,
    /// As `Never`, but the MTU of the link counts, not that of the path.
    Probe,
    /// We do not fragment packets that fit the link, and routers may.
    Interface,
    /// We fragment packets that do not fit the link, and routers may fragment all.
    Omit,
}

impl MtuDiscovery {
    /// Whether only the MTU of the link counts, not that of the path.
    pub(crate) fn ignores_path(self) -> bool {
        matches!(self, MtuDiscovery::Probe | MtuDiscovery::Interface | MtuDiscovery::Omit)
    }

    /// Whether packets that are too long are refused.
    pub(crate) fn refuses(self) -> bool {
        matches!(self, MtuDiscovery::Do | MtuDiscovery::Never | MtuDiscovery::Probe | MtuDiscovery::Interface)
    }
}

/// How a transport's packet is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// The hop limit; `None` for the configured one.
    pub(crate) hop_limit: Option<u8>,
    pub(crate) traffic_class: u8,
    pub(crate) mtu_discovery: MtuDiscovery,
    /// The interface to leave through, for link-local and multicast destinations.
    pub(crate) iface: Option<InterfaceId>,
    /// Whether members on this host get a copy of a packet to a group or broadcast address.
    pub(crate) is_looped: bool,
    /// The offset of the checksum in the transport header, if the network layer is to fill it in or
    /// leave it to the device. `None`: the transport has filled it in.
    pub(crate) checksum_at: Option<u8>,
    /// Over IPv6 another seed gives the flow another label, and perhaps another path.
    pub(crate) path_seed: u8,
    /// The packet is a run of segments of this length, for a device that cuts it
    /// ([`Network::can_cut`](crate::network::Network::can_cut)).
    pub(crate) run: Option<Segments>,
}

/// The IP header of an outgoing packet before its route is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutgoingHeader {
    V4(Ipv4Fields),
    V6(Ipv6Fields),
}

impl OutgoingHeader {
    /// The header for a packet of a transport, with `default_hop_limit` if the packet names none.
    /// It allows fragmentation, and its identification is zero.
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

    /// The source, destination and protocol.
    pub(crate) fn flow(&self) -> (IpAddr, IpAddr, u8) {
        match *self {
            OutgoingHeader::V4(Ipv4Fields { src, dst, protocol, .. }) => (src.into(), dst.into(), protocol),
            OutgoingHeader::V6(Ipv6Fields { src, dst, next_header, .. }) => {
                (src.into(), dst.into(), next_header)
            }
        }
    }

    /// The TTL or hop limit.
    pub(crate) fn hop_limit(&self) -> u8 {
        match self {
            OutgoingHeader::V4(fields) => fields.hop_limit,
            OutgoingHeader::V6(fields) => fields.hop_limit,
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            OutgoingHeader::V4(_) => ipv4::HEADER_LEN,
            OutgoingHeader::V6(_) => ipv6::HEADER_LEN,
        }
    }

    /// The length of the largest packet that the header can describe.
    pub(crate) fn max_packet_len(&self) -> usize {
        match self {
            OutgoingHeader::V4(_) => ipv4::MAX_PACKET_LEN,
            OutgoingHeader::V6(_) => ipv6::MAX_PACKET_LEN,
        }
    }

    /// Puts it in front of a packet whose payload is `payload_len` bytes long.
    pub(crate) fn prepend(&self, header: &mut HeaderBuf, payload_len: usize) {
        match self {
            OutgoingHeader::V4(fields) => fields.prepend(header, payload_len),
            OutgoingHeader::V6(fields) => fields.prepend(header, payload_len),
        }
    }
}

/// Identifications for packets that are or may be fragmented.
///
/// They are counters, so that a number is reused as late as possible (RFC 6864 §4.3). The
/// destinations of one hash bucket share a counter, and each destination adds an offset of its own:
/// from the numbers that it sees, a host can tell neither those that another host sees nor how many
/// packets we send to others (RFC 7739 §5.3). Destinations in the same bucket could still measure
/// each other's rate, so a counter that was not used for a while also advances at random, by at
/// most one for each [`TICK`] (Linux's `ip_idents_reserve`).
#[derive(Debug)]
pub(crate) struct Identifications {
    counters: Vec<IdentificationCounter>,
    bucket_key: Keyed,
    offset_key: Keyed,
}

#[derive(Clone, Copy, Debug, Default)]
struct IdentificationCounter {
    last: u32,
    /// When the counter was last used, in ticks; wraps after half a year.
    used_at: u32,
}

/// The length of a jiffy in Linux at 250 Hz.
const TICK: Duration = Duration::from_millis(4);

/// The number of counters, a power of two.
const BUCKETS: usize = 1024;

impl Identifications {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Identifications {
            counters: vec![IdentificationCounter::default(); BUCKETS],
            bucket_key: Keyed::new(rng),
            offset_key: Keyed::new(rng),
        }
    }

    /// The next number for this pair of hosts and protocol. IPv4 uses the lower half.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut Rng, flow: (IpAddr, IpAddr, u8)) -> u32 {
        self.reserve(now, rng, flow, 1)
    }

    /// Reserves this many consecutive numbers and returns the first.
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

    /// From its own numbers a host cannot tell how many packets another host in its bucket was sent
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
