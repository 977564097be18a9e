//! How tasks wait: the `poll` functions, and the futures of `async` functions.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::engine::task_waiters::{FutureId, Task, TaskSlot};
use crate::poller::sealed::SocketsOf;
use crate::socket::Socket;
use crate::socket::calls::Calls;

/// Polls a call, unless the task has used up its budget. `WouldBlock` means that the task is woken
/// later.
fn poll_within_budget<R>(cx: &mut Context<'_>, call: impl FnOnce() -> io::Result<R>) -> Poll<io::Result<R>> {
    #[cfg(feature = "tokio")]
    let budget = std::task::ready!(tokio::task::coop::poll_proceed(cx));
    #[cfg(not(feature = "tokio"))]
    let _ = cx;
    match call() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => {
            #[cfg(feature = "tokio")]
            budget.made_progress();
            Poll::Ready(result)
        }
    }
}

/// Polls a call on behalf of the task that polls last.
pub(super) fn poll_task<R>(
    cx: &mut Context<'_>,
    call: impl FnOnce(Task<'_>) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    let waker = cx.waker().clone();
    poll_within_budget(cx, || call(Task { waker: &waker, slot: TaskSlot::Polls }))
}

/// Polls a call on a socket.
pub(super) fn poll_call<R>(
    cx: &mut Context<'_>,
    socket: &Socket,
    call: impl FnOnce(Calls<'_>) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    poll_task(cx, |task| call(socket.calls_of(task)))
}

/// Repeats a call on a socket until it does not return `WouldBlock`.
pub(super) async fn call<R>(
    socket: &Socket,
    mut call: impl FnMut(Calls<'_>) -> io::Result<R>,
) -> io::Result<R> {
    call_on_all(SocketsOf::from(socket), |task| call(socket.calls_of(task))).await
}

/// Repeats a call that waits for all of these sockets.
pub(super) async fn call_on_all<R>(
    sockets: SocketsOf<'_>,
    mut call: impl FnMut(Task<'_>) -> io::Result<R>,
) -> io::Result<R> {
    let mut waiting = Waiting { id: sockets.first.new_future(), sockets, is_registered: false };
    poll_fn(|cx| waiting.poll(cx, &mut call)).await
}

/// The future of a call, which has a waker of its own for each socket. They are removed when it is
/// dropped.
struct Waiting<'a> {
    sockets: SocketsOf<'a>,
    id: FutureId,
    is_registered: bool,
}

impl Waiting<'_> {
    fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(Task<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let waker = cx.waker().clone();
        let slot = TaskSlot::Future(self.id);
        let polled = poll_within_budget(cx, || {
            let result = call(Task { waker: &waker, slot });
            self.is_registered |= matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            result
        });
        // A call on one socket that has its result has removed the waker itself.
        if polled.is_ready() && self.sockets.others.is_empty() {
            self.is_registered = false;
        }
        polled
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_registered {
            self.sockets.all().for_each(|socket| socket.forget_future(self.id));
        }
    }
}
