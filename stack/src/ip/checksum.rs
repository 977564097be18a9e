//! The Internet checksum (RFC 1071), and the pseudo-header that TCP, UDP and ICMPv6 put in front of
//! it.

use core::net::IpAddr;

use bytes::Bytes;

/// A checksum in the making, over consecutive slices of any length, odd lengths included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checksum {
    /// The ones' complement sum of 64-bit words in the machine's byte order. RFC 1071 §2(B): the
    /// byte order does not matter if the result is stored in the same order. §2(C): wide words give
    /// the same result as narrow ones once they are folded.
    sum: u64,
    /// Whether an odd number of bytes was added so far.
    odd: bool,
}

/// The words that are added in parallel: each lane has a sum of its own, and its carry goes into
/// the next lane.
const LANES: usize = 8;

impl Checksum {
    /// Adds the next bytes.
    pub(crate) fn add(&mut self, data: &[u8]) {
        let (blocks, rest) = data.as_chunks::<{ 8 * LANES }>();
        let mut sum = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            sum = plus(sum, u64::from_ne_bytes(*word));
        }
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum = plus(sum, u64::from(u32::from_ne_bytes(*word)));
        }
        let (words, rest) = rest.as_chunks::<2>();
        for word in words {
            sum = plus(sum, u64::from(u16::from_ne_bytes(*word)));
        }
        if let &[last] = rest {
            sum = plus(sum, u64::from(u16::from_ne_bytes([last, 0])));
        }
        // RFC 1071 §2(B): bytes at odd places count in the other half of their word.
        self.sum = plus(self.sum, if self.odd { u64::from(fold(sum).swap_bytes()) } else { sum });
        self.odd ^= data.len() % 2 == 1;
    }

    /// Adds the pseudo-header of RFC 9293 §3.1 (IPv4) or RFC 8200 §8.1 (IPv6). Must be called while
    /// the number of added bytes is even.
    pub(crate) fn add_pseudo_header(&mut self, src: IpAddr, dst: IpAddr, protocol: u8, len: usize) {
        for addr in [src, dst] {
            let sum = match addr {
                IpAddr::V4(addr) => u64::from(u32::from_ne_bytes(addr.octets())),
                IpAddr::V6(addr) => {
                    let octets = u128::from_ne_bytes(addr.octets());
                    plus(octets as u64, (octets >> 64) as u64)
                }
            };
            self.sum = plus(self.sum, sum);
        }
        // The two families differ only in the position of the zeros.
        let len = u32::from_ne_bytes((len as u32).to_be_bytes());
        let protocol = u16::from_ne_bytes([0, protocol]);
        self.sum = plus(self.sum, u64::from(len) + u64::from(protocol));
    }

    /// The value for the checksum field.
    pub(crate) fn finish(self) -> u16 {
        u16::from_be(!fold(self.sum))
    }

    /// The value for the checksum field of a packet whose checksum is completed elsewhere: the sum
    /// so far, not its complement.
    pub(crate) fn unfinished(self) -> u16 {
        u16::from_be(fold(self.sum))
    }

    /// Whether the sum of bytes that include a checksum shows that the checksum is right.
    pub(crate) fn is_right(self) -> bool {
        fold(self.sum) == 0xffff
    }
}

/// Ones' complement addition: the carry is added at the low end.
fn plus(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // After a carry the sum is below `u64::MAX`, so this cannot overflow.
    sum + u64::from(carry)
}

/// The sum of whole blocks. Most of the time that a packet takes is spent here. Each block is one
/// chain of additions with carry, without a branch, and two blocks share nothing but the sums, so
/// the processor works on several at once.
fn sum_blocks(blocks: &[[u8; 8 * LANES]]) -> u64 {
    let mut sums = [0u64; LANES];
    // The carries of the last lane; there are fewer than blocks.
    let mut carries = 0u64;
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let mut carry = false;
        for (sum, word) in sums.iter_mut().zip(words) {
            let (partial, first) = sum.overflowing_add(u64::from_ne_bytes(*word));
            let (total, second) = partial.overflowing_add(u64::from(carry));
            *sum = total;
            carry = first | second;
        }
        carries += u64::from(carry);
    }
    sums.into_iter().fold(carries, plus)
}

/// Folds a sum into 16 bits.
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The checksum of one slice whose checksum field is zero: an IPv4 header, an ICMPv4 message.
pub(crate) fn internet_checksum(data: &[u8]) -> u16 {
    let mut checksum = Checksum::default();
    checksum.add(data);
    checksum.finish()
}

