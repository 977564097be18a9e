//! [`Poller`]: waits for many sockets at once, and for descriptors of the host beside them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan::{Interest, OwnerId, PollerId, Ready};
use smallvec::SmallVec;

use crate::clock::Clock;
use crate::engine::locks::to_io_error;
use crate::engine::poller_bell::PollerBell;
use crate::engine::poller_wait::{IfNothing, Led, PollerAttempt, PollerWait};
use crate::engine::stacks::Stacks;
use crate::handle::Handle;
use crate::plan::refused;
use crate::platform::host_poll::HostPoll;
#[cfg(all(target_os = "linux", not(portolan_portable)))]
use crate::platform::poll::AsFd;
use crate::platform::poll::BorrowedFd;
use crate::platform::signal::Signal;
use crate::socket::Socket;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A socket of the runtime that a [`Poller`] can wait for.
///
/// The sockets of this crate implement it, and no other type can.
pub trait Source: sealed::HasSockets {}

impl<T: sealed::HasSockets> Source for T {}

pub(crate) mod sealed {
    use crate::socket::Socket;

    /// What [`Source`](super::Source) is made of.
    pub trait HasSockets {
        #[doc(hidden)]
        fn sockets(&self) -> SocketsOf<'_>;
    }

    /// The sockets behind a type: one, or one on each stack.
    #[derive(Debug)]
    pub struct SocketsOf<'a> {
        pub(crate) first: &'a Socket,
        pub(crate) others: &'a [Socket],
    }

    impl<'a> From<&'a Socket> for SocketsOf<'a> {
        fn from(first: &'a Socket) -> Self {
            SocketsOf { first, others: &[] }
        }
    }

    impl HasSockets for Socket {
        fn sockets(&self) -> SocketsOf<'_> {
            SocketsOf::from(self)
        }
    }

    impl<'a> SocketsOf<'a> {
        pub(crate) fn all(&self) -> impl Iterator<Item = &'a Socket> + use<'a> {
            std::iter::once(self.first).chain(self.others)
        }
    }
}

/// Waits for many sockets at once, with the semantics of Linux's epoll.
///
/// A program registers sockets, each with an [`Interest`] and a token of its own, and
/// [`wait`](Poller::wait) reports those that are ready. The cost of a wait grows with the number of
/// sockets that are ready, not with the number that is registered. Make sockets nonblocking before
/// you register them: a report may be out of date when you act on it. A thread that waits drives
/// the stack meanwhile, as a thread in a blocking `recv` does.
///
/// - Closing a socket, with its last clone, removes it from the poller.
/// - [`notify`](Poller::notify) ends a wait from another thread.
/// - On Linux descriptors of the host (files, pipes, sockets of the kernel) can be registered, too,
///   with [`add_fd`](Poller::add_fd).
/// - Several threads may wait at one poller. What becomes ready wakes one of them; if more is ready
///   than that thread takes, it wakes the next one.
///
/// [`Stack::add_poller`](portolan::Stack::add_poller) describes the semantics in detail.
///
/// ```
/// use portolan::Interest;
/// use portolan_runtime::{Builder, Poller, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let sockets = [UdpSocket::bind(&runtime, ([127, 0, 0, 1], 7))?, UdpSocket::bind(&runtime, ([127, 0, 0, 1], 8))?];
///
/// let poller = Poller::new(&runtime)?;
/// for (socket, token) in sockets.iter().zip(0..) {
///     socket.set_nonblocking(true)?;
///     poller.add(socket, Interest::READABLE, token)?;
/// }
/// sockets[0].send_to(b"ping", ([127, 0, 0, 1], 8))?;
///
/// let mut ready = Vec::new();
/// poller.wait(&mut ready, 64, None)?;
/// assert_eq!(ready.len(), 1);
/// let mut buf = [0; 1500];
/// let (len, _peer) = sockets[ready[0].token as usize].recv_from(&mut buf)?;
/// assert_eq!(&buf[..len], b"ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Poller {
    stacks: Arc<Stacks>,
    /// The poller on each stack, with its owner there.
    ids: SmallVec<[(OwnerId, PollerId); 1]>,
    bell: Arc<PollerBell>,
    /// Raised by [`notify`](Poller::notify).
    notify: Signal,
    is_notified: AtomicBool,
    host: HostPoll,
    /// Whether the host's descriptors come first in the next wait, so that neither they nor the
    /// sockets can keep the others from being reported.
    host_first: AtomicBool,
}

