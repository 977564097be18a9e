//! Sockets that are bound to a device (SO_BINDTODEVICE).
//!
//! The scope of the four-tuple of such a connection is its interface. So the same addresses and
//! ports may be in use on several interfaces.

use super::TcpSockets;
use super::connections::Target;
use super::stream::TcpSocket;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::socket::common::Env;
use crate::socket::options::SocketOption;
use crate::socket::record::Protocol;
use crate::socket::scope::{flow_on_device, scope_id};

impl TcpSockets {
    /// Makes the interface that a segment came in through the scope of its four-tuple, if it is for
    /// a connection or listener that is bound to that interface.
    #[cold]
    pub(super) fn find_device(&self, env: &Env<'_>, tuple: &mut FourTuple, iface: InterfaceId) {
        if tuple.scope != 0 {
            return;
        }
        let scope = scope_id(env.network.device_of(iface, tuple.local.addr));
        let through = FourTuple { scope, ..*tuple };
        let is_known = |tuple: &FourTuple| self.find_record(env.common, tuple).is_some();
        let is_for_listener = || self.listeners.device_for(&through).is_some_and(|device| device != 0);
        if is_known(&through) || !is_known(tuple) && is_for_listener() {
            *tuple = through;
        }
    }

    /// Sets SO_BINDTODEVICE. EADDRINUSE if there is a connection on that interface with the same
    /// addresses and ports. EINVAL for the socket that decides about
    /// intercepted connections.
    #[cold]
    pub(super) fn bind_to_device(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        device: Option<InterfaceId>,
    ) -> Result<()> {
        let socket = env.common.record(id)?;
        if matches!(socket.protocol, Protocol::Tcp(TcpSocket::Interceptor(_))) {
            return Err(Error::InvalidArgument);
        }
        let old = socket.protocol.state().flow();
        let is_parted = env.common.stream(id).is_none_or(|stream| stream.is_parted);
        let moved = old.map(|tuple| flow_on_device(tuple, device));
        if let Some(tuple) = moved.filter(|moved| !is_parted && Some(*moved) != old)
            && self.find_record(env.common, &tuple).is_some()
        {
            return Err(Error::AddressInUse);
        }
        env.common.set_option(&env.ctx, id, SocketOption::BindToDevice(device))?;
        let socket = env.common.record_mut(id)?;
        if let Some(bound) = socket.bound() {
            let moved = bound.on_device(device);
            socket.set_bound(moved);
            self.ports.change(bound.port, id, |binding| binding.device = moved.scope);
            if let Protocol::Tcp(TcpSocket::Listener(_)) = socket.protocol {
                self.listeners.remove(bound.key(), id);
                let options = &socket.options;
                self.listeners.insert(moved.key(), id, options.reuse_port, options.port_selector.as_deref());
            }
        }
        let (Some(old), Some(moved)) = (old, moved) else { return Ok(()) };
        let tcp = socket.protocol.tcp_mut()?;
        if let Some((_, &mut reuse)) = tcp.port_share() {
            self.ports.remove_connection(&old, reuse);
            self.ports.add_connection(&moved, reuse);
        }
        match tcp {
            TcpSocket::Stream(stream) => stream.tuple = moved,
            TcpSocket::Ended(stream) => stream.tuple = moved,
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => {}
        }
        if !is_parted {
            self.connections.remove(&old, Target::Connection(id));
            self.connections.insert(&moved, Target::Connection(id));
        }
        Ok(())
    }
}
