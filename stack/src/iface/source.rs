//! The choice of the source address: RFC 6724 §5 for IPv6, the network of the next hop for IPv4.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cidr::Cidr;
use crate::interface_id::InterfaceId;

/// An address that could be the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) cidr: Cidr,
    pub(crate) iface: InterfaceId,
    /// Whether its preferred lifetime has ended.
    pub(crate) is_deprecated: bool,
    /// Whether it is temporary, if its interface prefers such addresses; else whether it is not.
    pub(crate) has_wanted_privacy: bool,
}

/// Chooses the source for a packet to `dst` that leaves through `iface` towards `next_hop`.
pub(crate) fn select(
    dst: IpAddr,
    next_hop: IpAddr,
    iface: InterfaceId,
    candidates: impl Iterator<Item = Candidate>,
) -> Option<IpAddr> {
    match dst {
        IpAddr::V4(dst) => {
            let better = |candidate: &Candidate| rank_v4(dst, next_hop, iface, candidate);
            // `max_by_key` would take the last of equals, but the first address of an interface is
            // its main one.
            let best = reduce_first(candidates.filter(|c| c.cidr.addr.is_ipv4()), better);
            best.map(|candidate| candidate.cidr.addr)
        }
        IpAddr::V6(dst) => {
            let better = |candidate: &Candidate| rank_v6(dst, iface, candidate);
            let usable = candidates.filter(|c| is_usable_v6(dst, iface, c));
            reduce_first(usable, better).map(|candidate| candidate.cidr.addr)
        }
    }
}

/// The first of the candidates with the highest rank.
fn reduce_first<R: Ord>(
    candidates: impl Iterator<Item = Candidate>,
    rank: impl Fn(&Candidate) -> R,
) -> Option<Candidate> {
    candidates.reduce(|best, next| if rank(&next) > rank(&best) { next } else { best })
}

/// Ranks an IPv4 address as Linux does: the destination itself is best, then an address whose scope
/// reaches the destination, then one on the interface, then one in the next hop's network. Beyond
/// Linux, of those with the same scope one that is not deprecated is better, as RFC 6724 §5 says.
fn rank_v4(dst: Ipv4Addr, next_hop: IpAddr, iface: InterfaceId, c: &Candidate) -> [bool; 5] {
    let IpAddr::V4(addr) = c.cidr.addr else { return [false; 5] };
    let reaches = !addr.is_link_local() || dst.is_link_local();
    [addr == dst, reaches, !c.is_deprecated, c.iface == iface, c.cidr.contains(next_hop)]
}

/// RFC 6724 §4: addresses of other interfaces are candidates, too, except those that are valid only
/// on their own link.
fn is_usable_v6(dst: Ipv6Addr, iface: InterfaceId, c: &Candidate) -> bool {
    let IpAddr::V6(addr) = c.cidr.addr else { return false };
    // For multicast and link-local destinations the source must be on the outgoing interface.
    c.iface == iface || (scope(addr) > LINK_LOCAL && !dst.is_multicast() && scope(dst) > LINK_LOCAL)
}

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// The scope of an address (RFC 6724 §3.1).
fn scope(addr: Ipv6Addr) -> u8 {
    let [first, second, ..] = addr.octets();
    if addr.is_multicast() {
        second & 0x0f
    } else if addr.is_loopback() || addr.is_unicast_link_local() {
        LINK_LOCAL
    } else if first == 0xfe && second & 0xc0 == 0xc0 {
        SITE_LOCAL
    } else {
        GLOBAL
    }
}

/// The label of an address in the default policy table (RFC 6724 §2.1).
fn label(addr: Ipv6Addr) -> u8 {
    let segments = addr.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [0x3ffe, ..] => 12,
        [first, ..] if first & 0xfe00 == 0xfc00 => 13,
        [first, ..] if first & 0xffc0 == 0xfec0 => 11,
        _ => 1,
    }
}

/// The rules of RFC 6724 §5 that apply here, in their order, as one key: the greater key wins. None
/// of our addresses is a home address (rule 4) or bound to a next hop's prefix (5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RankV6 {
    /// Rule 1: the address is the destination itself.
    is_destination: bool,
    /// Rule 2: prefer the appropriate scope.
    scope: ScopeRank,
    /// Rule 3: avoid deprecated addresses.
    is_preferred: bool,
    /// Rule 5: prefer the outgoing interface.
    on_interface: bool,
    /// Rule 6: prefer the matching label.
    same_label: bool,
    /// Rule 7: prefer temporary addresses, or by configuration public ones.
    has_wanted_privacy: bool,
    /// Rule 8: the longest matching prefix, counted up to the length of the address's own prefix.
    common_prefix_len: u8,
}

/// Rule 2: of two scopes that do not reach the destination, the larger is better; of two that do,
/// the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ScopeRank {
    TooSmall(u8),
    Reaches(core::cmp::Reverse<u8>),
}

