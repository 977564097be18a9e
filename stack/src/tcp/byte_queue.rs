//! A queue of bytes in chunks, for the send queue and the receive queue.
//!
//! ```text
//!   start                                                     start + len
//!     |  chunk  |    chunk    | chunk |        tail             |  spare  |
//!     front: consumed here                  copied bytes are appended here
//! ```
//!
//! Slices are stored as they are. Copied bytes go into `tail`, one allocation for many small
//! pieces. When a slice of the tail is needed, the tail's bytes become a chunk, and the rest of the
//! allocation stays the tail.

use alloc::collections::VecDeque;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

/// The first allocation for copied bytes. An empty queue keeps one of this size.
const MIN_TAIL_BYTES: usize = 256;
/// The size up to which allocations double while small pieces are copied in.
const MAX_TAIL_BYTES: usize = 16 << 10;
/// The largest allocation for one large piece. Memory is freed by whole allocations, so they must
/// not be too large.
const MAX_COPY_BYTES: usize = 64 << 10;
/// The smallest list of chunks, which is also `VecDeque`'s smallest.
const MIN_CHUNKS: usize = 4;
/// The longest list that an empty queue keeps: bursts of data fill it again at once.
const KEPT_CHUNKS: usize = 128;
/// A slice of more pieces than this is copied into one piece: devices take a limited number
/// (IOV_MAX is 1,024), and many tiny pieces cost more than the copy.
const MAX_SLICES: usize = 16;
/// More pieces are allowed if they are larger than this on average, as for a run of many segments.
const MIN_SLICE_BYTES: usize = 128;

/// See the module's page.
pub(super) struct ByteQueue {
    chunks: VecDeque<Chunk>,
    /// The newest bytes; copied bytes are appended here.
    tail: BytesMut,
    /// The size of the allocation whose end is `tail`.
    tail_alloc: usize,
    /// Whether the last chunk was split from that allocation.
    tail_is_shared: bool,
    /// The position of the first byte, counted from the first byte that ever was in the queue.
    start: u64,
    len: usize,
    /// The size of all allocations except the list of chunks.
    alloc_bytes: usize,
    /// The chunk in which the last slice ended: the next one usually begins there.
    cursor: usize,
}

struct Chunk {
    /// The position of its first byte.
    start: u64,
    bytes: Bytes,
    /// The memory that is freed with this chunk. Of chunks that share an allocation, only the last
    /// one has it.
    alloc: usize,
}

