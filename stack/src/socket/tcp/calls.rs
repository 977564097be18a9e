//! Stream sockets: what the Berkeley calls do to a TCP connection.

use alloc::boxed::Box;
use core::mem;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::connections::Target;
use super::input::segment_packet;
use super::listener::Listener;
use super::segmentation::Segmentation;
use crate::Ctx;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::error::{Error, Result};
use crate::frame::{Payload, payload_len};
use crate::iface::interface::IPV6_MIN_MTU;
use crate::network::{InterfaceId, IpMeta, Network};
use crate::offload::{SegmentKind, Segments};
use crate::ports::Reuse;
use crate::socket::record::{Bound, Holder, Role, Socket, flow_scope, iface_of};
use crate::socket::sockets::{Sent, Sockets, stream_role};
use crate::socket::{Descriptor, Shutdown, SocketId, SocketOptions};
use crate::tcp::{
    Connection, Flags, Header, IsnGenerator, OpenParams, Run, SendFlags, SeqNumber, State, TcpInfo,
};
use crate::time::Instant;
use crate::timers::Armed;

/// A socket with a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(in crate::socket) connection: Connection,
    pub(in crate::socket) tuple: FourTuple,
    /// It stands in the port table as a connection, under this; otherwise `bind` put it there.
    pub(in crate::socket) shares_port: Option<Reuse>,
    /// It has left the table of connections: it ended, or a TIME-WAIT record took its place.
    pub(in crate::socket) is_parted: bool,
    /// It counts among those that no descriptor holds.
    pub(in crate::socket) is_orphan: bool,
    /// Bytes that could be read when that was last looked at.
    pub(in crate::socket) seen_readable: u32,
    /// Its entry among the timers.
    pub(in crate::socket) armed: Armed,
}

impl Stream {
    pub(in crate::socket) fn new(
        connection: Connection,
        tuple: FourTuple,
        shares_port: Option<Reuse>,
    ) -> Self {
        Stream {
            connection,
            tuple,
            shares_port,
            is_parted: false,
            is_orphan: false,
            seen_readable: 0,
            armed: Armed::default(),
        }
    }

    /// The link that its link-local addresses are on.
    pub(in crate::socket) fn iface(&self) -> Option<InterfaceId> {
        iface_of(self.tuple.scope)
    }

    /// What can be known of the connection.
    pub(in crate::socket) fn info(&self, now: Instant, config: &Config) -> TcpInfo {
        self.connection.info(now, config, header_bytes(self.tuple.remote.addr))
    }

    /// What the account holds for it: the records, options that it shares with nobody, and the queues.
    pub(in crate::socket) fn charge(&self, options: &CopyOnWrite<SocketOptions>) -> usize {
        mem::size_of::<Socket>()
            + options.own_bytes()
            + mem::size_of::<Stream>()
            + self.connection.memory_bytes()
    }
}

impl Sockets {
    pub(in crate::socket) fn listen(
        &mut self,
        ctx: &mut Ctx<'_>,
        d: Descriptor,
        backlog: usize,
    ) -> Result<()> {
        let backlog = backlog.min(ctx.config.tcp.max_backlog);
        let (id, socket) = self.socket_mut(d)?;
        match &mut socket.role {
            Role::Datagram(_) => return Err(Error::NotSupported),
            Role::Stream(_) => return Err(Error::InvalidArgument),
            Role::Listener(listener) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Role::Idle => {}
        }
        if socket.bound().is_none() {
            self.bind_any(ctx, id)?;
        }
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let Bound { addr, port, .. } = socket.bound().ok_or(Error::InvalidArgument)?;
        let reuse_port = socket.options.reuse_port;
        self.tcp_ports.listen(port, id)?;
        self.listeners.insert(addr, port, id, reuse_port);
        if let Some(socket) = self.slots.get_mut(id) {
            socket.role = Role::Listener(Box::new(Listener::new(backlog)));
            socket.renew_readiness();
        }
        Ok(())
    }