fn rank_v6(dst: Ipv6Addr, iface: InterfaceId, c: &Candidate) -> RankV6 {
    let addr = match c.cidr.addr {
        IpAddr::V6(addr) => addr,
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
    };
    let own = scope(addr);
    let common = (addr.to_bits() ^ dst.to_bits()).leading_zeros() as u8;
    RankV6 {
        is_destination: addr == dst,
        scope: if own < scope(dst) {
            ScopeRank::TooSmall(own)
        } else {
            ScopeRank::Reaches(core::cmp::Reverse(own))
        },
        is_preferred: !c.is_deprecated,
        on_interface: c.iface == iface,
        same_label: label(addr) == label(dst),
        has_wanted_privacy: c.has_wanted_privacy,
        common_prefix_len: common.min(c.cidr.prefix_len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const OUT: InterfaceId = InterfaceId(0);
    const OTHER: InterfaceId = InterfaceId(1);

    fn choose_via(dst: &str, next_hop: &str, candidates: &[(&str, InterfaceId)]) -> Option<IpAddr> {
        let candidates: Vec<Candidate> = candidates
            .iter()
            .map(|&(cidr, iface)| Candidate {
                cidr: cidr.parse().unwrap(),
                iface,
                is_deprecated: false,
                has_wanted_privacy: true,
            })
            .collect();
        select(dst.parse().unwrap(), next_hop.parse().unwrap(), OUT, candidates.into_iter())
    }

    fn choose(dst: &str, candidates: &[&str]) -> Option<IpAddr> {
        let candidates: Vec<_> = candidates.iter().map(|&cidr| (cidr, OUT)).collect();
        choose_via(dst, dst, &candidates)
    }

    fn is(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn rfc_6724_10_1_the_examples_of_source_selection() {
        // Prefer the appropriate scope.
        let both = ["2001:db8:1::1/64", "fe80::1/64"];
        assert_eq!(choose("2001:db8:1::2", &both), is("2001:db8:1::1"));
        // The same for a group of site scope.
        assert_eq!(choose("ff05::1", &both), is("2001:db8:1::1"));
        // Prefer the same address.
        assert_eq!(choose("2001:db8:1::1", &["2001:db8:2::1/64", "2001:db8:1::1/64"]), is("2001:db8:1::1"));
        // Prefer the appropriate scope for a link-local destination.
        assert_eq!(choose("fe80::1", &["2001:db8:2::1/64", "fe80::2/64"]), is("fe80::2"));
        // Longest matching prefix.
        let two = ["2001:db8:3::2/64", "2001:db8:1::2/64"];
        assert_eq!(choose("2001:db8:1::1", &two), is("2001:db8:1::2"));
        // Prefer the matching label.
        let six_to_four = ["2002:c633:6401::d5e3:7953:13eb:22e8/64", "2001:db8:1::2/64"];
        assert_eq!(choose("2002:c633:6401::1", &six_to_four), is("2002:c633:6401::d5e3:7953:13eb:22e8"));
        assert_eq!(choose("2001:db8:9::1", &six_to_four), is("2001:db8:1::2"));
    }

    #[test]
    fn rule_5_the_outgoing_interface_comes_before_the_prefix() {
        let candidates = [("2001:db8:1::2/64", OTHER), ("2001:db8:3::2/64", OUT)];
        assert_eq!(choose_via("2001:db8:1::1", "fe80::1", &candidates), is("2001:db8:3::2"));
        // The weak host model: an address of another interface is better than none, but a
        // link-local one is not.
        assert_eq!(choose_via("2001:db8:1::1", "fe80::1", &candidates[..1]), is("2001:db8:1::2"));
        assert_eq!(choose_via("2001:db8:1::1", "fe80::1", &[("fe80::2/64", OTHER)]), None);
        assert_eq!(choose_via("fe80::9", "fe80::9", &[("fe80::2/64", OTHER)]), None);
    }

    #[test]
    fn rule_8_counts_no_bits_beyond_the_own_prefix() {
        // Both match in 64 bits, which is the length of their prefix: the first wins, although the
        // second matches in more bits.
        let two = ["2001:db8:1::ff00/64", "2001:db8:1::2/64"];
        assert_eq!(choose("2001:db8:1::3", &two), is("2001:db8:1::ff00"));
    }

    #[test]
    fn ipv4_leaves_from_the_network_of_the_next_hop() {
        let two = [("10.0.0.2/24", OUT), ("192.168.1.2/24", OUT)];
        assert_eq!(choose_via("8.8.8.8", "192.168.1.1", &two), is("192.168.1.2"));
        assert_eq!(choose_via("8.8.8.8", "10.0.0.1", &two), is("10.0.0.2"));
        assert_eq!(choose_via("8.8.8.8", "172.16.0.1", &two), is("10.0.0.2"));
        let elsewhere = [("169.254.1.1/16", OUT), ("192.168.1.2/24", OTHER)];
        assert_eq!(choose_via("8.8.8.8", "169.254.1.9", &elsewhere), is("192.168.1.2"));
        assert_eq!(choose_via("169.254.7.7", "169.254.7.7", &elsewhere), is("169.254.1.1"));
        assert_eq!(choose("10.0.0.1", &["fd00::1/64"]), None);
    }
}
