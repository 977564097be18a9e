//! [`Socket`]: the common part of all blocking sockets: a descriptor, waiting, time-outs, closing.

mod address_error;
pub(crate) mod calls;
mod connections;
mod datagrams;
mod packets;
pub(crate) mod pending;
pub(crate) mod settings;
pub(crate) mod stream;
mod timeout;
pub(crate) mod unix;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portolan::{
    Descriptor, Domain, Instant, Owner, OwnerId, Shutdown, SockAddr, SocketId, SocketKind, SocketOption,
    SocketOptions,
};

use crate::engine::bell::Bell;
use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::locks::{Engine, to_io_error};
use crate::engine::stacks::Stacks;
use crate::engine::wait::WaitLimit;
use crate::handle::Handle;
use crate::plan::refused;
use crate::sync::atomic::{AtomicBool, Ordering};

use address_error::{any_of, why_not_available};
use timeout::Timeout;

/// A descriptor of a runtime's stack. Its clones (`Arc`) are like those that `dup` makes: they
/// share everything, and the last one closes the descriptor.
#[derive(Debug)]
pub(crate) struct Socket {
    stacks: Arc<Stacks>,
    descriptor: Descriptor,
    /// The socket that `descriptor` refers to.
    id: SocketId,
    /// The number of the stack that the socket is on.
    stack: u16,
    nonblocking: AtomicBool,
    /// Whether others may hold the socket, because a message has passed it on.
    is_shared: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// How far a connection is that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connecting {
    Done,
    UnderWay,
}

pub(crate) fn domain_of(addr: SocketAddr) -> Domain {
    match addr {
        SocketAddr::V4(_) => Domain::V4,
        SocketAddr::V6(_) => Domain::V6,
    }
}

/// The address of an IP socket.
fn ip_of(addr: SockAddr) -> portolan::Result<SocketAddr> {
    addr.ip().ok_or(portolan::Error::AddressFamilyNotSupported)
}

impl Socket {
    /// Makes a socket of the handle's owner on the stack with this number, and sets these options.
    pub(crate) fn new(
        handle: &Handle,
        stack: u16,
        domain: Domain,
        kind: SocketKind,
        options: &[SocketOption],
    ) -> io::Result<Socket> {
        let owner = handle.owner_on(stack);
        let (descriptor, id) = handle
            .stacks
            .at(stack)
            .call(|core, _, _| {
                let descriptor = core.owner(owner)?.socket(domain, kind)?;
                Ok((descriptor, register(core, descriptor)?))
            })?
            .map_err(to_io_error)?;
        let socket = Socket::of(handle.stacks.clone(), stack, descriptor, id);
        for &option in options {
            socket.set_option(option)?;
        }
        Ok(socket)
    }

    fn of(stacks: Arc<Stacks>, stack: u16, descriptor: Descriptor, id: SocketId) -> Socket {
        Socket {
            stacks,
            descriptor,
            id,
            stack,
            nonblocking: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::of(&self.stacks, self.stack, self.descriptor.owner())
    }

    /// The number of the stack that it is on, if that is one of `stacks`.
    pub(crate) fn stack_of(&self, stacks: &Arc<Stacks>) -> Option<u16> {
        Arc::ptr_eq(&self.stacks, stacks).then_some(self.stack)
    }

    /// The owner of its descriptor.
    pub(crate) fn owner(&self) -> OwnerId {
        self.descriptor.owner()
    }

    fn engine(&self) -> &Engine {
        self.stacks.at(self.stack)
    }

    /// Makes a call that does not wait.
    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&mut Owner<'_>, Instant, Descriptor) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let d = self.descriptor;
        self.engine().call(|core, now, _| f(&mut core.owner_of(d)?, now, d))?.map_err(to_io_error)
    }

