//! TIME-WAIT as a small record (RFC 9293 §3.10.7.4, RFC 6191, RFC 1337).

use super::Header;
use crate::Ctx;
use crate::time::Instant;

/// What a segment does to a TIME-WAIT record.
#[derive(Debug)]
pub(crate) enum TimeWaitStep {
    /// Dropped; counted.
    Ignored,
    /// Send this acknowledgement.
    Reply(Header),
    /// A new SYN that may reuse the addresses (RFC 6191): forget the record and give the SYN to the listener, with an
    /// ISN of at least the given one.
    Reopen { isn_after: super::SeqNumber },
}

#[derive(Debug, Clone)]
pub(crate) struct TimeWait {
    pub(crate) expires_at: Instant,
}

#[allow(unused_variables)]
impl TimeWait {
    pub(crate) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
    ) -> TimeWaitStep {
        todo!()
    }
}
