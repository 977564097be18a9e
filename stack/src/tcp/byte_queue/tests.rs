use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug)]
enum Op {
    Copy(usize),
    Bytes(usize),
    Slice(usize, usize),
    Advance(usize),
    Pop(usize),
    Peek(usize),
    Clear,
    GiveBack,
}

fn op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![4 => 0usize..40, 2 => 0usize..3_000, 1 => 0usize..150_000];
    prop_oneof![
        8 => size().prop_map(Op::Copy),
        4 => size().prop_map(Op::Bytes),
        8 => (size(), size()).prop_map(|(offset, len)| Op::Slice(offset, len)),
        8 => size().prop_map(Op::Advance),
        4 => size().prop_map(Op::Pop),
        4 => size().prop_map(Op::Peek),
        1 => Just(Op::Clear),
        4 => Just(Op::GiveBack),
    ]
}

fn sliced(queue: &mut ByteQueue, offset: usize, len: usize) -> (Vec<u8>, usize) {
    let (mut bytes, mut slices) = (Vec::new(), 0);
    queue.slice(offset, len, |slice| {
        bytes.extend_from_slice(&slice);
        slices += 1;
    });
    (bytes, slices)
}

/// A running number, so that every byte identifies its position.
fn fill(next: &mut u64, len: usize) -> Vec<u8> {
    let bytes = (0..len as u64).map(|n| ((*next + n) % 251) as u8).collect();
    *next += len as u64;
    bytes
}

proptest! {
    #[test]
    fn does_what_a_vector_does(ops in proptest::collection::vec(op(), 0..60)) {
        let mut queue = ByteQueue::new();
        let mut model: Vec<u8> = Vec::new();
        let mut next = 0;
        let mut kept = Vec::new();
        for op in ops {
            match op {
                Op::Copy(len) => {
                    let data = fill(&mut next, len);
                    queue.push_copy(&data);
                    model.extend_from_slice(&data);
                }
                Op::Bytes(len) => {
                    let data = fill(&mut next, len);
                    model.extend_from_slice(&data);
                    queue.push_bytes(data.into(), len);
                }
                Op::Slice(offset, len) => {
                    let from = offset.min(model.len());
                    let to = (from + len).min(model.len());
                    let (bytes, slices) = sliced(&mut queue, offset, len);
                    prop_assert_eq!(&bytes[..], &model[from..to]);
                    // A long run may have more, if they are not tiny.
                    prop_assert!(slices <= MAX_SLICES.max(bytes.len() / MIN_SLICE_BYTES));
                    // Slices stay valid after changes of the queue.
                    queue.slice(offset, len, |slice| kept.push((slice.to_vec(), slice)));
                }
                Op::Advance(count) => {
                    queue.advance(count);
                    model.drain(..count.min(model.len()));
                }
                Op::Pop(max) => {
                    let bytes = queue.pop(max);
                    prop_assert!(bytes.len() <= max && (!bytes.is_empty() || max == 0 || model.is_empty()));
                    prop_assert_eq!(&bytes[..], &model[..bytes.len()]);
                    model.drain(..bytes.len());
                }
                Op::Peek(len) => {
                    let mut buf = std::vec![0; len];
                    let count = queue.peek(0, &mut buf);
                    prop_assert_eq!(count, len.min(model.len()));
                    prop_assert_eq!(&buf[..count], &model[..count]);
                }
                Op::GiveBack => {
                    let before = queue.memory_bytes();
                    queue.give_back_capacity();
                    prop_assert!(queue.memory_bytes() <= before);
                }
                Op::Clear => {
                    queue = ByteQueue::new();
                    model.clear();
                }
            }
            prop_assert_eq!(queue.len(), model.len());
            prop_assert!(queue.memory_bytes() >= queue.len());
            if queue.len() == 0 {
                prop_assert!(queue.memory_bytes() <= MIN_TAIL_BYTES + KEPT_CHUNKS * size_of::<Chunk>());
            }
        }
        for (copy, slice) in kept {
            prop_assert_eq!(&copy[..], &slice[..]);
        }
    }
}

