//! Sending and receiving datagrams.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::Bytes;
use portolan::{DatagramMeta, Instant, Owner, QueuedError, SendFlags, SendMeta};

use crate::engine::direction::Direction;
use crate::policy::COPY_BELOW;
use crate::socket::Socket;
use crate::socket::address_error::any_of;
use crate::socket::calls::Calls;

impl Socket {
    /// Like [`explained`](Socket::explained), for a datagram that is sent with `meta`.
    fn explained_to<R>(&self, meta: &SendMeta, result: io::Result<R>) -> io::Result<R> {
        match meta.peer {
            Some(peer) => self.explained(any_of(peer), result),
            None => result,
        }
    }

    /// Takes the next error of the error queue. It never waits.
    pub(crate) fn recv_error(&self) -> io::Result<(QueuedError, Bytes)> {
        self.call(|stack, _, d| stack.recv_error(d))
    }
}

impl Calls<'_> {
    /// Receives one datagram, cut to the length of the buffer, and its sender.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (bytes, meta) = self.recv_msg()?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok((len, meta.peer()))
    }

    /// After an error of a receive: the metadata with which a socket that may wait returns nothing,
    /// because reading was shut down. Linux does that, and otherwise returns EAGAIN.
    pub(super) fn end_of(
        &self,
        owner: &Owner<'_>,
        now: Instant,
        error: portolan::Error,
    ) -> portolan::Result<DatagramMeta> {
        if error != portolan::Error::WouldBlock || !self.may_wait() {
            return Err(error);
        }
        owner.end_of_datagrams(now, self.descriptor).map_err(|_| error)
    }

    /// Receives one or more datagrams: those that are queued, at most `max`.
    pub(crate) fn recv_batch(&self, batch: &mut Vec<(Bytes, DatagramMeta)>, max: usize) -> io::Result<usize> {
        let d = self.descriptor;
        self.call_waiting(Direction::Read, |core, now| {
            let mut owner = core.owner_of(d)?;
            owner.recv_batch(now, d, batch, max).or_else(|error| {
                let meta = self.end_of(&owner, now, error)?;
                batch.push((Bytes::new(), meta));
                Ok(1)
            })
        })
    }

    pub(crate) fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.call_waiting(Direction::Read, |core, now| {
            let mut owner = core.owner_of(self.descriptor)?;
            owner
                .recv_msg(now, self.descriptor)
                .or_else(|error| Ok((Bytes::new(), self.end_of(&owner, now, error)?)))
        })
    }

    pub(crate) fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        let sent = self.call_waiting(Direction::Write, |core, now| {
            core.owner_of(self.descriptor)?.send_msg(now, self.descriptor, bytes.clone(), meta)
        });
        self.explained_to(meta, sent)
    }

    /// Like [`send_msg`](Calls::send_msg), for data that is borrowed.
    #[cfg(feature = "quinn")]
    pub(crate) fn send_copy(&self, data: &[u8], meta: &SendMeta) -> io::Result<usize> {
        self.send_msg(self.copy_of(&[IoSlice::new(data)], data.len()), meta)
    }

    pub(crate) fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        if data.len() < COPY_BELOW {
            let sent = self.call_waiting(Direction::Write, |core, now| {
                core.owner_of(self.descriptor)?.send_to(now, self.descriptor, data, addr)
            });
            return self.explained(any_of(addr), sent);
        }
        self.send_msg(self.copy_of(&[IoSlice::new(data)], data.len()), &SendMeta::to(addr))
    }

    /// Sends all datagrams in order, unless the socket is nonblocking, its time-out passes, or
    /// there is an error. In that case only the first ones are sent, and the next call returns the
    /// error.
    pub(crate) fn send_batch(&self, batch: &[(Bytes, SendMeta)]) -> io::Result<usize> {
        let mut count = 0;
        let sent = self.call_waiting(Direction::Write, |core, now| {
            // The stack reports a pending error once; a call that has sent something must not take
            // it.
            if count > 0 && core.owner_of(self.descriptor)?.readiness(self.descriptor)?.error {
                return Ok(());
            }
            while let Some((data, meta)) = batch.get(count) {
                core.owner_of(self.descriptor)?.send_msg(now, self.descriptor, data.clone(), meta)?;
                count += 1;
            }
            Ok(())
        });
        match (count, batch.first()) {
            (0, Some((_, meta))) => self.explained_to(meta, sent.map(|()| 0)),
            (0, None) => sent.map(|()| 0),
            (count, _) => Ok(count),
        }
    }

    /// Sends the data of several slices as one datagram, with flags.
    pub(crate) fn send_message(
        &self,
        data: &[IoSlice<'_>],
        meta: &SendMeta,
        flags: SendFlags,
    ) -> io::Result<usize> {
        let slices: Vec<&[u8]> = data.iter().map(|slice| &slice[..]).collect();
        let d = self.descriptor;
        let sent = match flags.contains(SendFlags::DONT_WAIT) {
            true => self.call(|stack, now, d| stack.send_message(now, d, &slices, meta, flags)),
            false => self.call_waiting(Direction::Write, |core, now| {
                core.owner_of(d)?.send_message(now, d, &slices, meta, flags)
            }),
        };
        self.explained_to(meta, sent)
    }

    /// Copies the next datagram with the lock held, because it stays in the queue.
    pub(crate) fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peeked = self.call_waiting(Direction::Read, |core, now| {
            let mut owner = core.owner_of(self.descriptor)?;
            owner.peek_from(self.descriptor, buf).or_else(|error| Ok((0, self.end_of(&owner, now, error)?)))
        });
        peeked.map(|(len, meta)| (len, meta.peer()))
    }
}
