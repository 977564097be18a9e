//! Puts datagrams into the receive queue of a socket, and takes them out.

use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::{Readiness, Wakeup};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::message_flags::RecvFlags;
use crate::socket::common::{Common, Env};
use crate::socket::datagram_queue::{OVERHEAD_BYTES, ReceivedDatagram, copy_into};
use crate::socket::message::{DatagramMeta, Received, copy_flags};
use crate::socket::rare_settings::RareSettings;
use crate::time::Instant;

/// Like [`Common::send_datagram`], these two functions change the account and the readiness by what
/// one datagram changes. [`Common::settle`] would compute both anew: 7 % of a round trip, with
/// those of the send queue (800 instructions).
impl Common {
    /// Passes the next datagram, whole, to `take`; with UDP_GRO it may be a run of datagrams.
    #[inline]
    pub(in crate::socket) fn receive_datagram<R>(
        &mut self,
        id: SocketId,
        take: impl FnOnce(ReceivedDatagram) -> R,
    ) -> Result<R> {
        let Common { account, records, .. } = self;
        let socket = records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let datagrams = socket.datagrams_mut()?;
        if let Some(error) = datagrams.error.take() {
            self.note_readiness(id, Wakeup::NONE);
            return Err(error);
        }
        let held = datagrams.received_bytes;
        let received = datagrams.pop_received().ok_or(Error::WouldBlock)?;
        let freed = held - datagrams.received_bytes;
        let is_readable = !datagrams.received.is_empty() || datagrams.is_read_shut;
        if !is_readable {
            socket.marks.lower(Readiness::READABLE_BIT);
        }
        account.subtract(&mut socket.charged_bytes, freed);
        Ok(take(received))
    }

    /// Puts a received datagram into the socket's queue, if there is room.
    #[inline]
    pub(in crate::socket) fn deliver_datagram(
        &mut self,
        id: SocketId,
        mut received: ReceivedDatagram,
    ) -> core::result::Result<(), DropReason> {
        let Common { account, records, events, pollers, .. } = self;
        let Some(socket) = records.get_mut(id) else { return Ok(()) };
        let limit = socket.options.receive_buffer;
        let Ok(datagrams) = socket.datagrams_mut() else { return Ok(()) };
        let (len, room) = (received.data.len(), account.room_for_datagram(datagrams.received_bytes));
        if let Err(reason) = datagrams.check_room(len, limit, room) {
            datagrams.drops = datagrams.drops.wrapping_add(1);
            return Err(reason);
        }
        received.meta.drops = datagrams.drops;
        datagrams.push_received(received);
        socket.marks.raise(Readiness::READABLE_BIT);
        account.add(&mut socket.charged_bytes, len + OVERHEAD_BYTES);
        if socket.enter_event_queue() {
            events.push_back(id);
        }
        pollers.wake(id, Wakeup::ARRIVAL);
        Ok(())
    }
}

impl Common {
    /// Takes the queued datagrams, at most `max`.
    pub(in crate::socket) fn receive_datagrams(
        &mut self,
        id: SocketId,
        batch: &mut Vec<(Bytes, DatagramMeta)>,
        max: usize,
    ) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        let mut bytes = 0;
        let mut push = |received: ReceivedDatagram| {
            bytes += received.data.len();
            batch.push((received.data, received.meta));
        };
        self.receive_datagram(id, &mut push)?;
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        let mut count = 1;
        while count < max
            && let Some(received) = datagrams.pop_received()
        {
            push(received);
            count += 1;
        }
        self.on_received(id, bytes);
        if count > 1 {
            self.settle(id, Wakeup::NONE);
        }
        Ok(count)
    }

    /// Receives into several buffers, with flags.
    pub(in crate::socket) fn receive_datagram_with(
        &mut self,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        if flags.contains(RecvFlags::ERROR_QUEUE) {
            return self.receive_queued_error(id, bufs);
        }
        let mut copy = |received: &ReceivedDatagram, skipped: usize| {
            let (data, meta) = (&received.data[skipped..], Some(received.meta));
            let copied = copy_into(data, bufs);
            let len = if flags.contains(RecvFlags::TRUNCATE) { received.data.len() } else { copied };
            Received { len, flags: copy_flags(copied, data.len()), meta, error: None }
        };
        if !flags.contains(RecvFlags::PEEK) {
            let received = self.receive_datagram(id, |received| copy(&received, 0))?;
            self.on_received(id, received.len);
            return Ok(received);
        }
        let offset = self.peek_offset(id);
        let found = self.record_mut(id)?.datagrams_mut()?.peek(offset);
        let peeked = found.map(|(received, skipped)| copy(received, skipped));
        self.note_readiness(id, Wakeup::NONE);
        let peeked = peeked?;
        self.on_peeked(id, peeked.len);
        Ok(peeked)
    }

    /// Copies the beginning of the next datagram without removing it, and returns its metadata.
    pub(crate) fn peek_datagram(&mut self, id: SocketId, buf: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        // A stream has no datagrams.
        self.record_mut(id)?.datagrams_mut()?;
        let received = self.receive_datagram_with(id, &mut [buf], RecvFlags::PEEK)?;
        Ok((received.len, received.meta.ok_or(Error::NotConnected)?))
    }

    /// The metadata with which a blocking receive returns nothing, because reading was shut down
    /// and nothing is queued. EAGAIN if it would wait, ENOTCONN without a peer.
    pub(crate) fn end_of_datagrams(&self, now: Instant, id: SocketId) -> Result<DatagramMeta> {
        let socket = self.record(id)?;
        let datagrams = socket.protocol.datagrams().ok_or(Error::NotSupported)?;
        if !datagrams.is_read_shut || !datagrams.received.is_empty() {
            return Err(Error::WouldBlock);
        }
        socket.connection_meta(now)
    }
}

impl Env<'_> {
    /// The interface that sockets see a packet to `dst` come in through.
    pub(in crate::socket) fn device_of(&self, iface: InterfaceId, dst: IpAddr) -> Option<InterfaceId> {
        let has_devices = self.common.rare.uses(RareSettings::DEVICES);
        Some(if has_devices { self.network.device_of(iface, dst) } else { iface })
    }
}
