use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// The keys of this many sockets.
fn ids(count: usize) -> Vec<SocketId> {
    let mut slab: Slab<SocketId, ()> = Slab::new();
    (0..count).map(|_| slab.insert(())).collect()
}

fn holdings() -> Holdings {
    Holdings::new(&mut crate::rng::Rng::new([3; 32]))
}

fn peer(number: u8) -> Peer {
    Peer::of(IpAddr::from([10, 0, 0, number]), 0)
}

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

/// A connection that holds this much data, which has not moved since.
fn holds(bytes: usize, since: u64) -> MemoryUse {
    MemoryUse { bytes, holds_data: true, drained: 0, moved_at: at(since) }
}

#[test]
fn a_peer_is_an_ipv4_address_or_an_ipv6_network() {
    let [in_zone, apart] = [0, 2].map(|scope| Peer::of("10.0.0.1".parse().unwrap(), scope));
    assert_ne!(in_zone, apart, "zones");
    let same =
        |one: &str, other: &str| Peer::of(one.parse().unwrap(), 0) == Peer::of(other.parse().unwrap(), 0);
    assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"));
    assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert!(!same("10.0.0.1", "10.0.0.2"));
    assert!(!same("fe80::1", "fe80::2"));
    let named: Vec<_> = ["2001:db8:1:2::1", "fe80::1", "10.0.0.1"]
        .map(|addr| std::format!("{}", Peer::of(addr.parse().unwrap(), 0)))
        .into();
    assert_eq!(named, ["2001:db8:1:2::/64", "fe80::1", "10.0.0.1"]);
}

#[test]
fn of_one_peer_the_one_that_waited_longest_goes() {
    let (ids, mut holdings) = (ids(4), holdings());
    for (id, since) in ids.iter().zip([30, 10, 20, 40]) {
        holdings.update(at(50), *id, peer(1), holds(50_000, since));
    }
    let mut order = Vec::new();
    while let Some(id) = holdings.worst(at(50)) {
        holdings.forget(id);
        order.push(id);
    }
    assert_eq!(order, [ids[1], ids[2], ids[0], ids[3]]);
    assert!(holdings.is_empty());
    assert_eq!(holdings.memory_bytes(), 0);
}

#[test]
fn whoever_gets_on_is_not_the_worst_and_a_trickle_is_no_progress() {
    let (ids, mut holdings) = (ids(2), holdings());
    holdings.update(at(10), ids[0], peer(1), holds(50_000, 1));
    holdings.update(at(10), ids[1], peer(1), holds(50_000, 2));
    assert_eq!(holdings.worst(at(10)), Some(ids[0]));
    // Single bytes are no progress.
    holdings.update(at(11), ids[0], peer(1), MemoryUse { drained: 5, ..holds(50_000, 1) });
    assert_eq!(holdings.worst(at(11)), Some(ids[0]));
    // They add up to progress.
    holdings.update(at(12), ids[0], peer(1), MemoryUse { drained: PROGRESS_BYTES, ..holds(50_000, 1) });
    assert_eq!(holdings.worst(at(12)), Some(ids[1]));
    assert_eq!(holdings.stalled_since(ids[0]), Some(at(12)));
    // All data is gone, however little it was.
    let empty = MemoryUse { holds_data: false, drained: PROGRESS_BYTES + 1, ..holds(1000, 1) };
    holdings.update(at(13), ids[0], peer(1), empty);
    assert_eq!(holdings.stalled_since(ids[0]), Some(at(13)));
    // Data that is queued after a long silence has not waited for that time.
    holdings.update(at(100), ids[0], peer(1), MemoryUse { drained: PROGRESS_BYTES + 1, ..holds(5000, 1) });
    assert_eq!(holdings.stalled_since(ids[0]), Some(at(100)));
}

#[test]
fn those_that_hold_no_data_come_last_however_long_they_rest() {
    let (ids, mut holdings) = (ids(2), holdings());
    holdings.update(at(3600), ids[0], peer(1), MemoryUse { holds_data: false, ..holds(1000, 1) });
    holdings.update(at(3600), ids[1], peer(2), holds(1000, 3599));
    assert_eq!(holdings.worst(at(3600)), Some(ids[1]));
    holdings.forget(ids[1]);
    assert_eq!(holdings.worst(at(3600)), Some(ids[0]));
}

