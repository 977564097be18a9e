//! IPv6 flow labels (RFC 6437). All packets of a flow have the same label, so that routers with
//! several paths keep the flow on one. A flow that timed out gets another label, because its path
//! may be broken.

use core::net::Ipv6Addr;

use crate::rng::Rng;

/// The 20 bits of the field.
const MASK: u32 = 0xf_ffff;

/// Makes the labels. The mixing is keyed but not a cryptographic hash: labels are visible on the
/// wire, and it does no harm if somebody makes two flows have the same.
#[derive(Debug)]
pub(crate) struct FlowLabels {
    secret: [u64; 3],
}

impl FlowLabels {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        FlowLabels { secret: [rng.next_u64(), rng.next_u64(), rng.next_u64()] }
    }

    /// The label of a flow with these addresses, protocol and ports. Another `seed` gives another
    /// label, and perhaps another path. Never 0, which means "no label".
    pub(crate) fn label(&self, src: Ipv6Addr, dst: Ipv6Addr, ports: u32, protocol: u8, seed: u8) -> u32 {
        let [a, b, c] = self.secret;
        let hosts = src.to_bits() ^ dst.to_bits().rotate_left(37);
        let mixed = mix((hosts >> 64) as u64 ^ a, hosts as u64 ^ b);
        let rest = u64::from(ports) << 16 | u64::from(protocol) << 8 | u64::from(seed);
        let label = mix(mixed ^ rest, c) as u32 & MASK;
        label.max(1)
    }
}

/// Multiplies, and folds both halves of the product.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn addr(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn rfc_6437_3_labels_are_spread_and_differ_in_all_that_makes_a_flow() {
        let labels = FlowLabels::new(&mut Rng::new([7; 32]));
        let label = labels.label(addr(1), addr(2), 80, 6, 0);
        assert_eq!(label, labels.label(addr(1), addr(2), 80, 6, 0));
        let others = [
            labels.label(addr(3), addr(2), 80, 6, 0),
            labels.label(addr(1), addr(3), 80, 6, 0),
            labels.label(addr(2), addr(1), 80, 6, 0),
            labels.label(addr(1), addr(2), 81, 6, 0),
            labels.label(addr(1), addr(2), 80, 17, 0),
            labels.label(addr(1), addr(2), 80, 6, 1),
            FlowLabels::new(&mut Rng::new([8; 32])).label(addr(1), addr(2), 80, 6, 0),
        ];
        assert!(others.iter().all(|&other| other != label), "{label:05x} {others:05x?}");
        // Each of 16 paths, chosen by any four bits of the label, gets its share of 16,000 flows.
        for shift in [0, 8, 16] {
            let mut flows = [0; 16];
            for port in 0..16_000 {
                let label = labels.label(addr(1), addr(2), port << 16 | 443, 6, 0);
                assert!((1..=MASK).contains(&label));
                flows[(label >> shift) as usize & 15] += 1;
            }
            assert!(flows.iter().all(|count| (800..1200).contains(count)), "{flows:?}");
        }
        let all: HashSet<u32> = (0..=255).map(|seed| labels.label(addr(1), addr(2), 80, 6, seed)).collect();
        assert!(all.len() > 250);
    }
    /// The key is mixed in before the multiplication: no choice of addresses makes one factor 0,
    /// and thereby all labels equal.
    #[test]
    fn addresses_that_cancel_out_have_labels_of_their_own() {
        let labels = FlowLabels::new(&mut Rng::new([7; 32]));
        let src = addr(1);
        for half in [0, 64] {
            let all: HashSet<u32> = (1..=64)
                .map(|bits: u128| Ipv6Addr::from_bits((src.to_bits() ^ bits << half).rotate_right(37)))
                .map(|dst| labels.label(src, dst, 80, 6, 0))
                .collect();
            assert!(all.len() > 60, "{} of 64", all.len());
        }
    }
}
