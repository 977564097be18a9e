//! Interface identifiers: the last 64 bits of an address.

use core::hash::Hasher as _;
use core::net::Ipv6Addr;

use siphasher::sip::SipHasher24;

use crate::link::mac::MacAddr;
use crate::rng::Rng;

/// The address with this identifier in the network of `prefix`, a /64.
pub(super) fn address(prefix: Ipv6Addr, identifier: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(network_bits(prefix) | u128::from(identifier))
}

/// The /64 that an address is in.
pub(super) fn network(addr: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(network_bits(addr))
}

fn network_bits(addr: Ipv6Addr) -> u128 {
    addr.to_bits() >> 64 << 64
}

/// The modified EUI-64 identifier (RFC 4291 appendix A).
pub(super) fn eui64(mac: MacAddr) -> u64 {
    mac.link_local().to_bits() as u64
}

/// RFC 7217 §5 (RFC7217-5-a): F(prefix, network interface, DAD counter, secret), where F is
/// SipHash-2-4 and the MAC address stands for the interface. An identifier that is reserved is
/// passed over.
pub(super) fn stable(key: &[u8; 16], prefix: Ipv6Addr, mac: MacAddr, duplicates: u8) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    // The bytes never change: otherwise addresses would change with the version of this crate.
    let identifiers = (0..=u8::MAX).map(|attempt| {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(&((network_bits(prefix) >> 64) as u64).to_be_bytes());
        hasher.write(&[a, b, c, d, e, f, duplicates, attempt]);
        hasher.finish()
    });
    let mut usable = identifiers.filter(|&identifier| !is_reserved(identifier));
    // That 256 hashes in a row are reserved does not happen.
    usable.next().unwrap_or(1)
}

/// RFC 8981 §3.3.1 (RFC8981-3.3.1): random, and not reserved.
pub(super) fn random(rng: &mut Rng) -> u64 {
    loop {
        let identifier = rng.next_u64();
        if !is_reserved(identifier) {
            return identifier;
        }
    }
}

/// Whether no host may have this identifier (RFC 5453): the anycast address of routers, those of
/// IANA's Ethernet block, and the reserved subnet anycast addresses.
fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || identifier >> 24 == 0x02_005e_fffe
        || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn rfc7217_identifiers_follow_from_prefix_interface_counter_and_secret() {
        let prefix: Ipv6Addr = "2001:db8:1::".parse().unwrap();
        let first = stable(&[7; 16], prefix, MAC, 0);
        assert_eq!(first, stable(&[7; 16], address(prefix, 99), MAC, 0));
        // These bits are kept over versions: addresses must not change with an update.
        assert_eq!(first, 0xba36_c6a5_c55c_b865);
        for other in [
            stable(&[8; 16], prefix, MAC, 0),
            stable(&[7; 16], "2001:db8:2::".parse().unwrap(), MAC, 0),
            stable(&[7; 16], prefix, MacAddr([2, 0, 0, 0, 0, 2]), 0),
            stable(&[7; 16], prefix, MAC, 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn rfc5453_reserved_identifiers_are_known() {
        for reserved in [0, 0x0200_5eff_fe00_5213, 0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff] {
            assert!(is_reserved(reserved), "{reserved:#x}");
        }
        for free in [1, 0x0200_5eff_fd00_0000, 0x0200_5eff_ff00_0000, 0xfdff_ffff_ffff_ff7f, u64::MAX] {
            assert!(!is_reserved(free), "{free:#x}");
        }
        assert_eq!(eui64(MAC), 0x0000_00ff_fe00_0001);
        assert!(!is_reserved(random(&mut Rng::new([1; 32]))));
    }
}