    fn wait_limit(&self, direction: Direction) -> WaitLimit {
        if self.nonblocking.load(Ordering::Relaxed) {
            return WaitLimit::None;
        }
        let timeout = match direction {
            Direction::Read => self.read_timeout.value(),
            Direction::Write => self.write_timeout.value(),
        };
        timeout.map_or(WaitLimit::Forever, WaitLimit::For)
    }

    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let bound = self.call(|stack, _, d| stack.bind(d, addr));
        self.explained(addr.ip(), bound).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => io::Error::new(
                io::ErrorKind::AddrInUse,
                format!(
                    "{addr} is in use by another socket of this stack; choose another port, or 0 for any"
                ),
            ),
            _ => error,
        })
    }

    /// Sets the peer of a datagram socket.
    pub(crate) fn connect_datagrams(&self, addr: SocketAddr) -> io::Result<()> {
        self.explained(any_of(addr), self.call(|stack, now, d| stack.connect(now, d, addr)))
    }

    /// Explains an error about an address of the stack: while the address is being probed, "cannot
    /// assign requested address" is misleading. `wanted` is unspecified where any address would do.
    fn explained<R>(&self, wanted: IpAddr, result: io::Result<R>) -> io::Result<R> {
        result.map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                let why = self.engine().inspect(|stack| why_not_available(stack, wanted.to_canonical()));
                why.map_or(error, |why| io::Error::new(io::ErrorKind::AddrNotAvailable, why))
            }
            _ => error,
        })
    }

    /// Rings this bell, too, at every event that a reader waits for.
    pub(crate) fn ring_on_read(&self, bell: &Arc<Bell>) {
        // A runtime that is over has woken all threads, and fails every call.
        let _ = self.engine().call(|core, _, _| {
            if let Some(waiters) = core.waiters.of(self.id) {
                waiters.extras().bell = Some(bell.clone());
            }
        });
    }

    /// Opens a connection and waits until it is open, at most `timeout`.
    pub(crate) fn connect_stream(&self, addr: SocketAddr, timeout: Option<Duration>) -> io::Result<()> {
        if self.begin_connect(addr)? == Connecting::Done {
            return Ok(());
        }
        self.wait_until_open(addr, timeout)
    }

    /// Waits until a connection with this peer is open, at most `timeout`.
    fn wait_until_open(&self, peer: SocketAddr, timeout: Option<Duration>) -> io::Result<()> {
        let wait_limit = timeout.map_or(WaitLimit::Forever, WaitLimit::For);
        let d = self.descriptor;
        self.engine()
            .call_blocking(self.id, Direction::Write, wait_limit, |core, _| {
                connect_result(&mut core.owner_of(d)?, d)
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::new(io::ErrorKind::TimedOut, format!("{peer} did not answer in time"))
                }
                _ => error,
            })
    }

    /// Begins to open a connection.
    pub(crate) fn begin_connect(&self, addr: SocketAddr) -> io::Result<Connecting> {
        let started = self
            .engine()
            .call(|core, now, _| core.owner_of(self.descriptor)?.connect(now, self.descriptor, addr))?;
        match started {
            Ok(()) => Ok(Connecting::Done),
            Err(portolan::Error::InProgress) => Ok(Connecting::UnderWay),
            Err(error) => self.explained(any_of(addr), Err(to_io_error(error))),
        }
    }

    pub(crate) fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        let how = match how {
            std::net::Shutdown::Read => Shutdown::Read,
            std::net::Shutdown::Write => Shutdown::Write,
            std::net::Shutdown::Both => Shutdown::Both,
        };
        self.engine()
            .call(|core, now, wakes| {
                let result = core.owner_of(self.descriptor)?.shutdown(now, self.descriptor, how);
                core.waiters.wake_all(self.id, wakes);
                result
            })?
            .map_err(to_io_error)
    }

    /// Sets an option. The time-outs are kept here, where a call that waits needs no lock to read
    /// them.
    pub(crate) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        match option {
            SocketOption::ReceiveTimeout(timeout) => self.read_timeout.store(timeout),
            SocketOption::SendTimeout(timeout) => self.write_timeout.store(timeout),
            _ => return self.set_stack_option(option),
        }
        Ok(())
    }

    /// SO_BINDTODEVICE, with the interface that has this name.
    pub(crate) fn device_option(&self, name: Option<&str>) -> io::Result<SocketOption> {
        let by_name = |name: &str| {
            let iface = self.engine().inspect(|stack| stack.interface_by_name(name));
            iface.ok_or_else(|| {
                let text = format!("there is no interface {name:?}; Handle::interfaces lists them");
                io::Error::new(io::ErrorKind::NotFound, text)
            })
        };
        Ok(SocketOption::BindToDevice(name.map(by_name).transpose()?))
    }

    /// The name of the interface that the socket is bound to.
    pub(crate) fn device(&self) -> io::Result<Option<String>> {
        let device = self.options()?.device;
        let name = |iface| self.engine().inspect(|stack| stack.interface_name(iface).map(String::from));
        Ok(device.and_then(name))
    }

    fn set_stack_option(&self, option: SocketOption) -> io::Result<()> {
        self.call(|stack, now, d| stack.set_option(now, d, option)).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => refused(format!(
                "{option:?} is out of its range, or not for this kind of socket in its state; SocketOption's documentation \
                 has the ranges"
            )),
            _ => error,
        })
    }

    pub(crate) fn options(&self) -> io::Result<SocketOptions> {
        self.call(|stack, _, d| stack.options(d))
    }

    /// IP_TTL: the value that was set, or the default of the stack.
    pub(crate) fn ttl(&self) -> io::Result<u32> {
        let default = || self.engine().inspect(|stack| stack.config().ip.hop_limit);
        Ok(self.options()?.ip.ttl.unwrap_or_else(default).into())
    }

    /// IP_TTL, 1 to 255.
    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_option(ttl_option(ttl)?)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.call(|stack, _, d| stack.local_addr(d))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.call(|stack, _, d| stack.peer_addr(d))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self.call(|stack, _, d| stack.take_error(d))?.map(to_io_error))
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout)
    }

    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout.value()
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.write_timeout.value()
    }

    /// Implements SO_LINGER with a time: ends the sending half, and waits until the peer has
    /// acknowledged everything, for at most that time. A stream that was not connected, or whose
    /// runtime is over, does not wait, nor does one that others may hold.
    fn linger(&self) {
        if self.is_shared.load(Ordering::Relaxed) {
            return;
        }
        let Ok(Some(wait_limit)) = self.options().map(|options| options.linger) else { return };
        if wait_limit.is_zero() || self.nonblocking.load(Ordering::Relaxed) {
            return;
        }
        if self.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let d = self.descriptor;
        // No event tells that the queue is empty, but each acknowledgement is a use of the stack.
        let _ = self.engine().wait_until(wait_limit, |stack| {
            let Some(owner) = stack.owner(d.owner()) else { return true };
            let is_ended = owner.readiness(d).map_or(true, |ready| ready.hung_up || ready.error);
            is_ended || owner.queued_bytes(d).is_ok_and(|(_, unacknowledged)| unacknowledged == 0)
        });
    }

    /// Closes the descriptor for all clones. Threads that wait for it are woken, and later calls
    /// get EBADF.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.engine()
            .call(|core, now, wakes| {
                core.waiters.remove(self.id, wakes);
                core.owner_of(self.descriptor)?.close(now, self.descriptor)
            })?
            .map_err(to_io_error)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.linger();
        // If the descriptor is closed already, or the runtime is over, there is nothing to do.
        let _ = self.close();
    }
}

/// The option for a TTL of 1 to 255.
pub(crate) fn ttl_option(ttl: u32) -> io::Result<SocketOption> {
    match u8::try_from(ttl) {
        Ok(ttl @ 1..) => Ok(SocketOption::Ttl(ttl)),
        _ => Err(refused(format!("a TTL of {ttl}: give 1 to 255"))),
    }
}

fn connect_result(owner: &mut Owner<'_>, d: Descriptor) -> portolan::Result<()> {
    let readiness = owner.readiness(d)?;
    if !(readiness.writable || readiness.error || readiness.hung_up) {
        return Err(portolan::Error::WouldBlock);
    }
    owner.take_error(d)?.map_or(Ok(()), Err)
}

/// Registers a new socket in the table of waiters.
fn register(core: &mut EngineCore, descriptor: Descriptor) -> portolan::Result<SocketId> {
    let id = core.owner_of(descriptor)?.socket_id(descriptor)?;
    core.waiters.insert(id);
    Ok(id)
}
