//! The stacks of a runtime: one, or one for each queue of its interfaces.
//!
//! Each is whole: a stack behind its locks, a driving thread, devices. A socket is on one of them and knows nothing of the
//! others; with one stack all that is here is passed by. What belongs to several stays out of the way of data: which stack
//! a new socket is on, listeners (a socket on each stack, see [`tcp`](crate::tcp)), sums of counters, and that all of them
//! end together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan::steering::Steering;
use portolan::{SocketInfo, Stack, Stats};

use crate::engine::end_reason::Ended;
use crate::engine::inbox::{Exchange, Handovers};
use crate::engine::locks::Shared;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Stacks {
    first: Arc<Shared>,
    /// Empty when there is but one.
    others: Vec<Arc<Shared>>,
    steering: Option<Steering>,
    exchanges: Vec<Arc<Exchange>>,
    /// Where the next socket goes that may be anywhere.
    turn: AtomicUsize,
}

impl Stacks {
    pub(crate) fn new(
        first: Arc<Shared>,
        others: Vec<Arc<Shared>>,
        steering: Option<Steering>,
        exchanges: Vec<Arc<Exchange>>,
    ) -> Arc<Stacks> {
        let stacks = Arc::new(Stacks { first, others, steering, exchanges, turn: AtomicUsize::new(0) });
        for shared in stacks.all() {
            shared.join(&stacks);
        }
        stacks
    }

    /// A stack whose runtime is gone, for a socket that was left over.
    pub(crate) fn alone(shared: Arc<Shared>) -> Arc<Stacks> {
        Arc::new(Stacks {
            first: shared,
            others: Vec::new(),
            steering: None,
            exchanges: Vec::new(),
            turn: AtomicUsize::new(0),
        })
    }

    pub(crate) fn first(&self) -> &Arc<Shared> {
        &self.first
    }

    pub(crate) fn others(&self) -> &[Arc<Shared>] {
        &self.others
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Shared>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Stack number `index`, from 0.
    pub(crate) fn at(&self, index: usize) -> Option<&Arc<Shared>> {
        index.checked_sub(1).map_or(Some(&self.first), |index| self.others.get(index))
    }

    /// The stack for a socket that may be on any: each in turn.
    pub(crate) fn any(&self) -> &Arc<Shared> {
        if self.others.is_empty() {
            return &self.first;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.count();
        self.at(turn).unwrap_or(&self.first)
    }

    /// The stack for a datagram socket on this port; 0 is any.
    pub(crate) fn for_port(&self, port: u16) -> &Arc<Shared> {
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
        self.exchanges.iter().for_each(|exchange| sum.add(exchange));
        sum
    }

    /// Why it is over, if it is: a failure rather than a shutdown.
    pub(crate) fn ended(&self) -> Option<Ended> {
        let mut all = self.all().filter_map(|shared| shared.ended());
        let first = all.next()?;
        match first {
            Ended::Shutdown => all.find(|ended| !matches!(ended, Ended::Shutdown)).or(Some(first)),
            failure => Some(failure),
        }
    }

    pub(crate) fn end(&self, ended: &Ended) {
        for shared in self.all() {
            shared.end(ended.clone());
        }
    }
}

fn is_listener(socket: &SocketInfo) -> bool {
    socket.state == "LISTEN"
}