    pub(in crate::socket) fn accept(&mut self, d: Descriptor) -> Result<(Descriptor, SocketAddr)> {
        let (id, socket) = self.socket_mut(d)?;
        match &mut socket.role {
            Role::Datagram(_) => return Err(Error::NotSupported),
            Role::Idle | Role::Stream(_) => return Err(Error::InvalidArgument),
            Role::Listener(listener) if listener.queue.is_empty() => return Err(Error::WouldBlock),
            Role::Listener(_) => {}
        }
        self.descriptors.check_room()?;
        let accepted = match self.slots.get_mut(id).map(|socket| &mut socket.role) {
            Some(Role::Listener(listener)) => listener.queue.pop_front().ok_or(Error::WouldBlock)?,
            _ => return Err(Error::InvalidArgument),
        };
        self.note_readiness(id, false);
        let descriptor = self.descriptors.open(accepted)?;
        let socket = self.slots.get_mut(accepted).ok_or(Error::ConnectionAborted)?;
        socket.holder = Holder::Descriptor(descriptor);
        let peer = match &socket.role {
            Role::Stream(stream) => socket.present(stream.tuple.remote_addr()),
            _ => return Err(Error::ConnectionAborted),
        };
        // What happened before anybody held it is news to whoever holds it now.
        let readiness = socket.readiness();
        if readiness.readable || readiness.error {
            self.queue_event(accepted);
        }
        Ok((descriptor, peer))
    }

    pub(in crate::socket) fn connect_stream(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        d: Descriptor,
        addr: SocketAddr,
    ) -> Result<()> {
        let is_fast = self.socket(d)?.1.options.fast_open_connect;
        self.open_stream(ctx, network, d, addr, is_fast)
    }

    /// `connect`, with or without Fast Open. `Ok` if the SYN waits for data.
    pub(in crate::socket) fn open_stream(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        d: Descriptor,
        addr: SocketAddr,
        is_fast: bool,
    ) -> Result<()> {
        let (id, socket) = self.socket_mut(d)?;
        match &mut socket.role {
            Role::Listener(_) => return Err(Error::IsConnected),
            Role::Stream(stream) => match stream.connection.state() {
                State::SynSent if stream.connection.is_deferred() => return Err(Error::IsConnected),
                State::SynSent | State::SynReceived => return Err(Error::Already),
                State::Closed => {
                    // As on Linux: the call after a failed attempt returns its error, the next one tries anew.
                    let error = stream.connection.take_error();
                    self.return_to_idle(id);
                    if let Some(error) = error {
                        return Err(error);
                    }
                }
                _ => return Err(Error::IsConnected),
            },
            Role::Idle | Role::Datagram(_) => {}
        }
        let tuple = self.choose_tuple(ctx, network, id, addr)?;
        let base = mem::size_of::<Socket>() + mem::size_of::<Stream>();
        if self.account.is_full_for(base) {
            return Err(Error::NoBufferSpace);
        }
        let socket = self.slots.get_mut(id).ok_or(Error::BadDescriptor)?;
        let options = &socket.options;
        let params = open_params(&self.isn, ctx, network, options, &tuple);
        let without_cookie = options.fast_open_without_cookie;
        let shares_port = if socket.bound().is_none() { Some(options.reuse()) } else { None };
        let mut connection = if is_fast {
            self.connect_fast(ctx, &tuple, params, without_cookie)
        } else {
            Connection::connect(ctx, params)
        };
        connection.set_least_path_mss(least_path_mss(tuple.remote.addr));
        let is_deferred = connection.is_deferred();
        let socket = self.slots.get_mut(id).ok_or(Error::BadDescriptor)?;
        socket.role = stream_role(Stream::new(connection, tuple, shares_port));
        socket.renew_readiness();
        match shares_port {
            Some(reuse) => self.tcp_ports.add_connection(tuple.local, reuse),
            // From now on it is in nobody's way on other addresses.
            None => self.rebind(id, tuple.local.port, BoundAddr::One(tuple.local.addr)),
        }
        self.connections.insert(&tuple, Target::Connection(id));
        ctx.stats.tcp.active_opens += 1;
        self.settle_stream(ctx, network, id);
        if is_deferred { Ok(()) } else { Err(Error::InProgress) }
    }