/// The checksum of an ICMPv4 message in several slices, whose checksum field is zero.
pub(crate) fn internet_checksum_of(header: &[u8], payload: &[Bytes]) -> u16 {
    let mut checksum = Checksum::default();
    checksum.add(header);
    for slice in payload {
        checksum.add(slice);
    }
    checksum.finish()
}

/// Whether the checksum of one slice, which includes the checksum, is right.
pub(crate) fn verify_internet_checksum(data: &[u8]) -> bool {
    let mut checksum = Checksum::default();
    checksum.add(data);
    checksum.is_right()
}

/// The checksum of a TCP, UDP or ICMPv6 packet whose checksum field is zero. The caller must
/// replace 0 by 0xffff for UDP (RFC 768).
pub(crate) fn transport_checksum(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    header: &[u8],
    payload: &[Bytes],
) -> u16 {
    let len = header.len() + crate::frame::payload_len(payload);
    let mut checksum = Checksum::default();
    checksum.add_pseudo_header(src, dst, protocol, len);
    checksum.add(header);
    for slice in payload {
        checksum.add(slice);
    }
    checksum.finish()
}

/// Whether the checksum of a received TCP, UDP or ICMPv6 packet is right. The caller must handle a
/// UDP checksum of 0 over IPv4, which means that there is none.
pub(crate) fn verify_transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, packet: &[u8]) -> bool {
    let mut checksum = Checksum::default();
    checksum.add_pseudo_header(src, dst, protocol, packet.len());
    checksum.add(packet);
    checksum.is_right()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    /// RFC 1071 §1: the complement of the sum of 16-bit words, with the carries added back.
    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // RFC 1071 §3: the sum of these words is ddf2.
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet_checksum(&[]), 0xffff);
    }

    #[test]
    fn no_carry_is_lost() {
        for len in 0..400 {
            // Words that all overflow, and words that just do not.
            for fill in [0xff, 0x80, 0x7f] {
                let mut data = alloc::vec![fill; len];
                assert_eq!(internet_checksum(&data), naive(&data), "{len} of {fill:#x}");
                data.iter_mut().step_by(16).for_each(|byte| *byte = 1);
                assert_eq!(internet_checksum(&data), naive(&data), "{len} of {fill:#x}");
            }
        }
    }

    #[test]
    fn pseudo_headers_of_both_families() {
        // A UDP datagram 10.0.0.1:1 -> 10.0.0.2:2 with no data.
        let mut udp = [0, 1, 0, 2, 0, 8, 0, 0];
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let sum = transport_checksum(v4(1), v4(2), 17, &udp, &[]);
        assert_eq!(sum, naive(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 8, 0, 1, 0, 2, 0, 8]));
        udp[6..].copy_from_slice(&sum.to_be_bytes());
        assert!(verify_transport_checksum(v4(1), v4(2), 17, &udp));
        assert!(!verify_transport_checksum(v4(1), v4(3), 17, &udp));
        assert!(!verify_transport_checksum(v4(1), v4(2), 6, &udp));
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
        udp[6..].copy_from_slice(&[0, 0]);
        let sum = transport_checksum(v6(1), v6(2), 17, &udp, &[]);
        udp[6..].copy_from_slice(&sum.to_be_bytes());
        assert!(verify_transport_checksum(v6(1), v6(2), 17, &udp));
    }

    proptest! {
        #[test]
        fn slices_of_any_length_sum_as_the_whole(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)
        ) {
            let whole: Vec<u8> = slices.concat();
            let mut checksum = Checksum::default();
            for slice in &slices {
                checksum.add(slice);
            }
            prop_assert_eq!(checksum.finish(), naive(&whole));
            prop_assert_eq!(internet_checksum(&whole), naive(&whole));
        }

        #[test]
        fn a_right_checksum_verifies_and_a_flipped_bit_does_not(
            mut data in prop::collection::vec(any::<u8>(), 2..200), bit in any::<usize>()
        ) {
            data[..2].fill(0);
            let sum = internet_checksum(&data);
            data[..2].copy_from_slice(&sum.to_be_bytes());
            prop_assert!(verify_internet_checksum(&data));
            let bit = bit % (data.len() * 8);
            data[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify_internet_checksum(&data));
        }
    }
}
