//! [`Handle`]: makes sockets and inspects a running stack. [`Owner`]: sockets that are closed together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan::{AddressState, Cidr, Credentials, InterfaceInfo, OwnerId, SocketInfo, Stack, Stats};

use crate::clock::Clock;
use crate::engine::end_reason::EndReason;
use crate::engine::inbox::Handovers;
use crate::engine::locks::{Waited, to_io_error};
use crate::engine::stacks::Stacks;

/// A handle to a running stack, or to several that form one host, for making sockets and reading
/// counters. It is cheap to clone and does not keep the runtime alive.
///
/// ```
/// use portolan_runtime::{Builder, Handle, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let handle: Handle = runtime.handle().clone(); // for another thread
/// let socket = UdpSocket::bind(&handle, "127.0.0.1:0")?;
/// socket.send_to(b"hello", socket.local_addr()?)?;
/// assert_eq!(socket.recv(&mut [0; 8])?, 5);
/// assert_eq!(handle.stats().udp.in_datagrams, 1);
/// let routes = handle.with_stack(|stack| stack.routes().len()); // any call of the stack
/// assert!(routes > 0 && handle.is_running());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) stacks: Arc<Stacks>,
    /// The ids of the owner on each stack; `None` is the first owner.
    owner: Option<Arc<[OwnerId]>>,
}

impl Handle {
    /// The handle of the first owner.
    pub(crate) fn new(stacks: Arc<Stacks>) -> Handle {
        Handle { stacks, owner: None }
    }

    /// The handle of the owner that has this id on one of the stacks.
    pub(crate) fn of(stacks: &Arc<Stacks>, stack: u16, owner: OwnerId) -> Handle {
        let owners = stacks.owners();
        let owner = owners.iter().find(|ids| ids.get(usize::from(stack)) == Some(&owner));
        Handle { stacks: stacks.clone(), owner: owner.cloned() }
    }

    /// The id of the owner on the stack with this number.
    pub(crate) fn owner_on(&self, stack: u16) -> OwnerId {
        let id = self.owner.as_ref().and_then(|ids| ids.get(usize::from(stack)));
        id.copied().unwrap_or(OwnerId::FIRST)
    }

    /// Adds an owner of sockets, which stands for a process.
    pub fn new_owner(&self) -> io::Result<Owner> {
        let ids = self.stacks.all().map(|engine| engine.call(|core, _, _| core.stack.add_owner()));
        let ids: Arc<[OwnerId]> = ids.collect::<io::Result<Vec<_>>>()?.into();
        self.stacks.owners().push(ids.clone());
        Ok(Owner { handle: Handle { stacks: self.stacks.clone(), owner: Some(ids.clone()) }, ids })
    }

    /// Returns the interfaces, with their addresses and the state of each address.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.stacks.first().inspect(Stack::interfaces)
    }

    /// Returns the counters; those of several stacks are added up.
    pub fn stats(&self) -> Stats {
        self.stacks.stats()
    }

    /// Returns every socket, handshakes and TIME-WAIT included. A listener on several stacks is one
    /// socket, with the queues of all.
    ///
    /// The cost is that of what is listed, in time and memory. The stack is not locked for all of
    /// it: see [`walk_sockets`](Handle::walk_sockets).
    pub fn sockets(&self) -> Vec<SocketInfo> {
        self.stacks.sockets()
    }

    /// Walks over the sockets, and yields what `describe` makes of each. `describe` gets the number
    /// of the stack, the stack, for example to ask for
    /// [`socket_tcp_info`](Stack::socket_tcp_info), and the socket. A listener on several stacks
    /// comes once for each.
    ///
    /// A stack is locked while a few sockets are described, and not while the caller handles them,
    /// so its traffic goes on. What is opened or closed meanwhile may be missing:
    /// [`SocketWalk`](portolan::SocketWalk) says more. As the stack is locked, `describe` should be
    /// brief, and must not use sockets of the runtime.
    pub fn walk_sockets<T>(
        &self,
        describe: impl FnMut(usize, &Stack, SocketInfo) -> T,
    ) -> impl Iterator<Item = T> {
        self.stacks.walk_sockets(describe)
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
                let left = give_up_at.map_or(LONG_WAIT, Clock::until);
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

    /// Returns the error that ended the runtime: a panic, or an error of one of several queues of a
    /// device. `None` while the runtime runs, and after an ordinary shutdown. For other errors of
    /// devices see [`device_error`](Handle::device_error).
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

/// An owner of sockets, which stands for a process: its sockets are closed when it is dropped, and
/// it has [`Credentials`]. Make sockets and pollers with it as with a [`Handle`].
///
/// An owner counts its own descriptors ([`Config::max_descriptors`](portolan::Config)). Ports are
/// the stack's: two owners cannot bind one port, except with SO_REUSEPORT, which needs the same
/// user. Objects such as a `TcpStream` that outlive their owner fail with EBADF, and threads that
/// wait in them are woken.
///
/// ```
/// use portolan::Credentials;
/// use portolan_runtime::{Builder, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let owner = runtime.handle().new_owner()?;
/// owner.set_credentials(Credentials { pid: 7, uid: 1000, gid: 1000 })?;
///
/// let socket = UdpSocket::bind(&owner, ([127, 0, 0, 1], 7))?;
/// drop(owner);
/// assert!(socket.local_addr().is_err());
/// UdpSocket::bind(&runtime, ([127, 0, 0, 1], 7))?; // the port is free again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Owner {
    handle: Handle,
    ids: Arc<[OwnerId]>,
}

impl Owner {
    /// Returns the handle with which to make sockets of this owner. Clones of it do not keep the
    /// owner alive.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Changes the credentials. Existing sockets keep the user for whom they were made.
    pub fn set_credentials(&self, credentials: Credentials) -> io::Result<()> {
        for (engine, id) in self.handle.stacks.all().zip(self.ids.iter()) {
            engine.call(|core, _, _| core.stack.set_credentials(*id, credentials))?.map_err(to_io_error)?;
        }
        Ok(())
    }

    /// Returns the credentials.
    pub fn credentials(&self) -> io::Result<Credentials> {
        let id = self.handle.owner_on(0);
        let engine = self.handle.stacks.first();
        engine.call(|core, _, _| core.stack.credentials(id))?.map_err(to_io_error)
    }
}

impl AsRef<Handle> for Owner {
    fn as_ref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let stacks = &self.handle.stacks;
        stacks.owners().retain(|ids| !Arc::ptr_eq(ids, &self.ids));
        for (engine, id) in stacks.all().zip(self.ids.iter()) {
            // If the runtime is over, there is nothing to do.
            let _ = engine.call(|core, now, wakes| {
                let sockets = core.owner(*id)?.socket_ids();
                let removed = core.stack.remove_owner(now, *id);
                core.waiters.wake_owner(*id, &sockets, wakes);
                removed
            });
        }
    }
}

/// How long one wait lasts within a wait without a time-out.
pub(crate) const LONG_WAIT: Duration = Duration::from_secs(60);

/// The names of the addresses that are being probed; empty if there are none.
fn tentative(stack: &Stack) -> String {
    let addresses = stack.interfaces().into_iter().flat_map(|interface| interface.addresses);
    let probed = addresses.filter(|(_, state)| *state == AddressState::Tentative);
    probed.map(|(cidr, _)| cidr.addr.to_string()).collect::<Vec<_>>().join(" and ")
}
