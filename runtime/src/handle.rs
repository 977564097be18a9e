//! [`Handle`]: makes sockets and inspects a running stack.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan::{AddressState, Cidr, InterfaceId, InterfaceInfo, SocketInfo, Stack, Stats};

use crate::clock::Clock;
use crate::engine::end_reason::EndReason;
use crate::engine::inbox::Handovers;
use crate::engine::locks::Waited;
use crate::engine::stacks::Stacks;

/// A handle to a running stack, or to several that form one host, for making sockets and reading
/// counters. It is cheap to clone and does not keep the runtime alive.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) stacks: Arc<Stacks>,
}

impl Handle {
    /// Returns the interfaces, with their addresses and the state of each address.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.stacks.first().inspect(Stack::interfaces)
    }

    /// Returns the name of the device of an interface.
    pub fn device_name(&self, iface: InterfaceId) -> Option<&str> {
        let names = &self.stacks.first().names;
        names.iter().find(|(other, _)| *other == iface).map(|(_, name)| name.as_str())
    }

    /// Returns the counters; those of several stacks are added up.
    pub fn stats(&self) -> Stats {
        self.stacks.stats()
    }

    /// Returns every socket, handshakes and TIME-WAIT included. A listener on several stacks is one
    /// socket, with the queues of all.
    pub fn sockets(&self) -> Vec<SocketInfo> {
        self.stacks.sockets()
    }

    /// Returns the number of stacks: one, or as many as the interfaces have queues.
    pub fn stacks(&self) -> usize {
        self.stacks.count()
    }

    /// Returns how many frames the stacks handed to each other, because they came to the queue of
    /// another stack.
    pub fn handovers(&self) -> Handovers {
        self.stacks.handovers()
    }

    /// Runs `f` with the stack, then transmits the results and wakes the threads that are
    /// concerned. The stack is locked meanwhile: be brief, and do not use sockets of the runtime in
    /// `f`, nor drop any. Leave `poll_transmit` and `poll_event` to the runtime, and take the time
    /// from [`Clock::now`].
    ///
    /// Of several stacks this is the first. For a change to all stacks, such as a route, use
    /// [`with_each_stack`](Handle::with_each_stack).
    pub fn with_stack<R>(&self, f: impl FnOnce(&mut Stack) -> R) -> R {
        self.stacks.first().enter(|core, _, _| f(&mut core.stack))
    }

    /// Like [`with_stack`](Handle::with_stack), for each stack in turn.
    pub fn with_each_stack<R>(&self, mut f: impl FnMut(&mut Stack) -> R) -> Vec<R> {
        self.stacks.all().map(|engine| engine.enter(|core, _, _| f(&mut core.stack))).collect()
    }

    /// Waits until no address of the stack is being probed any more, as
    /// [`Builder::start`](crate::Builder::start) does: duplicate address detection takes one to
    /// three seconds. Fails with `TimedOut` if it takes longer than `timeout`. An address that
    /// another host has is [`Duplicated`](AddressState::Duplicated) in
    /// [`interfaces`](Handle::interfaces).
    pub fn wait_ready(&self, timeout: Duration) -> io::Result<()> {
        self.wait_until_probed(Some(timeout))
    }

    pub(crate) fn wait_until_probed(&self, timeout: Option<Duration>) -> io::Result<()> {
        let give_up_at = timeout.map(|timeout| Clock::now() + timeout);
        for engine in self.stacks.all() {
            loop {
                let left = give_up_at.map_or(PROBING_SPELL, Clock::until);
                let waited = engine.wait_until(left, |stack| tentative(stack).is_empty())?;
                match (waited, timeout) {
                    (Waited::Woken, _) => break,
                    (Waited::TimedOut, None) => {}
                    (Waited::TimedOut, Some(timeout)) => {
                        let left = engine.inspect(tentative);
                        let message = format!(
                            "after {timeout:?} the stack still probes whether another host has {left}"
                        );
                        return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                    }
                }
            }
        }
        Ok(())
    }

    /// Fails if another host has one of these addresses.
    pub(crate) fn check_unique(&self, wanted: &[Cidr]) -> io::Result<()> {
        let addresses = self.interfaces().into_iter().flat_map(|interface| interface.addresses);
        let taken: Vec<String> = addresses
            .filter(|(cidr, state)| *state == AddressState::Duplicated && wanted.contains(cidr))
            .map(|(cidr, _)| cidr.addr.to_string())
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        let message = format!(
            "another host on the link has {}: give the stack an address of its own",
            taken.join(" and ")
        );
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    }

    /// Returns the error that ended the runtime: an error of a device, or a panic. `None` while the
    /// runtime runs, and after an ordinary shutdown.
    pub fn error(&self) -> Option<io::Error> {
        match self.stacks.ended() {
            None | Some(EndReason::Shutdown) => None,
            Some(ended) => Some(ended.to_error()),
        }
    }

    /// Whether the runtime still drives the stack.
    pub fn is_running(&self) -> bool {
        self.stacks.ended().is_none()
    }
}

impl AsRef<Handle> for Handle {
    fn as_ref(&self) -> &Handle {
        self
    }
}

/// How long one wait lasts within a wait without a time-out. Duplicate address detection always
/// ends.
const PROBING_SPELL: Duration = Duration::from_secs(60);

/// The names of the addresses that are being probed; empty if there are none.
fn tentative(stack: &Stack) -> String {
    let addresses = stack.interfaces().into_iter().flat_map(|interface| interface.addresses);
    let probed = addresses.filter(|(_, state)| *state == AddressState::Tentative);
    probed.map(|(cidr, _)| cidr.addr.to_string()).collect::<Vec<_>>().join(" and ")
}