impl Poller {
    /// Makes a poller without registrations (`epoll_create`).
    pub fn new(handle: &impl AsRef<Handle>) -> io::Result<Poller> {
        let handle = handle.as_ref();
        let mut poller = Poller {
            stacks: handle.stacks.clone(),
            ids: SmallVec::new(),
            bell: Arc::default(),
            notify: Signal::new()?,
            is_notified: AtomicBool::new(false),
            host: HostPoll::new()?,
            host_first: AtomicBool::new(true),
        };
        for (stack, engine) in (0..).zip(handle.stacks.all()) {
            let owner = handle.owner_on(stack);
            let made = engine.call(|core, _, _| {
                let id = core.owner(owner)?.add_poller()?;
                core.waiters.pollers.insert(id, owner, poller.bell.clone());
                Ok((owner, id))
            })?;
            poller.ids.push(made.map_err(to_io_error)?);
        }
        Ok(poller)
    }

    /// Registers a socket (EPOLL_CTL_ADD). Reports of it have the token.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` (EEXIST) if it is registered, ENOSPC if too many are
    /// ([`Config::max_registrations`](portolan::Config::max_registrations)), `InvalidInput` for
    /// [`Interest::EXCLUSIVE`] with a flag that it does not go with, and for a socket of another
    /// runtime or owner.
    pub fn add(&self, source: &impl Source, interest: Interest, token: u64) -> io::Result<()> {
        let sockets = source.sockets();
        for (done, socket) in sockets.all().enumerate() {
            let id = self.id_for(socket)?;
            let added = socket.call(|owner, _, d| owner.poller_add(id, d, interest, token));
            if added.is_err() {
                for socket in sockets.all().take(done) {
                    self.delete_socket(socket)?;
                }
                return added;
            }
        }
        Ok(())
    }

    /// Changes the interest and the token of a socket, and enables it again if it was one-shot
    /// (EPOLL_CTL_MOD).
    ///
    /// # Errors
    ///
    /// `NotFound` (ENOENT) if it is not registered, `InvalidInput` if the old or the new interest
    /// is exclusive.
    pub fn modify(&self, source: &impl Source, interest: Interest, token: u64) -> io::Result<()> {
        source.sockets().all().try_for_each(|socket| {
            let id = self.id_for(socket)?;
            socket.call(|owner, _, d| owner.poller_modify(id, d, interest, token))
        })
    }

    /// Removes a socket (EPOLL_CTL_DEL). `NotFound` (ENOENT) if it is not registered.
    pub fn delete(&self, source: &impl Source) -> io::Result<()> {
        source.sockets().all().try_for_each(|socket| self.delete_socket(socket))
    }

    fn delete_socket(&self, socket: &Socket) -> io::Result<()> {
        let id = self.id_for(socket)?;
        socket.call(|owner, _, d| owner.poller_delete(id, d))
    }

    /// The poller on the stack of this socket.
    fn id_for(&self, socket: &Socket) -> io::Result<PollerId> {
        let ids = socket.stack_of(&self.stacks).and_then(|stack| self.ids.get(usize::from(stack)));
        match ids {
            None => Err(refused("the socket belongs to another runtime than the poller")),
            Some((owner, _)) if *owner != socket.owner() => {
                Err(refused("the socket belongs to another owner than the poller"))
            }
            Some((_, id)) => Ok(*id),
        }
    }

    /// Ends one wait: the one of a thread that waits now, or the next one. Calls in between count
    /// as one, as with an eventfd. Any thread may call this.
    pub fn notify(&self) {
        self.is_notified.store(true, Ordering::SeqCst);
        self.notify.raise();
    }

    /// Waits until something is ready, and appends what is, at most `max`, to `ready`. Returns how
    /// many: 0 if `timeout` has passed, or if there was a [`notify`](Poller::notify). Without a
    /// time-out it waits for as long as it takes; with one of zero it does not wait (`epoll_wait`).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `max` is 0, `NetworkDown` or another error if the runtime is over.
    pub fn wait(&self, ready: &mut Vec<Ready>, max: usize, timeout: Option<Duration>) -> io::Result<usize> {
        if max == 0 {
            return Err(refused("a wait for at most 0 events"));
        }
        let mut waits: SmallVec<[PollerWait; 1]> =
            self.ids.iter().map(|(owner, id)| PollerWait::new(*owner, *id)).collect();
        let result = self.wait_with(&mut waits, ready, max, timeout);
        for (wait, engine) in waits.iter_mut().zip(self.stacks.all()) {
            wait.end(engine);
        }
        result
    }

