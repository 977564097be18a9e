//! Passive opens as small records: SYN-RECEIVED in a listener's SYN queue.

use super::{Connection, Header, OpenParams};
use crate::Ctx;
use crate::time::Instant;

/// What a segment does to a handshake.
#[derive(Debug)]
pub(crate) enum HandshakeStep {
    /// Nothing more; drops were counted.
    Ignored,
    /// Send this.
    Reply(Header),
    /// The last ACK has come: call [`SynReceived::into_connection`] with the same segment, or ignore the segment if
    /// the accept queue is full.
    Complete,
    /// The peer reset it; forget the record.
    Aborted,
    /// An unacceptable ACK: send this reset, keep the record (RFC 9293 §3.10.7.4).
    Reset(Header),
}

#[derive(Debug)]
pub(crate) struct SynReceived {}

#[allow(unused_variables)]
impl SynReceived {
    /// From a SYN. The SYN-ACK comes out of `syn_ack`.
    pub(crate) fn new(ctx: &mut Ctx<'_>, syn: &Header, params: &OpenParams) -> SynReceived {
        todo!()
    }

    pub(crate) fn syn_ack(&self, now: Instant) -> Header {
        todo!()
    }

    pub(crate) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
    ) -> HandshakeStep {
        todo!()
    }

    /// The SYN-ACK to repeat, or `None` when it is to be given up.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) -> Option<Header> {
        todo!()
    }

    pub(crate) fn deadline(&self) -> Instant {
        todo!()
    }

    /// The established connection. The segment that completed the handshake must be passed to its
    /// `handle_segment` by the caller next (it may carry data or a FIN).
    pub(crate) fn into_connection(
        self,
        ctx: &mut Ctx<'_>,
        settings: super::Settings,
        path_mss: u16,
    ) -> Connection {
        todo!()
    }
}
