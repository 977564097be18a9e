//! [`DhcpLease`]: what a server has granted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use portolan::Cidr;

/// The most routes and DNS servers that are taken of a lease.
const MAX_ROUTES: usize = 64;
const MAX_DNS_SERVERS: usize = 8;
/// Shorter leases are refused: they would keep the client and the network busy.
const SHORTEST_LEASE_SECS: u32 = 30;
/// RFC 2131 §3.3: a lease without an end.
const INFINITE_SECS: u32 = u32::MAX;
/// RFC 2132 §5.1: the least MTU that a server may give.
const SMALLEST_DHCP_MTU: u16 = 68;

/// What a DHCP server has granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpLease {
    /// The address, with the length of its network's prefix.
    pub address: Cidr,
    /// The server.
    pub server: Ipv4Addr,
    /// The routes: those of the option for classless routes (RFC 3442), or else a default route
    /// through the first router.
    pub routes: Vec<DhcpRoute>,
    /// The DNS servers, in the order in which to ask them.
    pub dns_servers: Vec<Ipv4Addr>,
    /// The suffix for names of few dots.
    pub domain: Option<String>,
    /// The MTU of the network. The client reports it, and does not change the interface.
    pub mtu: Option<u16>,
    /// For how long the address is granted; `None` is for ever.
    pub duration: Option<Duration>,
    /// When the client asks its server to renew the lease (T1), from the grant on.
    pub renew_after: Duration,
    /// When it asks any server (T2).
    pub rebind_after: Duration,
}

/// A route of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpRoute {
    /// The destinations.
    pub destination: Cidr,
    /// The router; `None` for destinations on the link.
    pub router: Option<Ipv4Addr>,
}

impl fmt::Display for DhcpLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.address, self.server)?;
        match self.duration {
            Some(duration) => write!(f, " for {} s", duration.as_secs()),
            None => f.write_str(" for ever"),
        }
    }
}

/// The options of a message that make a lease, as the server has sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) address: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) mask: Option<Ipv4Addr>,
    pub(super) routers: Vec<Ipv4Addr>,
    /// The data of the option for classless routes.
    pub(super) classless_routes: Option<Vec<u8>>,
    pub(super) dns_servers: Vec<Ipv4Addr>,
    pub(super) domain: Option<String>,
    pub(super) mtu: Option<u16>,
    pub(super) lease_secs: Option<u32>,
    pub(super) renew_secs: Option<u32>,
    pub(super) rebind_secs: Option<u32>,
}

impl Granted {
    /// Checks what a server grants. Parts that make no sense are left out and described in
    /// `problems`; without a usable address, server and time there is no lease.
    pub(super) fn check(&self, problems: &mut Vec<String>) -> Result<DhcpLease, String> {
        let server =
            self.server.filter(|server| is_host(*server)).ok_or("the server does not say who it is")?;
        let addr = self
            .address
            .filter(|addr| is_host(*addr))
            .ok_or("the address is not one that a host can have")?;
        let prefix_len = match self.mask {
            Some(mask) => {
                prefix_len_of(mask).ok_or_else(|| format!("the network mask {mask} has no meaning"))?
            }
            None => class_prefix_len(addr),
        };
        let network = Cidr::new(addr.into(), prefix_len);
        let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
        let host = addr.to_bits() & host_bits;
        if prefix_len < 31 && (host == 0 || host == host_bits) {
            return Err(format!("{network} is the address of a network, not of a host"));
        }
        let secs = self.lease_secs.ok_or("the server does not say for how long")?;
        if secs < SHORTEST_LEASE_SECS {
            return Err(format!("a lease of {secs} s is too short; the least is {SHORTEST_LEASE_SECS} s"));
        }
        let duration = (secs != INFINITE_SECS).then_some(Duration::from_secs(secs.into()));
        let (renew_after, rebind_after) = self.times(secs);
        let mtu = self.mtu.filter(|&mtu| {
            if mtu < SMALLEST_DHCP_MTU {
                problems.push(format!("an MTU of {mtu} is ignored; the least is {SMALLEST_DHCP_MTU}"));
            }
            mtu >= SMALLEST_DHCP_MTU
        });
        let dns_servers = self.dns_servers.iter().copied().filter(|addr| is_host(*addr));
        Ok(DhcpLease {
            address: network,
            server,
            routes: self.routes(problems),
            dns_servers: dns_servers.take(MAX_DNS_SERVERS).collect(),
            domain: self.domain.clone().filter(|domain| is_domain(domain)),
            mtu,
            duration,
            renew_after,
            rebind_after,
        })
    }

