//! A connection.

use core::time::Duration;

use bytes::Bytes;

use super::{Header, SeqNumber, State};
use crate::Ctx;
use crate::error::{CloseReason, Error, Result};
use crate::event::{DeadlineKind, Readiness};
use crate::frame::Payload;
use crate::time::Instant;

/// What a program has set on the socket.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) receive_buffer_bytes: usize,
    pub(crate) send_buffer_bytes: usize,
    /// TCP_NODELAY.
    pub(crate) nodelay: bool,
    /// SO_KEEPALIVE.
    pub(crate) keepalive: bool,
    pub(crate) keepalive_idle: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_probes: u8,
}

/// What the socket layer knows when a connection begins.
#[derive(Clone, Debug)]
pub(crate) struct OpenParams {
    pub(crate) isn: SeqNumber,
    /// Added to the millisecond clock for timestamps (RFC 7323 §5.4): per connection, so that it tells nothing.
    pub(crate) timestamp_offset: u32,
    /// The MSS that we announce: what our link takes, or TCP_MAXSEG.
    pub(crate) announced_mss: u16,
    /// The largest MSS that we send with: the path MTU less the IP and TCP headers without options.
    pub(crate) path_mss: u16,
    pub(crate) settings: Settings,
}

#[derive(Debug)]
pub(crate) struct Connection {}

#[allow(unused_variables)]
impl Connection {
    /// Active open: SYN-SENT; `poll_transmit` gives the SYN.
    pub(crate) fn connect(ctx: &mut Ctx<'_>, params: OpenParams) -> Connection {
        todo!()
    }

    pub(crate) fn state(&self) -> State {
        todo!()
    }

    /// Once CLOSED: why.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        todo!()
    }

    /// One segment in. All that follows from it (replies, resets, acknowledgements) comes out of `poll_transmit`;
    /// drops are counted inside.
    pub(crate) fn handle_segment(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload: Bytes) {
        todo!()
    }

    /// The next segment to send; ports are filled in by the caller.
    pub(crate) fn poll_transmit(&mut self, ctx: &mut Ctx<'_>) -> Option<(Header, Payload)> {
        todo!()
    }

    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) {
        todo!()
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, DeadlineKind)> {
        todo!()
    }

    /// Copies into the send queue; how many bytes it took.
    pub(crate) fn send(&mut self, ctx: &mut Ctx<'_>, data: &[u8]) -> Result<usize> {
        todo!()
    }

    /// Takes the front of `data` into the send queue without a copy; how many bytes it took.
    pub(crate) fn send_bytes(&mut self, ctx: &mut Ctx<'_>, data: Bytes) -> Result<usize> {
        todo!()
    }

    /// `Ok(0)` is the end of the stream.
    pub(crate) fn recv(&mut self, ctx: &mut Ctx<'_>, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }

    /// One slice of the receive queue without a copy; an empty one is the end of the stream.
    pub(crate) fn recv_bytes(&mut self, ctx: &mut Ctx<'_>, max: usize) -> Result<Bytes> {
        todo!()
    }

    /// As `recv`, and leaves the data in the queue.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }

    /// SHUT_WR: a FIN after what is queued. ENOTCONN if there is no connection.
    pub(crate) fn shutdown_write(&mut self, ctx: &mut Ctx<'_>) -> Result<()> {
        todo!()
    }

    /// SHUT_RD: `recv` returns what is queued, then the end of the stream. As on Linux, the peer is not told.
    pub(crate) fn shutdown_read(&mut self, ctx: &mut Ctx<'_>) -> Result<()> {
        todo!()
    }

    /// The descriptor is gone. The connection goes on by itself until what was sent is acknowledged and both FINs
    /// passed; unread data makes it a reset (RFC 2525 §2.17), and so does data that arrives later.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>) {
        todo!()
    }

    /// Ends it now with a reset to the peer.
    pub(crate) fn abort(&mut self, ctx: &mut Ctx<'_>) {
        todo!()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        todo!()
    }

    /// SO_ERROR: returned once.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        todo!()
    }

    pub(crate) fn set_settings(&mut self, ctx: &mut Ctx<'_>, settings: Settings) {
        todo!()
    }

    /// An ICMP error about our segment with sequence number `seq`. In SYN-SENT a hard one ends the attempt; later it
    /// is remembered as the reason should the connection time out (RFC 5461, RFC 9293 §3.9.2.2).
    pub(crate) fn on_unreachable(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, error: Error) {
        todo!()
    }

    /// Whether a segment that began at `seq` may be in flight: SND.UNA <= seq < SND.NXT (RFC 5927 §4.1).
    pub(crate) fn is_in_flight(&self, seq: SeqNumber) -> bool {
        todo!()
    }

    /// "Packet too big" about our segment with sequence number `seq`; ignored unless that is in flight.
    pub(crate) fn on_path_mss(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, path_mss: u16) {
        todo!()
    }

    /// Whether new data was acknowledged since this was last asked: the path works in both directions.
    pub(crate) fn take_progress(&mut self) -> bool {
        todo!()
    }

    /// The TIME-WAIT record, once in that state.
    pub(crate) fn time_wait(&self, ctx: &mut Ctx<'_>) -> super::TimeWait {
        todo!()
    }

    /// Bytes that wait to be read, bytes that are not acknowledged or not sent.
    pub(crate) fn queued(&self) -> (usize, usize) {
        todo!()
    }

    /// All memory that the queues hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        todo!()
    }

    /// Whether a SYN or RST was sent and the peer's answer makes the connection usable.
    pub(crate) fn is_connected(&self) -> bool {
        todo!()
    }
}