#[test]
fn a_peer_with_many_connections_gives_way_to_one_with_a_few() {
    let (ids, mut holdings) = (ids(101), holdings());
    // A slow reader with an address of its own, without progress for longer than any of the
    // hundred.
    holdings.update(at(100), ids[0], peer(1), holds(20_000, 70));
    for id in &ids[1..] {
        holdings.update(at(100), *id, peer(2), holds(20_000, 90));
    }
    assert_eq!(holdings.largest().map(|sum| (sum.peer, sum.connections)), Some((peer(2), 100)));
    for left in (9..=100).rev() {
        let worst = holdings.worst(at(100)).unwrap();
        assert_ne!(worst, ids[0], "with {left} of the other");
        holdings.forget(worst);
    }
    // Eight connections with 20,000 bytes and 10 seconds rank no higher than one with 30 seconds,
    // until there are four times as many.
    while holdings.worst(at(100)) != Some(ids[0]) {
        let worst = holdings.worst(at(100)).unwrap();
        holdings.forget(worst);
    }
    assert!(holdings.largest().is_none_or(|sum| sum.connections >= 1));
}

#[test]
fn shares_are_by_peer_and_then_by_connection() {
    let (ids, mut holdings) = (ids(12), holdings());
    const WHOLE: usize = 1_000_000;
    assert_eq!(holdings.sharers(ids[0], WHOLE), Some(1), "nobody is known");
    for id in &ids[..10] {
        holdings.update(at(1), *id, peer(1), holds(10_000, 1));
    }
    assert_eq!(holdings.sharers(ids[0], WHOLE), Some(10));
    holdings.update(at(1), ids[10], peer(2), holds(10_000, 1));
    assert_eq!((holdings.sharers(ids[0], WHOLE), holdings.sharers(ids[10], WHOLE)), (Some(20), Some(2)));
    // A connection that holds no data does not count until it asks for memory.
    holdings.update(at(1), ids[11], peer(3), MemoryUse { holds_data: false, ..holds(1000, 1) });
    assert_eq!((holdings.sharers(ids[10], WHOLE), holdings.sharers(ids[11], WHOLE)), (Some(2), Some(3)));
    assert!(!holdings.is_over_share(ids[0], WHOLE) && !holdings.is_over_share(ids[10], WHOLE));
    // The first peer has more than its half.
    holdings.update(at(1), ids[9], peer(1), holds(450_000, 1));
    assert_eq!((holdings.sharers(ids[0], WHOLE), holdings.sharers(ids[10], WHOLE)), (None, Some(2)));
    assert!(holdings.is_over_share(ids[0], WHOLE) && !holdings.is_over_share(ids[10], WHOLE));
}

#[test]
fn whoever_only_rests_has_waited_since_its_last_data() {
    let (ids, mut holdings) = (ids(2), holdings());
    let rests = |moved| MemoryUse { bytes: 500, holds_data: false, drained: 7, moved_at: at(moved) };
    holdings.update(at(30), ids[0], peer(1), rests(10));
    holdings.update(at(30), ids[1], peer(2), rests(20));
    // Being checked is no progress.
    holdings.update(at(40), ids[0], peer(1), rests(10));
    assert_eq!(holdings.stalled_since(ids[0]), Some(at(10)));
    assert_eq!(holdings.worst(at(50)), Some(ids[0]));
}

#[test]
fn its_own_memory_is_counted() {
    let (ids, mut holdings) = (ids(1000), holdings());
    for (number, id) in ids.iter().enumerate() {
        holdings.update(at(0), *id, peer(number as u8), holds(1000, 0));
    }
    let least =
        1000 * mem::size_of::<(ConnectionEntry, Rank, Instant, SocketId)>() + 256 * mem::size_of::<Sum>();
    assert!((least..3 * least).contains(&holdings.memory_bytes()), "{} {least}", holdings.memory_bytes());
}