impl ByteQueue {
    pub(super) fn new() -> Self {
        ByteQueue {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            tail_alloc: 0,
            tail_is_shared: false,
            start: 0,
            len: 0,
            alloc_bytes: 0,
            cursor: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All memory that the queue holds, including that of consumed bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.alloc_bytes + self.chunks.capacity() * mem::size_of::<Chunk>()
    }

    /// The same, with the queue's own struct.
    pub(super) fn all_memory_bytes(&self) -> usize {
        mem::size_of::<ByteQueue>() + self.memory_bytes()
    }

    /// Whether the queue holds neither data nor memory.
    pub(super) fn is_idle(&self) -> bool {
        self.len == 0 && self.memory_bytes() == 0
    }

    /// Appends a copy of `data`.
    pub(super) fn push_copy(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let mut room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                self.renew_tail(data.len());
                room = self.tail.capacity();
            }
            let (now, later) = data.split_at(room.min(data.len()));
            self.tail.extend_from_slice(now);
            self.len += now.len();
            data = later;
        }
    }

    /// Appends a slice, which keeps `alloc` bytes of memory alive.
    pub(super) fn push_bytes(&mut self, bytes: Bytes, alloc: usize) {
        if bytes.is_empty() {
            return;
        }
        if self.tail_alloc > 0 {
            self.retire_tail();
        }
        let start = self.end();
        self.len += bytes.len();
        self.alloc_bytes += alloc;
        self.push_chunk(Chunk { start, bytes, alloc });
    }

    /// Passes up to `len` bytes from `offset` on to `take`, in as few slices as possible.
    pub(super) fn slice(&mut self, offset: usize, len: usize, mut take: impl FnMut(Bytes)) {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        if len == 0 {
            return;
        }
        if offset + len > self.len - self.tail.len() {
            self.freeze_tail();
        }
        let position = self.start + offset as u64;
        let first = self.find(position);
        let mut pieces = Pieces { chunks: self.chunks.range(first..), position, left: len };
        let max_slices = MAX_SLICES.max(len / MIN_SLICE_BYTES);
        let count = pieces.clone().take(max_slices + 1).count();
        if count <= max_slices {
            for (bytes, from, to) in pieces.by_ref() {
                take(bytes.slice(from..to));
            }
            self.cursor = first + count - 1;
        } else {
            let mut copy = BytesMut::with_capacity(len);
            let mut last = first;
            for (index, (bytes, from, to)) in pieces.enumerate() {
                copy.extend_from_slice(bytes.get(from..to).unwrap_or_default());
                last = first + index;
            }
            take(copy.freeze());
            self.cursor = last;
        }
    }

    /// Copies the bytes after the first `skip` ones without consuming them. Returns how many bytes
    /// it copied.
    pub(super) fn peek(&self, mut skip: usize, buf: &mut [u8]) -> usize {
        let mut done = 0;
        let stored = self.chunks.iter().map(|chunk| &chunk.bytes[..]).chain([&self.tail[..]]);
        for bytes in stored {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            let bytes = &bytes[skipped..];
            let rest = buf.get_mut(done..).unwrap_or_default();
            let count = rest.len().min(bytes.len());
            if count == 0 && !bytes.is_empty() {
                break;
            }
            rest[..count].copy_from_slice(&bytes[..count]);
            done += count;
        }
        done
    }

    /// Removes and returns the first slice, at most `max` bytes of it. Empty if there is no data.
    pub(super) fn pop(&mut self, max: usize) -> Bytes {
        if self.chunks.is_empty() {
            self.freeze_tail();
        }
        let Some(front) = self.chunks.front() else { return Bytes::new() };
        if front.bytes.len() > max {
            let bytes = front.bytes.slice(..max);
            self.advance(max);
            return bytes;
        }
        let bytes = self.pop_front();
        self.start += bytes.len() as u64;
        self.len -= bytes.len();
        if self.chunks.is_empty() {
            self.advance(0);
        }
        bytes
    }

    /// Removes the first chunk and returns its bytes.
    fn pop_front(&mut self) -> Bytes {
        let Some(Chunk { bytes, alloc, .. }) = self.chunks.pop_front() else { return Bytes::new() };
        self.alloc_bytes -= alloc;
        self.cursor = self.cursor.saturating_sub(1);
        bytes
    }

    /// Consumes `count` bytes from the front, or all if there are fewer.
    pub(super) fn advance(&mut self, count: usize) {
        let count = count.min(self.len);
        self.start += count as u64;
        self.len -= count;
        let mut left = count;
        while let Some(front) = self.chunks.front_mut() {
            if front.bytes.len() > left {
                front.bytes.advance(left);
                front.start += left as u64;
                return;
            }
            left -= self.pop_front().len();
        }
        self.tail_is_shared = false;
        self.tail.advance(left);
        if self.len == 0 {
            self.shrink_empty();
        }
    }

    /// Frees capacity that holds no data: that of the list, and that of the tail's allocation if
    /// less than half of it is used. At most one allocation is copied.
    pub(super) fn give_back_capacity(&mut self) {
        let sharing = if self.tail_is_shared {
            self.chunks.iter().rev().take_while(|chunk| chunk.alloc == 0).count()
        } else {
            0
        };
        let first = self.chunks.len() - sharing;
        let shared: usize = self.chunks.range(first..).map(|chunk| chunk.bytes.len()).sum();
        let used = shared + self.tail.len();
        if used < self.tail_alloc / 2 {
            let mut tail = BytesMut::with_capacity(used);
            for chunk in self.chunks.drain(first..) {
                tail.extend_from_slice(&chunk.bytes);
            }
            tail.extend_from_slice(&self.tail);
            self.alloc_bytes = self.alloc_bytes - self.tail_alloc + tail.capacity();
            self.tail_alloc = tail.capacity();
            self.tail = tail;
            self.tail_is_shared = false;
            self.cursor = 0;
        }
        self.chunks.shrink_to_fit();
    }

    /// The position behind the last byte.
    fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// The chunk that holds this position, which must be in a chunk. Tries the chunk in which the
    /// last slice ended and the next one, then a binary search.
    fn find(&self, position: u64) -> usize {
        for index in [self.cursor, self.cursor + 1] {
            if self.chunks.get(index).is_some_and(|chunk| {
                position >= chunk.start && position - chunk.start < chunk.bytes.len() as u64
            }) {
                return index;
            }
        }
        self.chunks.partition_point(|chunk| chunk.start <= position).saturating_sub(1)
    }

    /// Appends a chunk. Callers limit the queue by the size of its data, so the list must stay
    /// small compared with the data: it doubles only if that is little, as with full segments, and
    /// otherwise grows by an eighth.
    fn push_chunk(&mut self, chunk: Chunk) {
        let count = self.chunks.len();
        if count == self.chunks.capacity() {
            let is_little = 2 * count * mem::size_of::<Chunk>() <= self.alloc_bytes / 8;
            let more = if is_little { count } else { count / 8 };
            self.chunks.reserve_exact(more.max(MIN_CHUNKS));
        }
        self.chunks.push_back(chunk);
    }

    /// Makes the tail's bytes a chunk, which shares the allocation with bytes that are appended
    /// later.
    fn freeze_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let start = self.end() - self.tail.len() as u64;
        let bytes = self.tail.split().freeze();
        self.push_chunk(Chunk { start, bytes, alloc: 0 });
        self.tail_is_shared = true;
    }

    /// Ends the use of the tail's allocation, which is freed with the last chunk that shares it.
    fn retire_tail(&mut self) {
        self.freeze_tail();
        self.tail = BytesMut::new();
        let alloc = mem::take(&mut self.tail_alloc);
        match self.chunks.back_mut() {
            Some(last) if mem::take(&mut self.tail_is_shared) => last.alloc += alloc,
            _ => self.alloc_bytes -= alloc,
        }
    }

    /// A new tail, with room for at least some of `wanted` bytes.
    fn renew_tail(&mut self, wanted: usize) {
        let grown = (self.tail_alloc * 2).clamp(MIN_TAIL_BYTES, MAX_TAIL_BYTES);
        self.retire_tail();
        self.tail = BytesMut::with_capacity(wanted.min(MAX_COPY_BYTES).max(grown));
        self.tail_alloc = self.tail.capacity();
        self.alloc_bytes += self.tail_alloc;
    }

    /// Frees the memory of an empty queue, except one small allocation, which a connection that
    /// sends a few bytes from time to time uses again.
    fn shrink_empty(&mut self) {
        if self.chunks.capacity() > KEPT_CHUNKS {
            self.chunks = VecDeque::new();
        }
        self.cursor = 0;
        let keep = self.tail_alloc <= MIN_TAIL_BYTES && self.tail.try_reclaim(self.tail_alloc);
        if !keep {
            self.retire_tail();
        }
    }
}

/// Iterates over the parts of chunks that cover a range of positions, as chunk, from, to.
#[derive(Clone)]
struct Pieces<'a> {
    chunks: alloc::collections::vec_deque::Iter<'a, Chunk>,
    position: u64,
    left: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a Bytes, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let chunk = self.chunks.next()?;
        let from = self.position.saturating_sub(chunk.start) as usize;
        let to = from.saturating_add(self.left).min(chunk.bytes.len());
        let from = from.min(to);
        self.position += (to - from) as u64;
        self.left -= to - from;
        Some((&chunk.bytes, from, to))
    }
}

impl core::fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ByteQueue { chunks, len, start, .. } = self;
        write!(f, "{len} bytes from {start} in {} chunks, {} held", chunks.len(), self.memory_bytes())
    }
}

#[cfg(test)]
mod tests;
