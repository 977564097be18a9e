use super::*;
use crate::ip::fragmentation::fragments;
use crate::ip::ipv4::{self, Ipv4Fields};
use crate::ip::output::OutgoingHeader;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_assume, proptest};

struct Bench {
    reassembler: Reassembler,
    stats: Stats,
    now: Instant,
}

impl Bench {
    fn with(config: IpConfig) -> Bench {
        let reassembler = Reassembler::new(&config, usize::MAX, &mut Rng::new([0; 32]));
        Bench { reassembler, stats: Stats::new(), now: Instant::ZERO }
    }

    fn new() -> Bench {
        Bench::with(IpConfig::default())
    }

    fn insert(&mut self, id: u32, piece: Piece) -> Outcome {
        self.reassembler.insert(self.now, &mut self.stats, key(id), piece)
    }

    /// Counts drops as the caller does.
    fn insert_counted(&mut self, id: u32, piece: Piece) -> Option<Bytes> {
        match self.insert(id, piece) {
            Outcome::Held => None,
            Outcome::Complete { packet, .. } => Some(packet),
            Outcome::Dropped(reason) => {
                self.stats.count_drop(reason, &Subject::Stack);
                None
            }
        }
    }
}

fn key(id: u32) -> PacketKey {
    PacketKey {
        src: "10.0.0.1".parse().unwrap(),
        dst: "10.0.0.2".parse().unwrap(),
        protocol: 17,
        id,
        iface: None,
    }
}

fn ip() -> Ipv4Fields {
    Ipv4Fields {
        src: "10.0.0.1".parse().unwrap(),
        dst: "10.0.0.2".parse().unwrap(),
        protocol: 17,
        hop_limit: 64,
        traffic_class: 0,
        ident: 0,
        dont_fragment: false,
        offset: 0,
        more: false,
    }
}

fn piece(offset: usize, data: &[u8], more: bool) -> Piece {
    let mut header = crate::frame::HeaderBuf::new();
    Ipv4Fields { offset, more, ..ip() }.prepend(&mut header, data.len());
    Piece {
        header: Bytes::copy_from_slice(header.as_slice()),
        data: Bytes::copy_from_slice(data),
        offset,
        more,
        protocol: 17,
        named_at: 9,
        iface: InterfaceId(0),
        cast: Cast::Unicast,
        ecn: 0,
    }
}

