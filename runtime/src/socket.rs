//! [`Socket`]: what all blocking sockets share: a descriptor, waiting, time-outs, closing.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use portolan::{
    AddressState, Cidr, DatagramMeta, Descriptor, Domain, Instant, SendFlags, SendMeta, Shutdown, SocketId,
    SocketKind, SocketOption, SocketOptions, Stack,
};
use smallvec::SmallVec;

use crate::engine::bell::Bell;
use crate::engine::core::EngineCore;
use crate::engine::locks::{Engine, to_io_error};
use crate::engine::stacks::Stacks;
use crate::engine::wait::WaitLimit;
use crate::engine::waiters::{Direction, Waiters};
use crate::plan::refused;
use crate::policy::{COPY_BELOW, READ_SLICES, WRITE_CHUNK};
use crate::runtime::Handle;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Slices taken from a receive queue, to be copied with the lock released.
type Slices = SmallVec<[Bytes; 4]>;

/// A descriptor of a runtime's stack. Its clones (`Arc`) are like those that `dup` makes: they
/// share everything, and the last one closes the descriptor.
#[derive(Debug)]
pub(crate) struct Socket {
    stacks: Arc<Stacks>,
    descriptor: Descriptor,
    /// What `descriptor` leads to.
    id: SocketId,
    /// The number of the stack that the socket is on.
    stack: u16,
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// A duration in nanoseconds; zero means no time-out.
#[derive(Debug, Default)]
struct Timeout(AtomicU64);

impl Timeout {
    fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => 0,
            // As std: a timeout of zero would mean "never" to setsockopt, and is refused.
            Some(Duration::ZERO) => {
                return Err(refused(
                    "a time-out of zero: give a longer one, None to wait as long as it takes, or use \
                     set_nonblocking(true) not to wait",
                ));
            }
            Some(timeout) => u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
        };
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn value(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

pub(crate) fn domain_of(addr: SocketAddr) -> Domain {
    match addr {
        SocketAddr::V4(_) => Domain::V4,
        SocketAddr::V6(_) => Domain::V6,
    }
}

impl Socket {
    /// Makes a socket on the stack with this number, and sets these options.
    pub(crate) fn new(
        stacks: &Arc<Stacks>,
        stack: u16,
        domain: Domain,
        kind: SocketKind,
        options: &[SocketOption],
    ) -> io::Result<Socket> {
        let (descriptor, id) = stacks
            .at(stack)
            .call(|core, _, _| {
                let descriptor = core.stack.socket(domain, kind)?;
                Ok((descriptor, register(core, descriptor)?))
            })?
            .map_err(to_io_error)?;
        let socket = Socket::of(stacks.clone(), stack, descriptor, id);
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
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle { stacks: self.stacks.clone() }
    }

    fn engine(&self) -> &Engine {
        self.stacks.at(self.stack)
    }

    /// Makes a call that does not wait.
    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&mut Stack, Instant, Descriptor) -> portolan::Result<R>,
    ) -> io::Result<R> {
        self.engine().call(|core, now, _| f(&mut core.stack, now, self.descriptor))?.map_err(to_io_error)
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

    /// Makes a call that waits as long as this socket is set to.
    pub(crate) fn call_blocking<R>(
        &self,
        direction: Direction,
        op: impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        self.engine().call_blocking(self.id, direction, self.wait_limit(direction), op)
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

    /// Says why an address of the stack cannot be used: while the address is being probed, "cannot
    /// assign requested address" misleads. `wanted` is unspecified where any address would do.
    fn explained<R>(&self, wanted: IpAddr, result: io::Result<R>) -> io::Result<R> {
        result.map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                let why = self.engine().inspect(|stack| why_not_available(stack, wanted.to_canonical()));
                why.map_or(error, |why| io::Error::new(io::ErrorKind::AddrNotAvailable, why))
            }
            _ => error,
        })
    }

    /// As [`explained`](Socket::explained), of what is sent as `meta` says.
    fn explained_to<R>(&self, meta: &SendMeta, result: io::Result<R>) -> io::Result<R> {
        match meta.peer {
            Some(peer) => self.explained(any_of(peer), result),
            None => result,
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (descriptor, id, peer) = self.call_blocking(Direction::Read, |core, _| {
            let (descriptor, peer) = core.stack.accept(self.descriptor)?;
            Ok((descriptor, register(core, descriptor)?, peer))
        })?;
        Ok((Socket::of(self.stacks.clone(), self.stack, descriptor, id), peer))
    }

    /// Accepts a connection without waiting for one.
    pub(crate) fn try_accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let accepted = self.engine().call(|core, _, _| {
            let (descriptor, peer) = core.stack.accept(self.descriptor)?;
            Ok((descriptor, register(core, descriptor)?, peer))
        })?;
        let (descriptor, id, peer) = accepted.map_err(to_io_error)?;
        Ok((Socket::of(self.stacks.clone(), self.stack, descriptor, id), peer))
    }

    /// Rings this bell, too, at every event that a reader waits for.
    pub(crate) fn ring_on_read(&self, bell: &Arc<Bell>) {
        // A runtime that is over has woken everybody, and fails every call.
        let _ = self.engine().call(|core, _, _| {
            if let Some(waiters) = core.waiters.of(self.id) {
                waiters.extras().bell = Some(bell.clone());
            }
        });
    }

    /// Opens a connection and waits until it is open, at most `timeout`.
    pub(crate) fn connect_stream(&self, addr: SocketAddr, timeout: Option<Duration>) -> io::Result<()> {
        let started = self.engine().call(|core, now, _| core.stack.connect(now, self.descriptor, addr))?;
        match started {
            Ok(()) => return Ok(()),
            Err(portolan::Error::InProgress) => {}
            Err(error) => return self.explained(any_of(addr), Err(to_io_error(error))),
        }
        let wait_limit = timeout.map_or(WaitLimit::Forever, WaitLimit::For);
        self.engine()
            .call_blocking(self.id, Direction::Write, wait_limit, |core, _| {
                let readiness = core.stack.readiness(self.descriptor)?;
                if !(readiness.writable || readiness.error || readiness.hung_up) {
                    return Err(portolan::Error::WouldBlock);
                }
                core.stack.take_error(self.descriptor)?.map_or(Ok(()), Err)
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::new(io::ErrorKind::TimedOut, format!("{addr} did not answer in time"))
                }
                _ => error,
            })
    }

    /// Reads from a stream: takes slices with the lock held, and copies them with the lock
    /// released.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let (d, id, len) = (self.descriptor, self.id, buf.len());
        let slices = self.receive(len, |core, now| take_slices(core, now, (d, id), len))?;
        let mut filled = 0;
        for slice in slices {
            // `take_slices` takes at most `buf.len()` bytes together.
            buf[filled..filled + slice.len()].copy_from_slice(&slice);
            filled += slice.len();
        }
        Ok(filled)
    }

    /// Takes one slice of a stream's receive queue.
    pub(crate) fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        if max == 0 {
            return Ok(Bytes::new());
        }
        let d = self.descriptor;
        self.receive(max, |core, now| {
            take_deferred_error(core, self.id)?;
            core.stack.recv_bytes(now, d, max)
        })
    }

    /// Calls `take` as soon as there is as much as a read of `len` bytes waits for (SO_RCVLOWAT).
    /// When the time is over before, it takes what there is.
    fn receive<R>(
        &self,
        len: usize,
        mut take: impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let waited = self.call_blocking(Direction::Read, |core, now| {
            if core.stack.is_below_low_water(self.descriptor, len)? {
                return Err(portolan::Error::WouldBlock);
            }
            take(core, now)
        });
        match waited {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.engine().call(|core, now, _| take(core, now))?.map_err(to_io_error)
            }
            taken => taken,
        }
    }

    /// Sends on a stream, or to the peer of a datagram socket. The data is copied before the lock
    /// is taken.
    pub(crate) fn write(&self, data: &[u8]) -> io::Result<usize> {
        if data.len() < COPY_BELOW {
            return self
                .call_blocking(Direction::Write, |core, now| core.stack.send(now, self.descriptor, data));
        }
        self.write_bytes(self.copy_of(&[IoSlice::new(data)], data.len()))
    }

    /// Copies the first `len` bytes of the slices together into pooled memory.
    fn copy_of(&self, slices: &[IoSlice<'_>], len: usize) -> Bytes {
        let pool = || self.engine().send_pool.lock().unwrap_or_else(PoisonError::into_inner);
        if len > WRITE_CHUNK {
            // It is a datagram that is too long; the stack refuses it.
            return slices.iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat().into();
        }
        let mut piece = pool().fitting(len).take();
        let mut filled = 0;
        for slice in slices {
            let count = slice.len().min(len - filled);
            piece[filled..filled + count].copy_from_slice(&slice[..count]);
            filled += count;
        }
        pool().fitting(len).share(piece, len)
    }

    /// Sends all bytes, however small the send buffer is, unless the socket is nonblocking, its
    /// time-out passes, or the connection ends. What `write` has copied is not copied again when it
    /// did not fit at first.
    pub(crate) fn write_bytes(&self, mut bytes: Bytes) -> io::Result<usize> {
        let len = bytes.len();
        let sent = self.call_blocking(Direction::Write, |core, now| {
            take_deferred_error(core, self.id)?;
            loop {
                match core.stack.send_bytes(now, self.descriptor, bytes.clone()) {
                    Ok(count) => bytes.advance(count),
                    Err(error @ portolan::Error::WouldBlock) => return Err(error),
                    Err(error) if bytes.len() == len => return Err(error),
                    Err(error) => {
                        // The stack reports an error once. It is for the next call, as this one has
                        // sent data.
                        if let Some(waiters) = core.waiters.of(self.id) {
                            waiters.extras().deferred_error = Some(error);
                        }
                        return Ok(());
                    }
                }
                if bytes.is_empty() {
                    return Ok(());
                }
            }
        });
        match len - bytes.len() {
            0 => sent.map(|()| 0),
            count => Ok(count),
        }
    }

    pub(crate) fn send_oob(&self, data: &[u8]) -> io::Result<usize> {
        self.call_blocking(Direction::Write, |core, now| core.stack.send_oob(now, self.descriptor, data))
    }

    pub(crate) fn send_with(&self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        let d = self.descriptor;
        self.call_blocking(Direction::Write, |core, now| core.stack.send_with(now, d, data, flags))
    }

    pub(crate) fn write_stream(&self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        self.write(&data[..data.len().min(WRITE_CHUNK)])
    }

    /// Sends the slices one after the other, as one `write_stream`: a header and a body leave
    /// together.
    pub(crate) fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>().min(WRITE_CHUNK);
        if len == 0 {
            return Ok(0);
        }
        self.write_bytes(self.copy_of(slices, len))
    }

    /// Receives one datagram, cut to the length of the buffer, and its sender.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (bytes, meta) = self.recv_msg()?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok((len, meta.peer()))
    }

    /// Receives at least one datagram, and at most `max` of those that are there then.
    pub(crate) fn recv_batch(&self, batch: &mut Vec<(Bytes, DatagramMeta)>, max: usize) -> io::Result<usize> {
        let d = self.descriptor;
        self.call_blocking(Direction::Read, |core, now| core.stack.recv_batch(now, d, batch, max))
    }

    pub(crate) fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.call_blocking(Direction::Read, |core, now| core.stack.recv_msg(now, self.descriptor))
    }

    pub(crate) fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        let sent = self.call_blocking(Direction::Write, |core, now| {
            core.stack.send_msg(now, self.descriptor, bytes.clone(), meta)
        });
        self.explained_to(meta, sent)
    }

    pub(crate) fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        if data.len() < COPY_BELOW {
            let sent = self.call_blocking(Direction::Write, |core, now| {
                core.stack.send_to(now, self.descriptor, data, addr)
            });
            return self.explained(any_of(addr), sent);
        }
        self.send_msg(self.copy_of(&[IoSlice::new(data)], data.len()), &SendMeta::to(addr))
    }

    /// Sends all datagrams in order, unless the socket is nonblocking, its time-out passes, or
    /// there is an error: then those before it are sent, and the error is for the next call.
    pub(crate) fn send_batch(&self, batch: &[(Bytes, SendMeta)]) -> io::Result<usize> {
        let mut count = 0;
        let sent = self.call_blocking(Direction::Write, |core, now| {
            // The stack reports a pending error once; a call that has sent something must not take
            // it.
            if count > 0 && core.stack.readiness(self.descriptor)?.error {
                return Ok(());
            }
            while let Some((data, meta)) = batch.get(count) {
                core.stack.send_msg(now, self.descriptor, data.clone(), meta)?;
                count += 1;
            }
            Ok(())
        });
        match (count, batch.first()) {
            (0, Some((_, meta))) => self.explained_to(meta, sent.map(|()| 0)),
            (0, None) => sent.map(|()| 0),
            (count, _) => Ok(count),
        }
    }

    /// Copies the next datagram with the lock held, as it stays in the queue.
    pub(crate) fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peeked =
            self.call_blocking(Direction::Read, |core, _| core.stack.peek_from(self.descriptor, buf));
        peeked.map(|(len, meta)| (len, meta.peer()))
    }

    /// Copies the next data with the lock held, as it stays in the queue.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.call_blocking(Direction::Read, |core, _| core.stack.peek(self.descriptor, buf))
    }

    pub(crate) fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        let how = match how {
            std::net::Shutdown::Read => Shutdown::Read,
            std::net::Shutdown::Write => Shutdown::Write,
            std::net::Shutdown::Both => Shutdown::Both,
        };
        self.engine()
            .call(|core, now, wakes| {
                let result = core.stack.shutdown(now, self.descriptor, how);
                core.waiters.wake_all(self.id, wakes);
                result
            })?
            .map_err(to_io_error)
    }

    pub(crate) fn set_option(&self, option: SocketOption) -> io::Result<()> {
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

    /// Does what SO_LINGER with a time asks for: ends the sending half, and waits until the peer
    /// has acknowledged everything, for at most that time. A stream that was not connected, or
    /// whose runtime is over, does not wait.
    fn linger(&self) {
        let options = self.engine().inspect(|stack| stack.options(self.descriptor));
        let Ok(Some(wait_limit)) = options.map(|options| options.linger) else { return };
        if wait_limit.is_zero() || self.nonblocking.load(Ordering::Relaxed) {
            return;
        }
        if self.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let d = self.descriptor;
        // There is no event for an empty queue, but each acknowledgement is a use of the stack.
        let _ = self.engine().wait_until(wait_limit, |stack| {
            let is_ended = stack.readiness(d).map_or(true, |ready| ready.hung_up || ready.error);
            is_ended || stack.queued_bytes(d).is_ok_and(|(_, unacknowledged)| unacknowledged == 0)
        });
    }

    /// Closes the descriptor for all clones. Threads that wait for it are woken, and later calls
    /// get EBADF.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.engine()
            .call(|core, now, wakes| {
                core.waiters.remove(self.id, wakes);
                core.stack.close(now, self.descriptor)
            })?
            .map_err(to_io_error)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.linger();
        // If the descriptor is closed already, or the runtime is over, nothing is left to do.
        let _ = self.close();
    }
}

