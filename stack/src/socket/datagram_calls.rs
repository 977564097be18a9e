//! The calls that sockets with datagram queues share, whatever the protocol: `receiving`, `flow`
//! (where a datagram goes) and `sending`. Here is what both directions have in common.

use core::net::IpAddr;

use super::common::Common;
use super::datagram_queue::DatagramQueue;
use super::kind::{Domain, Shutdown};
use super::options::SocketOption;
use super::record::Socket;
use super::scope::{Bound, flow_on_device, iface_of};
use crate::Ctx;
use crate::demux::BoundAddr;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;

mod flow;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

pub(super) use flow::Sources;
pub(super) use sending::{DatagramPacket, check_longest, check_urgent};

impl Socket {
    /// The socket's datagram queues. EOPNOTSUPP if it has none.
    pub(super) fn datagrams_mut(&mut self) -> Result<&mut DatagramQueue> {
        self.protocol.datagrams_mut().ok_or(Error::NotSupported)
    }

    /// Whether a packet to this local address, through this interface, is for a socket without a
    /// port (raw or echo): it has that address or none, and the interface of a link-local address.
    pub(super) fn hears(&self, local: IpAddr, iface: Option<InterfaceId>) -> bool {
        let (bound, flow) = (self.bound(), self.protocol.state().flow());
        let own = match (bound, flow) {
            (Some(Bound { addr: BoundAddr::One(addr), .. }), _) => Some(addr),
            (_, flow) => flow.map(|flow| flow.local.addr),
        };
        local.is_ipv4() == (self.domain == Domain::V4)
            && own.is_none_or(|own| own == local)
            && self.hears_link(iface)
    }

    /// Whether a packet through this interface is for a socket without a port: if it has a
    /// link-local address, through the interface of that.
    pub(super) fn hears_link(&self, iface: Option<InterfaceId>) -> bool {
        let (bound, flow) = (self.bound(), self.protocol.state().flow());
        let scope = flow.map_or(0, |flow| flow.scope).max(bound.map_or(0, |bound| bound.scope));
        iface_of(scope).is_none_or(|named| iface == Some(named))
    }
}

impl Common {
    pub(super) fn shut_datagrams_down(&mut self, id: SocketId, how: Shutdown) -> Result<()> {
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        // As on Linux, where this also has its effect without a peer, and fails nevertheless.
        let result = datagrams.connected.map(|_| ()).ok_or(Error::NotConnected);
        datagrams.is_read_shut |= how != Shutdown::Write;
        datagrams.is_write_shut |= how != Shutdown::Read;
        self.note_readiness(id, Wakeup::STATE);
        result
    }

    /// Stores an error from an ICMP message.
    pub(super) fn set_datagram_error(&mut self, id: SocketId, error: Error) {
        if let Some(socket) = self.records.get_mut(id)
            && let Ok(datagrams) = socket.datagrams_mut()
        {
            datagrams.error = Some(error);
            self.note_readiness(id, Wakeup::ERROR);
        }
    }

    /// SO_BINDTODEVICE of a socket without ports (raw or echo).
    pub(super) fn set_device(
        &mut self,
        ctx: &Ctx<'_>,
        id: SocketId,
        device: Option<InterfaceId>,
    ) -> Result<()> {
        self.set_option(ctx, id, SocketOption::BindToDevice(device))?;
        let socket = self.record_mut(id)?;
        if let Some(bound) = socket.bound() {
            socket.set_bound(bound.on_device(device));
        }
        if let Some(flow) = &mut socket.datagrams_mut()?.connected {
            *flow = flow_on_device(*flow, device);
        }
        Ok(())
    }
}