    /// The four numbers of a connection that is to be opened.
    fn choose_tuple(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &Network,
        id: SocketId,
        addr: SocketAddr,
    ) -> Result<FourTuple> {
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let bound = socket.bound();
        let (mut remote, scope) = socket.accept_addr(addr)?;
        remote.addr = loopback_if_unspecified(remote.addr);
        if remote.addr.is_multicast() || network.is_broadcast(remote.addr) {
            return Err(Error::NetworkUnreachable);
        }
        let local_addr = match bound {
            Some(Bound { addr: BoundAddr::One(addr), .. }) if addr.is_ipv4() != remote.addr.is_ipv4() => {
                return Err(Error::NetworkUnreachable);
            }
            Some(Bound { addr: BoundAddr::One(addr), .. }) => addr,
            _ => network.source_for(remote.addr, iface_of(scope))?,
        };
        let scope = flow_scope(local_addr, remote.addr, scope, bound)?;
        network.check_route(remote.addr, iface_of(scope))?;
        let tuple_from = |port| FourTuple { local: Endpoint::new(local_addr, port), remote, scope };
        let share = ctx.config.share.as_ref();
        let port = match bound {
            Some(Bound { port, .. })
                if self.find_record(&tuple_from(port)).is_none()
                    && (network.is_local(remote.addr)
                        || share.is_none_or(|share| share.has_connection(&tuple_from(port)))) =>
            {
                port
            }
            Some(_) => return Err(Error::AddressNotAvailable),
            None => self.ephemeral_port(share, tuple_from)?,
        };
        log::trace!("connect from {local_addr} port {port} to {remote:?} at {}", ctx.now);
        Ok(tuple_from(port))
    }

    /// A stream socket whose attempt to connect failed can be used for another.
    fn return_to_idle(&mut self, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let (role, bound) = (mem::replace(&mut socket.role, Role::Idle), socket.bound());
        self.charge(id, 0);
        if let Role::Stream(stream) = role {
            self.forget_stream(id, stream);
        }
        if let Some(Bound { addr, port, .. }) = bound {
            self.rebind(id, port, addr);
        }
    }

    /// The address on which a socket that `bind` gave its port stands in others' way.
    fn rebind(&mut self, id: SocketId, port: u16, addr: BoundAddr) {
        self.tcp_ports.change(port, id, |binding| binding.addr = addr);
    }

    /// A connection's turn to send: a segment, or a run of them. Of a run the first frame is returned, and the others
    /// follow out of [`Sockets::poll_run`].
    pub(in crate::socket) fn transmit_stream(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
    ) -> Sent {
        let Some(socket) = self.slots.get_mut(id) else { return Sent::Nothing };
        let fields = socket.options.ip_fields();
        let Role::Stream(stream) = &mut socket.role else { return Sent::Nothing };
        let tuple = stream.tuple;
        let mut run = stream.connection.poll_transmit(ctx);
        let mut sent = Sent::Nothing;
        if let Some(segments) = run.as_ref().and_then(|run| run_for_device(run, network, &tuple))
            && let Some((header, payload)) = run.take().and_then(Run::rest)
        {
            sent = self.transmit_run(ctx, network, id, header, payload.into_slices(), segments);
        }
        while let Some((header, payload)) = run.as_mut().and_then(Run::next) {
            let seq = header.seq;
            let (meta, header) = segment_packet(ctx, &tuple, header, fields);
            match network.output(ctx, meta, header, payload) {
                Ok(Some(transmit)) if matches!(sent, Sent::Nothing) => {
                    self.run = run.take().and_then(|run| Segmentation::new(&transmit, &tuple, run));
                    let numbers = self.run.as_ref().map_or(0, Segmentation::identifications);
                    if numbers > 0 {
                        network.reserve_identifications(ctx, tuple.local.addr, tuple.remote.addr, numbers);
                    }
                    sent = Sent::Frame(transmit);
                }
                // A neighbour or the loopback takes them one by one, all that a run has.
                Ok(transmit) => {
                    if let Some(transmit) = transmit {
                        network.queue(ctx, transmit);
                    }
                    sent = Sent::Elsewhere;
                }
                Err(error) => {
                    // What is left of the run would fare the same: like this one it counts as in flight.
                    run = None;
                    sent = Sent::Elsewhere;
                    self.on_output_error(ctx, network, id, seq, error);
                }
            }
        }
        self.settle_after_transmit(id, !matches!(sent, Sent::Nothing));
        sent
    }

