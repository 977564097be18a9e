//! The stacks of a runtime: one, or one for each queue of its interfaces.
//!
//! Each is whole: a stack behind its locks, a driving thread, devices. A socket is on one of them and knows nothing of the
//! others; with one stack all that is here is passed by. What belongs to several stays out of the way of data: which stack
//! a new socket is on, listeners (a socket on each stack, see [`tcp`](crate::tcp)), sums of counters, and that all of them
//! end together.

use std::sync::Arc;

use portolan::steering::Steering;
use portolan::{SocketInfo, Stack, Stats};

use crate::engine::end_reason::EndReason;
use crate::engine::inbox::{Handovers, InboxSet};
use crate::engine::locks::Engine;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Stacks {
    first: Arc<Engine>,
    /// Empty when there is but one.
    others: Vec<Arc<Engine>>,
    steering: Option<Steering>,
    inbox_sets: Vec<Arc<InboxSet>>,
    /// Where the next socket goes that may be anywhere.
    turn: AtomicUsize,
}

impl Stacks {
    pub(crate) fn new(
        first: Arc<Engine>,
        others: Vec<Arc<Engine>>,
        steering: Option<Steering>,
        inbox_sets: Vec<Arc<InboxSet>>,
    ) -> Arc<Stacks> {
        let stacks = Arc::new(Stacks { first, others, steering, inbox_sets, turn: AtomicUsize::new(0) });
        for engine in stacks.all() {
            engine.join(&stacks);
        }
        stacks
    }

    /// A stack whose runtime is gone, for a socket that was left over.
    pub(crate) fn alone(engine: Arc<Engine>) -> Arc<Stacks> {
        Arc::new(Stacks {
            first: engine,
            others: Vec::new(),
            steering: None,
            inbox_sets: Vec::new(),
            turn: AtomicUsize::new(0),
        })
    }

    pub(crate) fn first(&self) -> &Arc<Engine> {
        &self.first
    }

    pub(crate) fn others(&self) -> &[Arc<Engine>] {
        &self.others
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Engine>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Stack number `index`, from 0.
    pub(crate) fn at(&self, index: usize) -> Option<&Arc<Engine>> {
        index.checked_sub(1).map_or(Some(&self.first), |index| self.others.get(index))
    }

    /// The stack for a socket that may be on any: each in turn.
    pub(crate) fn any(&self) -> &Arc<Engine> {
        if self.others.is_empty() {
            return &self.first;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.count();
        self.at(turn).unwrap_or(&self.first)
    }

    /// The stack for a datagram socket on this port; 0 is any.
    pub(crate) fn for_port(&self, port: u16) -> &Arc<Engine> {
        match &self.steering {
            Some(steering) if port != 0 => {
                self.at(usize::from(steering.of_port(port))).unwrap_or(&self.first)
            }
            _ => self.any(),
        }
    }

    /// What all have counted.
    pub(crate) fn stats(&self) -> Stats {
        let mut sum = self.first.inspect(|stack| stack.stats().clone());
        for other in &self.others {
            other.inspect(|stack| sum.add(stack.stats()));
        }
        sum
    }

    /// The sockets of all; a listener that spans them once.
    pub(crate) fn sockets(&self) -> Vec<SocketInfo> {
        let mut sockets = self.first.inspect(Stack::sockets);
        let of_first = sockets.len();
        for other in &self.others {
            for socket in other.inspect(Stack::sockets) {
                let is_same = |listed: &&mut SocketInfo| is_listener(listed) && listed.local == socket.local;
                let candidates = if is_listener(&socket) { of_first } else { 0 };
                match sockets.iter_mut().take(candidates).find(is_same) {
                    Some(listed) => {
                        listed.receive_queue += socket.receive_queue;
                        listed.send_queue += socket.send_queue;
                    }
                    None => sockets.push(socket),
                }
            }
        }
        sockets
    }

    pub(crate) fn handovers(&self) -> Handovers {
        let mut sum = Handovers::default();
        self.inbox_sets.iter().for_each(|inbox_set| sum.add(inbox_set));
        sum
    }

    /// Why it is over, if it is: a failure rather than a shutdown.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let mut all = self.all().filter_map(|engine| engine.ended());
        let first = all.next()?;
        match first {
            EndReason::Shutdown => all.find(|ended| !matches!(ended, EndReason::Shutdown)).or(Some(first)),
            failure => Some(failure),
        }
    }

    pub(crate) fn end(&self, ended: &EndReason) {
        for engine in self.all() {
            engine.end(ended.clone());
        }
    }
}

fn is_listener(socket: &SocketInfo) -> bool {
    socket.state == "LISTEN"
}
