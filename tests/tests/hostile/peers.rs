//! Attacks over a connection: the cost of each for the server is bounded, and other connections are
//! not affected.

use portolan::SocketOption;
use portolan::testing::TcpSegment;

use crate::FAMILIES;
use crate::arena::{Arena, MODERN, sack};

/// Acknowledgements that are duplicate, old or impossible: on average less than one answer for a
/// hundred.
#[test]
fn storms_of_acknowledgements() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        for round in 0..200u32 {
            for number in 0..100 {
                let far = [0, u32::MAX, 1, 1 << 31, 70_000][number % 5];
                let ack = arena.attacker.rcv_nxt.wrapping_add(far);
                arena.acknowledge(ack, 1_000 + round as u16, Vec::new());
            }
            arena.step(10);
        }
        let (given, got) = (arena.frames_in, arena.frames_out);
        assert!(got * 100 <= given, "{got} for {given}");
        arena.innocent_goes_on();
    }
}

/// Everything is acknowledged before it can have arrived: the server sends faster, but never more
/// than twice what was acknowledged.
#[test]
fn optimistic_acknowledgements() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        let mut acked = arena.attacker.rcv_nxt;
        let (mut end, mut first) = (acked, None);
        for _ in 0..60 {
            arena.serve();
            for segment in arena.step(1) {
                let behind = segment.seq.wrapping_add(segment.payload.len() as u32);
                if behind.wrapping_sub(end) < 1 << 31 {
                    end = behind;
                }
            }
            let sent = end.wrapping_sub(acked);
            let most = *first.get_or_insert(sent);
            assert!(sent <= most.saturating_mul(2).max(20_000), "{sent} after {most}");
            first = Some(sent.max(most));
            // Up to the end of the data, and beyond it.
            arena.acknowledge(end, u16::MAX, Vec::new());
            arena.acknowledge(end.wrapping_add(1_000_000), u16::MAX, Vec::new());
            acked = end;
        }
        let all = end.wrapping_sub(arena.attacker.rcv_nxt);
        assert!(all > 4_000_000, "{all} bytes: it was to be fast");
        arena.innocent_goes_on();
    }
}

/// SACK blocks of every kind: for each acknowledgement at most a segment or two are sent.
#[test]
fn blocks_that_lie() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        let una = arena.attacker.rcv_nxt;
        let (mut given, mut got) = (0, 0);
        for round in 0..300u32 {
            arena.serve();
            got += arena.step(2).len();
            for number in 0..10u32 {
                let at = |segs: u32| una.wrapping_add(segs * 1_000);
                let pick = round.wrapping_mul(7_919).wrapping_add(number * 31);
                let blocks = match number % 5 {
                    0 => vec![(at(pick % 90), at(pick % 90 + 1))],
                    1 => vec![(at(1), at(100_000)), (at(5), at(2))],
                    2 => vec![(una.wrapping_sub(1_000), una), (at(1), at(9)), (at(3), at(4))],
                    3 => vec![(at(pick % 40) + 1, at(pick % 40) + 2), (at(0), at(8))],
                    _ => vec![(at(2), at(4)), (at(6), at(8)), (at(10), at(12)), (at(1), at(9))],
                };
                arena.acknowledge(una, u16::MAX, sack(&blocks));
                given += 1;
            }
        }
        assert!(got <= 2 * given + 10, "{got} for {given}");
        let stats = arena.pair.b.stack.stats();
        assert!(stats.recovery.recoveries > 0 && stats.recovery.dsacks_received > 0, "{stats:?}");
        arena.innocent_goes_on();
    }
}

/// An MSS of zero counts as the smallest that the configuration allows, and the records of all the
/// small segments in flight stay within the memory limit.
#[test]
fn tiny_segments() {
    for mss in [0u8, 1, 48] {
        let mut arena = Arena::new(portolan::Domain::V4, &[2, 4, 0, mss, 4, 2, 3, 3, 7, 1, 1, 1]);
        let una = arena.attacker.rcv_nxt;
        let mut end = una;
        for _ in 0..15 {
            arena.serve();
            for segment in arena.step(10) {
                assert!(segment.payload.is_empty() || segment.payload.len() >= 8, "{segment:?}");
                end = segment.seq.wrapping_add(segment.payload.len() as u32);
            }
            // First every second segment, then all of them.
            for seg in 0..20u32 {
                let left = end.wrapping_sub(96 * (seg + 1));
                arena.acknowledge(arena.attacker.rcv_nxt, u16::MAX, sack(&[(left, left.wrapping_add(48))]));
            }
            arena.acknowledge(end, u16::MAX, Vec::new());
            arena.attacker.rcv_nxt = end;
        }
        assert!(end.wrapping_sub(una) > 10_000);
        arena.innocent_goes_on();
    }
}

