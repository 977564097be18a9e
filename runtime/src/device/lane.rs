//! [`Lane`]: a bounded queue from one thread to another, for devices in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portolan::{Frame, Instant, Transmit};

use super::{Outgoing, Received};
use crate::clock::Clock;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// A bounded queue with one sender and one receiver, each of which waits with a waker or blocks.
///
/// A receiver that found the queue empty is woken once. A sender that found it full is woken once
/// it is half empty. Both sides move many items under one lock.
#[derive(Debug)]
pub(super) struct Lane<T> {
    state: Mutex<LaneState<T>>,
    capacity: usize,
    /// Notified when a side that sleeps is to look again.
    changed: Condvar,
}

#[derive(Debug)]
struct LaneState<T> {
    items: VecDeque<T>,
    receiver: Waker,
    sender: Waker,
    /// Whether the receiver has found the queue empty since it was woken.
    receiver_waits: bool,
    /// Whether the sender has found the queue full since it was woken.
    sender_waits: bool,
    /// The number of threads that block.
    sleepers: usize,
    is_sender_gone: bool,
    is_receiver_gone: bool,
}

impl<T> Lane<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = LaneState {
            items: VecDeque::new(),
            receiver: Waker::noop().clone(),
            sender: Waker::noop().clone(),
            receiver_waits: true,
            sender_waits: false,
            sleepers: 0,
            is_sender_gone: false,
            is_receiver_gone: false,
        };
        Lane { state: Mutex::new(state), capacity: capacity.max(1), changed: Condvar::new() }
    }

    /// Locks the lane. Its state is consistent between any two statements, so a panic with the lock
    /// held breaks nothing.
    fn lock(&self) -> MutexGuard<'_, LaneState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_receiver(&self, waker: &Waker) {
        self.lock().receiver.clone_from(waker);
    }

    pub(super) fn set_sender(&self, waker: &Waker) {
        self.lock().sender.clone_from(waker);
    }

    /// Releases the lock, and wakes the side that this waker belongs to.
    fn wake(&self, state: MutexGuard<'_, LaneState<T>>, waker: Waker) {
        let has_sleepers = state.sleepers > 0;
        drop(state);
        waker.wake();
        if has_sleepers {
            self.changed.notify_all();
        }
    }

    /// How many items fit. If none do, the sender is woken when some do.
    fn room(&self) -> usize {
        let mut state = self.lock();
        // Items for a receiver that is gone are lost, and need no room.
        let used = if state.is_receiver_gone { 0 } else { state.items.len() };
        let room = self.capacity - used;
        state.sender_waits |= room == 0;
        room
    }

    /// Appends these items, of which there are no more than [`room`](Lane::room) said.
    fn append(&self, items: &mut Vec<T>) {
        let state = self.lock();
        if state.is_receiver_gone {
            drop(state);
            return items.clear();
        }
        self.append_to(state, items.drain(..));
    }

    /// Appends these items while they fit. Returns how many were lost. Several threads may call
    /// this; none of them waits for room.
    pub(super) fn append_or_lose(&self, mut items: impl Iterator<Item = T>) -> u64 {
        let state = self.lock();
        let room = if state.is_receiver_gone { 0 } else { self.capacity - state.items.len() };
        self.append_to(state, items.by_ref().take(room));
        items.count() as u64
    }

    fn append_to(&self, mut state: MutexGuard<'_, LaneState<T>>, items: impl Iterator<Item = T>) {
        state.items.extend(items);
        if std::mem::take(&mut state.receiver_waits) {
            let receiver = state.receiver.clone();
            self.wake(state, receiver);
        }
    }

    /// Moves items from the front of `items`, as many as fit. Fails with `BrokenPipe` if the
    /// receiver is gone, and with `WouldBlock` if nothing fits; then `waker` is woken when
    /// something does.
    pub(super) fn try_send(&self, items: &mut VecDeque<T>, waker: Option<&Waker>) -> io::Result<usize> {
        let mut state = self.lock();
        if state.is_receiver_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = items.len().min(self.capacity - state.items.len());
        if count < items.len() {
            state.sender_waits = true;
            waker.into_iter().for_each(|waker| state.sender.clone_from(waker));
        }
        if count > 0 {
            self.append_to(state, items.drain(..count));
        } else if !items.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }

    /// Passes items to `put` until that returns false, or none are left. Returns their number, or
    /// `None` if there are none yet; `waker` is woken when there are. 0 means that the sender is
    /// gone.
    pub(super) fn try_take(&self, waker: Option<&Waker>, mut put: impl FnMut(T) -> bool) -> Option<usize> {
        let mut state = self.lock();
        let mut count = 0;
        while let Some(item) = state.items.pop_front() {
            count += 1;
            if !put(item) {
                break;
            }
        }
        if state.items.is_empty() {
            state.receiver_waits = true;
            waker.into_iter().for_each(|waker| state.receiver.clone_from(waker));
        }
        let is_over = count == 0 && state.is_sender_gone;
        if state.sender_waits && state.items.len() <= self.capacity / 2 {
            state.sender_waits = false;
            let sender = state.sender.clone();
            self.wake(state, sender);
        }
        (count > 0 || is_over).then_some(count)
    }

    /// Like [`try_take`](Lane::try_take), for a task.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>, put: impl FnMut(T) -> bool) -> Poll<usize> {
        self.try_take(Some(cx.waker()), put).map_or(Poll::Pending, Poll::Ready)
    }

    /// Like [`try_send`](Lane::try_send), for a task.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, items: &mut VecDeque<T>) -> Poll<io::Result<usize>> {
        match self.try_send(items, Some(cx.waker())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            sent => Poll::Ready(sent),
        }
    }

    /// Blocks the receiver until there is something to take, or the sender is gone.
    pub(super) fn wait_for_items(&self, until: Option<Instant>) -> io::Result<()> {
        self.wait(until, |state| state.items.is_empty() && !state.is_sender_gone)
    }

    /// Blocks the sender until something fits, or the receiver is gone.
    pub(super) fn wait_for_room(&self, until: Option<Instant>) -> io::Result<()> {
        self.wait(until, |state| state.items.len() >= self.capacity && !state.is_receiver_gone)
    }

    fn wait(&self, until: Option<Instant>, must_wait: impl Fn(&LaneState<T>) -> bool) -> io::Result<()> {
        let mut state = self.lock();
        state.sleepers += 1;
        let mut waited = Ok(());
        while waited.is_ok() && must_wait(&state) {
            let left = until.map_or(Duration::MAX, Clock::until);
            state = match until {
                Some(_) if left.is_zero() => {
                    waited = Err(io::ErrorKind::TimedOut.into());
                    state
                }
                Some(_) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.sleepers -= 1;
        waited
    }

    /// Says that nothing more is sent. The receiver gets what there is.
    pub(super) fn close_sender(&self) {
        let mut state = self.lock();
        state.is_sender_gone = true;
        let receiver = state.receiver.clone();
        self.wake(state, receiver);
    }

    /// Says that nothing more is received. What there is, is lost.
    pub(super) fn close_receiver(&self) {
        let mut state = self.lock();
        state.is_receiver_gone = true;
        let lost = std::mem::take(&mut state.items);
        let sender = state.sender.clone();
        self.wake(state, sender);
        drop(lost);
    }
    /// Puts copies of frames into the queue while there is room. `copies` has them on their way; it
    /// is empty between two calls.
    pub(super) fn transmit(
        &self,
        outgoing: &mut Outgoing<'_>,
        copies: &mut Vec<T>,
        copy: impl Fn(&Transmit) -> T,
    ) {
        while !outgoing.is_empty() {
            // Only this end appends, so the room that is found here is still there after the
            // copies, which are made with the lock released.
            let room = self.room();
            if room == 0 {
                break;
            }
            while copies.len() < room
                && let Some(transmit) = outgoing.peek()
            {
                copies.push(copy(transmit));
                outgoing.pop();
            }
            self.append(copies);
        }
    }
}

impl Lane<Frame> {
    /// Passes frames on while the runtime takes them.
    pub(super) fn receive(&self, received: &mut Received<'_>) {
        if received.has_room() {
            self.try_take(None, |frame| {
                received.push(frame);
                received.has_room()
            });
        }
    }
}
