//! [`Resolver`]: looks names up over the stack's own sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use portolan::{Interest, SocketKind};

use crate::clock::Clock;
use crate::handle::Handle;
use crate::names::config::ResolverConfig;
use crate::names::lookup::{Lookup, Query, RESOLUTION_DELAY, Via};
use crate::names::{ResolverStats, Shared, order};
use crate::poller::Poller;
use crate::socket::{Socket, domain_of};
use crate::sync::{Mutex, MutexGuard};

/// The largest answer over UDP. Servers send no more than our questions allow, which is less.
const MAX_DATAGRAM_BYTES: usize = 4096;
/// Datagrams that one wait takes.
const MAX_READY: usize = 16;
/// The port of a datagram that only finds out from which address the stack sends: any will do.
const ANY_PORT: u16 = 53;

/// Looks up the addresses of names, with the stack's own sockets: a stub resolver for one or more
/// recursive DNS servers.
///
/// It knows the table of hosts and `localhost`, follows aliases (CNAME), tries the search list,
/// asks several servers with growing time-outs, uses EDNS, asks again over TCP if an answer does
/// not fit into a datagram, and caches answers for as long as they are valid, also that a name does
/// not exist. Every question has a random id and is sent from a fresh random port; what is not the
/// answer to it is ignored and counted.
///
/// Every runtime has a resolver, [`Handle::resolver`], which `TcpStream::connect` uses for names.
/// Its settings are those of [`Builder::resolver`](crate::Builder::resolver) or
/// [`Handle::set_resolver`]. Clones share settings, cache and counters.
///
/// ```
/// # use portolan_runtime::Builder;
/// use portolan_runtime::ResolverConfig;
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let mut config = ResolverConfig::default();
/// config.hosts.add("10.0.0.7".parse()?, "printer");
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).resolver(config).start()?;
/// let resolver = runtime.handle().resolver();
/// assert_eq!(resolver.lookup("printer")?, ["10.0.0.7".parse::<std::net::IpAddr>()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resolver {
    handle: Handle,
    shared: Arc<Mutex<Shared>>,
}

/// Looks up the addresses to which a connection is to be opened.
pub(crate) fn look_up_to_connect(handle: &Handle, name: &str) -> io::Result<Vec<IpAddr>> {
    handle.resolver().lookup_with(name, Some(RESOLUTION_DELAY))
}

impl Handle {
    /// Returns the resolver of the runtime. Its sockets belong to the owner of this handle.
    pub fn resolver(&self) -> Resolver {
        Resolver { handle: self.clone(), shared: self.stacks.names.clone() }
    }

    /// Changes the settings of the runtime's resolver. Its cache is emptied.
    pub fn set_resolver(&self, config: ResolverConfig) {
        self.resolver().set_config(config);
    }
}

impl Resolver {
    /// Makes a resolver of its own beside that of the runtime.
    pub fn new(handle: &impl AsRef<Handle>, config: ResolverConfig) -> Resolver {
        Resolver { handle: handle.as_ref().clone(), shared: Arc::new(Mutex::new(Shared::new(config))) }
    }

    /// Returns the settings.
    pub fn config(&self) -> ResolverConfig {
        self.lock().config.clone()
    }

    /// Changes the settings, and empties the cache: other servers may have other answers. Lookups
    /// that are under way ask the new servers from the next question on.
    pub fn set_config(&self, config: ResolverConfig) {
        let mut shared = self.lock();
        shared.config = config;
        shared.cache.clear();
    }

    /// Returns the counters.
    pub fn stats(&self) -> ResolverStats {
        self.lock().stats.clone()
    }

    /// Looks up the addresses of a name. They are in the order in which to try them (RFC 6724 §6):
    /// those first that the stack can reach, and IPv6 before IPv4. An address is its own name.
    ///
    /// # Errors
    ///
    /// `NotFound` if the name does not exist, or has no address. `TimedOut` if no server answers.
    /// `InvalidInput` if it is not a name. `Unsupported` if there is no server to ask.
    pub fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.lookup_with(name, None)
    }

    fn lookup_with(&self, name: &str, patience: Option<Duration>) -> io::Result<Vec<IpAddr>> {
        if !self.lock().is_seeded() {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            self.lock().seed(seed);
        }
        let mut lookup = Lookup::new(Clock::now(), &mut self.lock(), name, patience);
        let mut addresses = match lookup.take_result() {
            Some(known) => known?,
            None => {
                let poller = Poller::new(&self.handle)?;
                Questions { resolver: self, poller, sockets: Vec::new() }.finish(&mut lookup)?
            }
        };
        order::sort(&mut addresses, |dst| self.source_for(dst));
        Ok(addresses)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // What a panic left behind is a cache and counters: all of it is valid.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address from which the stack would send to `dst`: a datagram socket is connected, and
    /// sends nothing.
    fn source_for(&self, dst: IpAddr) -> Option<IpAddr> {
        let dst = SocketAddr::new(dst, ANY_PORT);
        let socket = Socket::new(&self.handle, 0, domain_of(dst), SocketKind::Datagram, &[]).ok()?;
        socket.connect_datagrams(dst).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    }
}

