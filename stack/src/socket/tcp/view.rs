//! The descriptions of connections that have no record of a socket: handshakes and TIME-WAIT.

use super::TcpSockets;
use super::listener::Handshake;
use super::stream::TcpSocket;
use super::time_waits::TimeWaitId;
use crate::demux::FourTuple;
use crate::event::DeadlineKind;
use crate::id::SocketId;
use crate::socket::common::Common;
use crate::socket::info::{SocketInfo, SocketState};
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::record::Protocol;
use crate::socket::scope::{iface_of, present};
use crate::tcp::State;
use crate::time::Instant;

impl TcpSockets {
    /// The number of slots that handshakes have ever used.
    pub(in crate::socket) fn handshake_slots(&self) -> u32 {
        self.handshakes.slots()
    }

    /// The handshake in a slot. Its addresses are shown as its listener's.
    pub(in crate::socket) fn handshake_info(&self, common: &Common, slot: u32) -> Option<SocketInfo> {
        let (_, Handshake { record, listener, tuple, .. }) = self.handshakes.at(slot)?;
        let listener = common.record(*listener).ok();
        let domain = listener.map_or_else(|| domain_of(tuple), |listener| listener.domain);
        Some(SocketInfo {
            uid: listener.map_or(0, |listener| listener.uid),
            timer: Some((record.deadline(), DeadlineKind::Handshake)),
            retransmits: record.retries(),
            ..info(State::SynReceived, domain, tuple)
        })
    }

    /// The number of the first TIME-WAIT record, and how many there are.
    pub(in crate::socket) fn time_wait_range(&self) -> (u32, u32) {
        self.time_waits.range()
    }

    /// The TIME-WAIT record with this number, and its addresses.
    pub(in crate::socket) fn time_wait_info(&self, number: u32) -> Option<(FourTuple, SocketInfo)> {
        let id = TimeWaitId(number);
        let tuple = self.time_waits.get(id)?.tuple();
        let timer = self.time_waits.expires_at(id).map(|at| (at, DeadlineKind::TimeWait));
        Some((tuple, SocketInfo { timer, ..info(State::TimeWait, domain_of(&tuple), &tuple) }))
    }
}

impl Protocol {
    /// The addresses of a connection in TIME-WAIT that has a record of a socket.
    pub(in crate::socket) fn time_wait_tuple(&self) -> Option<&FourTuple> {
        let stream = self.stream()?;
        (stream.connection.state() == State::TimeWait).then_some(&stream.tuple)
    }
}

impl Common {
    /// The timer of a socket that fires next.
    pub(in crate::socket) fn timer_of(&self, id: SocketId) -> Option<(Instant, DeadlineKind)> {
        match &self.records.get(id)?.protocol {
            Protocol::Tcp(TcpSocket::Stream(stream)) => stream.connection.poll_timeout(),
            Protocol::Tcp(TcpSocket::Interceptor(interceptor)) => {
                interceptor.expires_at().map(|at| (at, DeadlineKind::Pending))
            }
            Protocol::Flows(queue) => queue.expires_at().map(|at| (at, DeadlineKind::IdleFlow)),
            _ => None,
        }
    }

    /// The timers of a connection that are armed.
    pub(crate) fn timers_of(&self, id: SocketId) -> impl Iterator<Item = (Instant, DeadlineKind)> {
        self.stream(id).into_iter().flat_map(|stream| stream.connection.armed_timers())
    }
}

fn domain_of(tuple: &FourTuple) -> Domain {
    if tuple.local.addr.is_ipv4() { Domain::V4 } else { Domain::V6 }
}

fn info(state: State, domain: Domain, tuple: &FourTuple) -> SocketInfo {
    SocketInfo {
        local: Some(present(domain, tuple.local_addr()).into()),
        peer: Some(present(domain, tuple.remote_addr()).into()),
        iface: iface_of(tuple.scope),
        ..SocketInfo::new(domain, SocketKind::Stream, SocketState::Tcp(state))
    }
}
