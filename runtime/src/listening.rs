//! [`Listening`]: a listening socket on each stack of a runtime, all on one address and port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use portolan::{SocketKind, SocketOption};

use crate::engine::bell::Bell;
use crate::handle::Handle;
use crate::policy::PORT_DRAWS;
use crate::poller::sealed::SocketsOf;
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

    /// Binds a socket on each stack, then listens on all.
    ///
    /// The first stack decides which socket gets a port: its socket is bound before the others and
    /// closed after them.
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
        let listening = result?;
        // Connections come to all stacks with equal probability, so the backlog is divided.
        let backlog = backlog.div_ceil(1 + listening.others.len());
        for socket in listening.all() {
            socket.call(|stack, _, d| stack.listen(d, backlog))?;
        }
        Ok(listening)
    }

    fn bind_once(handle: &Handle, addr: SocketAddr, options: &[SocketOption]) -> io::Result<Listening> {
        let bind = |stack: u16, addr: SocketAddr| -> io::Result<Socket> {
            let always = [SocketOption::ReuseAddr(true)];
            let socket = Socket::new(handle, stack, domain_of(addr), SocketKind::Stream, &always)?;
            for &option in options {
                socket.set_option(option)?;
            }
            socket.bind(addr)?;
            Ok(socket)
        };
        let first = bind(0, addr)?;
        let mut addr = addr;
        if handle.stacks.count() > 1 {
            addr.set_port(first.local_addr()?.port());
        }
        let others = (1..handle.stacks.count())
            .map(|stack| bind(stack as u16, addr))
            .collect::<io::Result<Vec<_>>>()?;
        let bell = Arc::new(Bell::default());
        let listening = Listening { first, others, bell, turn: AtomicUsize::new(0) };
        if !listening.others.is_empty() {
            listening.all().for_each(|socket| socket.ring_on_read(&listening.bell));
        }
        Ok(listening)
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
            return self.first.accept();
        }
        if self.first.is_nonblocking() {
            return self.try_accept();
        }
        self.bell.wait_for(|| self.try_accept())
    }

    fn try_accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let count = 1 + self.others.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut nothing = io::Error::from(io::ErrorKind::WouldBlock);
        for socket in self.all().skip(turn).chain(self.all().take(turn)) {
            match socket.try_accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => nothing = error,
                result => return result,
            }
        }
        Err(nothing)
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

impl Drop for Listening {
    fn drop(&mut self) {
        // Without this the order of the fields would close the first one first.
        self.others.clear();
    }
}
