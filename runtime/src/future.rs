//! What futures need that wait for several sockets and for time: an identity, and a timer that
//! works on every executor. And [`block_on`], for threads.

#[cfg(feature = "resolver")]
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use portolan::Instant;

use crate::clock::Clock;
use crate::engine::locks::Engine;
use crate::engine::task_waiters::{FutureId, Task, TaskSlot};
use crate::handle::Handle;
#[cfg(feature = "resolver")]
use crate::socket::{Socket, calls::Calls};
use crate::sync::{Condvar, Mutex};

/// The identity of a future that waits for several sockets, and its timer. The sockets must not
/// outlive it: they keep its waker.
#[derive(Debug)]
pub(crate) struct FutureWait {
    engine: Arc<Engine>,
    id: FutureId,
    timer_at: Option<Instant>,
}

impl FutureWait {
    pub(crate) fn new(handle: &Handle) -> FutureWait {
        FutureWait { engine: handle.stacks.first().clone(), id: handle.stacks.new_future(), timer_at: None }
    }

    /// The task that polls, for the calls of sockets.
    pub(crate) fn task<'a>(&self, waker: &'a Waker) -> Task<'a> {
        Task { waker, slot: TaskSlot::Future(self.id) }
    }

    /// Polls for this time, or with `None` stops the timer. Fails if the runtime is over.
    pub(crate) fn poll_time(&mut self, waker: &Waker, at: Option<Instant>) -> Poll<io::Result<()>> {
        if self.timer_at != at {
            self.stop_timer();
        }
        let Some(at) = at else { return Poll::Pending };
        if Clock::until(at).is_zero() {
            self.stop_timer();
            return Poll::Ready(Ok(()));
        }
        match self.engine.set_timer(at, self.id, waker) {
            Ok(()) => {
                self.timer_at = Some(at);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn stop_timer(&mut self) {
        if let Some(at) = self.timer_at.take() {
            self.engine.stop_timer(at, self.id);
        }
    }
}

impl Drop for FutureWait {
    fn drop(&mut self) {
        self.stop_timer();
    }
}

/// Repeats a call on a socket, which belongs to this future alone, until it does not return
/// `WouldBlock`. It counts nothing against the budget of a task.
#[cfg(feature = "resolver")]
pub(crate) async fn call<R>(
    socket: &Socket,
    mut call: impl FnMut(Calls<'_>) -> io::Result<R>,
) -> io::Result<R> {
    let slot = TaskSlot::Future(socket.new_future());
    poll_fn(|cx| match call(socket.calls_of(Task { waker: cx.waker(), slot })) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    })
    .await
}

/// Fails with `TimedOut` if the future takes longer.
#[cfg(feature = "resolver")]
pub(crate) async fn until<R>(
    handle: &Handle,
    give_up_at: Instant,
    future: impl Future<Output = io::Result<R>>,
) -> io::Result<R> {
    let (mut waiting, mut future) = (FutureWait::new(handle), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Pending => {
            let time = waiting.poll_time(cx.waker(), Some(give_up_at));
            time.map(|time| Err(time.err().unwrap_or(io::ErrorKind::TimedOut.into())))
        }
        ready => ready,
    })
    .await
}

/// Runs a future in this thread, which sleeps meanwhile.
pub(crate) fn block_on<R>(future: impl Future<Output = R>) -> R {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut future: Pin<&mut _> = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        parker.park();
    }
}

/// Wakes a thread in [`block_on`].
#[derive(Debug, Default)]
struct Parker {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Parker {
    fn park(&self) {
        // No code that holds this lock panics.
        let mut is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *is_woken) {
            is_woken = self.woken.wait(is_woken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }
}

#[cfg(all(test, feature = "resolver"))]
mod tests {
    use std::future::{pending, ready};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::builder::Builder;
    use crate::device::memory_pair;

    /// Nothing else happens on this host, so only the timer can end the leader's sleep.
    #[test]
    fn a_timer_ends_the_sleep_of_the_leader() {
        let (device, _other_end) = memory_pair().unwrap();
        let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse().unwrap()]).start().unwrap();
        let handle = runtime.handle().clone();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for millis in [30, 10] {
                let begin = std::time::Instant::now();
                let give_up_at = Clock::now() + Duration::from_millis(millis);
                let ended: io::Result<()> = block_on(until(&handle, give_up_at, pending()));
                sender.send((ended.unwrap_err().kind(), begin.elapsed())).unwrap();
            }
            let give_up_at = Clock::now() + Duration::from_secs(60);
            let never: io::Result<()> = block_on(until(&handle, give_up_at, pending()));
            sender.send((never.unwrap_err().kind(), Duration::ZERO)).unwrap();
        });
        for millis in [30, 10] {
            let (kind, elapsed) = receiver.recv_timeout(Duration::from_secs(20)).expect("the timer");
            assert_eq!(kind, io::ErrorKind::TimedOut);
            assert!(elapsed >= Duration::from_millis(millis));
        }
        let give_up_at = Clock::now() + Duration::from_secs(60);
        assert_eq!(block_on(until(runtime.handle(), give_up_at, ready(Ok(7)))).unwrap(), 7);
        runtime.shutdown(Duration::ZERO).unwrap();
        let (kind, _) = receiver.recv_timeout(Duration::from_secs(20)).expect("the end of the runtime");
        assert_eq!(kind, io::ErrorKind::NetworkDown);
    }
}
