//! How data of the host's streams gets into slices and out of them.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::policy::RELAY_CHUNK;
use crate::socket::stream::Slices;
use crate::sync::thread_local;

thread_local! {
    /// Memory to read into. A thread has it once, however many streams it relays.
    static READ_INTO: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads what there is, with a function like `read`. No slices are the end of the stream.
pub(crate) fn read_slices(read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Slices> {
    READ_INTO.with(|buf| {
        let mut buf = buf.borrow_mut();
        buf.resize(RELAY_CHUNK, 0);
        let count = read(&mut buf)?;
        Ok(if count == 0 { Slices::new() } else { smallvec![Bytes::copy_from_slice(&buf[..count])] })
    })
}

/// The slices, as functions like `write_vectored` take them.
pub(crate) fn io_slices(data: &Slices) -> SmallVec<[IoSlice<'_>; 16]> {
    data.iter().map(|slice| IoSlice::new(slice)).collect()
}
