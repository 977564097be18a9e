//! TCP sockets: listeners, handshakes, connections and TIME-WAIT records.
//!
//! Read `stream` and `listener` (what a socket has become), `connections` (which record a segment
//! is for), then `input` (segments), `joining` (segments of a burst), `handshakes`, `cookies`,
//! `fast_open` and `fast_open_cache` (new connections), `intercept` (connections to other hosts),
//! `saved_syn` (TCP_SAVE_SYN), `calls` and
//! `connect` (calls of programs), `params` (the initial parameters of a connection), `device`
//! (SO_BINDTODEVICE), `output` and `segmentation` (outgoing segments), `settle` (what follows all
//! of these), `ended` (what is left of a connection), `time_waits`, `orphans` (connections that no
//! descriptor holds), `pressure` (memory shortage), `questions` (queries), `view` (descriptions for
//! `ss`) and `errors` (ICMP errors).

mod calls;
mod connect;
mod connections;
mod cookies;
mod device;
mod ended;
mod errors;
mod fast_open;
mod fast_open_cache;
mod filter;
mod handshakes;
mod input;
pub(super) mod intercept;
mod joining;
pub(super) mod listener;
mod orphans;
mod output;
mod params;
mod pressure;
pub(crate) mod questions;
mod saved_syn;
mod segmentation;
mod settle;
pub(super) mod stream;
mod time_waits;
mod view;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::mem;

use self::connections::{Connections, Target};
use self::fast_open_cache::FastOpenCache;
use self::intercept::{Intercepts, PendingTable};
use self::joining::Joining;
use self::listener::{HalfOpens, Handshake, Listener};
use self::segmentation::Segmentation;
use self::stream::{Stream, TcpSocket};
use self::time_waits::TimeWaits;
use super::common::Common;
use super::options::SocketOptions;
use super::record::{Protocol, Socket};
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::id::{HandshakeId, SocketId};
use crate::ports::PortTable;
use crate::rate_limit::PeerLimit;
use crate::rng::Rng;
use crate::slab::Slab;
use crate::socket::port_selector::BoundSockets;
use crate::socket::saved_syns::SavedSyn;
use crate::steering::Share;
use crate::tcp::{FastOpenKeys, IsnGenerator, SynCookies};

/// The tables of TCP sockets.
#[derive(Debug)]
pub(crate) struct TcpSockets {
    default_options: CopyOnWrite<SocketOptions>,
    /// The table in which each segment is looked up.
    connections: Connections,
    handshakes: Slab<HandshakeId, Handshake>,
    half_open: HalfOpens,
    time_waits: TimeWaits,
    listeners: BoundSockets,
    ports: PortTable<SocketId>,
    isn: IsnGenerator,
    /// The rate limits of resets on behalf of no connection, for each host.
    reset_shares: PeerLimit,
    syn_cookies: SynCookies,
    fast_open: FastOpens,
    /// The number of connections that no descriptor holds and that have not ended.
    orphans: usize,
    /// The run that is being sent. It is finished before another socket has its turn.
    run: Option<Segmentation>,
    /// The segments of the batch that is being handled.
    joining: Joining,
    /// The headers of the SYN that is being handled, if any listener saves them.
    present_syn: Option<Box<SavedSyn>>,
    intercepts: Intercepts,
}

/// TCP Fast Open, at listeners and at clients.
#[derive(Debug)]
struct FastOpens {
    keys: FastOpenKeys,
    cache: FastOpenCache,
    /// Connections that were opened fast and are in SYN-RECEIVED, and their listeners.
    pending: BTreeMap<SocketId, SocketId>,
}

/// The least number of bytes that a connection takes.
const CONNECTION_BYTES: usize = mem::size_of::<Socket>() + mem::size_of::<Stream>();

impl TcpSockets {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        TcpSockets {
            default_options: SocketOptions::for_streams(config).into(),
            connections: Connections::new(rng),
            handshakes: Slab::new(),
            half_open: HalfOpens::default(),
            time_waits: TimeWaits::new(),
            listeners: BoundSockets::new(rng),
            ports: PortTable::new(config.ephemeral_ports, false, rng),
            isn: IsnGenerator::new(rng),
            reset_shares: PeerLimit::new(rng),
            syn_cookies: SynCookies::new(rng),
            fast_open: FastOpens {
                keys: FastOpenKeys::new(rng, share),
                cache: FastOpenCache::new(rng),
                pending: BTreeMap::new(),
            },
            orphans: 0,
            run: None,
            joining: Joining::default(),
            present_syn: None,
            intercepts: Intercepts::new(rng),
        }
    }

    /// Deletes the Fast Open cookies of all servers, and which of them refuse data in a SYN.
    pub(crate) fn forget_fast_open_cookies(&mut self) {
        self.fast_open.cache.clear();
    }

    /// The record that a segment with this four-tuple is for.
    fn find_record(&self, common: &Common, tuple: &FourTuple) -> Option<Target> {
        let TcpSockets { connections, handshakes, time_waits, intercepts, .. } = self;
        let tables = (handshakes, time_waits, &intercepts.table);
        connections.find(tuple, |target| is_of(common, tables, target, tuple))
    }
}

/// Whether this record, in one of these tables or of a socket, has this four-tuple.
#[inline]
fn is_of(
    common: &Common,
    (handshakes, time_waits, pending): (&Slab<HandshakeId, Handshake>, &TimeWaits, &PendingTable),
    target: Target,
    tuple: &FourTuple,
) -> bool {
    match target {
        Target::Connection(id) => common.stream(id).is_some_and(|stream| stream.tuple == *tuple),
        Target::Handshake(id) => handshakes.get(id).is_some_and(|entry| entry.tuple == *tuple),
        Target::TimeWait(id) => time_waits.get(id).is_some_and(|entry| entry.is_of(tuple)),
        Target::Pending(id) => pending.get(id).is_some_and(|entry| entry.tuple == *tuple),
    }
}

impl Common {
    /// The connection of a socket.
    pub(super) fn stream(&self, id: SocketId) -> Option<&Stream> {
        self.records.get(id)?.protocol.stream()
    }

    /// The connection of a socket.
    pub(super) fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        self.records.get_mut(id)?.protocol.stream_mut()
    }

    /// A listener, and its options.
    fn listener_mut(&mut self, id: SocketId) -> Option<(&mut Listener, &CopyOnWrite<SocketOptions>)> {
        let Socket { protocol, options, .. } = self.records.get_mut(id)?;
        match protocol {
            Protocol::Tcp(TcpSocket::Listener(listener)) => Some((listener, options)),
            _ => None,
        }
    }
}

impl Protocol {
    pub(super) fn stream(&self) -> Option<&Stream> {
        match self {
            Protocol::Tcp(TcpSocket::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Protocol::Tcp(TcpSocket::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// The TCP part of a socket. EOPNOTSUPP if it has none.
    fn tcp_mut(&mut self) -> Result<&mut TcpSocket> {
        match self {
            Protocol::Tcp(socket) => Ok(socket),
            _ => Err(Error::NotSupported),
        }
    }
}

#[cfg(test)]
mod tests;