#[test]
fn slices_are_not_copied() {
    let mut queue = ByteQueue::new();
    let data = Bytes::from(std::vec![7; 5000]);
    queue.push_bytes(data.clone(), 5000);
    queue.advance(100);
    let mut slices = Vec::new();
    queue.slice(50, 1000, |slice| slices.push(slice));
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].as_ptr(), data[150..].as_ptr());
}

#[test]
fn copied_bytes_are_sliced_where_they_lie() {
    let mut queue = ByteQueue::new();
    queue.push_copy(&[1; 60]);
    let pointer = |queue: &mut ByteQueue| {
        let mut pointer = core::ptr::null();
        queue.slice(10, 20, |slice| pointer = slice.as_ptr());
        pointer
    };
    let first = pointer(&mut queue);
    queue.push_copy(&[2; 60]);
    assert_eq!(pointer(&mut queue), first);
}

#[test]
fn many_one_byte_writes_share_few_allocations() {
    let mut queue = ByteQueue::new();
    for n in 0..10_000 {
        queue.push_copy(&[n as u8]);
    }
    assert!(queue.chunks.len() <= 8, "{queue:?}");
    assert!(queue.memory_bytes() < 20_000, "{queue:?}");
    let (bytes, slices) = sliced(&mut queue, 5_000, 1_448);
    assert!(slices <= 2 && bytes[0] == 5_000u32 as u8);
}

#[test]
fn many_pieces_are_copied_into_one() {
    let mut queue = ByteQueue::new();
    for n in 0..100 {
        queue.push_copy(&[n]);
        // Each piece is sliced at once and becomes a chunk.
        assert_eq!(sliced(&mut queue, usize::from(n), 1).0, [n]);
    }
    let (bytes, slices) = sliced(&mut queue, 0, 100);
    assert_eq!(slices, 1);
    assert!(bytes.iter().copied().eq(0..100));
    assert_eq!(sliced(&mut queue, 99, 1).0, [99]);
}

#[test]
fn memory_grows_by_little_more_than_the_data() {
    let mut queue = ByteQueue::new();
    for n in 0..20_000 {
        let before = queue.memory_bytes();
        queue.push_bytes(Bytes::from_static(&[0; 128]), 128);
        let grown = queue.memory_bytes() - before;
        assert!(grown <= 128 + KEPT_CHUNKS * size_of::<Chunk>() + before / 8, "{grown} for chunk {n}");
    }
}

#[test]
fn nothing_is_held_after_much_passed_through() {
    let mut queue = ByteQueue::new();
    for _ in 0..10 {
        queue.push_copy(&[1; 100_000]);
        queue.push_bytes(Bytes::from(std::vec![2; 100_000]), 100_000);
        assert!(queue.memory_bytes() >= 200_000);
        queue.advance(199_999);
        queue.push_copy(&[3]);
        queue.advance(2);
        assert_eq!(queue.len(), 0);
        assert!(queue.memory_bytes() <= 512, "{queue:?}");
    }
    queue = ByteQueue::new();
    assert_eq!(queue.memory_bytes(), 0);
}

/// Only capacity is freed: the bytes stay, also those of slices and of the tail.
#[test]
fn capacity_is_given_back_and_no_byte_with_it() {
    for (len, sliced, consumed) in [(0, 0, 0), (100, 0, 0), (300, 200, 0), (300, 300, 120), (5000, 10, 4990)]
    {
        let mut queue = ByteQueue::new();
        queue.push_copy(&[1; 20_000]);
        let mut copy = Vec::new();
        queue.slice(0, sliced, |bytes| copy.push(bytes));
        queue.advance(20_000);
        let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
        for piece in data.chunks(50) {
            queue.push_copy(piece);
        }
        queue.slice(0, sliced, |bytes| copy.push(bytes));
        queue.advance(consumed);
        queue.give_back_capacity();
        let left = len as usize - consumed;
        // An allocation that is half used is not copied.
        assert!(queue.memory_bytes() <= 2 * left + consumed + 4 * 50, "{queue:?} of {len}");
        let mut rest = vec![0; left];
        assert_eq!(queue.peek(0, &mut rest), left);
        assert_eq!(rest, data[consumed..]);
        // The queue works as before.
        queue.push_copy(&[9; 10]);
        queue.push_bytes(Bytes::from(vec![8; 1000]), 1000);
        queue.advance(left);
        let mut more = vec![0; 1010];
        assert_eq!(queue.peek(0, &mut more), 1010);
        assert_eq!((more[0], more[9], more[10], more[1009]), (9, 9, 8, 8));
        queue.advance(1010);
        queue.give_back_capacity();
        assert_eq!(queue.memory_bytes(), 0);
    }
}