    /// T1 and T2 (RFC 2131 §4.4.5), by default after a half and seven eighths of the time.
    fn times(&self, secs: u32) -> (Duration, Duration) {
        let secs = u64::from(secs);
        let (default_renew, default_rebind) = (secs / 2, secs * 7 / 8);
        let renew = self.renew_secs.map_or(default_renew, u64::from);
        let rebind = self.rebind_secs.map_or(default_rebind, u64::from);
        let in_order = renew > 0 && renew <= rebind && rebind <= secs;
        let (renew, rebind) = if in_order { (renew, rebind) } else { (default_renew, default_rebind) };
        (Duration::from_secs(renew), Duration::from_secs(rebind))
    }

    /// RFC 3442: with classless routes the routers are ignored.
    fn routes(&self, problems: &mut Vec<String>) -> Vec<DhcpRoute> {
        let Some(data) = &self.classless_routes else {
            let destination = Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
            let router = self.routers.iter().copied().find(|router| is_host(*router));
            return router
                .map(|router| DhcpRoute { destination, router: Some(router) })
                .into_iter()
                .collect();
        };
        let mut routes = Vec::new();
        let mut rest = &data[..];
        while !rest.is_empty() {
            if routes.len() == MAX_ROUTES {
                problems.push(format!("only the first {MAX_ROUTES} routes are taken"));
                break;
            }
            let Some((route, after)) = read_route(rest) else {
                problems.push("the rest of the routes is not readable".into());
                break;
            };
            rest = after;
            routes.push(route);
        }
        routes
    }
}

/// Reads a route (RFC 3442): the length of the prefix, its significant octets, and the router.
fn read_route(data: &[u8]) -> Option<(DhcpRoute, &[u8])> {
    let (&prefix_len, data) = data.split_first().filter(|(len, _)| **len <= 32)?;
    let (prefix, data) = data.split_at_checked(usize::from(prefix_len).div_ceil(8))?;
    let (router, data) = data.split_first_chunk::<4>()?;
    let mut octets = [0; 4];
    octets[..prefix.len()].copy_from_slice(prefix);
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
    let network = Ipv4Addr::from_bits(u32::from_be_bytes(octets) & mask);
    let router = Ipv4Addr::from(*router);
    let router = (!router.is_unspecified()).then_some(router);
    Some((DhcpRoute { destination: Cidr::new(network.into(), prefix_len), router }, data))
}

/// Whether a host can have this address.
fn is_host(addr: Ipv4Addr) -> bool {
    let is_reserved = addr.octets()[0] == 0 || addr.octets()[0] >= 240;
    !(is_reserved || addr.is_multicast() || addr.is_loopback())
}

/// The length of a prefix, of which at least one bit must be set.
fn prefix_len_of(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    (ones > 0 && mask.to_bits().count_ones() == ones).then_some(ones as u8)
}