/// The unspecified address of the same family, which means any of the stack's own.
fn any_of(addr: SocketAddr) -> IpAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Says why `wanted` cannot be used. Returns `None` if another reason than the address is to blame,
/// such as that no ephemeral port is free.
fn why_not_available(stack: &Stack, wanted: IpAddr) -> Option<String> {
    let interfaces = stack.interfaces();
    let addresses: Vec<(Cidr, AddressState)> =
        interfaces.into_iter().flat_map(|interface| interface.addresses).collect();
    if wanted.is_unspecified() {
        let mut of_family = addresses.iter().filter(|(cidr, _)| cidr.addr.is_ipv4() == wanted.is_ipv4());
        let probed = of_family.find(|(_, state)| *state == AddressState::Tentative)?;
        return Some(format!(
            "no address of the stack can be used for it yet: {}",
            being_probed(probed.0.addr)
        ));
    }
    match addresses.iter().find(|(cidr, _)| cidr.addr == wanted) {
        Some((_, AddressState::Tentative)) => {
            Some(format!("{wanted} cannot be used yet: {}", being_probed(wanted)))
        }
        Some((_, AddressState::Duplicated)) => Some(format!(
            "{wanted} cannot be used: another host on the link has it; give the stack an address of its own"
        )),
        Some(_) => None,
        None => {
            let own: Vec<String> = addresses.iter().map(|(cidr, _)| cidr.addr.to_string()).collect();
            Some(format!(
                "{wanted} is not an address of this stack, which has {}: bind to one of them, or to 0.0.0.0 or :: for \
                 all",
                own.join(", ")
            ))
        }
    }
}

