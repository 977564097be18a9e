//! [`StackEnd`]: a stream of a Portolan stack as one end of a relay.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portolan::SocketOption;

use super::machine::{End, advance};
use crate::engine::direction::Direction;
use crate::engine::task_wait::SeenEvents;
use crate::engine::task_waiters::{Task, TaskSlot};
use crate::policy::RELAY_CHUNK;
use crate::socket::Socket;
use crate::socket::calls::Calls;
use crate::socket::stream::Slices;

/// A stream of a stack, which lends and takes slices without a copy.
#[derive(Debug)]
pub struct StackEnd {
    socket: Arc<Socket>,
    /// The events that `poll_failed` has looked at.
    seen: Option<SeenEvents>,
}

impl StackEnd {
    pub(crate) fn new(socket: Arc<Socket>) -> StackEnd {
        // Whoever sent what is relayed has decided how it is cut. A connection that is over fails
        // the calls that follow.
        let _ = socket.set_option(SocketOption::NoDelay(true));
        StackEnd { socket, seen: None }
    }

    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        call: impl FnOnce(Calls<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let task = Task { waker: cx.waker(), slot: TaskSlot::Polls };
        match call(self.socket.calls_of(task)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }
}

impl End for StackEnd {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Slices>> {
        self.poll(cx, |calls| calls.read_at_most(RELAY_CHUNK))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Slices) -> Poll<io::Result<usize>> {
        let sent = self.poll(cx, |calls| calls.write_shared(data));
        if let Poll::Ready(Ok(count)) = sent {
            advance(data, count);
        }
        sent
    }

    fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let seen = self.seen;
            match self.poll(cx, |calls| calls.ready(&[Direction::Write], seen)) {
                Poll::Ready(Ok((readiness, _))) if readiness.error => {
                    let error = self.socket.take_error().unwrap_or_else(Some);
                    return error.map_or(Poll::Pending, Poll::Ready);
                }
                // There is room, or both halves have ended.
                Poll::Ready(Ok((_, seen))) => self.seen = Some(seen),
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        self.socket.call(|stack, _, d| stack.unacknowledged_bytes(d))
    }

    fn reset(&mut self) {
        // A connection that is over, or whose runtime is, needs no reset.
        let _ = self.socket.set_option(SocketOption::Linger(Some(Duration::ZERO)));
        let _ = self.socket.close();
    }
}
