//! The MAC address of the stack's side of a link.

use portolan::{Cidr, MacAddr};

/// A locally administered address that is the same in each run, so that neighbour caches stay
/// valid. The FNV-1a hash need not be secret: it only distinguishes devices on one machine.
pub(crate) fn derive_mac(name: &str, addresses: &[Cidr], host: MacAddr) -> MacAddr {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    eat(name.as_bytes());
    for cidr in addresses {
        eat(cidr.to_string().as_bytes());
    }
    let [.., a, b, c, d, e] = hash.to_be_bytes();
    let mac = MacAddr([0x02, a, b, c, d, e]);
    // The kernel draws its address at random; if the two are equal, any other address will do.
    if mac == host { MacAddr([0x02, a, b, c, d, e ^ 1]) } else { mac }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derived_mac_is_stable_local_and_not_the_hosts() {
        let addresses = ["10.0.0.1/24".parse().expect("a CIDR of the test")];
        let mac = derive_mac("tap0", &addresses, MacAddr([0; 6]));
        assert_eq!(mac, derive_mac("tap0", &addresses, MacAddr([0; 6])));
        assert_eq!(mac.0[0] & 0b11, 0b10);
        assert_ne!(mac, derive_mac("tap1", &addresses, MacAddr([0; 6])));
        assert_ne!(mac, derive_mac("tap0", &addresses, mac));
    }
}
