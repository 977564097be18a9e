//! Urgent data (RFC 9293 §3.8.5, RFC 6093), as on Linux: one byte, the last before the number that
//! the urgent pointer names, and a mark in the stream before that byte.
//!
//! ```text
//!     read      |   in the queue   |u|   in the queue
//!  -------------+------------------+-+----------------> sequence numbers
//!                                  ^ the mark: a read stops here
//! ```
//!
//! Without SO_OOBINLINE the byte is removed from the stream and kept separately; only the last such
//! byte is kept.

use alloc::boxed::Box;

use super::receiver::{Receiver, Urgent, UrgentByte};
use super::{Connection, Flags, Header, SeqNumber, State};
use crate::Ctx;
use crate::error::{Error, Result};

impl Receiver {
    /// Sixth step (MUST-30, MUST-31, MUST-62): the pointer of a segment with URG; Linux's
    /// tcp_check_urg.
    fn on_urgent_pointer(&mut self, header: &Header, inline: bool) {
        // The pointer names the byte after the urgent one. As on Linux, a pointer of zero means the
        // segment's first byte.
        let seq = header.seq + u32::from(header.urgent.saturating_sub(1));
        if seq.before(self.nxt) {
            // The byte was received before, or the segment is a duplicate.
            return;
        }
        if self.urgent.as_ref().is_some_and(|urgent| !seq.after(urgent.seq)) {
            return;
        }
        if self.is_at_mark() && !inline {
            // The former urgent byte must not be read as ordinary data.
            self.queue_mut().skip(1);
        }
        // MUST-32: the program is notified when the pointer moves on.
        self.urgent = Some(Box::new(Urgent { seq, byte: UrgentByte::Awaited, is_news: true }));
    }

    /// Takes the urgent byte from a segment's data, if it is there.
    fn find_urgent(&mut self, seq: SeqNumber, data: &[u8]) {
        if let Some(urgent) = &mut self.urgent
            && urgent.byte == UrgentByte::Awaited
            && let Some(&byte) = data.get((urgent.seq - seq) as usize)
        {
            urgent.byte = UrgentByte::Here(byte);
        }
    }

    /// Whether the next byte to be read is the urgent one (SIOCATMARK; MUST-33).
    pub(super) fn is_at_mark(&self) -> bool {
        self.urgent.as_ref().is_some_and(|urgent| urgent.seq == self.read_to())
    }

    /// Whether the urgent byte can be taken (EPOLLPRI).
    pub(super) fn has_urgent_byte(&self) -> bool {
        self.urgent.as_ref().is_some_and(|urgent| matches!(urgent.byte, UrgentByte::Here(_)))
    }

    /// How many bytes at the front of the queue are hidden from reads: the urgent byte, if it is
    /// the next.
    pub(super) fn hidden(&self, inline: bool) -> usize {
        usize::from(!inline && self.is_at_mark() && !self.queue().is_empty())
    }

    /// How many bytes one read may take after the hidden ones: up to the mark.
    pub(super) fn before_mark(&self) -> usize {
        match &self.urgent {
            Some(urgent) if !self.is_at_mark() => (urgent.seq - self.read_to()) as usize,
            _ => usize::MAX,
        }
    }

    /// Called before a read: skips the hidden bytes.
    pub(super) fn pass_hidden(&mut self, inline: bool) {
        let hidden = self.hidden(inline);
        if hidden > 0 {
            self.queue_mut().skip(hidden);
            self.pass_mark();
        }
    }

    /// Called after a read: forgets urgent data that the read has passed.
    pub(super) fn pass_mark(&mut self) {
        if self.urgent.as_ref().is_some_and(|urgent| urgent.seq.before(self.read_to())) {
            self.urgent = None;
        }
    }
}

impl Connection {
    /// Sixth step: URG. Called before the data is stored.
    pub(super) fn process_urgent(&mut self, ctx: &Ctx<'_>, header: &Header, seq: SeqNumber, data: &[u8]) {
        if header.flags.contains(Flags::URG) && self.state.can_receive() {
            self.rcv.on_urgent_pointer(header, self.settings.oob_inline);
            let marked = self.rcv.urgent.as_ref().map(|urgent| urgent.seq);
            log::debug!("{}: urgent pointer {}, urgent data up to {marked:?}", ctx.subject, header.urgent);
        }
        if self.rcv.urgent.is_some() {
            self.rcv.find_urgent(seq, data);
        }
    }

    /// MSG_OOB: the last byte in the send queue is urgent (MUST-30).
    pub(crate) fn end_urgent_data(&mut self) {
        // A send queue is far smaller than 2^32 bytes.
        self.snd.urgent_end = Some(self.snd.una + self.snd.queue.len() as u32);
    }

    /// Whether urgent data is unsent or not acknowledged (Linux's tcp_urg_mode).
    pub(super) fn is_urgent(&self) -> bool {
        self.snd.urgent_end.is_some_and(|end| end.after(self.snd.una))
    }

    /// Sets the urgent pointer of a segment with data, if urgent data is in it or after it
    /// (MUST-62: the pointer names the byte after the urgent data).
    pub(super) fn mark_urgent(&mut self, header: &mut Header) {
        let Some(end) = self.snd.urgent_end else { return };
        if !self.is_urgent() {
            self.snd.urgent_end = None;
            return;
        }
        let last = header.seq + u32::from(u16::MAX);
        if end.after(header.seq) && (end.before_eq(last) || last.after(self.snd.nxt)) {
            header.flags = header.flags.with(Flags::URG);
            header.urgent = (end - header.seq).min(u32::from(u16::MAX)) as u16;
        }
    }

    /// MSG_OOB: takes the urgent byte, or only looks at it. EINVAL if there is none, if it was
    /// taken, or if it is read in line; `None` if no more is to be read. As Linux's tcp_recv_urg.
    pub(crate) fn recv_oob(&mut self, peeks: bool) -> Result<Option<u8>> {
        let Some(urgent) = self.rcv.urgent.as_mut().filter(|_| !self.settings.oob_inline) else {
            return Err(Error::InvalidArgument);
        };
        match urgent.byte {
            UrgentByte::Here(byte) => {
                if !peeks {
                    urgent.byte = UrgentByte::Taken;
                }
                Ok(Some(byte))
            }
            UrgentByte::Awaited if self.ending.read_shut || self.state == State::Closed => Ok(None),
            UrgentByte::Awaited => Err(Error::WouldBlock),
            UrgentByte::Taken => Err(Error::InvalidArgument),
        }
    }

    /// SIOCATMARK: whether the next byte to be read is the urgent one, or the first after it.
    pub(crate) fn is_at_mark(&self) -> bool {
        self.rcv.is_at_mark()
    }

    /// Whether the peer has announced urgent data since the last call.
    pub(crate) fn take_urgent_news(&mut self) -> bool {
        match &mut self.rcv.urgent {
            None => false,
            Some(urgent) => core::mem::take(&mut urgent.is_news),
        }
    }
}
