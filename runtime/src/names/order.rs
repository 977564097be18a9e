//! RFC 6724 §6: in which order to try the addresses of a name.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

/// A row of the policy table: a prefix, its length, its precedence and its label.
type Policy = (Ipv6Addr, u32, u8, u8);

/// The default policy table (RFC 6724 §2.1), the longest prefixes first.
const POLICIES: [Policy; 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// The precedence and the label of an address.
fn policy_of(addr: Ipv6Addr) -> (u8, u8) {
    let row = POLICIES.iter().find(|(prefix, len, ..)| common_len(addr, *prefix) >= *len);
    row.map_or((0, 0), |(.., precedence, label)| (*precedence, *label))
}

fn common_len(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// The scope of an address (RFC 6724 §3.1 and §3.2).
fn scope_of(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0x0f,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => SITE_LOCAL,
        IpAddr::V6(_) => GLOBAL,
    }
}

/// IPv4 addresses count as the IPv6 addresses that they are mapped to.
fn mapped(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The rules of §6 that can be decided here, as one key: the greater key comes first. Rules 3 and 4
/// are about deprecated and home addresses, and rule 7 about tunnels, which we do not have. Rule 9
/// is for IPv6 only: many IPv4 networks are numbered without regard to topology, and it would
/// defeat servers that shuffle their addresses.
type Rank = (bool, bool, bool, u8, Reverse<u8>, u32);

fn rank(dst: IpAddr, source: Option<IpAddr>) -> Rank {
    let (precedence, label) = policy_of(mapped(dst));
    let scope = scope_of(dst);
    let Some(source) = source else { return (false, false, false, precedence, Reverse(scope), 0) };
    let common = match (dst, source) {
        (IpAddr::V6(dst), IpAddr::V6(source)) => common_len(dst, source),
        _ => 0,
    };
    (
        // Rule 1: avoid unusable destinations.
        true,
        // Rule 2: prefer matching scope.
        scope == scope_of(source),
        // Rule 5: prefer matching label.
        label == policy_of(mapped(source)).1,
        // Rule 6: prefer higher precedence.
        precedence,
        // Rule 8: prefer smaller scope.
        Reverse(scope),
        // Rule 9: use longest matching prefix.
        common,
    )
}

/// Sorts the addresses of a name. `source_for` says from which address the stack would send to one,
/// if it can. Rule 10: equals keep their order.
pub(crate) fn sort(addresses: &mut Vec<IpAddr>, mut source_for: impl FnMut(IpAddr) -> Option<IpAddr>) {
    let mut ranked: Vec<(Rank, IpAddr)> =
        addresses.drain(..).map(|dst| (rank(dst, source_for(dst)), dst)).collect();
    ranked.sort_by_key(|(rank, _)| Reverse(*rank));
    addresses.extend(ranked.into_iter().map(|(_, dst)| dst));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts `destinations`, each beside the source that the stack would take.
    fn sorted(destinations: &[(&str, &str)]) -> Vec<String> {
        let mut addresses: Vec<IpAddr> = destinations.iter().map(|(dst, _)| dst.parse().unwrap()).collect();
        sort(&mut addresses, |dst| {
            let (_, source) = destinations.iter().find(|(text, _)| text.parse() == Ok(dst)).unwrap();
            source.parse().ok()
        });
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rfc_6724_10_2_the_examples_of_destination_selection() {
        // Prefer matching scope.
        let dst = [("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")];
        assert_eq!(sorted(&dst), ["2001:db8:1::1", "198.51.100.121"]);
        let dst = [("2001:db8:1::1", "fe80::1"), ("198.51.100.121", "198.51.100.117")];
        assert_eq!(sorted(&dst), ["198.51.100.121", "2001:db8:1::1"]);
        // Prefer higher precedence.
        let dst = [("10.1.2.3", "10.1.2.4"), ("2001:db8:1::1", "2001:db8:1::2")];
        assert_eq!(sorted(&dst), ["2001:db8:1::1", "10.1.2.3"]);
        // Prefer smaller scope.
        let dst = [("2001:db8:1::1", "2001:db8:1::2"), ("fe80::1", "fe80::2")];
        assert_eq!(sorted(&dst), ["fe80::1", "2001:db8:1::1"]);
        // Longest matching prefix.
        let dst = [("2001:db8:3ffe::1", "2001:db8:3f44::2"), ("2001:db8:1::1", "2001:db8:1::2")];
        assert_eq!(sorted(&dst), ["2001:db8:1::1", "2001:db8:3ffe::1"]);
        // Prefer matching label.
        let dst = [("2001:db8:1::1", "2002:c633:6401::2"), ("2002:c633:6401::1", "2002:c633:6401::2")];
        assert_eq!(sorted(&dst), ["2002:c633:6401::1", "2001:db8:1::1"]);
        let dst = [("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2001:db8:1::2")];
        assert_eq!(sorted(&dst), ["2001:db8:1::1", "2002:c633:6401::1"]);
    }

    #[test]
    fn unusable_addresses_come_last_and_equals_keep_their_order() {
        let dst =
            [("2001:db8::1", "none"), ("10.0.0.9", "10.0.0.1"), ("10.0.0.2", "10.0.0.1"), ("::1", "::1")];
        assert_eq!(sorted(&dst), ["::1", "10.0.0.9", "10.0.0.2", "2001:db8::1"]);
    }
}