#[test]
fn peek_goes_on_behind_what_is_skipped() {
    let mut queue = ByteQueue::new();
    for (value, len) in [(1, 3_000), (2, 2_000), (3, 10)] {
        queue.push_bytes(Bytes::from(vec![value; len]), len);
    }
    let peek = |skip, len| {
        let mut buf = vec![0; len];
        let count = queue.peek(skip, &mut buf);
        buf.truncate(count);
        buf
    };
    assert_eq!(peek(2_999, 3), [1, 2, 2]);
    assert_eq!(peek(3_000, 2), [2, 2]);
    assert_eq!(peek(4_999, 8), [2, 3, 3, 3, 3, 3, 3, 3]);
    assert_eq!(peek(5_005, 100), [3; 5]);
    assert!(peek(5_010, 1).is_empty() && peek(9_999, 1).is_empty() && peek(0, 0).is_empty());
}

#[test]
fn a_queue_without_data_and_memory_is_idle() {
    let mut queue = ByteQueue::new();
    assert!(queue.is_idle());
    queue.push_copy(&[1; 10]);
    assert!(!queue.is_idle());
    queue.advance(10);
    assert!(!queue.is_idle(), "it keeps a little for the next bytes");
    queue.give_back_capacity();
    assert!(queue.is_idle());
    queue.push_bytes(Bytes::from_static(b"x"), 1);
    queue.advance(1);
    queue.give_back_capacity();
    assert!(queue.is_idle());
}

/// An empty queue keeps its list only if the list is short.
#[test]
fn an_empty_queue_keeps_a_short_list() {
    for (pieces, kept) in [(10, true), (KEPT_CHUNKS, true), (KEPT_CHUNKS + 1, false), (5_000, false)] {
        let mut queue = ByteQueue::new();
        for _ in 0..pieces {
            queue.push_bytes(Bytes::from(vec![0; 1500]), 1500);
        }
        queue.chunks.shrink_to_fit();
        queue.advance(pieces * 1500);
        assert_eq!((queue.chunks.capacity() > 0, queue.len()), (kept, 0), "{pieces}");
    }
}

/// The list doubles if that is at most an eighth of the data, and otherwise grows by an eighth.
#[test]
fn the_list_grows_to_its_double_where_that_is_little() {
    for (piece, doubles) in [(15 * size_of::<Chunk>(), false), (16 * size_of::<Chunk>(), true)] {
        let mut queue = ByteQueue::new();
        for _ in 0..64 {
            queue.push_bytes(Bytes::from(vec![0; piece]), piece);
        }
        queue.chunks.shrink_to_fit();
        queue.push_bytes(Bytes::from(vec![0; piece]), 0);
        let capacity = queue.chunks.capacity();
        assert_eq!(capacity, if doubles { 128 } else { 72 }, "{piece}");
    }
}

/// The tail is copied into a smaller allocation if less than half of it is used.
#[test]
fn an_allocation_that_is_half_used_stays_where_it_is() {
    for used in [0, 1, 499, 500, 501, 900] {
        let mut queue = ByteQueue::new();
        queue.push_copy(&vec![1; 1000]);
        queue.advance(1000 - used);
        let (half, at) = (queue.tail_alloc / 2, queue.tail.as_ptr());
        assert!(used == 0 || half >= 500, "{queue:?}");
        queue.give_back_capacity();
        assert_eq!(queue.tail.as_ptr() != at, used < half, "{used}: {queue:?}");
        assert_eq!(queue.len(), used);
    }
}
