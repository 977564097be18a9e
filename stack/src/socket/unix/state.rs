//! What a Unix-domain socket holds.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::id::{OwnerId, SocketId};
use crate::socket::address::UnixAddr;
use crate::socket::credentials::Credentials;
use crate::socket::datagram_queue::{copy_into, copy_prefix};
use crate::socket::info::{SocketInfo, SocketState};
use crate::socket::kind::SocketKind;
use crate::socket::options::SocketOptions;
use crate::socket::state::ProtocolState;
use crate::tcp::State;

/// The state of a Unix-domain socket.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(super) kind: SocketKind,
    pub(super) stage: UnixStage,
    pub(in crate::socket) name: UnixAddr,
    /// Whether the name leads to this socket. An accepted one only shows its listener's name.
    pub(super) owns_name: bool,
    /// The other end of a connection, or the default destination. It may be gone.
    pub(in crate::socket) peer: Option<SocketId>,
    /// The name of the peer, for the time when the peer is gone.
    pub(in crate::socket) peer_name: UnixAddr,
    /// What waits to be received.
    pub(super) queue: VecDeque<QueuedMessage>,
    /// The place in `queue` of the byte of a stream that was last sent as urgent. Once it is
    /// received as urgent, an empty message is left in its place: the mark.
    pub(super) urgent: Option<usize>,
    /// The bytes of data in `queue`.
    pub(super) queued_len: usize,
    /// What `queue` costs.
    pub(super) queued_cost: usize,
    /// What this socket has sent and its receivers have not received, as SO_SNDBUF limits it.
    pub(super) outgoing_cost: usize,
    /// A listener's connections that wait to be accepted.
    pub(super) pending: VecDeque<SocketId>,
    /// How many datagrams may wait before the next one is refused.
    pub(super) max_datagrams: usize,
    /// Sockets that found this one's queue full, in a call or when their readiness was asked for,
    /// to be woken once when it has room.
    pub(super) stalled: BTreeSet<SocketId>,
    /// The sockets that have this one in `stalled`.
    pub(super) stalled_at: BTreeSet<SocketId>,
    /// The datagram sockets whose default destination this is. They learn its name when it is
    /// closed.
    pub(super) senders: BTreeSet<SocketId>,
    pub(super) error: Option<Error>,
    pub(super) is_read_shut: bool,
    pub(super) is_write_shut: bool,
    /// SO_PEERCRED; of a listener those of the owner who called `listen`.
    pub(in crate::socket) peer_credentials: Option<Credentials>,
    /// SO_PASSCRED.
    pub(in crate::socket) passes_credentials: bool,
    /// The credentials of the data that `receive_slice` returned last; `None` if descriptors came
    /// with that data, so that a receive ends behind it.
    pub(super) last_slice: Option<Credentials>,
    /// How many messages that wait to be received pass this socket on.
    pub(super) in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnixStage {
    Idle,
    Listening { backlog: usize },
    Connected,
}

/// A message, or a piece of a stream: what one call has sent.
#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub(super) data: Bytes,
    /// The sender, who may send more when the message is received.
    pub(super) from: SocketId,
    pub(super) credentials: Credentials,
    pub(super) rights: Option<Box<PassedSockets>>,
    pub(super) cost: usize,
    /// Whether a call with MSG_PEEK has returned its beginning.
    pub(super) is_peeked: bool,
}

/// The sockets whose descriptors a message passes on (SCM_RIGHTS). Each holds its socket, as a
/// descriptor does.
#[derive(Debug)]
pub(super) struct PassedSockets {
    pub(super) sockets: Vec<SocketId>,
    /// The owner who sent them, and whose limit they count for.
    pub(super) owner: OwnerId,
}

/// The cost of a message of this length: about Linux's `truesize`, exactly so for short messages
/// and for most that are a page.
pub(super) fn cost(len: usize) -> usize {
    const HEAD: usize = 320;
    const RECORD: usize = 256;
    match len {
        0..=3776 => (len + HEAD).next_power_of_two().max(512) + RECORD,
        _ => len.next_multiple_of(256) + HEAD + RECORD,
    }
}

impl UnixSocket {
    pub(super) fn new(kind: SocketKind, max_datagrams: usize) -> UnixSocket {
        UnixSocket {
            kind,
            stage: UnixStage::Idle,
            name: UnixAddr::UNNAMED,
            owns_name: false,
            peer: None,
            peer_name: UnixAddr::UNNAMED,
            queue: VecDeque::new(),
            urgent: None,
            queued_len: 0,
            queued_cost: 0,
            outgoing_cost: 0,
            pending: VecDeque::new(),
            max_datagrams,
            stalled: BTreeSet::new(),
            stalled_at: BTreeSet::new(),
            senders: BTreeSet::new(),
            error: None,
            is_read_shut: false,
            is_write_shut: false,
            peer_credentials: None,
            passes_credentials: false,
            last_slice: None,
            in_flight: 0,
        }
    }