fn being_probed(addr: IpAddr) -> String {
    format!(
        "the stack is still asking whether another host on the link has {addr}; call Handle::wait_ready first, or start \
         it with Builder::start, which waits for that"
    )
}

/// Enters a new socket among those that can be waited for.
fn register(core: &mut EngineCore, descriptor: Descriptor) -> portolan::Result<SocketId> {
    let id = core.stack.socket_id(descriptor)?;
    core.waiters.insert(id);
    Ok(id)
}

/// Fails with the error that the last call could not report, as it had data to return.
fn take_deferred_error(core: &mut EngineCore, id: SocketId) -> portolan::Result<()> {
    let error = core.waiters.of(id).and_then(Waiters::take_deferred_error);
    error.map_or(Ok(()), Err)
}

/// Takes the data that is there, at most `max` bytes. At the end of the stream there is none.
fn take_slices(
    core: &mut EngineCore,
    now: Instant,
    (d, id): (Descriptor, SocketId),
    max: usize,
) -> portolan::Result<Slices> {
    take_deferred_error(core, id)?;
    let mut slices = Slices::new();
    let mut left = max;
    while left > 0 && slices.len() < READ_SLICES {
        match core.stack.recv_bytes(now, d, left) {
            // The end of the stream. Behind data, the next call finds it again.
            Ok(slice) if slice.is_empty() => break,
            Ok(slice) => {
                left -= slice.len().min(left);
                slices.push(slice);
                if core.stack.at_mark(d)? {
                    break;
                }
            }
            Err(error) if slices.is_empty() => return Err(error),
            Err(portolan::Error::WouldBlock) => break,
            Err(error) => {
                // The stack reports an error once. It is for the next call, as this one has data to
                // return.
                if let Some(waiters) = core.waiters.of(id) {
                    waiters.extras().deferred_error = Some(error);
                }
                break;
            }
        }
    }
    Ok(slices)
}
