//! The calls on pollers.

use alloc::vec::Vec;

use super::{Caller as _, Owner};
use crate::error::Result;
use crate::id::PollerId;
use crate::socket::{Descriptor, Interest, Ready};
use crate::stack::Stack;

/// The news of pollers, whoever owns them.
impl Stack {
    /// Returns the next poller that may have something new to report, so that its program can be
    /// woken. A poller is returned again only after something else has become ready.
    pub fn poll_ready_poller(&mut self) -> Option<PollerId> {
        self.sockets.common.poll_ready_poller()
    }
}

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Pollers, which tell which of many descriptors are ready, as Linux's epoll does.
        ///
        /// A program adds a poller, registers descriptors with it, each with an [`Interest`] and a
        /// token of its own, and asks it again and again what is ready. The cost of that grows with
        /// the number of descriptors that are ready, not with the number that is registered. The
        /// calls never block: when [`poller_wait`](Stack::poller_wait) reports nothing, drive the
        /// stack, and ask again after [`poll_ready_poller`](Stack::poll_ready_poller) has named the
        /// poller.
        ///
        /// - A poller has an id and not a descriptor: it is no socket, and none of their calls fits
        ///   it. It belongs to one owner, counts as a descriptor of that owner does in
        ///   [`Config::max_descriptors`](crate::Config::max_descriptors) (separately), cannot be
        ///   duplicated, and cannot be registered with another poller (decision 0011).
        /// - A registration is of a descriptor's number and its socket. Closing the socket's last
        ///   descriptor, of any owner, removes the registration. After `close` of a descriptor that
        ///   was [duplicated](Stack::duplicate), the socket is still reported under the token, and
        ///   cannot be deleted from the poller any more, until the last duplicate is closed. So
        ///   delete a registration before you close a duplicated descriptor.
        /// - Edge-triggered registrations are reported once for each arrival, and for each change
        ///   of the socket's state.
        /// - One arrival wakes one of several pollers with [`Interest::EXCLUSIVE`]: the first whose
        ///   last wait reported nothing. Other pollers are woken if none waits.
        ///
        /// ```
        /// use portolan::{Config, Domain, Instant, Interest, SocketKind, Stack};
        ///
        /// let now = Instant::ZERO;
        /// let mut stack = Stack::new(Config::default(), [7; 32], now);
        /// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
        /// stack.bind(socket, ([127, 0, 0, 1], 7))?;
        ///
        /// let poller = stack.add_poller()?;
        /// stack.poller_add(poller, socket, Interest::READABLE, 42)?;
        /// let mut ready = Vec::new();
        /// assert_eq!(stack.poller_wait(poller, &mut ready, 64), Ok(0));
        ///
        /// stack.send_to(now, socket, b"ping", ([127, 0, 0, 1], 7))?;
        /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
        /// assert_eq!(stack.poller_wait(poller, &mut ready, 64), Ok(1));
        /// assert_eq!(ready[0].token, 42);
        /// assert!(ready[0].readiness.readable);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        impl Stack {
            $($calls)*
        }

        /// The calls on pollers of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Adds a poller (`epoll_create`). `TooManyDescriptors`, `NoBufferSpace`.
    pub fn add_poller(&mut self) -> Result<PollerId> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.add_poller(caller)
    }

    /// Removes a poller and its registrations. The work grows with their number. `BadDescriptor`
    /// if the owner has no such poller, as for all calls on pollers.
    pub fn remove_poller(&mut self, poller: PollerId) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.remove_poller(caller, poller)
    }

    /// Registers a descriptor (EPOLL_CTL_ADD). Reports of it have the token. `AlreadyExists`,
    /// `TooManyRegistrations` ([`Config::max_registrations`](crate::Config::max_registrations)),
    /// `NoBufferSpace`, and `InvalidArgument` for [`Interest::EXCLUSIVE`] with a flag that it does
    /// not go with.
    pub fn poller_add(&mut self, poller: PollerId, d: Descriptor, interest: Interest, token: u64) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.register(caller, poller, d, interest, token)
    }

    /// Changes the interest and the token of a registration, and enables it again if it was
    /// one-shot (EPOLL_CTL_MOD). `NotFound`, and `InvalidArgument` if the old or the new
    /// interest is exclusive.
    pub fn poller_modify(
        &mut self,
        poller: PollerId,
        d: Descriptor,
        interest: Interest,
        token: u64,
    ) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.modify(caller, poller, d, interest, token)
    }

    /// Removes a registration (EPOLL_CTL_DEL). `NotFound`.
    pub fn poller_delete(&mut self, poller: PollerId, d: Descriptor) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.deregister(caller, poller, d)
    }

    /// Appends what is ready, at most `max` descriptors, to `ready`, and returns how many
    /// (`epoll_wait` with a timeout of 0). If there are more, the next call continues with them.
    /// `InvalidArgument` if `max` is 0.
    pub fn poller_wait(&mut self, poller: PollerId, ready: &mut Vec<Ready>, max: usize) -> Result<usize> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.poller_wait(caller, poller, ready, max)
    }

    /// Whether [`poller_wait`](Stack::poller_wait) may report something. This is cheap. After
    /// `true` there may still be nothing; after `false` there is nothing.
    pub fn may_poller_report(&self, poller: PollerId) -> Result<bool> {
        let (stack, caller) = self.caller();
        stack.sockets.common.may_poller_report(caller, poller)
    }

    /// Sets whether a program sleeps until the poller has something to report, which matters for
    /// [`Interest::EXCLUSIVE`]. [`poller_wait`](Stack::poller_wait) assumes that it sleeps if it
    /// got nothing, and otherwise that it does not. Say so if a program gives up, or if another
    /// thread of it still sleeps.
    pub fn set_poller_waiting(&mut self, poller: PollerId, is_waiting: bool) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.sockets.common.set_poller_waiting(caller, poller, is_waiting)
    }
}
