//! [`RelayMachine`]: the state of a relay. It never waits: threads and tasks drive it.

#[cfg(test)]
mod tests;

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use portolan::Instant;

use super::config::{RelayConfig, RelayEnd, Relayed};
use crate::policy::{FIRST_DRAIN_CHECK, LAST_DRAIN_CHECK, RELAY_ROUNDS};
use crate::socket::stream::Slices;

/// One of the two streams of a relay.
///
/// What returns `Pending` wakes the task of the context when it should be called again.
pub trait End {
    /// Takes data that the peer has sent. No slices are the end of the stream.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Slices>>;

    /// Sends a part of the data, and cuts it off. Returns its length.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Slices) -> Poll<io::Result<usize>>;

    /// Returns an error of the connection that neither of these calls would find, because neither
    /// is made.
    fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;

    /// Ends the half that sends.
    fn end_sending(&mut self) -> io::Result<()>;

    /// The bytes that were sent and that the peer has not acknowledged.
    fn unacknowledged(&self) -> io::Result<usize>;

    /// Resets the connection, now or when the end is dropped.
    fn reset(&mut self);
}

/// The state of a relay. Dropped before it is over, it resets both streams, so that a part of a
/// stream is never taken for the whole.
#[derive(Debug)]
pub(crate) struct RelayMachine<A: End, B: End> {
    a: A,
    b: B,
    a_to_b: Half,
    b_to_a: Half,
    failed: Option<Failed>,
    config: RelayConfig,
    /// When something passed last.
    moved_at: Instant,
    is_over: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// What was received and not sent yet.
    data: Slices,
    /// The bytes that were sent.
    bytes: u64,
    /// Whether all that will ever come was received.
    is_received: bool,
    /// Whether the receiver was told that this is the end.
    is_ended: bool,
}

/// A stream has failed, and the other one is to be reset once its peer has all that came before.
#[derive(Debug)]
struct Failed {
    is_a: bool,
    error: io::Error,
    /// When to look next whether the peer has acknowledged everything: no event tells.
    look_at: Option<Instant>,
    delay: Duration,
    /// What was not acknowledged at the last look.
    unacknowledged: usize,
}