/// The sockets of one lookup.
struct Questions<'a> {
    resolver: &'a Resolver,
    poller: Poller,
    /// A socket for each message that was sent over UDP, with its number and its server.
    sockets: Vec<(usize, SocketAddr, Socket)>,
}

impl Questions<'_> {
    fn finish(&mut self, lookup: &mut Lookup) -> io::Result<Vec<IpAddr>> {
        loop {
            while let Some(query) = lookup.poll_transmit() {
                self.send(lookup, &query)?;
            }
            if let Some(result) = lookup.take_result() {
                return result;
            }
            self.wait(lookup)?;
        }
    }

    /// Sends a question. What is wrong with one server is the lookup's matter; this fails only if
    /// the runtime is over.
    fn send(&mut self, lookup: &mut Lookup, query: &Query) -> io::Result<()> {
        let sent = match query.via {
            Via::Udp => self.send_datagram(query),
            Via::Tcp => self.ask_over_tcp(lookup, query),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => Err(error),
            Err(error) => {
                let shared = &mut self.resolver.lock();
                lookup.handle_error(Clock::now(), shared, query.number, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn send_datagram(&mut self, query: &Query) -> io::Result<()> {
        let handle = &self.resolver.handle;
        let any: IpAddr = match query.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // RFC 5452 §9.2: each question has a random port of its own, which the stack draws.
        let any = SocketAddr::new(any, 0);
        let socket =
            Socket::new(handle, handle.stacks.for_port(0), domain_of(any), SocketKind::Datagram, &[])?;
        socket.bind(any)?;
        socket.connect_datagrams(query.server)?;
        socket.set_nonblocking(true);
        self.poller.add(&socket, Interest::READABLE, query.number as u64)?;
        socket.calls().write(&query.message)?;
        self.sockets.push((query.number, query.server, socket));
        Ok(())
    }

    /// Asks over TCP (RFC 7766) and waits for the answer. The other question waits meanwhile; its
    /// answer stays in its socket.
    fn ask_over_tcp(&self, lookup: &mut Lookup, query: &Query) -> io::Result<()> {
        let timeout = lookup.poll_timeout().map_or(Duration::ZERO, Clock::until);
        let give_up_at = Clock::now() + timeout;
        let handle = &self.resolver.handle;
        let stack = handle.stacks.any();
        let socket = Socket::new(handle, stack, domain_of(query.server), SocketKind::Stream, &[])?;
        let left = || Some(Clock::until(give_up_at).max(Duration::from_nanos(1)));
        socket.connect_stream(query.server, left())?;
        let len = u16::try_from(query.message.len()).unwrap_or(u16::MAX).to_be_bytes();
        let message = [&len, &query.message[..]].concat();
        socket.set_write_timeout(left())?;
        let mut written = 0;
        while written < message.len() {
            written += socket.calls().write_stream(&message[written..])?;
        }
        let read_exact = |buf: &mut [u8]| {
            let mut filled = 0;
            while filled < buf.len() {
                socket.set_read_timeout(left())?;
                match socket.calls().read(&mut buf[filled..])? {
                    0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    count => filled += count,
                }
            }
            Ok(())
        };
        let mut len = [0; 2];
        read_exact(&mut len)?;
        let mut answer = vec![0; u16::from_be_bytes(len).into()];
        read_exact(&mut answer)?;
        let shared = &mut self.resolver.lock();
        lookup.handle_message(Clock::now(), shared, query.number, query.server, &answer);
        // RFC 7766 §6.2.1 allows more questions on one connection, so a message that is not the
        // answer is not an error of TCP; but no other question was asked here.
        lookup.handle_error(Clock::now(), shared, query.number, &io::ErrorKind::InvalidData.into());
        Ok(())
    }

    /// Waits until a socket has something, or until a time-out, and hands it to the lookup.
    fn wait(&self, lookup: &mut Lookup) -> io::Result<()> {
        let left = lookup.poll_timeout().map(Clock::until);
        let mut ready = Vec::new();
        self.poller.wait(&mut ready, MAX_READY, left)?;
        let mut buf = [0; MAX_DATAGRAM_BYTES];
        for event in ready {
            let socket = self.sockets.iter().find(|(number, ..)| *number as u64 == event.token);
            let Some((number, server, socket)) = socket else { continue };
            let received = socket.calls().recv_from(&mut buf).map(|(len, _)| len);
            let (now, shared) = (Clock::now(), &mut self.resolver.lock());
            match received {
                Ok(len) => lookup.handle_message(now, shared, *number, *server, &buf[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => lookup.handle_error(now, shared, *number, &error),
            }
        }
        lookup.handle_timeout(Clock::now(), &mut self.resolver.lock());
        Ok(())
    }
}
