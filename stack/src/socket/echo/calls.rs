//! The calls of programs on echo sockets, and the sending.

use super::EchoSockets;
use crate::error::{Error, Result};
use crate::icmp::{self, echo};
use crate::id::SocketId;
use crate::ip::protocol;
use crate::socket::address::SockAddr;
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::datagram_calls::DatagramPacket;
use crate::socket::datagram_queue::OutgoingDatagram;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::message::SendMeta;
use crate::socket::options::SocketOption;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};
use crate::tcp::SendFlags;

impl ProtocolCalls for EchoSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        Ok(Socket::new(domain, kind, self.default_options.clone(), Protocol::new_datagrams()))
    }

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        self.ports.bind(env, id, addr.to_ip()?)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        env.common.record_mut(id)?.datagrams_mut()?.error = None;
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
        let data = data.into_datagram(flags)?;
        let flow = self.ports.flow_of(env, id, meta)?;
        // The message includes its header.
        env.common.check_len(id, flow.remote.addr, data.len(), 0)?;
        if data.len() < icmp::HEADER_LEN {
            return Err(Error::InvalidArgument);
        }
        let SendMeta { hop_limit, traffic_class, .. } = *meta;
        let outgoing =
            OutgoingDatagram { flow, data, segment_len: 0, hop_limit, traffic_class, is_packet: false };
        env.common.queue_datagram(id, outgoing)
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

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        self.ports.set_option(env, id, option)
    }
}