/// Which of the streams of a direction has failed.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Half {
    /// Moves what can be moved without waiting, up to a limit.
    fn step(&mut self, cx: &mut Context<'_>, from: &mut impl End, to: &mut impl End) -> Result<(), Broken> {
        for _ in 0..RELAY_ROUNDS {
            if self.is_ended || self.send(cx, to)?.is_pending() {
                return Ok(());
            }
            if self.is_received {
                to.end_sending().map_err(Broken::Sink)?;
                self.is_ended = true;
                return Ok(());
            }
            match from.poll_recv(cx).map_err(Broken::Source)? {
                Poll::Ready(data) => self.keep(data),
                Poll::Pending => return Ok(()),
            }
        }
        // The other direction and other tasks have their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Moves what is left of a source that has failed. Returns whether all of it was sent.
    fn step_to_end(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
    ) -> io::Result<bool> {
        loop {
            match self.send(cx, to) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => return Ok(false),
                Err(Broken::Source(error) | Broken::Sink(error)) => return Err(error),
            }
            if self.is_received {
                return Ok(true);
            }
            match from.poll_recv(cx) {
                Poll::Ready(Ok(data)) => self.keep(data),
                // Nothing comes after a failure but what was there before.
                Poll::Ready(Err(_)) | Poll::Pending => self.is_received = true,
            }
        }
    }

    fn keep(&mut self, data: Slices) {
        self.is_received = data.is_empty();
        self.data = data;
    }

    fn send(&mut self, cx: &mut Context<'_>, to: &mut impl End) -> Result<Poll<()>, Broken> {
        while !self.data.is_empty() {
            match to.poll_send(cx, &mut self.data).map_err(Broken::Sink)? {
                Poll::Ready(0) => return Err(Broken::Sink(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.bytes += count as u64,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }
}

/// Cuts the first `count` bytes off the slices.
pub(crate) fn advance(data: &mut Slices, count: usize) {
    let mut left = count;
    let sent = data.iter().take_while(|slice| {
        let is_sent = slice.len() <= left;
        left -= if is_sent { slice.len() } else { 0 };
        is_sent
    });
    let sent = sent.count();
    data.drain(..sent);
    if let Some(first) = data.first_mut() {
        first.advance(left);
    }
}

impl<A: End, B: End> RelayMachine<A, B> {
    pub(crate) fn new(a: A, b: B, config: &RelayConfig, now: Instant) -> RelayMachine<A, B> {
        let (a_to_b, b_to_a) = (Half::default(), Half::default());
        RelayMachine {
            a,
            b,
            a_to_b,
            b_to_a,
            failed: None,
            config: config.clone(),
            moved_at: now,
            is_over: false,
        }
    }

    pub(crate) fn a(&self) -> &A {
        &self.a
    }

    pub(crate) fn b(&self) -> &B {
        &self.b
    }

    /// How many bytes it has sent in all.
    #[cfg(feature = "tokio")]
    pub(crate) fn bytes(&self) -> u64 {
        self.a_to_b.bytes + self.b_to_a.bytes
    }

    pub(crate) fn ends(&mut self) -> (&mut A, &mut B) {
        (&mut self.a, &mut self.b)
    }

    /// Moves what can be moved without waiting. While this returns `Pending`, it is to be called
    /// again when the task is woken, and at [`deadline`](RelayMachine::deadline).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Relayed> {
        let before = self.progress();
        if self.failed.is_none()
            && let Err((is_a, error)) = self.step(cx)
        {
            let (look_at, delay) = (None, FIRST_DRAIN_CHECK);
            self.failed = Some(Failed { is_a, error, look_at, delay, unacknowledged: usize::MAX });
        }
        if self.a_to_b.is_ended && self.b_to_a.is_ended {
            return Poll::Ready(self.over(RelayEnd::Closed));
        }
        if self.is_drained(cx, now) {
            return self.on_failure_passed();
        }
        if self.progress() != before {
            self.moved_at = now;
        }
        if self.time_out_at().is_none_or(|at| now < at) {
            return Poll::Pending;
        }
        match (self.failed.is_some(), self.is_half_closed()) {
            (true, _) => self.on_failure_passed(),
            (false, true) => Poll::Ready(self.over_by_reset(RelayEnd::HalfClosed)),
            (false, false) => Poll::Ready(self.over_by_reset(RelayEnd::Idle)),
        }
    }

    /// When it is to be polled again although nothing has happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let look_at = self.failed.as_ref().and_then(|failed| failed.look_at);
        [look_at, self.time_out_at()].into_iter().flatten().min()
    }

    fn time_out_at(&self) -> Option<Instant> {
        let is_ending = self.is_half_closed() || self.failed.is_some();
        let limit = if is_ending { self.config.half_closed_timeout } else { self.config.idle_timeout };
        limit.map(|limit| self.moved_at + limit)
    }

    fn is_half_closed(&self) -> bool {
        self.a_to_b.is_ended || self.b_to_a.is_ended
    }

    /// A value that differs whenever something has passed.
    fn progress(&self) -> (u64, u64, bool, Option<usize>) {
        let unacknowledged = self.failed.as_ref().map(|failed| failed.unacknowledged);
        (self.a_to_b.bytes, self.b_to_a.bytes, self.is_half_closed(), unacknowledged)
    }

    /// Moves what can be moved in both directions. An error says whether `a` has failed.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<(), (bool, io::Error)> {
        let RelayMachine { a, b, a_to_b, b_to_a, .. } = self;
        a_to_b.step(cx, a, b).map_err(|fault| match fault {
            Broken::Source(error) => (true, error),
            Broken::Sink(error) => (false, error),
        })?;
        b_to_a.step(cx, b, a).map_err(|fault| match fault {
            Broken::Source(error) => (false, error),
            Broken::Sink(error) => (true, error),
        })?;
        // Nothing more is received from a peer that has ended its half, but it can be reset.
        if a_to_b.is_ended
            && let Poll::Ready(error) = a.poll_failed(cx)
        {
            return Err((true, error));
        }
        if b_to_a.is_ended
            && let Poll::Ready(error) = b.poll_failed(cx)
        {
            return Err((false, error));
        }
        Ok(())
    }

    /// After a failure: whether the peer of the other stream has all that came before it.
    fn is_drained(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let RelayMachine { a, b, a_to_b, b_to_a, failed, .. } = self;
        let Some(failed) = failed else { return false };
        let (left, unacknowledged) = if failed.is_a {
            (a_to_b.step_to_end(cx, a, b), b.unacknowledged())
        } else {
            (b_to_a.step_to_end(cx, b, a), a.unacknowledged())
        };
        match (left, unacknowledged) {
            (Ok(false), _) => return false,
            // The other one has failed, too, or has acknowledged everything.
            (Err(_), _) | (_, Err(_) | Ok(0)) => return true,
            (Ok(true), Ok(left)) => failed.unacknowledged = left,
        }
        if failed.look_at.is_none_or(|at| now >= at) {
            failed.look_at = Some(now + failed.delay);
            failed.delay = (failed.delay * 2).min(LAST_DRAIN_CHECK);
        }
        false
    }

    fn on_failure_passed(&mut self) -> Poll<Relayed> {
        let Some(Failed { is_a, error, .. }) = self.failed.take() else { return Poll::Pending };
        Poll::Ready(self.over_by_reset(match is_a {
            true => RelayEnd::AFailed(error),
            false => RelayEnd::BFailed(error),
        }))
    }

    fn over_by_reset(&mut self, end: RelayEnd) -> Relayed {
        self.a.reset();
        self.b.reset();
        self.over(end)
    }

    fn over(&mut self, end: RelayEnd) -> Relayed {
        self.is_over = true;
        Relayed { a_to_b: self.a_to_b.bytes, b_to_a: self.b_to_a.bytes, end }
    }
}

impl<A: End, B: End> Drop for RelayMachine<A, B> {
    fn drop(&mut self) {
        if !self.is_over {
            self.a.reset();
            self.b.reset();
        }
    }
}
