//! The calls of programs on echo sockets, and the sending.

use super::EchoSockets;
use crate::error::{Error, Result};
use crate::icmp::{self, echo};
use crate::id::SocketId;
use crate::ip::protocol;
use crate::message_flags::{RecvFlags, SendFlags};
use crate::socket::address::SockAddr;
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::datagram_calls::{DatagramPacket, check_longest};
use crate::socket::datagram_queue::OutgoingDatagram;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::message::{Received, SendMeta};
use crate::socket::options::SocketOption;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};

impl ProtocolCalls for EchoSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        Ok(Socket::new(domain, kind, self.default_options.clone(), Protocol::new_datagrams()))
    }

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        self.ports.bind(env, id, addr.to_ip()?)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let flow = self.ports.flow_to(env, id, addr.to_ip()?, None, &SendMeta::default())?;
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        env.common.record_mut(id)?.datagrams_mut()?.connected = Some(flow);
        Ok(())
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        check_longest(data.len())?;
        let data = data.into_datagram(flags)?;
        if data.len() < icmp::HEADER_LEN {
            return Err(Error::InvalidArgument);
        }
        let flow = self.ports.flow_of(env, id, meta)?;
        if flags != SendFlags::NONE {
            env.apply_route_flags(&flow, flags)?;
        }
        // The message includes its header.
        env.check_len(id, &flow, data.len(), 0, false)?;
        env.common.check_sender(id)?;
        let SendMeta { hop_limit, traffic_class, .. } = *meta;
        let outgoing =
            OutgoingDatagram { flow, data, segment_len: 0, hop_limit, traffic_class, is_packet: false };
        env.common.queue_datagram(id, outgoing)
    }

    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        if flags.contains(RecvFlags::OOB) {
            return Err(Error::NotSupported);
        }
        // As on Linux the length of the whole message is not to be had.
        let flags = RecvFlags::from_bits(flags.bits() & !RecvFlags::TRUNCATE.bits());
        env.common.receive_datagram_with(id, bufs, flags)
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId) -> TransmitOutcome {
        let Some((OutgoingDatagram { flow, data, .. }, fields)) = env.common.pop_outgoing(id, |_| true)
        else {
            return TransmitOutcome::Nothing;
        };
        let (header, payload) = echo::request(flow.local, flow.remote.addr, &data);
        let protocol = protocol::icmp_for(flow.remote.addr);
        // A request already has its checksum.
        env.send_packet(
            &flow,
            fields,
            DatagramPacket { protocol, header, payload, checksum_at: None, run: None },
        )
    }

    /// Closes the socket. Its identifier is free at once; the record stays until its queue is sent.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        if let Ok(socket) = env.common.record_mut(id)
            && let Some(bound) = socket.take_bound()
        {
            self.ports.release(id, bound);
        }
        env.common.queue_transmit(id);
    }

    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        env.common.record_mut(id)?.datagrams_mut()?.connected = None;
        self.ports.on_disconnect(env, id, false)
    }

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        self.ports.set_option(env, id, option)
    }
}
