use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const MAX: usize = 64;

fn bytes(value: u8, len: usize) -> Bytes {
    Bytes::from(vec![value; len])
}

fn blocks(assembler: &Assembler) -> Vec<(u32, u32)> {
    assembler.sack_blocks().map(|(start, end)| (start.0, end.0)).collect()
}

/// The first value that arrived for each byte of the window.
struct Model {
    window: Vec<Option<u8>>,
    rcv_nxt: usize,
}

impl Model {
    fn ranges(&self) -> Vec<(usize, usize)> {
        let mut ranges = Vec::new();
        let mut start = None;
        for index in 0..=self.window.len() {
            let here = index < self.window.len() && self.window[index].is_some();
            match (start, here) {
                (None, true) => start = Some(index),
                (Some(from), false) => {
                    ranges.push((from, index));
                    start = None;
                }
                _ => {}
            }
        }
        ranges
    }
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0usize..30, 2 => 0usize..700, 1 => 500usize..1_500]
}

proptest! {
    #[test]
    fn does_what_an_array_of_bytes_does(
        isn: u32,
        inserts in proptest::collection::vec((0usize..3_000, sizes(), any::<u8>(), 0u8..8), 1..50),
        max_ranges in 1usize..12,
    ) {
        let at = |offset: usize| SeqNumber(isn) + offset as u32;
        let mut assembler = Assembler::new();
        let mut model = Model { window: vec![None; 5_000], rcv_nxt: 0 };
        for (offset, len, value, deliver) in inserts {
            let offset = offset.max(model.rcv_nxt + 1);
            if offset + len > model.window.len() {
                continue;
            }
            let before = model.ranges();
            // The first part of the segment that is already present.
            let is_here = |&index: &usize| model.window[index].is_some();
            let left = (offset..offset + len).find(is_here);
            let right = left.map(|left| (left..offset + len).find(|index| !is_here(index)).unwrap_or(offset + len));
            let overlap = assembler.first_overlap(at(offset), at(offset + len));
            prop_assert_eq!(overlap, left.zip(right).map(|(left, right)| (at(left), at(right))));
            let touches = before.iter().any(|&(start, end)| offset <= end && offset + len >= start);
            let covered = before.iter().any(|&(start, end)| offset >= start && offset + len <= end);
            let expected = if len == 0 || covered {
                Insert::Duplicate
            } else if !touches && before.len() >= max_ranges {
                Insert::Full
            } else {
                Insert::Stored
            };
            prop_assert_eq!(assembler.insert(at(offset), bytes(value, len), max_ranges), expected);
            if expected == Insert::Stored {
                for byte in &mut model.window[offset..offset + len] {
                    byte.get_or_insert(value);
                }
                let first = assembler.sack_blocks().next().unwrap();
                prop_assert!(first.0.before_eq(at(offset)) && first.1.after_eq(at(offset + len)));
            }
            if deliver == 0 {
                // The missing segment arrives with some data too much, like a retransmission.
                let missing = model.window[model.rcv_nxt..].iter().position(Option::is_some).unwrap_or(0);
                let upto = model.rcv_nxt + missing + missing.min(7);
                model.window[model.rcv_nxt..upto].fill(None);
                model.rcv_nxt = upto;
            }
            while let Some(piece) = assembler.take_ready(at(model.rcv_nxt)) {
                prop_assert!(!piece.is_empty());
                for &byte in &piece {
                    prop_assert_eq!(model.window[model.rcv_nxt].take(), Some(byte));
                    model.rcv_nxt += 1;
                }
            }
            let ranges = model.ranges();
            let buffered: usize = ranges.iter().map(|(start, end)| end - start).sum();
            prop_assert_eq!(assembler.buffered_bytes, buffered);
            prop_assert_eq!(assembler.is_empty(), ranges.is_empty());
            prop_assert!(assembler.memory_bytes() >= buffered);
            let entries: usize = assembler.ranges.iter().map(|range| range.pieces.capacity()).sum();
            prop_assert_eq!(assembler.list_entries, entries);
            let kept: Vec<_> = assembler.ranges.iter().map(|range| (range.start, range.end)).collect();
            let wanted: Vec<_> = ranges.iter().map(|&(start, end)| (at(start), at(end))).collect();
            prop_assert_eq!(kept, wanted);
            let blocks: Vec<_> = assembler.sack_blocks().collect();
            prop_assert_eq!(blocks.len(), ranges.len().min(4));
        }
    }
}