fn dropped(outcome: Outcome) -> DropReason {
    match outcome {
        Outcome::Dropped(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// A fragment counts with its bytes, its packet's record and the packet's deadline, until it
/// expires.
#[test]
fn all_that_waits_counts_as_memory() {
    let mut bench = Bench::new();
    assert_eq!(bench.reassembler.memory_bytes(), 0);
    for id in 0..20 {
        assert!(matches!(bench.insert(id, piece(0, &[1; 80], true)), Outcome::Held));
    }
    let accounted = bench.reassembler.bytes;
    assert!(accounted >= 20 * (80 + PACKET_OVERHEAD), "{accounted}");
    assert_eq!(bench.reassembler.memory_bytes(), accounted + 20 * size_of::<Expiry>());
    let end = bench.reassembler.poll_timeout().unwrap();
    assert_eq!(bench.reassembler.handle_timeout(end, &mut bench.stats).len(), 20);
    assert_eq!(bench.reassembler.memory_bytes(), 0);
}

#[test]
fn fragments_in_any_order_make_the_packet() {
    let mut bench = Bench::new();
    assert!(matches!(bench.insert(1, piece(16, &[3; 5], false)), Outcome::Held));
    assert!(matches!(bench.insert(1, piece(0, &[1; 8], true)), Outcome::Held));
    let Outcome::Complete { packet, .. } = bench.insert(1, piece(8, &[2; 8], true)) else { panic!() };
    let header = ipv4::parse(&packet).unwrap();
    assert_eq!(header.fragment, None);
    assert_eq!((header.total_len, packet.len()), (41, 41));
    assert_eq!(&packet[20..], [&[1; 8][..], &[2; 8], &[3; 5]].concat());
    assert_eq!(bench.reassembler.bytes, 0);
    assert_eq!(bench.reassembler.poll_timeout(), None);
    assert_eq!(bench.stats.ip.reasm_oks, 1);
}

#[test]
fn rfc_5722_overlaps_drop_the_packet_and_all_that_comes_of_it() {
    for overlap in [
        piece(8, &[9; 16], true),
        piece(0, &[9; 16], true),
        piece(16, &[9; 8], true),
        piece(8, &[9; 32], false),
    ] {
        let mut bench = Bench::new();
        bench.insert_counted(1, piece(0, &[1; 8], true));
        bench.insert_counted(1, piece(16, &[2; 16], true));
        assert_eq!(dropped(bench.insert(1, overlap)), DropReason::FragmentOverlap);
        // The two that waited; the caller counts the third.
        assert_eq!(bench.stats.drops(DropReason::FragmentOverlap), 2);
        assert_eq!(dropped(bench.insert(1, piece(8, &[2; 8], true))), DropReason::FragmentOverlap);
        assert_eq!(dropped(bench.insert(1, piece(32, &[2; 8], false))), DropReason::FragmentOverlap);
        // Another packet is not affected, nor is the same identification after the time-out.
        assert!(matches!(bench.insert(2, piece(0, &[1; 8], true)), Outcome::Held));
        bench.now = Instant::from_secs(30);
        assert!(bench.reassembler.handle_timeout(bench.now, &mut bench.stats).len() == 1);
        assert!(matches!(bench.insert(1, piece(0, &[1; 8], true)), Outcome::Held));
    }
}

#[test]
fn exact_duplicates_are_dropped_alone() {
    let mut bench = Bench::new();
    bench.insert_counted(1, piece(0, &[1; 8], true));
    assert_eq!(dropped(bench.insert(1, piece(0, &[1; 8], true))), DropReason::DuplicateFragment);
    bench.insert_counted(1, piece(16, &[2; 8], false));
    for more in [false, true] {
        assert_eq!(dropped(bench.insert(1, piece(16, &[2; 8], more))), DropReason::DuplicateFragment);
    }
    assert!(bench.insert_counted(1, piece(8, &[2; 8], true)).is_some());
}

/// The first last fragment sets the length: if another could change it, the bytes would suffice
/// although the packet has a hole.
#[test]
fn a_second_last_fragment_does_not_move_the_end() {
    let mut bench = Bench::new();
    bench.insert_counted(1, piece(0, &[1; 8], true));
    bench.insert_counted(1, piece(24, &[4; 8], false));
    assert!(bench.insert_counted(1, piece(16, &[3; 8], false)).is_none());
    assert!(bench.insert_counted(1, piece(8, &[2; 8], true)).is_none());
    assert_eq!((bench.stats.ip.reasm_oks, bench.stats.all_drops()), (0, 4));
}

/// Whatever one source sends, the packets that others have begun stay.
#[test]
fn a_source_that_floods_crowds_out_only_itself() {
    let flood = |key: PacketKey, id: u32, v6: bool| PacketKey {
        src: if v6 {
            // Any address in the attacker's network.
            core::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(id)).into()
        } else {
            "10.9.9.9".parse().unwrap()
        },
        id,
        ..key
    };
    for (config, len) in [
        (IpConfig { reassembly_limit_bytes: 40_000, ..IpConfig::default() }, 1400),
        (IpConfig { max_reassemblies: 20, ..IpConfig::default() }, 8),
    ] {
        for v6 in [false, true] {
            let mut bench = Bench::with(config.clone());
            for id in 0..5 {
                bench.insert_counted(id, piece(0, &vec![0; len], true));
            }
            for id in 0..1000 {
                let key = flood(key(id), id, v6);
                let piece = piece(0, &vec![0; len], true);
                let _ = bench.reassembler.insert(bench.now, &mut bench.stats, key, piece);
            }
            for id in 0..5 {
                assert!(bench.insert_counted(id, piece(len, &[0; 1], false)).is_some(), "{id} {v6}");
            }
            assert!(bench.reassembler.deadlines.len() < 200);
            bench.reassembler.handle_timeout(Instant::from_secs(60), &mut bench.stats);
            assert_eq!(bench.reassembler.memory_bytes(), 0);
            assert!(bench.reassembler.shares.iter().all(|share| *share == SourceUsage::default()));
        }
    }
}

#[test]
fn ends_that_contradict_each_other_drop_the_packet() {
    // Beyond the end; another end; an end before the data that are there, and before the known end.
    for (first, second) in [
        (piece(8, &[1; 8], false), piece(16, &[1; 8], true)),
        (piece(8, &[1; 8], false), piece(24, &[1; 8], false)),
        (piece(24, &[1; 8], true), piece(8, &[1; 8], false)),
        (piece(24, &[1; 8], false), piece(8, &[1; 8], false)),
    ] {
        let mut bench = Bench::new();
        bench.insert_counted(1, first);
        assert_eq!(dropped(bench.insert(1, second)), DropReason::BadFragment);
        assert_eq!(dropped(bench.insert(1, piece(0, &[1; 8], true))), DropReason::FragmentOverlap);
    }
}

#[test]
fn time_is_bounded_and_the_first_fragment_is_quoted() {
    let mut bench = Bench::new();
    bench.insert_counted(1, piece(0, &[1; 8], true));
    bench.now = Instant::from_secs(10);
    bench.insert_counted(2, piece(8, &[1; 8], true));
    assert_eq!(bench.reassembler.poll_timeout(), Some(Instant::from_secs(30)));
    assert!(bench.reassembler.handle_timeout(Instant::from_secs(29), &mut bench.stats).is_empty());
    let expired = bench.reassembler.handle_timeout(Instant::from_secs(30), &mut bench.stats);
    assert_eq!(expired.len(), 1);
    assert_eq!(&expired[0].packet[20..], [1; 8]);
    assert_eq!(bench.reassembler.poll_timeout(), Some(Instant::from_secs(40)));
    // Without the first fragment there is nothing to quote.
    assert!(bench.reassembler.handle_timeout(Instant::from_secs(40), &mut bench.stats).is_empty());
    assert_eq!(bench.stats.drops(DropReason::ReassemblyTimeout), 2);
    assert_eq!(bench.reassembler.memory_bytes(), 0);
}

#[test]
fn memory_is_bounded_and_the_oldest_gives_way() {
    let mut bench = Bench::with(IpConfig { reassembly_limit_bytes: 20_000, ..IpConfig::default() });
    for id in 0..1000 {
        bench.insert_counted(id, piece(0, &[0; 1400], true));
        assert!(bench.reassembler.bytes <= 20_000);
    }
    let held = bench.reassembler.packets.len() as u64;
    assert!(held >= 10);
    assert_eq!(bench.stats.drops(DropReason::ReassemblyLimit), 1000 - held);
    assert!(bench.insert_counted(999, piece(1400, &[0; 1], false)).is_some());

    let mut bench = Bench::with(IpConfig { max_reassemblies: 3, ..IpConfig::default() });
    for id in 0..10 {
        bench.insert_counted(id, piece(0, &[0; 8], true));
    }
    assert_eq!(bench.reassembler.packets.len(), 3);
    assert_eq!(bench.stats.drops(DropReason::ReassemblyLimit), 7);

    // Tiny fragments of one packet.
    let mut bench = Bench::new();
    for index in 0..1000 {
        bench.insert_counted(1, piece(index * 16, &[0; 8], true));
    }
    assert!(bench.reassembler.bytes < 2 * PACKET_OVERHEAD);
    assert_eq!(bench.stats.all_drops(), 1000);
}

#[test]
fn what_just_fits_into_the_limit_is_held() {
    let cost = |piece: &Piece| piece.data.len() + piece.header.len() + FRAGMENT_OVERHEAD + PACKET_OVERHEAD;
    let first = piece(0, &[0; 1400], true);
    let held = |reassembly_limit_bytes| {
        let mut bench = Bench::with(IpConfig { reassembly_limit_bytes, ..IpConfig::default() });
        matches!(bench.insert(1, first.clone()), Outcome::Held)
    };
    assert!(held(cost(&first)));
    assert!(!held(cost(&first) - 1));
}

#[test]
fn packets_that_get_through_leave_no_deadlines_behind() {
    let mut bench = Bench::new();
    bench.insert_counted(0, piece(0, &[0; 8], true));
    for id in 1..1000 {
        bench.insert_counted(id, piece(0, &[0; 8], true));
        assert!(bench.insert_counted(id, piece(8, &[0; 8], false)).is_some());
    }
    assert!(bench.reassembler.deadlines.len() < 50);
    assert_eq!(bench.reassembler.poll_timeout(), Some(Instant::from_secs(30)));
}

#[test]
fn rfc_3168_5_3_congestion_of_a_part_is_congestion_of_all() {
    let with_ecn = |piece: Piece, ecn| Piece { ecn, ..piece };
    let mut bench = Bench::new();
    bench.insert_counted(1, with_ecn(piece(0, &[0; 8], true), 2));
    let packet = bench.insert_counted(1, with_ecn(piece(8, &[0; 8], false), 3)).unwrap();
    assert_eq!(ipv4::parse(&packet).unwrap().traffic_class & 3, 3);
    bench.insert_counted(2, with_ecn(piece(0, &[0; 8], true), 0));
    assert!(bench.insert_counted(2, with_ecn(piece(8, &[0; 8], false), 3)).is_none());
    assert_eq!(bench.stats.drops(DropReason::BadFragment), 2);
}

proptest! {
    /// Fragments of any packet, in any order, some of them twice, give the packet, once.
    #[test]
    fn reassembly_undoes_fragmentation(
        len in 1usize..20_000, mtu in 300usize..2000, order in prop::collection::vec(any::<(u16, bool)>(), 70),
    ) {
        let data: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
        let header = OutgoingHeader::V4(ip());
        let cut = fragments(header, 7, mtu, &[Bytes::from(data.clone())]).unwrap();
        prop_assume!(cut.len() > 1);
        let mut order = order;
        let mut sent: Vec<(u16, Piece)> = Vec::new();
        for packet in &cut {
            let (place, twice) = order.pop().unwrap_or((0, false));
            let bytes = Bytes::from([packet.header.as_slice(), &packet.payload.concat()].concat());
            let header = ipv4::parse(&bytes).unwrap();
            let fragment = header.fragment.unwrap();
            let piece = piece(fragment.offset, &bytes[20..], fragment.more);
            if twice {
                sent.push((place.wrapping_mul(31), piece.clone()));
            }
            sent.push((place, piece));
        }
        sent.sort_by_key(|(place, _)| *place);
        let mut bench = Bench::new();
        let mut whole = Vec::new();
        for (_, piece) in sent {
            // A duplicate that arrives after the packet is complete begins another packet, which
            // expires.
            if whole.is_empty() {
                whole.extend(bench.insert_counted(7, piece));
            }
        }
        prop_assert_eq!(whole.len(), 1);
        prop_assert_eq!(&whole[0][20..], &data[..]);
    }

    /// Whatever arrives, the account equals what is held, and every fragment is held, delivered or
    /// counted.
    #[test]
    fn the_account_is_right(
        pieces in prop::collection::vec((0u32..3, 0usize..40, 1usize..20, any::<bool>()), 0..100)
    ) {
        let mut bench = Bench::with(IpConfig { reassembly_limit_bytes: 2000, ..IpConfig::default() });
        let mut delivered = 0;
        let inserted = pieces.len();
        for (id, place, len, more) in pieces {
            let before: usize = bench.reassembler.packets.get(&key(id)).map_or(0, |packet| packet.pieces.len());
            if let Some(packet) = bench.insert_counted(id, piece(place * 8, &vec![0; len * 8], more)) {
                // The fragments before it may have been dropped to make room for this one. If it is
                // a whole packet, it alone was delivered.
                delivered += if packet.len() == 20 + len * 8 { 1 } else { before + 1 };
            }
            let packets = bench.reassembler.packets.values();
            let bytes: usize = packets.map(|packet| packet.accounted_bytes).sum();
            prop_assert_eq!(bytes, bench.reassembler.bytes);
            prop_assert_eq!(bytes, bench.reassembler.shares.iter().map(|share| share.bytes).sum::<usize>());
            prop_assert!(bytes <= 2000);
        }
        let held: usize = bench.reassembler.packets.values().map(|packet| packet.pieces.len()).sum();
        prop_assert_eq!(inserted, held + delivered + bench.stats.all_drops() as usize);
        bench.reassembler.handle_timeout(Instant::from_secs(60), &mut bench.stats);
        prop_assert_eq!(bench.reassembler.memory_bytes(), 0);
    }
}
