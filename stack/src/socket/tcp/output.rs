//! Output of TCP segments: those of connections, in round-robin order, and resets and segments of
//! handshakes and TIME-WAIT records.

use core::net::IpAddr;

use super::TcpSockets;
use super::params::{allowed_mss, path_mss};
use super::segmentation::{CHECKSUM_AT, Segmentation};
use super::settle::After;
use crate::Ctx;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::event::Wakeup;
use crate::frame::{HeaderBuf, Payload, Transmit, payload_len};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::ip::protocol;
use crate::network::{IpMeta, MtuDiscovery, Network};
use crate::offload::{SegmentKind, Segments};
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::options::IpFields;
use crate::socket::scope::iface_of;
use crate::stats::Stats;
use crate::tcp::{Flags, Header, Run, SeqNumber};

/// The bits of TOS and traffic class that are TCP's own (RFC 3168 §5).
pub(super) const ECN_FIELD: u8 = 3;

impl TcpSockets {
    /// Whether a run has frames left.
    pub(in crate::socket) fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// The next frame of the current run.
    pub(in crate::socket) fn poll_run(&mut self, stats: &mut Stats) -> Option<Transmit> {
        let transmit = self.run.as_mut()?.next();
        if transmit.is_some() {
            stats.tcp.segs_sent += 1;
        } else {
            self.run = None;
        }
        transmit
    }

    /// Drops the rest of the current run if it is for this interface.
    pub(crate) fn drop_run(&mut self, env: &mut Env<'_>, iface: InterfaceId) {
        if self.run.as_ref().is_none_or(|run| run.iface() != iface) {
            return;
        }
        while let Some(frame) = self.poll_run(env.ctx.stats) {
            env.network.drop_frame(&mut env.ctx, &frame, DropReason::LinkDown);
        }
    }

    /// Sends a segment or a run of a connection, in its turn. The first frame of a run is returned,
    /// and [`poll_run`](TcpSockets::poll_run) returns the others.
    pub(super) fn transmit_stream(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        frame: &mut Option<Transmit>,
    ) -> TransmitOutcome {
        let Some(socket) = env.common.records.get_mut(id) else { return TransmitOutcome::Nothing };
        let fields = socket.options.ip_fields();
        let Some(stream) = socket.protocol.stream_mut() else { return TransmitOutcome::Nothing };
        let tuple = stream.tuple;
        if stream.mtu_changes != env.network.mtu_changes() {
            stream.mtu_changes = env.network.mtu_changes();
            let path_mss = allowed_mss(&env.ctx, env.network, &socket.options, &tuple);
            stream.named(&mut env.ctx).on_link_mss(&mut env.ctx, path_mss);
        }
        let mut run = stream.named(&mut env.ctx).poll_transmit(&mut env.ctx);
        let mut sent = TransmitOutcome::Nothing;
        if let Some(segments) = run.as_ref().and_then(|run| run_for_device(run, env.network, &tuple))
            && let Some((header, mut payload)) = run.take().and_then(Run::rest)
        {
            sent = transmit_run(env, id, header, payload.take_all(), segments, frame);
        }
        while let Some((mut header, payload)) = run.as_mut().and_then(Run::next) {
            let seq = header.seq;
            let (meta, header) = segment_packet(&mut env.ctx, &tuple, &mut header, fields);
            match env.network.output(&mut env.ctx, meta, header, payload) {
                Ok(Some(transmit)) if sent == TransmitOutcome::Nothing => {
                    if let Some(rest) = run.take_if(|run| !run.is_over()) {
                        self.run = Segmentation::new(&transmit, &tuple, rest);
                        let numbers = self.run.as_ref().map_or(0, Segmentation::identifications);
                        if numbers > 0 {
                            let (local, remote) = (tuple.local.addr, tuple.remote.addr);
                            env.network.reserve_identifications(&mut env.ctx, local, remote, numbers);
                        }
                    }
                    *frame = Some(transmit);
                }
                // If the packet goes to a neighbour queue or the loopback, so do the others of the
                // run, one by one.
                Ok(transmit) => {
                    if let Some(transmit) = transmit {
                        env.network.queue(&mut env.ctx, transmit);
                    }
                }
                Err(error) => {
                    // The rest of the run would fail in the same way. Like this segment it counts
                    // as in flight.
                    run = None;
                    on_output_error(env, id, seq, error);
                }
            }
            sent = TransmitOutcome::Sent;
        }
        self.settle(env, id, if sent == TransmitOutcome::Sent { After::Sent } else { After::SentNothing });
        sent
    }
}

