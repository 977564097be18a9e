//! [`Resolver`]: looks names up over the stack's own sockets.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use portolan::SocketKind;

use crate::clock::Clock;
use crate::future::{FutureWait, block_on, call, until};
use crate::handle::Handle;
use crate::names::config::ResolverConfig;
use crate::names::lookup::{Lookup, Query, RESOLUTION_DELAY, Via};
use crate::names::{ResolverStats, Shared, order};
use crate::socket::{Connecting, Socket, domain_of};
use crate::sync::{Mutex, MutexGuard};

/// The largest answer over UDP. Servers send no more than our questions allow, which is less.
const MAX_DATAGRAM_BYTES: usize = 4096;
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
pub(crate) async fn look_up_to_connect(handle: &Handle, name: &str) -> io::Result<Vec<IpAddr>> {
    handle.resolver().lookup_with(name, Some(RESOLUTION_DELAY)).await
}

/// Looks up all addresses of a name.
pub(crate) async fn look_up(handle: &Handle, name: &str) -> io::Result<Vec<IpAddr>> {
    handle.resolver().lookup_with(name, None).await
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
        block_on(self.lookup_with(name, None))
    }

    async fn lookup_with(&self, name: &str, patience: Option<Duration>) -> io::Result<Vec<IpAddr>> {
        if !self.lock().is_seeded() {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            self.lock().seed(seed);
        }
        let mut lookup = Lookup::new(Clock::now(), &mut self.lock(), name, patience);
        let mut addresses = match lookup.take_result() {
            Some(known) => known?,
            None => {
                let waiting = FutureWait::new(&self.handle);
                Questions { resolver: self, sockets: Vec::new(), waiting }.finish(&mut lookup).await?
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
    /// A socket for each message that was sent over UDP, with its number and its server.
    sockets: Vec<(usize, SocketAddr, Socket)>,
    waiting: FutureWait,
}

impl Questions<'_> {
    async fn finish(&mut self, lookup: &mut Lookup) -> io::Result<Vec<IpAddr>> {
        loop {
            while let Some(query) = lookup.poll_transmit() {
                self.send(lookup, &query).await?;
            }
            if let Some(result) = lookup.take_result() {
                return result;
            }
            poll_fn(|cx| self.poll(cx.waker(), lookup)).await?;
        }
    }

    /// Sends a question. What is wrong with one server is the lookup's matter; this fails only if
    /// the runtime is over.
    async fn send(&mut self, lookup: &mut Lookup, query: &Query) -> io::Result<()> {
        let sent = match query.via {
            Via::Udp => self.send_datagram(query),
            Via::Tcp => self.ask_over_tcp(lookup, query).await,
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
        socket.calls().write(&query.message)?;
        self.sockets.push((query.number, query.server, socket));
        Ok(())
    }

    /// Asks over TCP (RFC 7766) and waits for the answer. The other question waits meanwhile; its
    /// answer stays in its socket.
    async fn ask_over_tcp(&self, lookup: &mut Lookup, query: &Query) -> io::Result<()> {
        let timeout = lookup.poll_timeout().map_or(Duration::ZERO, Clock::until);
        let give_up_at = Clock::now() + timeout;
        let handle = &self.resolver.handle;
        let answer = until(handle, give_up_at, exchange(handle, query)).await?;
        let shared = &mut self.resolver.lock();
        lookup.handle_message(Clock::now(), shared, query.number, query.server, &answer);
        // RFC 7766 §6.2.1 allows more questions on one connection, so a message that is not the
        // answer is not an error of TCP; but no other question was asked here.
        lookup.handle_error(Clock::now(), shared, query.number, &io::ErrorKind::InvalidData.into());
        Ok(())
    }

    /// Polls for something in a socket, or for a time-out, and hands it to the lookup.
    fn poll(&mut self, waker: &Waker, lookup: &mut Lookup) -> Poll<io::Result<()>> {
        let task = self.waiting.task(waker);
        let mut has_any = false;
        for (number, server, socket) in &self.sockets {
            let received = socket.calls_of(task).recv_msg();
            let (now, shared) = (Clock::now(), &mut self.resolver.lock());
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Poll::Ready(Err(error)),
                Ok((message, _)) => {
                    let message = &message[..message.len().min(MAX_DATAGRAM_BYTES)];
                    lookup.handle_message(now, shared, *number, *server, message);
                }
                Err(error) => lookup.handle_error(now, shared, *number, &error),
            }
            has_any = true;
        }
        if !has_any {
            ready!(self.waiting.poll_time(waker, lookup.poll_timeout()))?;
        }
        lookup.handle_timeout(Clock::now(), &mut self.resolver.lock());
        Poll::Ready(Ok(()))
    }
}

/// Sends a question over TCP. Returns the first message that comes.
async fn exchange(handle: &Handle, query: &Query) -> io::Result<Vec<u8>> {
    let stack = handle.stacks.any();
    let socket = Socket::new(handle, stack, domain_of(query.server), SocketKind::Stream, &[])?;
    if socket.begin_connect(query.server)? == Connecting::UnderWay {
        call(&socket, |calls| calls.finish_connecting()).await?;
    }
    let len = u16::try_from(query.message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let message = [&len, &query.message[..]].concat();
    let mut written = 0;
    while written < message.len() {
        written += call(&socket, |calls| calls.write_stream(&message[written..])).await?;
    }
    let mut len = [0; 2];
    read_exact(&socket, &mut len).await?;
    let mut answer = vec![0; u16::from_be_bytes(len).into()];
    read_exact(&socket, &mut answer).await?;
    Ok(answer)
}

async fn read_exact(socket: &Socket, buf: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buf.len() {
        match call(socket, |calls| calls.read(&mut buf[filled..])).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}
