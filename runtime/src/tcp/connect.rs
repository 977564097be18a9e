//! Opening connections: to one address, or to the first of several that answers (Happy Eyeballs,
//! RFC 8305).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use portolan::{Instant, SocketKind, SocketOption};

use crate::addrs::sealed::Addrs;
use crate::addrs::{ToAddrs, look_up};
use crate::clock::Clock;
use crate::engine::task_waiters::Task;
use crate::future::{FutureWait, block_on};
use crate::handle::Handle;
use crate::socket::{Connecting, Socket, domain_of};

/// RFC 8305 §5: the time between the beginnings of two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to an address, or to the first of several that answers.
pub(super) fn connect(
    handle: &Handle,
    target: &impl ToAddrs,
    timeout: Option<Duration>,
    options: &[SocketOption],
) -> io::Result<Socket> {
    let give_up_at = timeout.map(|timeout| Clock::now() + timeout);
    match target.to_addrs()? {
        Addrs::One(addr) => {
            let socket = new_socket(handle, addr, options)?;
            socket.connect_stream(addr, timeout)?;
            Ok(socket)
        }
        several => block_on(connect_to_any(handle, several, give_up_at, options)),
    }
}

/// Connects to the first of several addresses that answers.
pub(crate) async fn connect_to_any(
    handle: &Handle,
    target: Addrs,
    give_up_at: Option<Instant>,
    options: &[SocketOption],
) -> io::Result<Socket> {
    let (name, addresses) = match target {
        Addrs::One(addr) => (None, vec![addr]),
        Addrs::Several(addresses) => (None, addresses),
        Addrs::Name(name, port) => {
            let addresses = look_up(handle, &name, port).await?;
            (Some(format!("{name}:{port}")), addresses)
        }
    };
    let mut race = Race::new(addresses);
    let mut waiting = FutureWait::new(handle);
    let connected = poll_fn(|cx| race.poll(cx.waker(), &mut waiting, handle, give_up_at, options)).await;
    connected.map_err(|error| race.explain(name.as_deref(), &error))
}

fn new_socket(handle: &Handle, addr: SocketAddr, options: &[SocketOption]) -> io::Result<Socket> {
    Socket::new(handle, handle.stacks.any(), domain_of(addr), SocketKind::Stream, options)
}

/// Attempts at several addresses, each begun some time after the one before unless that has failed.
/// The first that is connected wins, and the others are closed, so a peer that answers later gets a
/// reset.
#[derive(Debug)]
struct Race {
    /// Addresses that were not tried yet, in order.
    waiting: VecDeque<SocketAddr>,
    /// When to try the next one.
    next_at: Instant,
    running: Vec<ConnectAttempt>,
    /// What went wrong, in the order in which it did.
    failures: Vec<(SocketAddr, io::Error)>,
}

#[derive(Debug)]
struct ConnectAttempt {
    addr: SocketAddr,
    socket: Socket,
}

impl Race {
    fn new(addresses: Vec<SocketAddr>) -> Race {
        let next_at = Clock::now();
        Race { waiting: interleaved(addresses), next_at, running: Vec::new(), failures: Vec::new() }
    }

    /// Polls for the first connection. Fails with an error that does not matter if every attempt
    /// has failed, and with another if the runtime is over.
    fn poll(
        &mut self,
        waker: &Waker,
        waiting: &mut FutureWait,
        handle: &Handle,
        give_up_at: Option<Instant>,
        options: &[SocketOption],
    ) -> Poll<io::Result<Socket>> {
        loop {
            while self.is_next_due() {
                if let Some(connected) = self.begin_next(handle, options)? {
                    return Poll::Ready(Ok(connected));
                }
            }
            if let Some(connected) = self.finish_one(waiting.task(waker))? {
                return Poll::Ready(Ok(connected));
            }
            if self.is_next_due() {
                continue;
            }
            if self.running.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            if give_up_at.is_some_and(|at| Clock::until(at).is_zero()) {
                for ConnectAttempt { addr, .. } in self.running.drain(..) {
                    self.failures.push((addr, io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
                }
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let next_at = (!self.waiting.is_empty()).then_some(self.next_at);
            let until = [next_at, give_up_at].into_iter().flatten().min();
            ready!(waiting.poll_time(waker, until))?;
        }
    }

    fn is_next_due(&self) -> bool {
        !self.waiting.is_empty() && (self.running.is_empty() || Clock::until(self.next_at).is_zero())
    }

    /// Begins the next attempt.
    fn begin_next(&mut self, handle: &Handle, options: &[SocketOption]) -> io::Result<Option<Socket>> {
        let Some(addr) = self.waiting.pop_front() else { return Ok(None) };
        let socket = new_socket(handle, addr, options)?;
        self.next_at = Clock::now() + ATTEMPT_DELAY;
        match socket.begin_connect(addr) {
            Ok(Connecting::Done) => return Ok(Some(socket)),
            Ok(Connecting::UnderWay) => self.running.push(ConnectAttempt { addr, socket }),
            Err(error) => self.on_failure(addr, error)?,
        }
        Ok(None)
    }

    /// Takes the results of the attempts that have one. The task is woken for the others.
    fn finish_one(&mut self, task: Task<'_>) -> io::Result<Option<Socket>> {
        let mut index = 0;
        while let Some(ConnectAttempt { addr, socket }) = self.running.get(index) {
            let addr = *addr;
            match socket.calls_of(task).finish_connecting() {
                Ok(()) => return Ok(Some(self.running.swap_remove(index).socket)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => index += 1,
                Err(error) => {
                    self.running.remove(index);
                    self.on_failure(addr, error)?;
                }
            }
        }
        Ok(None)
    }

    /// RFC 8305 §5: the next attempt begins at once.
    fn on_failure(&mut self, addr: SocketAddr, error: io::Error) -> io::Result<()> {
        if error.kind() == io::ErrorKind::NetworkDown {
            return Err(error);
        }
        self.failures.push((addr, error));
        self.next_at = Clock::now();
        Ok(())
    }

    /// The error that names all attempts. It has the kind of the last one.
    fn explain(&self, name: Option<&str>, error: &io::Error) -> io::Error {
        let Some((_, last)) = self.failures.last() else {
            return io::Error::new(error.kind(), error.to_string());
        };
        if error.kind() == io::ErrorKind::NetworkDown {
            return io::Error::new(error.kind(), error.to_string());
        }
        let each: Vec<String> =
            self.failures.iter().map(|(addr, error)| format!("{addr}: {error}")).collect();
        let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
        io::Error::new(last.kind(), format!("{name}{}", each.join("; ")))
    }
}

/// RFC 8305 §4: alternates between the families, beginning with that of the first address.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let count = addresses.len();
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|addr| addr.is_ipv6() == is_first_v6);
    let mut mixed = VecDeque::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(first.pop_front());
        mixed.extend(second.pop_front());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_the_first_address_stays_first() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = interleaved(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(mixed, parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        let mixed = interleaved(parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert_eq!(mixed, parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert!(interleaved(Vec::new()).is_empty());
    }
}