    /// A whole run in one frame, for the device to cut.
    fn transmit_run(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
        header: Header,
        payload: Payload,
        segments: Segments,
    ) -> Sent {
        let Some(Socket { role: Role::Stream(stream), options, .. }) = self.slots.get(id) else {
            return Sent::Nothing;
        };
        let seq = header.seq;
        let count = payload_len(&payload).div_ceil(usize::from(segments.len));
        let (meta, header) = segment_packet(ctx, &stream.tuple, header, options.ip_fields());
        ctx.stats.tcp.segs_sent += count.saturating_sub(1) as u64;
        match network.output(ctx, IpMeta { run: Some(segments), ..meta }, header, payload) {
            Ok(Some(transmit)) => Sent::Frame(transmit),
            Ok(None) => Sent::Elsewhere,
            Err(error) => {
                self.on_output_error(ctx, network, id, seq, error);
                Sent::Elsewhere
            }
        }
    }

    /// The network layer did not take the segment that begins at `seq`.
    fn on_output_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
        seq: SeqNumber,
        error: Error,
    ) {
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return };
        match error {
            // The path got narrower since the segment was cut: it is cut anew.
            Error::MessageTooLong => {
                let path_mss = path_mss(ctx, network, &stream.tuple);
                stream.connection.on_path_mss(ctx, seq, path_mss);
            }
            error => stream.connection.on_unreachable(ctx, seq, error),
        }
        self.note_readiness(id, false);
    }

    /// Sending changes a connection's timer and what it holds, and may make room for the program.
    fn settle_after_transmit(&mut self, id: SocketId, has_sent: bool) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Stream(stream) = &mut socket.role else { return };
        let deadline = stream.connection.deadline();
        self.timers.arm(&mut stream.armed, crate::socket::sockets::Owner::Socket(id), deadline);
        if !has_sent {
            return;
        }
        let bytes = stream.charge(&socket.options);
        self.account.renew(&mut socket.charged_bytes, bytes);
        if !socket.marks.is_writable() {
            self.note_readiness(id, false);
        }
    }

    /// Reading changes what a connection holds and what it has to tell the peer, but neither its timers nor its state; nothing
    /// gets ready by it.
    fn settle_after_read(&mut self, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Stream(stream) = &mut socket.role else { return };
        let bytes = stream.charge(&socket.options);
        self.account.renew(&mut socket.charged_bytes, bytes);
        // A receive queue is far smaller than 2^32 bytes.
        stream.seen_readable = stream.connection.queued().0 as u32;
        let is_quiet = stream.connection.is_quiet();
        socket.renew_readiness();
        if !is_quiet {
            self.queue_transmit(id);
        }
    }

    pub(in crate::socket) fn send_stream(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        d: Descriptor,
        data: Outgoing<'_>,
        flags: SendFlags,
    ) -> Result<usize> {
        self.renew_budget(ctx, network);
        if ctx.memory.is_pressed() {
            ctx.memory = self.budget_of(ctx, self.descriptors.socket(d)?);
        }
        let (id, socket) = self.socket_mut(d)?;
        let Role::Stream(stream) = &mut socket.role else {
            // Linux: EPIPE for a stream that was never connected.
            return Err(Error::BrokenPipe);
        };
        let connection = &mut stream.connection;
        let room = if ctx.memory.is_plenty(data.len()) { data.len() } else { connection.memory_to_send(ctx) };
        if room == 0 && data.len() > 0 && connection.state() != State::Closed {
            let error =
                if connection.shrink_send_buffer() { Error::WouldBlock } else { Error::NoBufferSpace };
            self.note_readiness(id, false);
            return Err(error);
        }
        let whole = data.len();
        let sent = match data {
            Outgoing::Slice(slice) => connection.send(ctx, &slice[..slice.len().min(room)]),
            Outgoing::Urgent(slice) => connection.send_oob(ctx, &slice[..slice.len().min(room)]),
            Outgoing::Bytes(bytes) => connection.send_bytes(ctx, bytes.slice(..bytes.len().min(room))),
        };
        if let Ok(len @ 1..) = sent {
            connection.set_send_flags(if len == whole { flags } else { SendFlags::default() });
        }
        self.settle_stream(ctx, network, id);
        sent
    }

    pub(in crate::socket) fn with_readable<T>(
        &mut self,
        ctx: &mut Ctx<'_>,
        d: Descriptor,
        read: impl FnOnce(&mut Connection, &mut Ctx<'_>) -> Result<T>,
    ) -> Result<T> {
        let (id, socket) = self.socket_mut(d)?;
        let Role::Stream(stream) = &mut socket.role else { return Err(Error::NotConnected) };
        let result = read(&mut stream.connection, ctx);
        if !matches!(result, Err(Error::WouldBlock)) {
            self.settle_after_read(id);
        }
        result
    }

    pub(in crate::socket) fn shutdown_stream(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        d: Descriptor,
        how: Shutdown,
    ) -> Result<()> {
        let (id, socket) = self.socket_mut(d)?;
        match &mut socket.role {
            Role::Stream(stream) => {
                if how != Shutdown::Write {
                    stream.connection.shutdown_read(ctx)?;
                }
                if how != Shutdown::Read {
                    stream.connection.shutdown_write(ctx)?;
                }
                self.settle_stream(ctx, network, id);
                Ok(())
            }
            // Linux: SHUT_RD stops a listener; it can be closed or listen again.
            Role::Listener(_) if how != Shutdown::Write => {
                self.stop_listening(ctx, network, id);
                Ok(())
            }
            Role::Listener(_) => Ok(()),
            Role::Idle | Role::Datagram(_) => Err(Error::NotConnected),
        }
    }

    /// Resets what waits to be accepted; handshakes under way find no listener and are reset as they come.
    fn stop_listening(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Listener(listener) = mem::replace(&mut socket.role, Role::Idle) else { return };
        let bound = socket.bound();
        if let Some(Bound { addr, port, .. }) = bound {
            self.listeners.remove(addr, port, id);
            self.tcp_ports.change(port, id, |binding| binding.listening = false);
        }
        for waiting in listener.queue {
            self.abort_stream(ctx, network, waiting);
        }
        self.note_readiness(id, false);
    }

    /// Ends a connection that nobody will hold with a reset.
    pub(in crate::socket) fn abort_stream(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        if let Some(socket) = self.slots.get_mut(id) {
            socket.holder = Holder::Nobody;
            if let Role::Stream(stream) = &mut socket.role {
                stream.connection.abort(ctx);
            }
        }
        self.settle_stream(ctx, network, id);
    }

    /// The descriptor is gone already.
    pub(in crate::socket) fn close_stream(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        socket.holder = Holder::Nobody;
        let is_hard = socket.options.linger.is_some_and(|time| time.is_zero());
        match &mut socket.role {
            Role::Idle => self.free(id),
            Role::Listener(_) => {
                self.stop_listening(ctx, network, id);
                self.free(id);
            }
            Role::Stream(_) if is_hard => self.abort_stream(ctx, network, id),
            Role::Stream(stream) => {
                stream.connection.close(ctx);
                self.settle_stream(ctx, network, id);
                self.on_orphaned(ctx, network, id);
            }
            Role::Datagram(_) => {}
        }
    }
}

