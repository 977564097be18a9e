//! Errors about datagrams that were sent: SO_ERROR, and the error queue with IP_RECVERR.

use bytes::Bytes;

use super::common::{Common, Env};
use super::datagram_queue::copy_into;
use super::error_queue::{ErrorOrigin, ErrorQueue, QueuedError};
use super::errors::report;
use super::message::{Received, copy_flags};
use super::options::MtuDiscover;
use super::scope::{iface_of, present};
use crate::demux::{Endpoint, FourTuple, with_scope};
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::message_flags::ReceivedFlags;
use crate::network::{NetworkError, NetworkErrorKind};

impl Common {
    /// Takes the next error of the queue. As on Linux (sock_dequeue_err_skb), SO_ERROR becomes the
    /// error after it. EAGAIN.
    pub(crate) fn take_queued_error(&mut self, id: SocketId) -> Result<(QueuedError, Bytes)> {
        let Some(datagrams) = self.record_mut(id)?.protocol.datagrams_mut() else {
            return Err(Error::WouldBlock);
        };
        let queue = datagrams.error_queue.as_mut().ok_or(Error::WouldBlock)?;
        let (error, payload) = queue.pop().ok_or(Error::WouldBlock)?;
        match queue.next_from_network() {
            Some(next) => datagrams.error = Some(next),
            None if error.origin != ErrorOrigin::Local => datagrams.error = None,
            None => {}
        }
        let news = if queue.is_empty() { Wakeup::NONE } else { Wakeup::ERROR };
        if queue.is_empty() {
            datagrams.error_queue = None;
        }
        self.settle(id, news);
        Ok((error, payload))
    }

    /// MSG_ERRQUEUE: like [`take_queued_error`](Common::take_queued_error), into buffers.
    pub(super) fn receive_queued_error(&mut self, id: SocketId, bufs: &mut [&mut [u8]]) -> Result<Received> {
        let (error, payload) = self.take_queued_error(id)?;
        let len = copy_into(&payload, bufs);
        let flags = ReceivedFlags::ERROR_QUEUE | copy_flags(len, payload.len());
        Ok(Received { len, flags, meta: None, error: Some(error) })
    }

    /// IP_RECVERR was switched off: forgets the errors in the queue.
    pub(super) fn forget_queued_errors(&mut self, id: SocketId) {
        if let Some(socket) = self.records.get_mut(id)
            && let Some(datagrams) = socket.protocol.datagrams_mut()
            && datagrams.error_queue.take().is_some()
        {
            self.settle(id, Wakeup::NONE);
        }
    }

    /// Puts an error into the queue, if the receive buffer and the stack's memory have room for it.
    fn queue_error(&mut self, id: SocketId, error: QueuedError, payload: Bytes) {
        let Some(socket) = self.records.get_mut(id) else { return };
        let limit = socket.options.receive_buffer;
        let Some(datagrams) = socket.protocol.datagrams_mut() else { return };
        let cost = ErrorQueue::cost(payload.len());
        let held = datagrams.received_bytes + datagrams.error_queue.as_ref().map_or(0, |queue| queue.bytes());
        if held + cost < limit && cost <= self.account.room_for_datagram(held) {
            datagrams.error_queue.get_or_insert_default().push(error, payload);
        }
        self.settle(id, Wakeup::ERROR);
    }

    /// EMSGSIZE for a datagram to `flow.remote`, and a report in the error queue if the program
    /// wants reports. `mtu` is the largest packet.
    #[cold]
    pub(super) fn refuse_length(&mut self, id: SocketId, flow: &FourTuple, mtu: usize) -> Error {
        let Some(socket) = self.records.get(id) else { return Error::MessageTooLong };
        if socket.options.ip.receive_errors {
            let mut remote = flow.remote;
            // As on Linux, over IPv4 the port is that of the connected peer, whatever the
            // destination.
            if remote.addr.is_ipv4() {
                remote.port = socket.protocol.state().flow().map_or(0, |connected| connected.remote.port);
            }
            let error = QueuedError {
                error: Error::MessageTooLong,
                origin: ErrorOrigin::Local,
                info: mtu as u32,
                destination: present(socket.domain, with_scope(remote, flow.scope)),
                offender: None,
            };
            self.queue_error(id, error, Bytes::new());
        }
        Error::MessageTooLong
    }
}

impl Env<'_> {
    /// Tells a program of an ICMP error about its datagram to `flow.remote`: SO_ERROR, and the
    /// error queue with the datagram's payload (Linux's udp_err, udpv6_err and ping_err). Without
    /// IP_RECVERR only a connected socket is told, and only of hard errors. `reports_mtu`: whether
    /// a path MTU is one for this kind of socket.
    pub(super) fn report_to_sender(
        &mut self,
        id: SocketId,
        flow: &FourTuple,
        network_error: &NetworkError,
        payload: Bytes,
        reports_mtu: bool,
    ) {
        let Some(socket) = self.common.records.get(id) else { return };
        let ip = &socket.options.ip;
        let (is_v4, mode, domain, queues) =
            (flow.remote.addr.is_ipv4(), ip.mtu_discover, socket.domain, ip.receive_errors);
        let is_connected = socket.protocol.state().flow().is_some();
        let (error, is_hard) = match network_error.kind {
            NetworkErrorKind::PacketTooBig { mtu } => {
                let is_believed = !matches!(mode, MtuDiscover::Interface | MtuDiscover::Omit);
                if is_believed {
                    self.network.learn_path_mtu(self.ctx.now, flow.remote.addr, iface_of(flow.scope), mtu);
                }
                // As on Linux 6.18.
                let is_told = if is_v4 { mode != MtuDiscover::Dont } else { is_believed || !reports_mtu };
                if !is_told {
                    return;
                }
                (Error::MessageTooLong, reports_mtu && mode != MtuDiscover::Dont)
            }
            kind => match report(kind, is_v4) {
                Some(report) => (report.error, report.is_hard),
                None => return,
            },
        };
        let is_told = queues || (is_hard && is_connected);
        if !is_told {
            return;
        }
        if queues {
            let (kind, code) = network_error.message;
            let origin =
                if is_v4 { ErrorOrigin::Icmp { kind, code } } else { ErrorOrigin::Icmp6 { kind, code } };
            let shown = |endpoint| present(domain, with_scope(endpoint, flow.scope));
            let queued = QueuedError {
                error,
                origin,
                info: network_error.info,
                destination: shown(flow.remote),
                offender: Some(shown(Endpoint::new(network_error.offender, 0))),
            };
            self.common.queue_error(id, queued, payload);
        }
        self.common.set_datagram_error(id, error);
    }
}

#[cfg(test)]
mod tests;
