//! The calls that filter the packets of a socket.

use super::{Caller as _, Owner, call};
use crate::bpf::Filter;
use crate::error::Result;
use crate::socket::Descriptor;
use crate::socket::PortSelector;
use crate::stack::Stack;

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Filters: programs in classic [BPF](crate::bpf) that see each packet before it reaches a
        /// socket, and that drop it or cut it.
        ///
        /// The program sees the packet from the transport header on: the UDP or TCP header, or the
        /// header of the ICMP message. A raw IPv4 socket's program sees the IP header first. It
        /// returns how many bytes to keep, and 0 to drop the packet. The transport header is always
        /// kept. What a filter cuts off a TCP segment counts as not received, so the peer sends it
        /// again.
        ///
        /// ```
        /// use portolan::bpf::{Instruction, Filter};
        /// use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
        ///
        /// let now = Instant::ZERO;
        /// let mut stack = Stack::new(Config::default(), [7; 32], now);
        /// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
        /// stack.bind(socket, ([127, 0, 0, 1], 7))?;
        ///
        /// // Keep the header and five bytes of datagrams whose first byte is 'p'.
        /// stack.attach_filter(socket, Filter::new(&[
        ///     Instruction::new(0x30, 0, 0, 8),           // A = the byte behind the UDP header
        ///     Instruction::new(0x15, 0, 1, b'p'.into()), // is it 'p'?
        ///     Instruction::new(0x06, 0, 0, 8 + 5),       // return 13
        ///     Instruction::new(0x06, 0, 0, 0),           // return 0
        /// ])?)?;
        ///
        /// for text in ["hello", "ping pong"] {
        ///     stack.send_to(now, socket, text.as_bytes(), ([127, 0, 0, 1], 7))?;
        /// }
        /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
        /// let mut buf = [0; 100];
        /// assert_eq!(stack.recv(now, socket, &mut buf), Ok(5));
        /// assert_eq!(&buf[..5], b"ping ");
        /// assert_eq!(stack.recv(now, socket, &mut buf), Err(Error::WouldBlock));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        impl Stack {
            $($calls)*
        }

        /// The calls on filters of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Attaches a filter (SO_ATTACH_FILTER), in place of the one that the socket has. It applies to
    /// packets that arrive from now on. A connection that is accepted has the filter of its
    /// listener. `NotPermitted` after [`LockFilter`](crate::SocketOption::LockFilter).
    pub fn attach_filter(&mut self, d: Descriptor, program: Filter) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.attach_filter(id, program)
    }

    /// Detaches the filter (SO_DETACH_FILTER). `NotFound` if there is none, `NotPermitted`
    /// after [`LockFilter`](crate::SocketOption::LockFilter).
    pub fn detach_filter(&mut self, d: Descriptor) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.detach_filter(id)
    }

    /// Sets how one of the sockets that share the socket's address and port is chosen
    /// (SO_ATTACH_REUSEPORT_CBPF), or with `None` that a hash decides again
    /// (SO_DETACH_REUSEPORT_BPF). It may be set before the socket is bound; of several sockets
    /// the first one that is bound decides then. `InvalidArgument` without SO_REUSEPORT, or if the
    /// socket was bound without it; `NotFound` if there is nothing to take away.
    ///
    /// ```
    /// use portolan::{Config, Domain, Instant, PortSelector, SocketKind, SocketOption, Stack};
    ///
    /// let now = Instant::ZERO;
    /// let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let mut workers = Vec::new();
    /// for _ in 0..2 {
    ///     let worker = stack.socket(Domain::V4, SocketKind::Datagram)?;
    ///     stack.set_option(now, worker, SocketOption::ReusePort(true))?;
    ///     stack.bind(worker, ([127, 0, 0, 1], 53))?;
    ///     workers.push(worker);
    /// }
    /// // Three of four flows for the first worker.
    /// stack.select_on_port(workers[0], Some(PortSelector::Table([0, 0, 0, 1].into())))?;
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn select_on_port(&mut self, d: Descriptor, selector: Option<PortSelector>) -> Result<()> {
        call(self, d, |kind, env, id| kind.select_on_port(env, id, selector))
    }
}