    pub(super) fn is_connection_based(&self) -> bool {
        self.kind != SocketKind::Datagram
    }

    pub(in crate::socket) fn is_listening(&self) -> bool {
        matches!(self.stage, UnixStage::Listening { .. })
    }

    /// Whether SO_SNDBUF leaves room for another message.
    pub(super) fn has_room_to_send(&self, options: &SocketOptions) -> bool {
        self.outgoing_cost < options.send_buffer
    }

    /// Whether the queue takes no datagram from this sender. As on Linux this does not concern
    /// datagrams to itself, and those of its peer.
    pub(super) fn is_full_for(&self, own: SocketId, sender: SocketId) -> bool {
        self.queue.len() > self.max_datagrams && own != sender && self.peer != Some(sender)
    }

    pub(super) fn push(&mut self, message: QueuedMessage) {
        self.queued_len += message.data.len();
        self.queued_cost += message.cost;
        self.queue.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<QueuedMessage> {
        let message = self.queue.pop_front()?;
        self.urgent = self.urgent.and_then(|at| at.checked_sub(1));
        self.queued_len -= message.data.len();
        self.queued_cost -= message.cost;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(message)
    }

    /// Whether the peer gets ECONNRESET when this socket is closed. As on Linux a first message
    /// without data does not count.
    pub(super) fn has_unread(&self) -> bool {
        self.queue.len() > 1 || self.queued_len > 0
    }

    /// Whether a receive that has taken a slice may take the next one, too.
    pub(in crate::socket) fn may_read_on(&self) -> bool {
        if self.is_at_mark() {
            return false;
        }
        let is_same = |last| self.queue.front().is_none_or(|next| next.credentials == last);
        self.last_slice.is_some_and(|last| !self.passes_credentials || is_same(last))
    }

    /// Whether something waits; not so at the end of the stream. EAGAIN, the pending error, or an
    /// error of the state.
    pub(super) fn check_receiver(&mut self) -> Result<bool> {
        let is_stream = self.kind == SocketKind::Stream;
        if self.is_connection_based() && self.stage != UnixStage::Connected {
            return Err(if is_stream { Error::InvalidArgument } else { Error::NotConnected });
        }
        let has_data = !self.queue.is_empty();
        // A stream returns its data before its error.
        if (!has_data || !is_stream)
            && let Some(error) = self.error.take()
        {
            return Err(error);
        }
        if has_data { Ok(true) } else { self.end_of_data().map(|()| false) }
    }

    /// Nothing waits, or not so far behind the front: EAGAIN unless it is the end of the stream.
    fn end_of_data(&self) -> Result<()> {
        let is_end = self.is_read_shut && self.is_connection_based();
        if is_end { Ok(()) } else { Err(Error::WouldBlock) }
    }

    /// Copies what a receive would return, after `offset` bytes if SO_PEEK_OFF is on. Returns the
    /// number of bytes that were copied, and the length of what is left of the message.
    /// `is_inline`: SO_OOBINLINE.
    pub(super) fn peek_into(
        &mut self,
        bufs: &mut [&mut [u8]],
        offset: Option<usize>,
        is_inline: bool,
    ) -> Result<(usize, usize)> {
        if !self.check_receiver()? {
            return Ok((0, 0));
        }
        let is_stream = self.kind == SocketKind::Stream;
        let found =
            if is_stream { self.find_in_stream(offset, is_inline) } else { self.find_to_peek(offset) };
        let Some((at, skipped)) = found else {
            return match self.error.take() {
                Some(error) => Err(error),
                None => self.end_of_data().map(|()| (0, 0)),
            };
        };
        let first = &mut self.queue[at];
        first.is_peeked = true;
        if !is_stream {
            let data = &first.data[skipped..];
            return Ok((copy_into(data, bufs), data.len()));
        }
        let credentials = first.credentials;
        let (mut to, mut skipped, mut next) = (Scatter::new(bufs), skipped, Some(at));
        while let Some(at) = next {
            let message = &self.queue[at];
            if self.passes_credentials && message.credentials != credentials {
                break;
            }
            to.copy(&message.data[mem::take(&mut skipped)..]);
            if to.is_full() || message.rights.is_some() {
                break;
            }
            next = self.peek_beyond_mark(at + 1, to.copied > 0, is_inline);
        }
        Ok((to.copied, to.copied))
    }

    /// The place of the piece of a stream that a peek copies first, and how many bytes of it are to
    /// be skipped. As on Linux SO_PEEK_OFF counts urgent data behind the front, too.
    fn find_in_stream(&self, offset: Option<usize>, is_inline: bool) -> Option<(usize, usize)> {
        let (mut at, mut left) = (self.peek_beyond_mark(0, false, is_inline)?, offset.unwrap_or(0));
        loop {
            let len = self.queue.get(at)?.data.len();
            if left < len {
                return Some((at, left));
            }
            left -= len;
            at += 1;
        }
    }

    /// The place in the queue of the message that lies `offset` bytes behind the front, and how
    /// many bytes of it are to be skipped. As on Linux an empty message is found once.
    fn find_to_peek(&self, offset: Option<usize>) -> Option<(usize, usize)> {
        let Some(mut left) = offset else { return Some((0, 0)) };
        for (at, message) in self.queue.iter().enumerate() {
            if left < message.data.len() || (left == 0 && !message.is_peeked) {
                return Some((at, left));
            }
            left -= message.data.len();
        }
        None
    }
}

/// Buffers that are filled one after another.
pub(super) struct Scatter<'a, 'b> {
    bufs: &'a mut [&'b mut [u8]],
    /// The bytes of the first one that are filled.
    filled: usize,
    pub(super) copied: usize,
}

