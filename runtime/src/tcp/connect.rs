//! Opening connections: to one address, or to the first of several that answers (Happy Eyeballs,
//! RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use portolan::{Instant, Interest, SocketKind, SocketOption};

use crate::addrs::sealed::Addrs;
use crate::addrs::{ToAddrs, look_up};
use crate::clock::Clock;
use crate::handle::Handle;
use crate::poller::Poller;
use crate::socket::{Connecting, Socket, domain_of};

/// RFC 8305 §5: the time between the beginnings of two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Results of attempts that one wait takes.
const MAX_RESULTS: usize = 16;

/// Connects to an address, or to the first of several that answers.
pub(super) fn connect(
    handle: &Handle,
    target: &impl ToAddrs,
    timeout: Option<Duration>,
    options: &[SocketOption],
) -> io::Result<Socket> {
    let give_up_at = timeout.map(|timeout| Clock::now() + timeout);
    let (name, addresses) = match target.to_addrs()? {
        Addrs::One(addr) => {
            let socket = new_socket(handle, addr, options)?;
            socket.connect_stream(addr, timeout)?;
            return Ok(socket);
        }
        Addrs::Several(addresses) => (None, addresses),
        Addrs::Name(name, port) => {
            let addresses = look_up(handle, &name, port)?;
            (Some(format!("{name}:{port}")), addresses)
        }
    };
    let mut race = Race::new(addresses);
    race.run(handle, give_up_at, options).map_err(|error| race.explain(name.as_deref(), &error))
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
    /// Numbers the attempts.
    count: u64,
}

#[derive(Debug)]
struct ConnectAttempt {
    number: u64,
    addr: SocketAddr,
    socket: Socket,
}

impl Race {
    fn new(addresses: Vec<SocketAddr>) -> Race {
        let next_at = Clock::now();
        Race { waiting: interleaved(addresses), next_at, running: Vec::new(), failures: Vec::new(), count: 0 }
    }

    /// Fails with an error that does not matter if every attempt has failed, and with another if
    /// the runtime is over.
    fn run(
        &mut self,
        handle: &Handle,
        give_up_at: Option<Instant>,
        options: &[SocketOption],
    ) -> io::Result<Socket> {
        let poller = Poller::new(handle)?;
        let mut ready = Vec::new();
        loop {
            while self.is_next_due() {
                if let Some(connected) = self.begin_next(handle, &poller, options)? {
                    return Ok(connected);
                }
            }
            if self.running.is_empty() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            if give_up_at.is_some_and(|at| Clock::until(at).is_zero()) {
                for ConnectAttempt { addr, .. } in self.running.drain(..) {
                    self.failures.push((addr, io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
            let next_at = (!self.waiting.is_empty()).then_some(self.next_at);
            let until = [next_at, give_up_at].into_iter().flatten().min();
            poller.wait(&mut ready, MAX_RESULTS, until.map(Clock::until))?;
            for event in ready.drain(..) {
                if let Some(connected) = self.finish(event.token)? {
                    return Ok(connected);
                }
            }
        }
    }

    fn is_next_due(&self) -> bool {
        !self.waiting.is_empty() && (self.running.is_empty() || Clock::until(self.next_at).is_zero())
    }

    /// Begins the next attempt.
    fn begin_next(
        &mut self,
        handle: &Handle,
        poller: &Poller,
        options: &[SocketOption],
    ) -> io::Result<Option<Socket>> {
        let Some(addr) = self.waiting.pop_front() else { return Ok(None) };
        let socket = new_socket(handle, addr, options)?;
        self.next_at = Clock::now() + ATTEMPT_DELAY;
        match socket.begin_connect(addr) {
            Ok(Connecting::Done) => return Ok(Some(socket)),
            Ok(Connecting::UnderWay) => {
                let number = self.count;
                self.count += 1;
                poller.add(&socket, Interest::WRITABLE, number)?;
                self.running.push(ConnectAttempt { number, addr, socket });
            }
            Err(error) => self.on_failure(addr, error)?,
        }
        Ok(None)
    }

    /// Takes the result of an attempt about which there was an event.
    fn finish(&mut self, number: u64) -> io::Result<Option<Socket>> {
        let Some(index) = self.running.iter().position(|attempt| attempt.number == number) else {
            return Ok(None);
        };
        match self.running[index].socket.connect_result() {
            Ok(()) => Ok(Some(self.running.swap_remove(index).socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                let ConnectAttempt { addr, .. } = self.running.swap_remove(index);
                self.on_failure(addr, error)?;
                Ok(None)
            }
        }
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
