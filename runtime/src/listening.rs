//! [`Listening`]: a listening socket on each stack of a runtime, all on one address and port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use portolan::{Domain, SocketKind, SocketOption};

use crate::engine::bell::Bell;
use crate::engine::task_waiters::Task;
use crate::handle::Handle;
use crate::policy::PORT_DRAWS;
use crate::poller::sealed::SocketsOf;
use crate::socket::calls::Calls;
use crate::socket::{Socket, domain_of};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The listening sockets of one listener; see the [module](self).
#[derive(Debug)]
pub(crate) struct Listening {
    first: Socket,
    /// The sockets on the other stacks; empty if there is one stack.
    others: Vec<Socket>,
    /// Rung for events of every socket, if there are several.
    bell: Arc<Bell>,
    /// The socket with which the next accept begins, so that no queue must be empty before another
    /// is served.
    turn: AtomicUsize,
}

impl Listening {
    /// Of one socket that listens already.
    pub(crate) fn of(first: Socket) -> Listening {
        Listening { first, others: Vec::new(), bell: Arc::default(), turn: AtomicUsize::new(0) }
    }

    /// Of sockets that are bound, one on each stack. Listens on all.
    pub(crate) fn listen(mut sockets: Vec<Socket>, backlog: usize) -> io::Result<Listening> {
        // Connections come to all stacks with equal probability, so the backlog is divided.
        let backlog = backlog.div_ceil(sockets.len());
        for socket in &sockets {
            socket.call(|stack, _, d| stack.listen(d, backlog))?;
        }
        let others = sockets.split_off(1);
        let mut listening = Listening::of(sockets.remove(0));
        listening.others = others;
        if !listening.others.is_empty() {
            listening.all().for_each(|socket| socket.ring_on_read(&listening.bell));
        }
        Ok(listening)
    }

    /// Binds a socket on each stack, then listens on all.
    pub(crate) fn bind(
        handle: &Handle,
        addr: SocketAddr,
        backlog: usize,
        options: &[SocketOption],
    ) -> io::Result<Listening> {
        let draws = if addr.port() == 0 { PORT_DRAWS } else { 1 };
        let mut result = Listening::bind_once(handle, addr, options);
        for _ in 1..draws {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    result = Listening::bind_once(handle, addr, options);
                }
                _ => break,
            }
        }
        Listening::listen(result?, backlog)
    }

    fn bind_once(handle: &Handle, addr: SocketAddr, options: &[SocketOption]) -> io::Result<Vec<Socket>> {
        let mut sockets = sockets_on_each_stack(handle, domain_of(addr), &[SocketOption::ReuseAddr(true)])?;
        let prepare = || {
            options.iter().try_for_each(|&option| sockets.iter().try_for_each(|s| s.set_option(option)))?;
            bind_all(&sockets, addr)
        };
        if let Err(error) = prepare() {
            // The first one is closed last.
            while sockets.pop().is_some() {}
            return Err(error);
        }
        Ok(sockets)
    }

    fn all(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf { first: &self.first, others: &self.others }
    }

    pub(crate) fn first(&self) -> &Socket {
        &self.first
    }

    /// Waits for the next connection of any stack.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        if self.others.is_empty() {
            return self.first.calls().accept();
        }
        if self.first.is_nonblocking() {
            return self.try_accept();
        }
        self.bell.wait_for(|| self.try_accept())
    }

    /// Accepts a connection without waiting for one.
    fn try_accept(&self) -> io::Result<(Socket, SocketAddr)> {
        self.accept_from_any(Socket::calls_at_once)
    }

    /// Accepts a connection for a task, which is woken if there is none yet.
    pub(crate) fn accept_of(&self, task: Task<'_>) -> io::Result<(Socket, SocketAddr)> {
        self.accept_from_any(|socket| socket.calls_of(task))
    }

    fn accept_from_any<'a>(
        &'a self,
        calls: impl Fn(&'a Socket) -> Calls<'a>,
    ) -> io::Result<(Socket, SocketAddr)> {
        let count = 1 + self.others.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut nothing = io::Error::from(io::ErrorKind::WouldBlock);
        for socket in self.all().skip(turn).chain(self.all().take(turn)) {
            match calls(socket).accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => nothing = error,
                result => return result,
            }
        }
        Err(nothing)
    }

    /// Sets whether `accept` returns `WouldBlock` instead of waiting.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.first.set_nonblocking(nonblocking);
    }

    pub(crate) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.all().try_for_each(|socket| socket.set_option(option))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        for socket in self.all() {
            if let Some(error) = socket.take_error()? {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Closes all sockets, the first one last.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut result = Ok(());
        for socket in self.others.iter().chain([&self.first]) {
            result = result.and(socket.close());
        }
        result
    }
}

/// Makes a TCP socket on each stack.
pub(crate) fn sockets_on_each_stack(
    handle: &Handle,
    domain: Domain,
    options: &[SocketOption],
) -> io::Result<Vec<Socket>> {
    // A runtime has at most 65,535 stacks.
    let stacks = 0..handle.stacks.count() as u16;
    stacks.map(|stack| Socket::new(handle, stack, domain, SocketKind::Stream, options)).collect()
}

/// Binds the sockets of all stacks to one address and port.
///
/// The first stack decides which socket gets a port: its socket is bound before the others and
/// closed after them.
pub(crate) fn bind_all(sockets: &[Socket], mut addr: SocketAddr) -> io::Result<()> {
    for (number, socket) in sockets.iter().enumerate() {
        socket.bind(addr)?;
        if number == 0 && sockets.len() > 1 {
            addr.set_port(socket.local_addr()?.port());
        }
    }
    Ok(())
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Without this the order of the fields would close the first one first.
        self.others.clear();
    }
}