/// How the device shall cut a run; none if it is one segment, or the device cannot do it.
fn run_for_device(run: &Run, network: &Network, tuple: &FourTuple) -> Option<Segments> {
    let len = u16::try_from(run.segment_len()).ok()?;
    if run.payload_len() <= usize::from(len) || run.header().flags.contains(Flags::CWR) {
        // Devices leave CWR on the first segment alone (RFC 3168 §6.1.2); in accurate ECN it is part of a number that
        // stands on each.
        return None;
    }
    let kind = match tuple.remote.addr {
        IpAddr::V4(_) => SegmentKind::TcpV4,
        IpAddr::V6(_) => SegmentKind::TcpV6,
    };
    network.can_cut(tuple.remote.addr, iface_of(tuple.scope), kind).then_some(Segments { kind, len })
}

/// What `send` and `send_bytes` hand in.
#[derive(Debug)]
pub(in crate::socket) enum Outgoing<'a> {
    Slice(&'a [u8]),
    Bytes(Bytes),
    /// MSG_OOB.
    Urgent(&'a [u8]),
}

impl Outgoing<'_> {
    pub(in crate::socket) fn len(&self) -> usize {
        match self {
            Outgoing::Slice(slice) | Outgoing::Urgent(slice) => slice.len(),
            Outgoing::Bytes(bytes) => bytes.len(),
        }
    }
}