impl<'a, 'b> Scatter<'a, 'b> {
    pub(super) fn new(bufs: &'a mut [&'b mut [u8]]) -> Self {
        let mut new = Scatter { bufs, filled: 0, copied: 0 };
        new.skip_full();
        new
    }

    pub(super) fn is_full(&self) -> bool {
        self.bufs.is_empty()
    }

    /// Copies as much of `data` as fits, and returns how many bytes that was.
    pub(super) fn copy(&mut self, data: &[u8]) -> usize {
        let mut copied = 0;
        while let Some(buf) = self.bufs.first_mut() {
            let len = copy_prefix(&data[copied..], &mut buf[self.filled..]);
            copied += len;
            self.filled += len;
            self.skip_full();
            if copied == data.len() {
                break;
            }
        }
        self.copied += copied;
        copied
    }

    fn skip_full(&mut self) {
        while let Some(buf) = self.bufs.first()
            && buf.len() == self.filled
        {
            self.bufs = &mut mem::take(&mut self.bufs)[1..];
            self.filled = 0;
        }
    }
}

impl ProtocolState for UnixSocket {
    /// As Linux's unix_poll and unix_dgram_poll.
    fn readiness(&self, options: &SocketOptions) -> Readiness {
        let was_never_connected = self.is_connection_based() && self.stage == UnixStage::Idle;
        Readiness {
            readable: !self.queue.is_empty() || !self.pending.is_empty() || self.is_read_shut,
            // unix_writable.
            writable: !self.is_listening()
                && self.outgoing_cost * 4 <= options.send_buffer
                && !self.peer.is_some_and(|peer| self.stalled_at.contains(&peer)),
            peer_closed: self.is_read_shut,
            hung_up: self.is_read_shut && self.is_write_shut || was_never_connected,
            error: self.error.is_some(),
            urgent: self.urgent.is_some(),
        }
    }

    fn flow(&self) -> Option<FourTuple> {
        None
    }

    fn queued(&self) -> (usize, usize) {
        // As on Linux, FIONREAD of datagrams is the length of the next one, and SIOCOUTQ counts
        // what messages cost.
        let received = match self.kind {
            SocketKind::Datagram => self.queue.front().map_or(0, |message| message.data.len()),
            _ => self.queued_len,
        };
        (received, self.outgoing_cost)
    }

    fn unread(&self) -> Result<usize> {
        if self.is_listening() { Err(Error::InvalidArgument) } else { Ok(self.queued().0) }
    }

    fn describe(&self, _: bool, info: &mut SocketInfo) {
        info.state = match self.stage {
            UnixStage::Listening { .. } => SocketState::Tcp(State::Listen),
            UnixStage::Connected => SocketState::Connected,
            UnixStage::Idle if self.peer.is_some() => SocketState::Connected,
            UnixStage::Idle if !self.name.is_unnamed() => SocketState::Bound,
            UnixStage::Idle => SocketState::Unbound,
        };
        (info.receive_queue, info.send_queue) = match self.stage {
            UnixStage::Listening { backlog } => (self.pending.len(), backlog),
            _ => (self.queued_len, self.outgoing_cost),
        };
    }

    fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    fn held_bytes(&self) -> usize {
        mem::size_of::<UnixSocket>()
            + self.queued_cost
            + (self.pending.len() + 2 * self.stalled.len() + self.senders.len()) * mem::size_of::<SocketId>()
    }

    fn is_over(&self) -> bool {
        true
    }
}