/// The prefix of the address's class, for servers that send no mask.
fn class_prefix_len(addr: Ipv4Addr) -> u8 {
    match addr.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

fn is_domain(domain: &str) -> bool {
    !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

impl DhcpLease {
    /// The address without its prefix.
    pub(super) fn addr(&self) -> Ipv4Addr {
        match self.address.addr {
            IpAddr::V4(addr) => addr,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> Granted {
        Granted {
            address: Some([10, 0, 0, 9].into()),
            server: Some([10, 0, 0, 1].into()),
            mask: Some([255, 255, 255, 0].into()),
            lease_secs: Some(3600),
            ..Default::default()
        }
    }

    /// The lease and the problems, or why there is none.
    fn check(granted: &Granted) -> (Result<DhcpLease, String>, Vec<String>) {
        let mut problems = Vec::new();
        (granted.check(&mut problems), problems)
    }

    #[test]
    fn an_ordinary_lease_is_taken() {
        let (lease, problems) = check(&Granted {
            routers: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            dns_servers: vec![[0, 0, 0, 0].into(), [10, 0, 0, 53].into()],
            domain: Some("example.com".into()),
            mtu: Some(1400),
            ..granted()
        });
        let lease = lease.unwrap();
        assert!(problems.is_empty());
        assert_eq!(lease.to_string(), "10.0.0.9/24 from 10.0.0.1 for 3600 s");
        let default =
            DhcpRoute { destination: "0.0.0.0/0".parse().unwrap(), router: Some([10, 0, 0, 1].into()) };
        assert_eq!(lease.routes, [default]);
        assert_eq!(lease.dns_servers, [Ipv4Addr::new(10, 0, 0, 53)]);
        assert_eq!((lease.mtu, lease.domain.as_deref()), (Some(1400), Some("example.com")));
        assert_eq!((lease.renew_after.as_secs(), lease.rebind_after.as_secs()), (1800, 3150));
    }

    #[test]
    fn what_makes_no_sense_is_refused_or_left_out() {
        let refused = |change: &dyn Fn(&mut Granted)| {
            let mut granted = granted();
            change(&mut granted);
            check(&granted).0.unwrap_err()
        };
        for addr in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            refused(&|granted| granted.address = Some(addr.into()));
        }
        refused(&|granted| granted.address = Some([10, 0, 0, 255].into()));
        refused(&|granted| granted.address = Some([10, 0, 0, 0].into()));
        refused(&|granted| granted.server = None);
        refused(&|granted| granted.mask = Some([0, 0, 0, 0].into()));
        refused(&|granted| granted.mask = Some([255, 0, 255, 0].into()));
        refused(&|granted| granted.lease_secs = None);
        assert_eq!(
            refused(&|granted| granted.lease_secs = Some(0)),
            "a lease of 0 s is too short; the least is 30 s"
        );

        let (lease, problems) = check(&Granted {
            mtu: Some(67),
            domain: Some("a b\n".into()),
            renew_secs: Some(4000),
            rebind_secs: Some(1),
            lease_secs: Some(u32::MAX),
            ..granted()
        });
        let lease = lease.unwrap();
        assert_eq!(problems, ["an MTU of 67 is ignored; the least is 68"]);
        assert_eq!((lease.mtu, lease.domain, lease.duration), (None, None, None));
        assert_eq!(lease.renew_after, Duration::from_secs(u64::from(u32::MAX) / 2));
    }

    #[test]
    fn classless_routes_replace_the_router_and_their_number_is_limited() {
        let mut data = vec![0, 10, 0, 0, 2, 24, 192, 168, 7, 10, 0, 0, 3, 12, 172, 31, 0, 0, 0, 0];
        let routers = vec![[10, 0, 0, 1].into()];
        let lease = check(&Granted { routers, classless_routes: Some(data.clone()), ..granted() }).0.unwrap();
        let routes: Vec<String> =
            lease.routes.iter().map(|route| format!("{} {:?}", route.destination, route.router)).collect();
        assert_eq!(
            routes,
            ["0.0.0.0/0 Some(10.0.0.2)", "192.168.7.0/24 Some(10.0.0.3)", "172.16.0.0/12 None"]
        );
        for wrong in [&[33, 1, 2, 3, 4, 5, 0, 0, 0, 0][..], &[24, 1, 2], &[8, 1, 0, 0]] {
            data.truncate(5);
            data.extend_from_slice(wrong);
            let (lease, problems) = check(&Granted { classless_routes: Some(data.clone()), ..granted() });
            assert_eq!((lease.unwrap().routes.len(), problems.len()), (1, 1));
        }
        let many = [8, 44, 10, 0, 0, 2].repeat(10_000);
        let (lease, problems) = check(&Granted { classless_routes: Some(many), ..granted() });
        assert_eq!((lease.unwrap().routes.len(), problems.len()), (MAX_ROUTES, 1));
    }
}