/// The window shrinks again and again, and opens by one byte each time: no silly segments are sent,
/// and at most one for each acknowledgement.
#[test]
fn windows_that_shrink_or_open_by_a_byte() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        arena.serve();
        arena.step(10);
        let una = arena.attacker.rcv_nxt;
        let (given, got) = (arena.frames_in, arena.frames_out);
        for round in 0..500u32 {
            // In units of 128 bytes.
            arena.acknowledge(una, [400, 0, 3, 1, 0][round as usize % 5], Vec::new());
            arena.step(5);
        }
        let (given, got) = (arena.frames_in - given, arena.frames_out - got);
        assert!(got <= given, "{got} for {given}");
        arena.innocent_goes_on();
    }
    // Without scaling the unit is a byte.
    let mut arena = Arena::new(portolan::Domain::V4, &[2, 4, 3, 0xe8]);
    arena.serve();
    arena.step(10);
    arena.attacker.rcv_nxt = arena.attacker.rcv_nxt.wrapping_add(10_000);
    let mut small = 0;
    for window in 0..1_000 {
        arena.acknowledge(arena.attacker.rcv_nxt, window, Vec::new());
        small += arena.step(1).iter().filter(|segment| (1..500).contains(&segment.payload.len())).count();
    }
    assert!(small <= 10, "{small} silly segments");
    arena.innocent_goes_on();
}

/// The window is zero for hours: probes are sent at the lowest rate, and no more memory is used
/// than the program queued. After the program has closed, the connection ends even if the peer
/// continues to answer.
#[test]
fn a_window_closed_for_ever() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        arena.acknowledge(arena.attacker.rcv_nxt, 0, Vec::new());
        arena.serve();
        arena.step(1);
        let before = arena.frames_out;
        let memory = arena.pair.b.stack.memory_bytes();
        for _ in 0..360 {
            arena.step(10_000);
            arena.acknowledge(arena.attacker.rcv_nxt, 0, Vec::new());
        }
        let probes = arena.frames_out - before;
        assert!((20..60).contains(&probes), "{probes} in an hour");
        assert!(arena.pair.b.stack.memory_bytes() <= memory + 100_000);
        assert!(
            arena.pair.b.stack.queued_bytes(arena.victim).is_ok(),
            "it waits for as long as it is answered"
        );
        let sockets = arena.pair.b.stack.sockets().count();
        let now = arena.pair.now();
        arena.pair.b.stack.close(now, arena.victim).unwrap();
        for _ in 0..400 {
            arena.step(10_000);
            arena.acknowledge(arena.attacker.rcv_nxt, 0, Vec::new());
        }
        assert_eq!(arena.pair.b.stack.sockets().count(), sockets - 1);
        arena.innocent_goes_on();
    }
}

/// Segments with the same numbers and different data: the program reads the data that came first,
/// and each byte once.
#[test]
fn overlapping_segments_that_disagree() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        let begin = arena.attacker.snd_nxt;
        let mut expected = vec![None; 4_000];
        // Pseudo-random numbers, with the beginning of the data last.
        for number in 0..400u32 {
            let pick = (number + 1).wrapping_mul(0x9e37_79b9) >> 8;
            let at = 1 + (pick % 3_900) as usize;
            let len = 1 + (pick / 3_900) as usize % 90;
            let letter = number as u8;
            let mut segment = arena.attacker.segment(TcpSegment::ACK, &vec![letter; len]);
            segment.seq = begin.wrapping_add(at as u32);
            arena.send(&segment);
            for byte in &mut expected[at..at + len] {
                byte.get_or_insert(letter);
            }
        }
        arena.send(&arena.attacker.segment(TcpSegment::ACK, &[0xff; 4_000][..1_000]));
        arena.send(&arena.attacker.segment(TcpSegment::ACK, &[0xfe; 4_000][..1_400]));
        let step = |byte: &mut Option<u8>, letter| *byte.get_or_insert(letter);
        let whole: Vec<u8> = expected[..1_000].iter_mut().map(|byte| step(byte, 0xff)).collect();
        let read = arena.read();
        assert!(read.len() >= 1_400);
        assert!(read[..1_000] == whole[..], "{domain:?}");
        let more: Vec<u8> = expected[1_000..1_400].iter_mut().map(|byte| step(byte, 0xfe)).collect();
        assert!(read[1_000..1_400] == more[..], "{domain:?}");
        arena.step(1);
        assert!(arena.frames_out <= arena.frames_in);
        arena.innocent_goes_on();
    }
}

/// Single bytes out of order, old data, data beyond the window: at most one acknowledgement for
/// each.
#[test]
fn floods_of_data_that_is_of_no_use() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        let begin = arena.attacker.snd_nxt;
        for round in 0..200u32 {
            for number in 0..100u32 {
                let pick = (round * 100 + number).wrapping_mul(0x9e37_79b9) >> 8;
                let far =
                    [2 + pick % 60_000, 0u32.wrapping_sub(1 + pick % 1_000), 1 << 24][number as usize % 3];
                let mut segment = arena.attacker.segment(TcpSegment::ACK, b"?");
                segment.seq = begin.wrapping_add(far);
                arena.send(&segment);
            }
            arena.step(5);
        }
        assert!(arena.frames_out <= arena.frames_in, "{} for {}", arena.frames_out, arena.frames_in);
        assert!(arena.bytes_out <= 2 * arena.bytes_in, "{} for {}", arena.bytes_out, arena.bytes_in);
        assert_eq!(arena.read(), b"");
        assert!(arena.pair.b.stack.memory_bytes() < 4 << 20, "{}", arena.pair.b.stack.memory_bytes());
        arena.innocent_goes_on();
    }
}

