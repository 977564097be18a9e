//! Connections that interfaces intercept: waiting for them, and accepting them.

use std::io;
use std::time::Duration;

use portolan::{Descriptor, PendingConnection, PendingEvent, PendingId, Unreachable};

use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::locks::{Waited, to_io_error};
use crate::engine::task_waiters::{Task, TaskSlot};
use crate::handle::LONG_WAIT;
use crate::socket::calls::Calls;
use crate::socket::{Socket, register};

impl Calls<'_> {
    /// Waits for the next pending connection.
    pub(crate) fn next_pending(self) -> io::Result<PendingConnection> {
        self.call_waiting(Direction::Read, |core, _| take_pending(core, self.descriptor))
    }
}

impl Socket {
    /// Accepts a pending connection of this interceptor, and waits until it is established, at most
    /// `timeout`. If that fails, the connection is reset.
    pub(crate) fn accept_pending(
        &self,
        pending: &PendingConnection,
        timeout: Option<Duration>,
    ) -> io::Result<Socket> {
        let socket = self.begin_accepting(pending)?;
        socket.wait_until_open(pending.source, timeout)?;
        Ok(socket.with_timeouts_of(self))
    }

    /// Answers a pending connection of this interceptor. Closed before the connection is
    /// established, the socket resets it.
    pub(crate) fn begin_accepting(&self, pending: &PendingConnection) -> io::Result<Socket> {
        let accepted = self.engine().call(|core, now, _| {
            let d = core.owner_of(self.descriptor)?.accept_pending(now, self.descriptor, pending.id)?;
            Ok((d, register(core, d)?))
        })?;
        let (descriptor, id) = accepted.map_err(to_io_error)?;
        Ok(Socket::of(self.stacks.clone(), self.stack, descriptor, id))
    }

    /// Waits until a pending connection of this interceptor needs no decision any more, at most
    /// `timeout`. Returns whether that is so.
    pub(crate) fn wait_cancelled(&self, pending: PendingId, timeout: Option<Duration>) -> io::Result<bool> {
        let d = self.descriptor;
        let mut answer = Ok(false);
        let mut is_over = |core: &mut EngineCore| {
            answer = core.owner_of(d).and_then(|owner| Ok(!owner.is_pending(d, pending)?));
            answer != Ok(false)
        };
        while self.engine().wait_for(timeout.unwrap_or(LONG_WAIT), &mut is_over)? == Waited::TimedOut {
            if timeout.is_some() {
                return Ok(false);
            }
        }
        answer.map_err(to_io_error)
    }

    /// Whether a pending connection of this interceptor needs no decision any more. If it does, the
    /// task is woken when that changes.
    pub(crate) fn is_cancelled_for_task(&self, pending: PendingId, task: Task<'_>) -> io::Result<bool> {
        self.engine().is_cancelled_for_task(self.descriptor, pending, task)
    }

    /// Removes a task that no longer waits for a pending connection.
    pub(crate) fn forget_cancel_waiter(&self, pending: PendingId, slot: TaskSlot) {
        self.engine().forget_cancel_waiter(pending, slot);
    }
}

/// What is unreachable if a socket of the host or of a stack has failed with this error.
pub(crate) fn unreachable_for(error: &io::Error) -> Option<Unreachable> {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable => Some(Unreachable::Network),
        io::ErrorKind::HostUnreachable => Some(Unreachable::Host),
        io::ErrorKind::ConnectionRefused => Some(Unreachable::Port),
        io::ErrorKind::PermissionDenied => Some(Unreachable::Prohibited),
        _ => None,
    }
}

/// Takes the next pending connection. That another one was cancelled is found when the program
/// decides about it.
fn take_pending(core: &mut EngineCore, d: Descriptor) -> portolan::Result<PendingConnection> {
    loop {
        if let PendingEvent::New(pending) = core.owner_of(d)?.poll_pending(d)? {
            return Ok(pending);
        }
    }
}
