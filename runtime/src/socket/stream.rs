//! Sending and receiving on a stream, without a copy while the lock is held.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::PoisonError;

use bytes::{Buf, Bytes};
use portolan::{Descriptor, Instant, Received, RecvFlags, SendFlags, SocketId};
use smallvec::SmallVec;

use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::locks::to_io_error;
use crate::engine::waiters::Waiters;
use crate::policy::{CHECK_ROOM_FROM, COPY_BELOW, READ_SLICES, WRITE_CHUNK};
use crate::socket::Socket;
use crate::socket::calls::Calls;

/// Slices taken from a receive queue, to be copied with the lock released.
pub(crate) type Slices = SmallVec<[Bytes; 4]>;

impl Socket {
    /// Copies the first `len` bytes of the slices together into pooled memory.
    pub(super) fn copy_of(&self, slices: &[IoSlice<'_>], len: usize) -> Bytes {
        let pool = || self.engine().send_pool.lock().unwrap_or_else(PoisonError::into_inner);
        if len > WRITE_CHUNK {
            // The data is a datagram that is too long; the stack refuses it.
            return slices.iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat().into();
        }
        let mut piece = pool().fitting(len).take();
        let mut filled = 0;
        for slice in slices {
            let count = slice.len().min(len - filled);
            piece[filled..filled + count].copy_from_slice(&slice[..count]);
            filled += count;
        }
        pool().fitting(len).share(piece, len)
    }
}

impl Calls<'_> {
    /// Reads from a stream: takes slices with the lock held, and copies them with the lock
    /// released.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let slices = self.read_at_most(buf.len())?;
        let mut filled = 0;
        for slice in slices {
            // `take_slices` takes at most `buf.len()` bytes in total.
            buf[filled..filled + slice.len()].copy_from_slice(&slice);
            filled += slice.len();
        }
        Ok(filled)
    }

    /// Like [`read`](Socket::read), into several buffers.
    pub(crate) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if len == 0 {
            return Ok(0);
        }
        let slices = self.read_at_most(len)?;
        let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        for buf in bufs {
            for (place, byte) in buf.iter_mut().zip(&mut bytes) {
                *place = byte;
            }
        }
        Ok(slices.iter().map(Bytes::len).sum())
    }

    pub(crate) fn read_at_most(&self, len: usize) -> io::Result<Slices> {
        let (d, id) = (self.descriptor, self.id);
        self.receive(len, |core, now| take_slices(core, now, (d, id), len))
    }

    /// Reads from a stream with flags. With MSG_WAITALL it waits until the buffer is full, the
    /// stream ends, or there is an error, which the next call returns if there was data before it.
    pub(crate) fn recv_with(&self, buf: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let waits_for_all = flags.contains(RecvFlags::WAIT_ALL) && !flags.contains(RecvFlags::DONT_WAIT);
        if flags.bits() & !(RecvFlags::WAIT_ALL | RecvFlags::DONT_WAIT).bits() != 0 || !waits_for_all {
            let wanted = if waits_for_all && flags.contains(RecvFlags::PEEK) { buf.len() } else { 0 };
            return self.recv_message(&mut [buf], flags, wanted).map(|received| received.len);
        }
        let slices = self.read_all(buf.len())?;
        let mut filled = 0;
        for slice in slices {
            buf[filled..filled + slice.len()].copy_from_slice(&slice);
            filled += slice.len();
        }
        Ok(filled)
    }

    /// Takes `len` bytes, or fewer if the stream ends, an error comes or the time is over before.
    fn read_all(&self, len: usize) -> io::Result<Slices> {
        let (d, id) = (self.descriptor, self.id);
        let (mut slices, mut filled) = (Slices::new(), 0);
        let waited = self.call_waiting(Direction::Read, |core, now| {
            while filled < len {
                // As on Linux urgent data that comes while the call waits ends it, too.
                if filled > 0 && core.owner_of(d)?.at_mark(d)? {
                    return Ok(());
                }
                match take_slices(core, now, (d, id), len - filled) {
                    Ok(more) if more.is_empty() => return Ok(()),
                    Ok(more) => {
                        filled += more.iter().map(Bytes::len).sum::<usize>();
                        slices.extend(more);
                    }
                    Err(error) if filled == 0 || error == portolan::Error::WouldBlock => return Err(error),
                    Err(error) => {
                        // The stack reports an error once. It is kept for the next call, because
                        // this one has data to return.
                        if let Some(waiters) = core.waiters.of(id) {
                            waiters.extras().deferred_error = Some(error);
                        }
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        match waited {
            Err(error) if filled == 0 => Err(error),
            _ => Ok(slices),
        }
    }

    /// Receives into several buffers, with flags and metadata, as soon as `wanted` bytes are there
    /// or no more will come. It copies with the lock held. Urgent data and errors of the error
    /// queue are not waited for.
    pub(crate) fn recv_message(
        &self,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
        wanted: usize,
    ) -> io::Result<Received> {
        let never_waits = RecvFlags::DONT_WAIT | RecvFlags::OOB | RecvFlags::ERROR_QUEUE;
        if flags.bits() & never_waits.bits() != 0 {
            return self.call(|stack, now, d| stack.recv_message(now, d, bufs, flags));
        }
        self.call_waiting(Direction::Read, |core, now| {
            take_deferred_error(core, self.id)?;
            let mut owner = core.owner_of(self.descriptor)?;
            if wanted > 0 && owner.unread_bytes(self.descriptor)? < wanted {
                let readiness = owner.readiness(self.descriptor)?;
                if !readiness.peer_closed && !readiness.error {
                    return Err(portolan::Error::WouldBlock);
                }
            }
            owner.recv_message(now, self.descriptor, bufs, flags).or_else(|error| {
                let mut end = Received::default();
                end.meta = Some(self.end_of(&owner, now, error)?);
                Ok(end)
            })
        })
    }

    /// Takes one slice of a stream's receive queue.
    pub(crate) fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        if max == 0 {
            return Ok(Bytes::new());
        }
        let d = self.descriptor;
        self.receive(max, |core, now| {
            take_deferred_error(core, self.id)?;
            core.owner_of(d)?.recv_bytes(now, d, max)
        })
    }

    /// Calls `take` as soon as there is as much as a read of `len` bytes waits for (SO_RCVLOWAT).
    /// When the time is over before that, it takes what there is.
    fn receive<R>(
        &self,
        len: usize,
        mut take: impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let waited = self.call_waiting(Direction::Read, |core, now| {
            if core.owner_of(self.descriptor)?.is_below_low_water(self.descriptor, len)? {
                return Err(portolan::Error::WouldBlock);
            }
            take(core, now)
        });
        match waited {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_of_task() => {
                self.engine().call(|core, now, _| take(core, now))?.map_err(to_io_error)
            }
            taken => taken,
        }
    }

    /// Sends on a stream, or to the peer of a datagram socket. The data is copied before the lock
    /// is taken.
    pub(crate) fn write(&self, data: &[u8]) -> io::Result<usize> {
        if data.len() < COPY_BELOW {
            return self.call_waiting(Direction::Write, |core, now| {
                core.owner_of(self.descriptor)?.send(now, self.descriptor, data)
            });
        }
        self.write_bytes(self.copy_of(&[IoSlice::new(data)], data.len()))
    }

    /// Sends all bytes, however small the send buffer is, unless the socket is nonblocking, its
    /// time-out passes, or the connection ends. Data that `write` has copied is not copied again if
    /// it did not fit at first.
    pub(crate) fn write_bytes(&self, bytes: Bytes) -> io::Result<usize> {
        self.write_shared(&[bytes])
    }

    /// Like [`write_bytes`](Calls::write_bytes), with several slices.
    pub(crate) fn write_shared(&self, slices: &[Bytes]) -> io::Result<usize> {
        let Some((first, mut rest)) = slices.split_first() else { return Ok(0) };
        let (mut bytes, mut sent) = (first.clone(), 0);
        let result = self.call_waiting(Direction::Write, |core, now| {
            take_deferred_error(core, self.id)?;
            loop {
                match core.owner_of(self.descriptor)?.send_bytes(now, self.descriptor, bytes.clone()) {
                    Ok(count) => {
                        bytes.advance(count);
                        sent += count;
                    }
                    // A task that has sent something does not wait.
                    Err(portolan::Error::WouldBlock) if self.is_of_task() && sent > 0 => return Ok(()),
                    Err(error @ portolan::Error::WouldBlock) => return Err(error),
                    Err(error) if sent == 0 => return Err(error),
                    Err(error) => {
                        // The stack reports an error once. It is kept for the next call, because
                        // this one has sent data.
                        if let Some(waiters) = core.waiters.of(self.id) {
                            waiters.extras().deferred_error = Some(error);
                        }
                        return Ok(());
                    }
                }
                if bytes.is_empty() {
                    let Some((next, others)) = rest.split_first() else { return Ok(()) };
                    (bytes, rest) = (next.clone(), others);
                }
            }
        });
        match sent {
            0 => result.map(|()| 0),
            count => Ok(count),
        }
    }

    pub(crate) fn send_with(&self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        let d = self.descriptor;
        if flags.contains(SendFlags::DONT_WAIT) {
            return self.call(|stack, now, d| stack.send_with(now, d, data, flags));
        }
        self.call_waiting(Direction::Write, |core, now| core.owner_of(d)?.send_with(now, d, data, flags))
    }

    /// Waits, if a task makes the call, until there is room for a part of this many bytes. Data
    /// that does not fit would be copied again by the next attempt.
    fn wait_for_room(&self, len: usize) -> io::Result<()> {
        if self.is_of_task() && len >= CHECK_ROOM_FROM {
            self.ready(&[Direction::Write], None)?;
        }
        Ok(())
    }

    pub(crate) fn write_stream(&self, data: &[u8]) -> io::Result<usize> {
        self.wait_for_room(data.len())?;
        self.write(&data[..data.len().min(WRITE_CHUNK)])
    }

    /// Sends the slices one after the other in a single `write_stream`, so that a header and a body
    /// are sent together.
    pub(crate) fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>().min(WRITE_CHUNK);
        if len == 0 {
            return self.write(&[]);
        }
        self.wait_for_room(len)?;
        self.write_bytes(self.copy_of(slices, len))
    }

    /// Copies the next data with the lock held, because it stays in the queue.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.call_waiting(Direction::Read, |core, _| {
            core.owner_of(self.descriptor)?.peek(self.descriptor, buf)
        })
    }
}

