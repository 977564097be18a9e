//! The calls on intercepted connections.

use super::{Caller as _, Owner, call};
use crate::error::Result;
use crate::id::PendingId;
use crate::socket::{Cancellation, Descriptor, IgnoreReason, PendingEvent, Rejection, Unreachable};
use crate::stack::Stack;
use crate::time::Instant;

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Connections to other hosts that an interface intercepts
        /// ([`InterfaceConfig::intercept`](crate::InterfaceConfig::intercept)), for proxies, VPN
        /// clients and sandboxes.
        ///
        /// A TCP segment to an intercepted destination goes to its connection, or to a listener of
        /// any address on its port. A SYN that neither takes is not answered: it becomes a [pending
        /// connection](crate::PendingConnection), and the program decides, in its own time. Without
        /// an interceptor, such a SYN is refused.
        ///
        /// ```
        /// use portolan::{
        ///     Config, Domain, Instant, Interception, InterfaceConfig, Medium, PendingEvent, SocketKind, Stack,
        /// };
        ///
        /// let now = Instant::ZERO;
        /// let mut stack = Stack::new(Config::default(), [7; 32], now);
        /// let tunnel = InterfaceConfig::new(Medium::Ip)
        ///     .address("10.0.0.1/24".parse()?)
        ///     .intercept(Interception::all());
        /// let tunnel = stack.add_interface(now, tunnel)?;
        /// let interceptor = stack.socket(Domain::V6, SocketKind::Stream)?;
        /// stack.intercept(interceptor)?;
        /// # let mut source = Stack::new(Config::default(), [8; 32], now);
        /// # let config = InterfaceConfig::new(Medium::Ip).address("10.0.0.9/0".parse()?);
        /// # source.add_interface(now, config)?;
        /// # let client = source.socket(Domain::V4, SocketKind::Stream)?;
        /// # source.connect(now, client, ([203, 0, 113, 7], 443)).unwrap_err();
        /// # stack.handle_frame(now, tunnel, source.poll_transmit(now).unwrap().to_frame());
        ///
        /// // 10.0.0.9 connects to 203.0.113.7:443.
        /// let PendingEvent::New(pending) = stack.poll_pending(interceptor)? else { panic!() };
        /// assert_eq!(pending.destination, "203.0.113.7:443".parse()?);
        /// assert!(stack.poll_transmit(now).is_none(), "it is not answered yet");
        ///
        /// // The program has connected to the destination itself.
        /// let connection = stack.accept_pending(now, interceptor, pending.id)?;
        /// assert_eq!(stack.local_addr(connection)?, pending.destination);
        /// assert!(stack.poll_transmit(now).is_some(), "the SYN-ACK");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        impl Stack {
            $($calls)*
        }

        /// The calls of [`Stack`] on intercepted connections, for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Makes a new stream socket the one at which intercepted connections are decided on, as
    /// [`listen`](Stack::listen) does for those to a port. It is readable while
    /// [`poll_pending`](Stack::poll_pending) has news. Connections have the options that it has
    /// when they are accepted, but not its domain: an IPv4 connection is an IPv4 socket.
    ///
    /// Makes a new datagram socket the one at which intercepted UDP flows arrive: there is a flow
    /// for each source and destination. [`accept`](Stack::accept) returns the next one, as a
    /// datagram socket that is connected to the source, and whose local address is the destination.
    /// Its first datagrams wait in it. A flow that is idle for too long ends: its socket gets
    /// `TimedOut`, and the next datagram opens another flow.
    ///
    /// [`close`](Stack::close) refuses all pending connections, and drops flows that were not
    /// accepted. `AddressInUse` if the stack has another such socket of this kind;
    /// `InvalidArgument` for a socket that is bound, listens or is connected; `NotSupported` for
    /// one of another kind.
    pub fn intercept(&mut self, d: Descriptor) -> Result<()> {
        call(self, d, |kind, env, id| kind.intercept(env, id))
    }

    /// The next news of intercepted connections: one that waits for a decision, or that no longer
    /// does. `WouldBlock` if there is none; `InvalidArgument` unless
    /// [`intercept`](Stack::intercept) was called.
    pub fn poll_pending(&mut self, d: Descriptor) -> Result<PendingEvent> {
        let (stack, caller) = self.caller_mut();
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        let (mut env, kinds) = stack.parts();
        kinds.tcp.poll_pending(&mut env, id)
    }

    /// Like [`poll_pending`](Stack::poll_pending), but only for connections that no longer wait for
    /// a decision: returns which, and why. `WouldBlock` if there is no such news.
    pub fn poll_cancelled(&mut self, d: Descriptor) -> Result<(PendingId, Cancellation)> {
        let (stack, caller) = self.caller_mut();
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        let (mut env, kinds) = stack.parts();
        kinds.tcp.poll_cancelled(&mut env, id)
    }

    /// Whether this connection still waits for a decision. `InvalidArgument` unless
    /// [`intercept`](Stack::intercept) was called.
    pub fn is_pending(&self, d: Descriptor, pending: PendingId) -> Result<bool> {
        let (stack, caller) = self.caller();
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        stack.sockets.kinds.tcp.is_pending(&stack.sockets.common, id, pending)
    }

    /// Accepts a pending connection: the SYN is answered now, with a sequence number of now.
    /// Returns the descriptor of a stream socket whose local address is the destination. It becomes
    /// writable when the connection is established, as after [`connect`](Stack::connect); closed
    /// before that, it resets the connection. Data in the SYN is not acknowledged.
    ///
    /// `ConnectionAborted` if the pending connection is gone. `TooManyDescriptors` and
    /// `NoBufferSpace` leave it pending.
    pub fn accept_pending(&mut self, now: Instant, d: Descriptor, pending: PendingId) -> Result<Descriptor> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let (mut env, kinds) = stack.parts();
        kinds.accept_pending(&mut env, caller, d, pending)
    }

    /// Refuses a pending connection. `ConnectionAborted` if it is gone.
    pub fn reject_pending(&mut self, now: Instant, d: Descriptor, pending: PendingId, how: Rejection) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        let (mut env, kinds) = stack.parts();
        kinds.tcp.reject_pending(&mut env, id, pending, how)
    }

    /// Leaves a pending connection without an answer. If the SYN is repeated, it is announced
    /// again. `ConnectionAborted` if it is gone.
    pub fn ignore_pending(&mut self, now: Instant, d: Descriptor, pending: PendingId, why: IgnoreReason) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        let (mut env, kinds) = stack.parts();
        kinds.tcp.ignore_pending(&mut env, id, pending, why)
    }

    /// Tells the source of an intercepted UDP flow that its datagrams cannot be delivered, by an
    /// ICMP or ICMPv6 error, within a rate limit. The socket stays open. `InvalidArgument` unless
    /// the socket was accepted from one that intercepts; `NotConnected` if the flow has ended.
    pub fn reject_flow(&mut self, now: Instant, d: Descriptor, what: Unreachable) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        let (mut env, kinds) = stack.parts();
        kinds.udp.reject_flow(&mut env, id, what)
    }
}