/// What a connection begins with, opened from either side.
pub(in crate::socket) fn open_params(
    isn: &IsnGenerator,
    ctx: &Ctx<'_>,
    network: &Network,
    options: &SocketOptions,
    tuple: &FourTuple,
) -> OpenParams {
    OpenParams {
        isn: isn.isn(ctx.now, tuple.local_addr(), tuple.remote_addr()),
        timestamp_offset: isn.timestamp_offset(tuple.local.addr, tuple.remote.addr),
        default_mss: default_mss(tuple.remote.addr),
        announced_mss: announced_mss(network, options, tuple),
        path_mss: allowed_mss(ctx, network, options, tuple),
        settings: options.tcp_settings(),
    }
}

/// The MSS that we announce: what our link takes, or TCP_MAXSEG if that is less (RFC 9293 §3.7.1, MUST-67). What a path
/// takes that was learned does not matter: it is about what we send, and the way back may be another (RFC 1191 §3.1).
fn announced_mss(network: &Network, options: &SocketOptions, tuple: &FourTuple) -> u16 {
    let mtu = network.link_mtu(tuple.remote.addr, iface_of(tuple.scope));
    let link_mss = mss_for_mtu(mtu, tuple.remote.addr);
    options.max_segment.map_or(link_mss, |mss| mss.min(link_mss))
}

/// The MSS that fits the path, or TCP_MAXSEG if that is less.
pub(in crate::socket) fn allowed_mss(
    ctx: &Ctx<'_>,
    network: &Network,
    options: &SocketOptions,
    tuple: &FourTuple,
) -> u16 {
    let path_mss = path_mss(ctx, network, tuple);
    options.max_segment.map_or(path_mss, |mss| mss.min(path_mss))
}

/// The MSS that fits the path: its MTU less the IP and TCP headers without options.
fn path_mss(ctx: &Ctx<'_>, network: &Network, tuple: &FourTuple) -> u16 {
    let mtu = network.path_mtu(ctx.now, tuple.remote.addr, iface_of(tuple.scope));
    mss_for_mtu(mtu, tuple.remote.addr)
}

/// The MSS of a peer that names none (RFC 9293 §3.7.1, MUST-15).
fn default_mss(remote: IpAddr) -> u16 {
    if remote.is_ipv4() { 536 } else { 1220 }
}

/// What every path takes: RFC 8200 §5. IPv4 promises too little to be of use (RFC 791 §3.2).
pub(in crate::socket) fn least_path_mss(remote: IpAddr) -> u16 {
    if remote.is_ipv4() { 0 } else { mss_for_mtu(IPV6_MIN_MTU, remote) }
}

pub(in crate::socket) fn mss_for_mtu(mtu: usize, remote: IpAddr) -> u16 {
    u16::try_from(mtu.saturating_sub(header_bytes(remote) as usize)).unwrap_or(u16::MAX)
}

/// The headers of IP and TCP without options.
fn header_bytes(remote: IpAddr) -> u32 {
    if remote.is_ipv4() { 40 } else { 60 }
}

/// Linux: 0.0.0.0 and `::` as destinations mean this host.
pub(in crate::socket) fn loopback_if_unspecified(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(v4) if v4.is_unspecified() => core::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => core::net::Ipv6Addr::LOCALHOST.into(),
        addr => addr,
    }
}