/// Returns the error that the last call could not report because it had data to return.
fn take_deferred_error(core: &mut EngineCore, id: SocketId) -> portolan::Result<()> {
    let error = core.waiters.of(id).and_then(Waiters::take_deferred_error);
    error.map_or(Ok(()), Err)
}

/// Takes the data that is there and that one receive may return, at most `max` bytes; none at the
/// end of the stream.
fn take_slices(
    core: &mut EngineCore,
    now: Instant,
    (d, id): (Descriptor, SocketId),
    max: usize,
) -> portolan::Result<Slices> {
    take_deferred_error(core, id)?;
    let mut slices = Slices::new();
    let mut left = max;
    while left > 0 && slices.len() < READ_SLICES {
        match core.owner_of(d)?.recv_bytes(now, d, left) {
            // The end of the stream. If data was taken before it, the next call finds the end
            // again.
            Ok(slice) if slice.is_empty() => break,
            Ok(slice) => {
                left -= slice.len().min(left);
                slices.push(slice);
                if left > 0 && !core.owner_of(d)?.may_read_on(d)? {
                    break;
                }
            }
            Err(error) if slices.is_empty() => return Err(error),
            Err(portolan::Error::WouldBlock) => break,
            Err(error) => {
                // The stack reports an error once. It is kept for the next call, because this one
                // has data to return.
                if let Some(waiters) = core.waiters.of(id) {
                    waiters.extras().deferred_error = Some(error);
                }
                break;
            }
        }
    }
    Ok(slices)
}
