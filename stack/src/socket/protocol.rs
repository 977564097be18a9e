//! What every kind of socket implements: the calls, and what it does with packets that come in.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::address::SockAddr;
use super::common::{Env, TransmitOutcome};
use super::datagram_queue::{ReceivedDatagram, copy_prefix};
use super::groups::GroupChange;
use super::kind::{Domain, Shutdown, SocketKind};
use super::message::{DatagramMeta, Received, SendMeta};
use super::options::SocketOption;
use super::record::Socket;
use crate::bpf::Filter;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::frame::Transmit;
use crate::id::{OwnerId, SocketId};
use crate::message_flags::{RecvFlags, SendFlags};
use crate::multicast::MulticastInterface;
use crate::network::{Datagram, IcmpOutcome, NetworkError};
use crate::socket::port_selector::PortSelector;

/// The calls, on the tables of one kind of socket. The default methods are for kinds whose records
/// have a [`DatagramQueue`](super::datagram_queue::DatagramQueue).
pub(crate) trait ProtocolCalls {
    /// A record for a new socket. EPROTONOSUPPORT, ENOBUFS.
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket>;

    /// Enters a new socket into the kind's tables, if it is found there before it is bound.
    fn on_opened(&mut self, _: SocketId, _: Domain, _: SocketKind) {}

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()>;

    fn listen(&mut self, _: &mut Env<'_>, _: SocketId, _backlog: usize) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Makes a socket the one at which connections or flows arrive that interfaces intercept.
    /// EINVAL, EADDRINUSE.
    fn intercept(&mut self, _: &mut Env<'_>, _: SocketId) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Takes the next connection from the listener's queue. EMFILE if the caller has no room for
    /// its descriptor.
    fn accept(&mut self, _: &mut Env<'_>, _caller: OwnerId, _: SocketId) -> Result<SocketId> {
        Err(Error::NotSupported)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()>;

    /// `connect` to AF_UNSPEC.
    fn disconnect(&mut self, _: &mut Env<'_>, _: SocketId) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Like `connect`, with the first data.
    fn connect_with(&mut self, _: &mut Env<'_>, _: SocketId, _: SocketAddr, _: &[u8]) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize>;

    /// Sends one datagram to this address.
    fn send_to(&mut self, env: &mut Env<'_>, id: SocketId, data: &[u8], to: &SockAddr) -> Result<usize> {
        let meta = SendMeta::to(to.to_ip()?);
        self.send(env, id, SendData::Slice(data), &meta, SendFlags::default())
    }

    fn receive(&mut self, env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
        let len = env.common.receive_datagram(id, |received| copy_prefix(&received.data, buf))?;
        env.common.on_received(id, len);
        Ok(len)
    }

    /// Like `receive`, and returns the metadata.
    fn receive_from(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        buf: &mut [u8],
    ) -> Result<(usize, DatagramMeta)> {
        let copy = |received: ReceivedDatagram| (copy_prefix(&received.data, buf), received.meta);
        let received = env.common.receive_datagram(id, copy)?;
        env.common.on_received(id, received.0);
        Ok(received)
    }

    fn receive_bytes(&mut self, env: &mut Env<'_>, id: SocketId, max: usize) -> Result<Bytes> {
        let mut data = env.common.receive_datagram(id, |received| received.data)?;
        data.truncate(max);
        env.common.on_received(id, data.len());
        Ok(data)
    }

    /// Receives one whole datagram, or a run of them, and returns the metadata.
    fn receive_message(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<(Bytes, DatagramMeta)> {
        let received = env.common.receive_datagram(id, |received| (received.data, received.meta))?;
        env.common.on_received(id, received.0.len());
        Ok(received)
    }

    /// Receives the queued datagrams, at most `max`.
    fn receive_batch(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        batch: &mut Vec<(Bytes, DatagramMeta)>,
        max: usize,
    ) -> Result<usize> {
        env.common.receive_datagrams(id, batch, max)
    }

    /// Like `receive`, into several buffers and with flags.
    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        env.common.receive_datagram_with(id, bufs, flags)
    }

    /// Sends the next packet of the socket, in its turn. `frame` becomes the frame for the device;
    /// it stays `None` if the packet is on the loopback, waits for a neighbour, or became fragments
    /// in the network layer's queue. It is not part of the result because each layer would move it:
    /// 2 % of a datagram's round trip (200 instructions).
    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome;

    fn shutdown(&mut self, env: &mut Env<'_>, id: SocketId, how: Shutdown) -> Result<()> {
        env.common.shut_datagrams_down(id, how)
    }

    /// Handles the closing of the last descriptor.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId);

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()>;

    /// Changes the socket's multicast memberships.
    fn change_groups(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        group: IpAddr,
        iface: MulticastInterface,
        change: GroupChange<'_>,
    ) -> Result<()> {
        env.change_groups(id, group, iface, change)
    }

    /// Sets how a socket on the socket's port is chosen (SO_ATTACH_REUSEPORT_CBPF), or with `None`
    /// that a hash decides. EINVAL for kinds whose sockets do not share ports.
    fn select_on_port(&mut self, _: &mut Env<'_>, _: SocketId, _: Option<PortSelector>) -> Result<()> {
        Err(Error::InvalidArgument)
    }

    /// Sets the program of a group of packet sockets (PACKET_FANOUT_DATA).
    fn set_fanout_program(&mut self, _: SocketId, _: Filter) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Handles the socket's timer.
    fn handle_timeout(&mut self, _: &mut Env<'_>, _: SocketId) {}

    /// Removes the record of a socket that nobody holds and that has nothing to send.
    fn free(&mut self, env: &mut Env<'_>, id: SocketId) {
        env.common.remove(id);
    }
}

/// The packets that come in, as they concern one kind of socket. What a method does here by itself
/// is right for a kind that they do not concern.
///
/// TCP and UDP are handed the packets of their protocols whole, by [`Kinds`](super::Kinds).
pub(super) trait ProtocolInput {
    /// A packet for a transport, which gets it, too: a socket that takes it takes a share of its
    /// bytes. Whether one does.
    fn on_datagram(&mut self, _: &mut Env<'_>, _: &Datagram) -> bool {
        false
    }

    /// Like `on_datagram`, for an ICMP message that the stack itself has handled.
    fn on_icmp(&mut self, _: &mut Env<'_>, _message: &Datagram, _: &IcmpOutcome) -> bool {
        false
    }

    /// The network reports an error about a packet that was sent with these addresses. Whether a
    /// socket of this kind sent it.
    fn handle_error(&mut self, _: &mut Env<'_>, _: &FourTuple, _: &NetworkError) -> bool {
        false
    }
}

/// The data of a call that sends.
#[derive(Debug)]
pub(crate) enum SendData<'a> {
    Slice(&'a [u8]),
    Slices(&'a [&'a [u8]]),
    Bytes(Bytes),
}

impl SendData<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            SendData::Slice(slice) => slice.len(),
            SendData::Slices(slices) => slices.iter().map(|slice| slice.len()).sum(),
            SendData::Bytes(bytes) => bytes.len(),
        }
    }

    /// The data as one datagram.
    pub(super) fn into_datagram(self) -> Bytes {
        match self {
            SendData::Slice(slice) => Bytes::copy_from_slice(slice),
            SendData::Slices(slices) => slices.concat().into(),
            SendData::Bytes(bytes) => bytes,
        }
    }
}
