//! [`Calls`]: the calls of a socket, with what they do when they must wait.

use std::io;
use std::ops::Deref;

use portolan::{Instant, Readiness};

use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::task_wait::SeenEvents;
use crate::engine::task_waiters::{FutureId, Task};
use crate::engine::wait::{WaitLimit, Wanted};
use crate::socket::Socket;

/// What a call does when it must wait.
#[derive(Clone, Copy, Debug)]
enum Waits<'a> {
    /// The thread waits for as long as the socket's settings say.
    AsSet,
    /// The call returns `WouldBlock`.
    Never,
    /// The call returns `WouldBlock`, and the task is woken when it should try again.
    Task(Task<'a>),
}

/// The calls of a socket, made by a thread that may wait, by one that may not, or by a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls<'a> {
    socket: &'a Socket,
    waits: Waits<'a>,
}

impl Socket {
    /// The calls of a thread, which waits for as long as the socket's settings say.
    pub(crate) fn calls(&self) -> Calls<'_> {
        Calls { socket: self, waits: Waits::AsSet }
    }

    /// The calls of a thread that does not wait.
    pub(crate) fn calls_at_once(&self) -> Calls<'_> {
        Calls { socket: self, waits: Waits::Never }
    }

    /// The identity of a new future that waits for sockets of this runtime.
    pub(crate) fn new_future(&self) -> FutureId {
        self.stacks.new_future()
    }

    /// Removes a future that no longer waits for the socket.
    pub(crate) fn forget_future(&self, future: FutureId) {
        self.engine().forget_future(self.id, future);
    }

    /// The calls of a task. When one returns `WouldBlock`, the task is woken later.
    pub(crate) fn calls_of<'a>(&'a self, task: Task<'a>) -> Calls<'a> {
        Calls { socket: self, waits: Waits::Task(task) }
    }
}

impl Deref for Calls<'_> {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        self.socket
    }
}

impl Calls<'_> {
    /// Returns the readiness of the socket if it is ready in one of these directions, and there was
    /// an event for that since `seen`. It never waits; a task is woken later.
    pub(crate) fn ready(
        self,
        directions: &[Direction],
        seen: Option<SeenEvents>,
    ) -> io::Result<(Readiness, SeenEvents)> {
        let task = match self.waits {
            Waits::Task(task) => Some(task),
            Waits::AsSet | Waits::Never => None,
        };
        self.engine().ready_for_task(self.id, directions, task, seen)
    }

    /// Makes a call, and repeats it if a thread waits.
    pub(crate) fn call_waiting<R>(
        self,
        direction: Direction,
        op: impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let limit = match self.waits {
            Waits::AsSet => self.wait_limit(direction),
            Waits::Never => WaitLimit::None,
            Waits::Task(task) => {
                let wanted = Wanted { socket: self.id, direction };
                return self.engine().call_of_task(wanted, task, op);
            }
        };
        self.engine().call_blocking(self.id, direction, limit, op)
    }

    /// Whether the call returns, in the end, what it waits for, and not `WouldBlock`.
    pub(super) fn may_wait(self) -> bool {
        match self.waits {
            Waits::AsSet => !self.is_nonblocking(),
            Waits::Never => false,
            Waits::Task(_) => true,
        }
    }

    /// Whether a task makes the call.
    pub(super) fn is_of_task(self) -> bool {
        matches!(self.waits, Waits::Task(_))
    }
}