// RFC 2018 §4: the block with the latest segment comes first.
#[test]
fn sack_blocks_begin_with_the_latest() {
    let mut assembler = Assembler::new();
    for start in [100, 300, 500, 700, 900] {
        assert_eq!(assembler.insert(SeqNumber(start), bytes(1, 100), MAX), Insert::Stored);
    }
    assert_eq!(blocks(&assembler), [(900, 1000), (700, 800), (500, 600), (300, 400)]);
    assert_eq!(assembler.insert(SeqNumber(320), bytes(1, 10), MAX), Insert::Duplicate);
    assert_eq!(blocks(&assembler), [(300, 400), (900, 1000), (700, 800), (500, 600)]);
    assert_eq!(assembler.insert(SeqNumber(150), bytes(1, 700), MAX), Insert::Stored);
    assert_eq!(blocks(&assembler), [(100, 850), (900, 1000)]);
}

#[test]
fn the_first_to_arrive_wins() {
    let mut assembler = Assembler::new();
    assert_eq!(assembler.insert(SeqNumber(10), bytes(1, 10), MAX), Insert::Stored);
    assert_eq!(assembler.insert(SeqNumber(5), bytes(2, 20), MAX), Insert::Stored);
    let piece = assembler.take_ready(SeqNumber(5)).unwrap();
    assert_eq!(&piece[..], [[2; 5], [1; 5], [1; 5], [2; 5]].concat());
    assert_eq!(assembler.take_ready(SeqNumber(25)), None);
    assert_eq!(assembler.memory_bytes(), 0);
}

#[test]
fn large_pieces_are_not_copied() {
    let data = bytes(1, 1400);
    let mut assembler = Assembler::new();
    assert_eq!(assembler.insert(SeqNumber(1400), data.clone(), MAX), Insert::Stored);
    assert_eq!(assembler.insert(SeqNumber(2800), bytes(2, 1400), MAX), Insert::Stored);
    let ready = assembler.take_ready(SeqNumber(1500)).unwrap();
    assert_eq!(ready.as_ptr(), data[100..].as_ptr());
}

/// Single bytes, in any order, need neither a list entry each nor the frames in which they arrived.
#[test]
fn one_byte_segments_cost_little_memory() {
    let orders: [fn(u32) -> u32; 3] =
        [|n| n, |n| 9_999 - n, |n| if n.is_multiple_of(2) { n } else { 10_001 - n }];
    for order in orders {
        let mut assembler = Assembler::new();
        for n in 0..10_000 {
            let frame = bytes(1, 60);
            let _ = assembler.insert(SeqNumber(1 + order(n)), frame.slice(59..), MAX);
            assert!(frame.is_unique());
        }
        assert!(assembler.memory_bytes() < 2 * assembler.buffered_bytes + MAX * 256, "{assembler:?}");
    }
}

