//! [`Stacks`]: the stacks of a runtime, one for each queue of its interfaces.
//!
//! Each stack is complete: it has its own [`Engine`], driver thread and devices, and a socket is on
//! one of them. With one stack, this module does nothing. It does not touch the path of data: it
//! chooses the stack of a new socket, makes listeners (a socket on each stack), adds up counters,
//! and ends all stacks together.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use portolan::steering::Steering;
use portolan::{OwnerId, SocketInfo, SocketState, SocketWalk, Stack, Stats, TcpState};

use crate::engine::end_reason::EndReason;
use crate::engine::inbox::{Handovers, InboxSet};
use crate::engine::locks::Engine;
use crate::engine::task_waiters::FutureId;
#[cfg(feature = "resolver")]
use crate::names::{Shared, config::ResolverConfig};
use crate::policy::WALK_STEPS;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The stacks of a runtime; see the [module](self).
#[derive(Debug)]
pub(crate) struct Stacks {
    first: Arc<Engine>,
    /// Empty when there is one stack.
    others: Vec<Arc<Engine>>,
    steering: Option<Steering>,
    inbox_sets: Vec<Arc<InboxSet>>,
    /// A counter for sockets that may be on any stack, so that each goes to the next stack.
    turn: AtomicUsize,
    /// A counter for the identities of futures.
    futures: AtomicU64,
    /// The owners beside the first one, each with its id on every stack.
    owners: Mutex<Vec<Arc<[OwnerId]>>>,
    /// The resolver's settings and cache.
    #[cfg(feature = "resolver")]
    pub(crate) names: Arc<Mutex<Shared>>,
}

impl Stacks {
    pub(crate) fn new(
        first: Arc<Engine>,
        others: Vec<Arc<Engine>>,
        steering: Option<Steering>,
        inbox_sets: Vec<Arc<InboxSet>>,
    ) -> Arc<Stacks> {
        Arc::new(Stacks {
            first,
            others,
            steering,
            inbox_sets,
            turn: AtomicUsize::new(0),
            futures: AtomicU64::new(0),
            owners: Mutex::new(Vec::new()),
            #[cfg(feature = "resolver")]
            names: Arc::new(Mutex::new(Shared::new(ResolverConfig::default()))),
        })
    }

    pub(crate) fn first(&self) -> &Arc<Engine> {
        &self.first
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Engine>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The stack with this number, counted from 0; the first one if there is no such stack.
    pub(crate) fn at(&self, index: u16) -> &Arc<Engine> {
        let other = usize::from(index).checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    /// The number of the stack for a socket that may be on any: each in turn.
    pub(crate) fn any(&self) -> u16 {
        if self.others.is_empty() {
            return 0;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.count();
        // A runtime has at most 65,535 stacks.
        turn as u16
    }

    /// The number of the stack for a datagram socket on this port; 0 is any port.
    pub(crate) fn for_port(&self, port: u16) -> u16 {
        match &self.steering {
            Some(steering) if port != 0 && !steering.is_spread(port) => steering.of_port(port),
            _ => self.any(),
        }
    }

    /// The identity of a new future.
    pub(crate) fn new_future(&self) -> FutureId {
        FutureId(self.futures.fetch_add(1, Ordering::Relaxed))
    }

    /// The owners beside the first one, each with its id on every stack.
    pub(crate) fn owners(&self) -> MutexGuard<'_, Vec<Arc<[OwnerId]>>> {
        // No code that holds this lock panics.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of all stacks, added up.
    pub(crate) fn stats(&self) -> Stats {
        let mut sum = self.first.inspect(|stack| stack.stats().clone());
        for other in &self.others {
            other.inspect(|stack| sum.add(stack.stats()));
        }
        sum
    }

    /// The sockets of all stacks. A listener, which has a socket on each stack, is listed once.
    pub(crate) fn sockets(&self) -> Vec<SocketInfo> {
        let mut sockets: Vec<SocketInfo> = Vec::new();
        let mut listeners_of_first = HashMap::new();
        for (stack, socket) in self.walk_sockets(|stack, _, socket| (stack, socket)) {
            if is_listener(&socket) && stack == 0 {
                listeners_of_first.entry(socket.local.clone()).or_insert(sockets.len());
            } else if is_listener(&socket)
                && let Some(&listed) = listeners_of_first.get(&socket.local)
            {
                sockets[listed].receive_queue += socket.receive_queue;
                sockets[listed].send_queue += socket.send_queue;
                continue;
            }
            sockets.push(socket);
        }
        sockets
    }

    /// What `describe` makes of each socket, with the number of its stack and the stack, which is
    /// locked for [`WALK_STEPS`] at a time.
    pub(crate) fn walk_sockets<T>(
        &self,
        mut describe: impl FnMut(usize, &Stack, SocketInfo) -> T,
    ) -> impl Iterator<Item = T> {
        let mut walks = self.all().enumerate().map(|(number, engine)| (number, engine, SocketWalk::new()));
        let mut current = walks.next();
        let pieces = std::iter::from_fn(move || {
            while current.as_ref().is_some_and(|(.., walk)| walk.is_finished()) {
                current = walks.next();
            }
            let (number, engine, walk) = current.as_mut()?;
            let mut piece = Vec::new();
            engine.inspect(|stack| {
                stack.walk_sockets(walk, WALK_STEPS, |socket| piece.push(describe(*number, stack, socket)));
            });
            Some(piece)
        });
        pieces.flatten()
    }

    /// Counts of the frames that the stacks handed to each other.
    pub(crate) fn handovers(&self) -> Handovers {
        let mut sum = Handovers::default();
        self.inbox_sets.iter().for_each(|inbox_set| sum.add(inbox_set));
        sum
    }

    /// Why the runtime is over, if it is. The failure of one stack takes precedence over a
    /// shutdown.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let mut all = self.all().filter_map(|engine| engine.ended());
        let first = all.next()?;
        match first {
            EndReason::Shutdown => all.find(|ended| !matches!(ended, EndReason::Shutdown)).or(Some(first)),
            failure => Some(failure),
        }
    }

    /// Ends all stacks.
    pub(crate) fn end(&self, ended: &EndReason) {
        for engine in self.all() {
            engine.end(ended.clone());
        }
    }
}

fn is_listener(socket: &SocketInfo) -> bool {
    socket.state == SocketState::Tcp(TcpState::Listen)
}