    fn wait_with(
        &self,
        waits: &mut [PollerWait],
        ready: &mut Vec<Ready>,
        max: usize,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let give_up_at = timeout.map(|timeout| Clock::now() + timeout);
        let mut is_over = timeout == Some(Duration::ZERO);
        let mut host_is_ready = false;
        loop {
            let seen = self.bell.rings();
            let host_first = !self.host.is_used() || self.host_first.fetch_xor(true, Ordering::Relaxed);
            let of_host = if host_first { self.host.collect(ready, max)? } else { 0 };
            let is_notified = self.take_notification(host_is_ready);
            let may_wait = of_host == 0 && !is_notified && !is_over;
            let of_stacks = match self.look(waits, ready, max - of_host, may_wait, give_up_at)? {
                Led::Reported(count) => {
                    host_is_ready = false;
                    count
                }
                Led::HostReady(count) => {
                    host_is_ready = true;
                    count
                }
                Led::Follow => {
                    let left = give_up_at.map(Clock::until);
                    host_is_ready = self.bell.wait(seen, &self.host_fds(), left)?;
                    0
                }
            };
            let mut count = of_host + of_stacks;
            if !host_first {
                count += self.host.collect(ready, max - count)?;
            }
            if count > 0 || is_notified || is_over {
                return Ok(count);
            }
            is_over = give_up_at.is_some_and(|at| Clock::until(at).is_zero());
        }
    }

    /// Takes what is ready in the stacks. If nothing is, and it may wait, this thread leads until
    /// something is, or it is to sleep at the bell.
    fn look(
        &self,
        waits: &mut [PollerWait],
        ready: &mut Vec<Ready>,
        max: usize,
        may_wait: bool,
        give_up_at: Option<portolan::Instant>,
    ) -> io::Result<Led> {
        let leads = waits.len() == 1;
        let mut count = 0;
        for (wait, engine) in waits.iter_mut().zip(self.stacks.all()) {
            let if_nothing =
                if may_wait && count == 0 { IfNothing::Wait { leads } } else { IfNothing::Return };
            match wait.attempt(engine, ready, max - count, if_nothing)? {
                PollerAttempt::Reported(more) => count += more,
                PollerAttempt::Follow => {}
                PollerAttempt::Lead(mut leader) => {
                    leader.wait_for_host([Some(self.notify.as_fd()), self.host.fd()]);
                    return wait.lead(leader, give_up_at, ready, max).unwrap_or_else(|ended| {
                        engine.end(ended.clone());
                        Err(ended.to_error())
                    });
                }
            }
        }
        Ok(if count == 0 && may_wait { Led::Follow } else { Led::Reported(count) })
    }

    /// Whether there was a [`notify`](Poller::notify) that no wait has taken yet; this one takes
    /// it. `signal_may_be_raised`: this thread has found that its descriptor or that of the host is
    /// readable.
    fn take_notification(&self, signal_may_be_raised: bool) -> bool {
        let is_notified = self.is_notified.load(Ordering::SeqCst);
        if !is_notified && !signal_may_be_raised {
            return false;
        }
        // The signal comes first: a notification that comes in between leaves it raised. If this
        // wait has taken that notification, the signal only makes the next sleep short.
        self.notify.clear();
        self.is_notified.swap(false, Ordering::SeqCst)
    }

    fn host_fds(&self) -> SmallVec<[BorrowedFd<'_>; 2]> {
        std::iter::once(self.notify.as_fd()).chain(self.host.fd()).collect()
    }
}

/// Descriptors of the host.
#[cfg(all(target_os = "linux", not(portolan_portable)))]
impl Poller {
    /// Registers a descriptor of the host, as epoll does: with [`Interest::EDGE_TRIGGERED`] and the
    /// other flags. Waits report it in the same way as sockets of the stack. It is registered until
    /// [`delete_fd`](Poller::delete_fd), or until the file behind it is closed.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl`: `AlreadyExists`, EPERM for a file that cannot be polled, and so on.
    pub fn add_fd(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.host.add(fd.as_fd(), interest, token)
    }

    /// Changes the interest and the token of a descriptor of the host, and enables it again if it
    /// was one-shot. `NotFound` (ENOENT) if it is not registered.
    pub fn modify_fd(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.host.modify(fd.as_fd(), interest, token)
    }

    /// Removes a descriptor of the host. `NotFound` (ENOENT) if it is not registered.
    pub fn delete_fd(&self, fd: impl AsFd) -> io::Result<()> {
        self.host.delete(fd.as_fd())
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        for ((owner, id), engine) in self.ids.iter().zip(self.stacks.all()) {
            // If the runtime is over, there is nothing to do.
            let _ = engine.call(|core, _, _| {
                core.waiters.pollers.remove(*id);
                core.owner(*owner)?.remove_poller(*id)
            });
        }
    }
}
