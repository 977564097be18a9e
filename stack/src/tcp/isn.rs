//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 §5.4): an attacker who does
//! not see the packets cannot guess them, and from one connection to the next between the same ends
//! both only grow.

use core::net::{IpAddr, SocketAddr};

use super::SeqNumber;
use crate::hash::Keyed;
use crate::rng::Rng;
use crate::time::Instant;

/// The clock M of RFC 6528 §3 ticks every 64 ns, as on Linux, so it wraps after 275 s. RFC 9293's 4
/// µs suits links of 250 KB/s: the clock must run faster than a connection can send, so that a new
/// connection's numbers begin after those that an old one between the same ends has left in the
/// network.
const TICK_SHIFT: u32 = 6;

/// ISN = M + F(local, remote, secret), RFC6528-3-a: a clock (RFC 9293 §3.4.1, MUST-8) and a keyed
/// pseudo-random function of both ends (SHLD-1), which cannot be computed without the key (MUST-9).
#[derive(Debug)]
pub(crate) struct IsnGenerator {
    isn_key: Keyed,
    timestamp_key: Keyed,
}

impl IsnGenerator {
    /// Draws the keys, which stay the same while the stack exists.
    pub(crate) fn new(rng: &mut Rng) -> IsnGenerator {
        IsnGenerator { isn_key: Keyed::new(rng), timestamp_key: Keyed::new(rng) }
    }

    /// The first sequence number of a connection that begins now.
    ///
    /// `zone`: the scope of the connection if it is in another zone than zone 0; otherwise 0.
    /// Connections between the same ends in different zones have nothing in common.
    pub(crate) fn isn(&self, now: Instant, local: SocketAddr, remote: SocketAddr, zone: u16) -> SeqNumber {
        let mut connection = [0; 36];
        let (ips, ports) = connection.split_at_mut(32);
        ips.copy_from_slice(&pair_bytes(local.ip(), remote.ip()));
        let [l0, l1] = local.port().to_be_bytes();
        let [r0, r1] = remote.port().to_be_bytes();
        ports.copy_from_slice(&[l0, l1, r0, r1]);
        // Both keep their low 32 bits: sequence numbers wrap.
        let hash = hash_in_zone(&self.isn_key, &connection, zone);
        SeqNumber(hash) + (now.as_nanos() >> TICK_SHIFT) as u32
    }

    /// The offset that is added to the millisecond clock for timestamps between two hosts. It does
    /// not depend on ports, as on Linux: a new connection's timestamps are then later than an old
    /// one's, which lets TIME-WAIT be reused (RFC 6191).
    pub(crate) fn timestamp_offset(&self, local: IpAddr, remote: IpAddr, zone: u16) -> u32 {
        hash_in_zone(&self.timestamp_key, &pair_bytes(local, remote), zone)
    }
}

fn hash_in_zone(key: &Keyed, bytes: &[u8], zone: u16) -> u32 {
    if zone == 0 {
        return key.hash_bytes(bytes) as u32;
    }
    key.hash_bytes(&[bytes, &zone.to_le_bytes()].concat()) as u32
}

/// The bytes of two addresses. IPv4 addresses are mapped to IPv6.
fn pair_bytes(local: IpAddr, remote: IpAddr) -> [u8; 32] {
    let mut pair = [0; 32];
    let (first, second) = pair.split_at_mut(16);
    first.copy_from_slice(&octets(local));
    second.copy_from_slice(&octets(remote));
    pair
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

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn grows_with_time_and_differs_by_connection_and_key() {
        let isns = IsnGenerator::new(&mut Rng::new([1; 32]));
        let (local, remote) = (addr("10.0.0.1:80"), addr("10.0.0.2:5000"));
        let now = Instant::from_secs(3);
        let first = isns.isn(now, local, remote, 0);
        assert_eq!(isns.isn(now, local, remote, 0), first);
        let later = isns.isn(now + core::time::Duration::from_micros(64), local, remote, 0);
        assert_eq!(later - first, 1000);

        for (l, r) in [
            ("10.0.0.1:81", "10.0.0.2:5000"),
            ("10.0.0.1:80", "10.0.0.2:5001"),
            ("10.0.0.1:80", "10.0.0.3:5000"),
        ] {
            assert_ne!(isns.isn(now, addr(l), addr(r), 0), first);
        }
        // The ends are not interchangeable.
        assert_ne!(isns.isn(now, remote, local, 0), first);
        assert_ne!(IsnGenerator::new(&mut Rng::new([2; 32])).isn(now, local, remote, 0), first);
        assert_ne!(isns.isn(now, addr("[::1]:80"), addr("[::2]:5000"), 0), first);
    }

    #[test]
    fn timestamp_offsets_are_per_pair_of_hosts() {
        let isns = IsnGenerator::new(&mut Rng::new([1; 32]));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let offset = isns.timestamp_offset(ip("fd00::1"), ip("fd00::2"), 0);
        assert_eq!(isns.timestamp_offset(ip("fd00::1"), ip("fd00::2"), 0), offset);
        assert_ne!(isns.timestamp_offset(ip("fd00::1"), ip("fd00::3"), 0), offset);
        assert_ne!(isns.timestamp_offset(ip("fd00::2"), ip("fd00::1"), 0), offset);
    }
}