#[test]
fn pruning_takes_the_last_first_and_leaves_what_lies_before() {
    let mut assembler = Assembler::new();
    let piece = |byte: u8| Bytes::from(std::vec![byte; 1000]);
    for n in [1u32, 2, 3, 5, 6] {
        assert_eq!(assembler.insert(SeqNumber(n * 1000), piece(n as u8), 10), Insert::Stored);
    }
    assert_eq!(assembler.prune(SeqNumber(0), 500), 1000, "whole pieces");
    assert_eq!(assembler.end(), Some(SeqNumber(6000)));
    assert_eq!(assembler.prune(SeqNumber(2500), 10_000), 2000, "not what the new data lies behind");
    assert_eq!(assembler.sack_blocks().collect::<Vec<_>>(), [(SeqNumber(1000), SeqNumber(3000))]);
    assert_eq!(assembler.insert(SeqNumber(2500), piece(9), 10), Insert::Stored);
    assert_eq!(assembler.take_ready(SeqNumber(1000)).map(|bytes| bytes[0]), Some(1));
    assert_eq!(assembler.prune(SeqNumber(0), usize::MAX), 1500);
    assert!(assembler.is_empty());
    assert_eq!(assembler.memory_bytes(), 0);
}

#[test]
fn no_more_is_pruned_than_is_wanted() {
    let mut assembler = Assembler::new();
    for start in [0, 1000, 2000] {
        let _ = assembler.insert(SeqNumber(start), bytes(1, 600), MAX);
    }
    assert_eq!(assembler.prune(SeqNumber(0), 600), 600);
    assert_eq!(blocks(&assembler).len(), 2);
    assert_eq!(assembler.prune(SeqNumber(0), 601), 1200);
}

/// Small pieces are joined; large ones are not copied, whichever comes first.
#[test]
fn only_small_pieces_are_joined() {
    for (len, pieces) in [(100, 1), (SMALL_PIECE_BYTES, 2), (1400, 2)] {
        for starts in [[0, len], [len, 0]] {
            let mut assembler = Assembler::new();
            for start in starts {
                let _ = assembler.insert(SeqNumber(start as u32), bytes(1, len), MAX);
            }
            assert_eq!(assembler.ranges[0].pieces.len(), pieces, "{starts:?}");
        }
    }
}

#[test]
fn the_list_of_pieces_counts_as_memory() {
    let mut assembler = Assembler::new();
    for n in 0..1000 {
        let _ = assembler.insert(SeqNumber(2 * n), Bytes::from_static(b"x"), 10_000);
    }
    assert!(assembler.memory_bytes() >= 1000 * size_of::<Bytes>(), "{}", assembler.memory_bytes());
}

/// What a range of many pieces holds, beside their bytes, are the entries of its list.
#[test]
fn memory_is_that_of_the_bytes_the_pieces_and_the_ranges() {
    let mut assembler = Assembler::new();
    for n in 0..1000 {
        let _ = assembler.insert(SeqNumber(1400 * n), bytes(1, 1400), MAX);
    }
    assert_eq!((blocks(&assembler).len(), assembler.ranges[0].pieces.len()), (1, 1000));
    let least = assembler.buffered_bytes() + 1000 * size_of::<Bytes>() + size_of::<Range>();
    let bytes = assembler.memory_bytes();
    assert!((least..least + 1100 * size_of::<Bytes>()).contains(&bytes), "{bytes} {least}");
}

/// RFC 2018 §4: the block of the latest segment comes first, then those reported before it.
#[test]
fn blocks_are_in_the_order_of_their_latest_segments() {
    let mut assembler = Assembler::new();
    let mut insert = |start| {
        let _ = assembler.insert(SeqNumber(start), bytes(1, 100), MAX);
        let starts: Vec<u32> = assembler.sack_blocks().map(|(start, _)| start.0).collect();
        let (first, last) = (starts.iter().min(), starts.iter().max());
        assert_eq!(assembler.start().map(|start| start.0).as_ref(), first);
        assert_eq!(assembler.end().map(|end| end.0 - 100).as_ref(), last);
        starts
    };
    assert_eq!(insert(5000), [5000]);
    assert_eq!(insert(1000), [1000, 5000]);
    assert_eq!(insert(9000), [9000, 1000, 5000]);
    assert_eq!(insert(3000), [3000, 9000, 1000, 5000]);
    assert_eq!(insert(1000), [1000, 3000, 9000, 5000], "old data, too");
    assert_eq!(insert(9000), [9000, 1000, 3000, 5000]);
}