/// A rank is that of the peer when the connection was last checked. A connection with an outdated
/// rank is moved to the right one when it is found, and no longer hides those behind it.
#[test]
fn ranks_that_are_out_of_date_are_mended_where_they_are_found() {
    let (ids, mut holdings) = (ids(3), holdings());
    holdings.update(at(10), ids[0], peer(1), holds(1000, 0));
    holdings.update(at(10), ids[1], peer(2), holds(1000, 5));
    // The first one's peer holds far more now; its entry still has the old rank.
    holdings.update(at(10), ids[2], peer(1), holds(1 << 20, 9));
    let rank_of = |holdings: &Holdings, id| holdings.entry(id).unwrap().0.rank.magnitude;
    assert_eq!(rank_of(&holdings, ids[0]), rank_of(&holdings, ids[1]));
    assert_eq!(holdings.worst(at(10)), Some(ids[0]));
    assert_eq!(rank_of(&holdings, ids[0]), rank_of(&holdings, ids[2]));
    assert!(rank_of(&holdings, ids[1]) < rank_of(&holdings, ids[2]));
}

#[test]
fn a_slot_that_is_used_again_is_another_socket() {
    let mut slab: Slab<SocketId, ()> = Slab::new();
    let first = slab.insert(());
    let mut holdings = holdings();
    holdings.update(at(1), first, peer(1), holds(1000, 1));
    slab.remove(first);
    let second = slab.insert(());
    holdings.update(at(2), second, peer(2), holds(500, 2));
    holdings.forget(first);
    assert_eq!(holdings.worst(at(3)), Some(second));
    assert_eq!(holdings.largest().map(|sum| (sum.peer, sum.bytes)), Some((peer(2), 500)));
}

proptest! {
    /// After any sequence of changes the sums equal those of the entries.
    #[test]
    fn the_sums_are_those_of_the_entries(
        steps in proptest::collection::vec((0..20usize, 0..4u8, 0..100_000usize, any::<bool>(), any::<bool>()), 1..200),
    ) {
        let (ids, mut holdings) = (ids(20), holdings());
        let mut model: std::collections::BTreeMap<usize, (u8, usize, bool)> = Default::default();
        for (time, (index, number, bytes, holds_data, forget)) in steps.into_iter().enumerate() {
            if forget {
                holdings.forget(ids[index]);
                model.remove(&index);
                continue;
            }
            // A connection keeps its peer.
            let number = model.get(&index).map_or(number, |known| known.0);
            let used = MemoryUse { bytes, holds_data, drained: time as u32 * 1000, moved_at: at(0) };
            holdings.update(at(time as u64), ids[index], peer(number), used);
            model.insert(index, (number, bytes, holds_data));
            prop_assert_eq!(holdings.order.len(), model.len());
            for (&index, &(number, ..)) in &model {
                let of_peer = model.values().filter(|known| known.0 == number);
                let (_, sum) = holdings.entry(ids[index]).expect("it was entered");
                prop_assert_eq!(sum.bytes, of_peer.clone().map(|known| known.1).sum::<usize>());
                prop_assert_eq!(sum.connections, of_peer.clone().count());
                prop_assert_eq!(sum.holders, of_peer.filter(|known| known.2).count());
            }
            let holding: std::collections::BTreeSet<u8> =
                model.values().filter(|known| known.2).map(|known| known.0).collect();
            prop_assert_eq!(holdings.holding_peers, holding.len());
            let worst = holdings.worst(at(time as u64)).expect("there are some");
            prop_assert!(holding.is_empty() || holdings.entry(worst).is_some_and(|(entry, _)| entry.rank.holds_data));
        }
        holdings.forget_some(20);
        prop_assert!(holdings.is_empty() && holdings.peers.is_empty() && holdings.sums.len() == 0);
    }
}

/// Two peers of one connection each: to hold all of one's part is not to hold more than it.
#[test]
fn a_share_may_be_used_up() {
    let (ids, mut holdings) = (ids(2), holdings());
    for (bytes, is_over) in [(499, false), (500, false), (501, true)] {
        holdings.update(at(1), ids[0], peer(1), holds(bytes, 1));
        holdings.update(at(1), ids[1], peer(2), holds(1, 1));
        assert_eq!(holdings.is_over_share(ids[0], 1000), is_over, "{bytes}");
    }
    // Of one peer the connections divide what the peer may have.
    let (ids, mut holdings) = (self::ids(2), self::holdings());
    for (bytes, is_over) in [(500, false), (501, true)] {
        holdings.update(at(1), ids[0], peer(1), holds(bytes, 1));
        holdings.update(at(1), ids[1], peer(1), holds(1, 1));
        assert_eq!(holdings.is_over_share(ids[0], 1000), is_over, "{bytes}");
    }
}