/// Sends a whole run in one frame, which the device cuts.
fn transmit_run(
    env: &mut Env<'_>,
    id: SocketId,
    mut header: Header,
    payload: Payload,
    segments: Segments,
    frame: &mut Option<Transmit>,
) -> TransmitOutcome {
    let Some(socket) = env.common.records.get(id) else { return TransmitOutcome::Nothing };
    let Some(stream) = socket.protocol.stream() else { return TransmitOutcome::Nothing };
    let seq = header.seq;
    let count = payload_len(&payload).div_ceil(usize::from(segments.len));
    let (meta, header) = segment_packet(&mut env.ctx, &stream.tuple, &mut header, socket.options.ip_fields());
    env.ctx.stats.tcp.segs_sent += count.saturating_sub(1) as u64;
    match env.network.output(&mut env.ctx, IpMeta { run: Some(segments), ..meta }, header, payload) {
        Ok(sent) => *frame = sent,
        Err(error) => on_output_error(env, id, seq, error),
    }
    TransmitOutcome::Sent
}

/// Handles the error of the network layer for the segment that begins at `seq`.
fn on_output_error(env: &mut Env<'_>, id: SocketId, seq: SeqNumber, error: Error) {
    let Some(stream) = env.common.stream_mut(id) else { return };
    match error {
        // The path MTU has shrunk since the segment was made, so it is made again.
        Error::MessageTooLong => {
            let path_mss = path_mss(&env.ctx, env.network, &stream.tuple);
            stream.named(&mut env.ctx).on_path_mss(&mut env.ctx, seq, path_mss);
        }
        error => stream.named(&mut env.ctx).on_unreachable(&mut env.ctx, seq, error),
    }
    env.common.note_readiness(id, Wakeup::NONE);
}

/// How the device is to cut a run; `None` for a single segment, or if the device cannot.
fn run_for_device(run: &Run, network: &Network, tuple: &FourTuple) -> Option<Segments> {
    let len = u16::try_from(run.segment_len()).ok()?;
    if run.payload_len() <= usize::from(len) || run.header().flags.contains(Flags::CWR) {
        // Devices put CWR on the first segment only (RFC 3168 §6.1.2), but in accurate ECN it is a
        // part of a number that is in each segment.
        return None;
    }
    let kind = match tuple.remote.addr {
        IpAddr::V4(_) => SegmentKind::TcpV4,
        IpAddr::V6(_) => SegmentKind::TcpV6,
    };
    network.can_cut(tuple.remote.addr, iface_of(tuple.scope), kind).then_some(Segments { kind, len })
}

/// Sends a segment that belongs to no connection's queue: one of a handshake or a TIME-WAIT record,
/// or a reset.
pub(super) fn reply(env: &mut Env<'_>, tuple: &FourTuple, mut header: Header, fields: IpFields) {
    let (meta, header) = segment_packet(&mut env.ctx, tuple, &mut header, fields);
    match env.network.output(&mut env.ctx, meta, header, Payload::new()) {
        Ok(Some(transmit)) => env.network.queue(&mut env.ctx, transmit),
        Ok(None) => {}
        Err(error) => env.network.drop_refused(&mut env.ctx, Some(tuple), &meta, error),
    }
}

/// The TCP header in wire form without its checksum, and the facts for the network layer.
pub(super) fn segment_packet(
    ctx: &mut Ctx<'_>,
    tuple: &FourTuple,
    header: &mut Header,
    fields: IpFields,
) -> (IpMeta, HeaderBuf) {
    header.src_port = tuple.local.port;
    header.dst_port = tuple.remote.port;
    ctx.stats.tcp.segs_sent += 1;
    if header.flags.contains(Flags::RST) {
        ctx.stats.tcp.out_rsts += 1;
    }
    let mut buf = HeaderBuf::new();
    header.emit(&mut buf);
    let meta = IpMeta {
        src: tuple.local.addr,
        dst: tuple.remote.addr,
        protocol: protocol::TCP,
        hop_limit: fields.ttl,
        traffic_class: header.tos.unwrap_or(fields.tos) & !ECN_FIELD | header.ip_ecn.bits(),
        mtu_discovery: MtuDiscovery::Do,
        is_looped: false,
        path_seed: header.path_seed,
        iface: iface_of(tuple.scope),
        checksum_at: Some(CHECKSUM_AT.start as u8),
        run: None,
    };
    (meta, buf)
}