/// Urgent pointers at all positions: the data arrives in order, except for at most one out-of-band
/// byte at a time.
#[test]
fn urgent_pointers_everywhere() {
    for domain in FAMILIES {
        let mut arena = Arena::new(domain, &MODERN);
        let mut read = 0;
        for number in 0..2_000u32 {
            let mut segment = arena.attacker.segment(TcpSegment::ACK | TcpSegment::URG, &[number as u8; 10]);
            segment.urgent = [0, 1, 5, 11, 60_000, u16::MAX][number as usize % 6];
            if number % 7 == 3 {
                segment.seq = segment.seq.wrapping_add(30_000);
                arena.send(&segment);
                continue;
            }
            arena.send(&segment);
            arena.attacker.snd_nxt = arena.attacker.snd_nxt.wrapping_add(10);
            read += arena.read().len();
            if number % 20 == 0 {
                arena.step(1);
            }
        }
        let sent = arena.attacker.snd_nxt.wrapping_sub(1_000_001) as usize;
        assert!(read <= sent && read + 2_000 >= sent, "{read} of {sent}");
        arena.step(1);
        assert!(arena.frames_out <= arena.frames_in);
        arena.innocent_goes_on();
    }
}

/// "Fragmentation needed" with every MTU down to zero: segments get no smaller than the smallest
/// path allows, a message about data that is not in flight is ignored, and nothing is sent but
/// existing data.
#[test]
fn lies_about_the_path() {
    let mut arena = Arena::new(portolan::Domain::V4, &MODERN);
    arena.serve();
    let sent = arena.step(1);
    let seq = sent.iter().find(|segment| !segment.payload.is_empty()).expect("data").seq;
    let server = arena.pair.b.addr(portolan::Domain::V4);
    let mut got = 0;
    for round in 0..400u32 {
        let mtu = [1_400, 576, 100, 68, 20, 1, 0][round as usize % 7];
        let mut quoted = TcpSegment::new(80, arena.attacker.peer_port);
        quoted.seq = if round % 2 == 0 { seq } else { seq.wrapping_sub(1 + round * 100_000) };
        let original = portolan::testing::PacketBuilder::new(server, arena.packet().src).tcp(&quoted);
        let mut rest = vec![0, 0, (mtu >> 8) as u8, mtu as u8];
        rest.extend_from_slice(&original[..28]);
        let packet = arena.packet().icmp(3, 4, &rest);
        arena.inject(&packet);
        let segments = arena.step(1);
        assert!(segments.iter().all(|segment| segment.payload.len() >= 8), "{segments:?}");
        got += segments.len();
    }
    // The data in flight was retransmitted once for each accepted MTU, at last in the smallest
    // segments.
    assert!(got > 0 && got <= 2_000, "{got}");
    arena.innocent_goes_on();
}

/// Data in SYNs with a valid cookie whose handshakes never complete: a limited number of
/// connections waits, and further SYNs are handled as usual (RFC 7413 §5.1).
#[test]
fn floods_of_data_in_syns() {
    const LIMIT: usize = 16;
    let mut arena = Arena::new(portolan::Domain::V4, &MODERN);
    let (now, listener) = (arena.pair.now(), arena.listener);
    arena.pair.b.stack.set_option(now, listener, SocketOption::FastOpen(LIMIT)).unwrap();
    let syn = |port: u16, cookie: &[u8]| TcpSegment {
        flags: TcpSegment::SYN,
        seq: u32::from(port) << 16,
        options: [&[34, 2 + cookie.len() as u8], cookie].concat(),
        payload: if cookie.is_empty() { Vec::new() } else { vec![b'?'; 500] },
        ..TcpSegment::new(port, 80)
    };
    arena.send(&syn(9_999, &[]));
    let answers = arena.step(1);
    let options = &answers[0].options;
    let at = options.windows(2).position(|pair| pair == [34, 10]).expect("a cookie of eight bytes");
    let cookie = options[at + 2..at + 10].to_vec();
    let sockets = arena.pair.b.stack.sockets().count();
    for number in 0..5_000u16 {
        arena.send(&syn(10_000 + number, &cookie));
        if number % 100 == 0 {
            arena.step(1);
        }
    }
    let stats = arena.pair.b.stack.stats();
    assert_eq!(stats.fast_open.passive, LIMIT as u64);
    assert!(stats.cookies.sent > 4_000, "what has no room is a cookie: {stats:?}");
    let waiting = arena.pair.b.stack.sockets().count() - sockets;
    assert!((LIMIT..=LIMIT + 140).contains(&waiting), "{waiting} with a backlog of 128");
    arena.step(1);
    assert!(arena.frames_out <= arena.frames_in, "{} for {}", arena.frames_out, arena.frames_in);
    arena.innocent_goes_on();
}
