//! [`AddressTable`]: behind which port of a switch a station is. No I/O, and time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use portolan::{Instant, MacAddr};

/// The number of a port. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Port(pub(super) u32);

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum FrameTarget {
    One(Port),
    /// To all ports but the one that it came from.
    Others,
    Nowhere,
}

/// What is known of a station.
#[derive(Debug)]
struct Station {
    port: Port,
    /// When the last frame came from it.
    seen_at: Instant,
}

/// The stations behind the ports of a switch.
#[derive(Debug)]
pub(super) struct AddressTable {
    // Keyed: whoever sends frames chooses the addresses.
    stations: HashMap<MacAddr, Station>,
    /// The stations of each port, in the order in which they were learned.
    learned: HashMap<Port, VecDeque<MacAddr>>,
    max_per_port: usize,
    age: Duration,
}

impl AddressTable {
    pub(super) fn new(max_per_port: usize, age: Duration) -> Self {
        AddressTable { stations: HashMap::new(), learned: HashMap::new(), max_per_port, age }
    }

    /// Learns from a frame that came in at a port, and says where it goes.
    pub(super) fn target_of(&mut self, now: Instant, from: Port, frame: &[u8]) -> FrameTarget {
        let Some((&[dst, src], _)) = frame.as_chunks::<6>().0.split_first_chunk() else {
            return FrameTarget::Nowhere;
        };
        let (dst, src) = (MacAddr(dst), MacAddr(src));
        // IEEE 802.1D: a switch forwards no frames to these groups, and no station is a group.
        if src.is_group() || is_for_switches(dst) {
            return FrameTarget::Nowhere;
        }
        self.learn(now, from, src);
        if dst.is_group() {
            return FrameTarget::Others;
        }
        match self.stations.get(&dst) {
            Some(station) if station.port == from => FrameTarget::Nowhere,
            Some(station) if now - station.seen_at < self.age => FrameTarget::One(station.port),
            _ => FrameTarget::Others,
        }
    }

    fn learn(&mut self, now: Instant, port: Port, mac: MacAddr) {
        if let Some(station) = self.stations.get_mut(&mac) {
            station.seen_at = now;
            if station.port == port {
                return;
            }
            // It has moved.
            let before = station.port;
            if let Some(learned) = self.learned.get_mut(&before) {
                learned.retain(|other| *other != mac);
            }
        }
        self.stations.insert(mac, Station { port, seen_at: now });
        let learned = self.learned.entry(port).or_default();
        learned.push_back(mac);
        if learned.len() > self.max_per_port
            && let Some(oldest) = learned.pop_front()
        {
            self.stations.remove(&oldest);
        }
    }

    /// Forgets the stations of a port that is gone.
    pub(super) fn remove_port(&mut self, port: Port) {
        for mac in self.learned.remove(&port).unwrap_or_default() {
            self.stations.remove(&mac);
        }
    }
}

/// IEEE 802.1D, table 7-10: 01-80-C2-00-00-00 to 0F are for switches themselves.
fn is_for_switches(mac: MacAddr) -> bool {
    mac.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && mac.0[5] < 0x10
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Port = Port(0);
    const B: Port = Port(1);

    fn mac(n: u16) -> MacAddr {
        let [high, low] = n.to_be_bytes();
        MacAddr([2, 0, 0, 0, high, low])
    }

    fn frame(dst: MacAddr, src: MacAddr) -> Vec<u8> {
        [&dst.0[..], &src.0, &[8, 0]].concat()
    }

    fn target(table: &mut AddressTable, secs: u64, from: Port, dst: MacAddr, src: MacAddr) -> FrameTarget {
        table.target_of(Instant::from_secs(secs), from, &frame(dst, src))
    }

    #[test]
    fn an_address_is_forgotten_after_a_time_without_frames_from_it() {
        let mut table = AddressTable::new(8, Duration::from_secs(300));
        assert_eq!(target(&mut table, 0, A, mac(2), mac(1)), FrameTarget::Others);
        assert_eq!(target(&mut table, 299, B, mac(1), mac(2)), FrameTarget::One(A));
        assert_eq!(target(&mut table, 300, B, mac(1), mac(2)), FrameTarget::Others);
        assert_eq!(target(&mut table, 301, A, mac(2), mac(1)), FrameTarget::One(B));
        assert_eq!(target(&mut table, 600, B, mac(1), mac(2)), FrameTarget::One(A), "it was heard of at 301");
    }

    #[test]
    fn a_station_that_moves_is_found_at_its_new_port() {
        let mut table = AddressTable::new(8, Duration::from_secs(300));
        assert_eq!(target(&mut table, 0, A, mac(9), mac(1)), FrameTarget::Others);
        assert_eq!(target(&mut table, 1, B, mac(9), mac(1)), FrameTarget::Others);
        assert_eq!(target(&mut table, 2, A, mac(1), mac(2)), FrameTarget::One(B));
        table.remove_port(A);
        assert_eq!(target(&mut table, 3, A, mac(1), mac(3)), FrameTarget::One(B), "it was no longer A's");
        table.remove_port(B);
        assert_eq!(target(&mut table, 4, A, mac(1), mac(3)), FrameTarget::Others);
    }

    #[test]
    fn a_port_with_many_addresses_forgets_its_own() {
        let mut table = AddressTable::new(4, Duration::from_secs(300));
        assert_eq!(target(&mut table, 0, B, mac(9), mac(1000)), FrameTarget::Others);
        for n in 0..500 {
            let _ = target(&mut table, 1, A, mac(9), mac(n));
            assert!(table.stations.len() <= 5);
        }
        assert_eq!(target(&mut table, 2, A, mac(1000), mac(499)), FrameTarget::One(B));
        for (n, expected) in
            [(495, FrameTarget::Others), (496, FrameTarget::One(A)), (499, FrameTarget::One(A))]
        {
            assert_eq!(target(&mut table, 2, B, mac(n), mac(1000)), expected);
        }
    }

    #[test]
    fn frames_for_no_station_go_nowhere() {
        let mut table = AddressTable::new(4, Duration::from_secs(300));
        let stp = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);
        assert_eq!(target(&mut table, 0, A, stp, mac(1)), FrameTarget::Nowhere);
        assert_eq!(target(&mut table, 0, A, mac(1), MacAddr::BROADCAST), FrameTarget::Nowhere);
        assert_eq!(table.target_of(Instant::ZERO, A, &[2; 11]), FrameTarget::Nowhere);
        assert!(table.stations.is_empty());
        assert_eq!(target(&mut table, 0, A, mac(2), mac(1)), FrameTarget::Others);
        assert_eq!(target(&mut table, 0, A, mac(1), mac(2)), FrameTarget::Nowhere, "both are behind A");
        let all_routers = MacAddr([1, 0, 0x5e, 0, 0, 2]);
        assert_eq!(target(&mut table, 0, A, all_routers, mac(1)), FrameTarget::Others);
    }
}
