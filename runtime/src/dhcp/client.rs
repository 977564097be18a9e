//! [`DhcpClient`]: a thread that runs the machine over the stack's sockets, and configures the stack.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portolan::bpf::{Filter, Instruction};
use portolan::{
    AddressState, Cidr, Interest, InterfaceId, LinkAddr, LinkHeader, MacAddr, Route as StackRoute,
};

use super::lease::{DhcpLease, DhcpRoute};
use super::machine::{Change, Machine, Route};
use super::message::{self, CLIENT_PORT, SERVER_PORT};
use crate::clock::Clock;
use crate::handle::Handle;
use crate::packet::PacketSocket;
use crate::plan::refused;
use crate::policy::{CONFLICT_LOOK_INTERVAL, PROBE_LOOK_INTERVAL};
use crate::poller::Poller;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::udp::UdpSocket;

/// Events that wait for [`DhcpClient::next_event`]. Older ones are dropped.
const MAX_EVENTS: usize = 64;
/// The largest message that is received.
const MAX_RECEIVED_BYTES: usize = 2048;
/// Messages that one wait takes: the rest waits in the socket, behind changes and time-outs.
const MAX_MESSAGES: usize = 32;
/// The settings of a [`DhcpClient`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpConfig {
    /// The address of an earlier lease, which is asked for first (INIT-REBOOT).
    pub earlier_address: Option<Ipv4Addr>,
    /// Whether the DNS servers and the domain of a lease become those of the runtime's resolver
    /// (feature `resolver`); the default is true.
    pub sets_resolver: bool,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        DhcpConfig { earlier_address: None, sets_resolver: true }
    }
}

/// What happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpEvent {
    /// The stack has this address and the routes of the lease from now on.
    Bound(DhcpLease),
    /// The lease was renewed.
    Renewed(DhcpLease),
    /// The stack has lost the address, for this reason. The client looks for another lease, unless
    /// it was released.
    Lost(DhcpLease, String),
    /// A server sent something of no use, or the stack cannot do what it asks for.
    Problem(String),
}

/// A DHCP client (RFC 2131) for one interface, in a thread of its own.
///
/// It gets an address with its routes (RFC 3442) and DNS servers from the network, waits until the
/// stack has probed whether another host has that address (RFC 5227, if the stack's configuration
/// probes), and declines it if so; it renews the lease in time, and takes the address away when the
/// lease ends. While the lease is good it opens no socket.
///
/// When the client is dropped, the stack loses the address; [`release`](DhcpClient::release) tells
/// the server, too. Runtimes with several queues cannot have a client.
///
/// ```no_run
/// # fn start(device: impl portolan_runtime::Device + 'static) -> std::io::Result<()> {
/// use std::time::Duration;
/// use portolan_runtime::{Builder, DhcpClient, DhcpConfig};
///
/// let runtime = Builder::new().interface(device, []).addresses_later().start()?;
/// let client = DhcpClient::start(&runtime, "if0", DhcpConfig::default())?;
/// println!("{}", client.wait_bound(Duration::from_secs(30))?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DhcpClient {
    mailbox: Arc<Mailbox>,
    poller: Arc<Poller>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the client and its thread tell each other.
#[derive(Debug, Default)]
struct Mailbox {
    state: Mutex<MailboxState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MailboxState {
    lease: Option<DhcpLease>,
    events: VecDeque<DhcpEvent>,
    order: Option<Order>,
    /// Why the thread has ended.
    ended: Option<(io::ErrorKind, String)>,
}

/// What the thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Renew,
    Release,
    Stop,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        // No code that holds this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: DhcpEvent) {
        let mut state = self.lock();
        match &event {
            DhcpEvent::Bound(lease) | DhcpEvent::Renewed(lease) => state.lease = Some(lease.clone()),
            DhcpEvent::Lost(..) => state.lease = None,
            DhcpEvent::Problem(_) => {}
        }
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(event);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `take` returns something. `None` when the time is over.
    fn wait<T>(
        &self,
        timeout: Duration,
        mut take: impl FnMut(&mut MailboxState) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let give_up_at = Clock::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(taken) = take(&mut state) {
                return Ok(Some(taken));
            }
            if let Some((kind, message)) = &state.ended {
                return Err(io::Error::new(*kind, message.clone()));
            }
            let left = Clock::until(give_up_at);
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.map(|(state, _)| state).unwrap_or_else(|error| error.into_inner().0);
        }
    }
}

impl DhcpClient {
    /// Starts a client for the interface with this name, such as `if0` for the first one of a
    /// builder.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such interface, `InvalidInput` if it is not Ethernet,
    /// `Unsupported` if the runtime has several queues.
    pub fn start(handle: &impl AsRef<Handle>, interface: &str, config: DhcpConfig) -> io::Result<DhcpClient> {
        let handle = handle.as_ref().clone();
        let infos = handle.interfaces();
        let Some(info) = infos.into_iter().find(|info| info.name == interface) else {
            let text = format!("there is no interface {interface:?}; Handle::interfaces lists them");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        };
        let Some(mac) = info.medium.mac() else {
            return Err(refused(format!("{interface} has no MAC address: DHCP needs an Ethernet interface")));
        };
        if handle.stacks() > 1 {
            let text =
                "DHCP needs a runtime with one queue: an answer of the server may come to any of several";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mailbox = Arc::new(Mailbox::default());
        let poller = Arc::new(Poller::new(&handle)?);
        let worker = Worker {
            iface: info.id,
            device: info.name,
            machine: Machine::new(Clock::now(), mac, config.earlier_address, seed),
            sets_resolver: config.sets_resolver,
            mailbox: mailbox.clone(),
            poller: poller.clone(),
            packets: None,
            datagrams: None,
            routes: Vec::new(),
            handle,
        };
        let thread =
            thread::Builder::new().name(format!("portolan-dhcp-{interface}")).spawn(|| worker.run())?;
        Ok(DhcpClient { mailbox, poller, thread: Mutex::new(Some(thread)) })
    }

    /// Waits until the stack has an address, at most `timeout`. Returns the lease.
    ///
    /// # Errors
    ///
    /// `TimedOut` if no server has granted one, with the last problem that there was;
    /// `NetworkDown` if the runtime is over.
    pub fn wait_bound(&self, timeout: Duration) -> io::Result<DhcpLease> {
        let lease = self.mailbox.wait(timeout, |state| state.lease.clone())?;
        lease.ok_or_else(|| {
            let state = self.mailbox.lock();
            let problem = state.events.iter().rev().find_map(|event| match event {
                DhcpEvent::Problem(problem) => Some(format!(": {problem}")),
                DhcpEvent::Lost(lease, why) => Some(format!(": {} was lost: {why}", lease.address)),
                _ => None,
            });
            let problem = problem.unwrap_or_default();
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no DHCP server has granted an address in time{problem}"),
            )
        })
    }

    /// Returns the lease, if the stack has an address of it now.
    pub fn lease(&self) -> Option<DhcpLease> {
        self.mailbox.lock().lease.clone()
    }

    /// Waits for the next event, at most `timeout`. The last 64 are kept.
    ///
    /// # Errors
    ///
    /// `NetworkDown` if the runtime is over.
    pub fn next_event(&self, timeout: Duration) -> io::Result<Option<DhcpEvent>> {
        self.mailbox.wait(timeout, |state| state.events.pop_front())
    }

    /// Asks the server to renew the lease now, for example when the machine was asleep. Does
    /// nothing without a lease.
    pub fn renew(&self) {
        self.mailbox.lock().order = Some(Order::Renew);
        self.poller.notify();
    }

    /// Gives the lease back to the server, takes the address away, and ends the client.
    pub fn release(&self) {
        self.end(Order::Release);
    }

    fn end(&self, order: Order) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.mailbox.lock().order = Some(order);
        self.poller.notify();
        // std has logged a panic of the thread.
        let _ = thread.join();
    }
}

impl Drop for DhcpClient {
    fn drop(&mut self) {
        self.end(Order::Stop);
    }
}

/// The state of the thread.
struct Worker {
    handle: Handle,
    iface: InterfaceId,
    /// The name of the interface.
    device: String,
    machine: Machine,
    sets_resolver: bool,
    mailbox: Arc<Mailbox>,
    poller: Arc<Poller>,
    /// Receives what is sent to a host that has no address yet.
    packets: Option<PacketSocket>,
    /// Receives what is sent to the address of the lease.
    datagrams: Option<UdpSocket>,
    /// The routes that it has added to the stack.
    routes: Vec<Cidr>,
}

impl Worker {
    fn run(mut self) {
        let result = self.drive();
        let mut state = self.mailbox.lock();
        let ended = match result {
            Ok(()) => (io::ErrorKind::NotConnected, "the DHCP client has ended".to_owned()),
            Err(error) => (error.kind(), error.to_string()),
        };
        state.ended = Some(ended);
        drop(state);
        self.mailbox.changed.notify_all();
    }

    /// Fails if the runtime is over.
    fn drive(&mut self) -> io::Result<()> {
        loop {
            let order = self.mailbox.lock().order.take();
            match order {
                Some(Order::Renew) => self.machine.renew_now(Clock::now()),
                Some(Order::Release) => self.machine.release(Clock::now()),
                Some(Order::Stop) | None => {}
            }
            self.open_and_close()?;
            while let Some((route, request)) = self.machine.poll_transmit() {
                self.send(route, &request)?;
            }
            while let Some(change) = self.machine.poll_change() {
                self.apply(change);
            }
            match order {
                None | Some(Order::Renew) => {}
                Some(Order::Release) => return Ok(()),
                Some(Order::Stop) => {
                    if let Some(lease) = self.machine.lease().cloned() {
                        self.remove(&lease);
                    }
                    return Ok(());
                }
            }
            let look_at = self.look_at_address();
            let until = self.machine.poll_timeout().map(Clock::until);
            let timeout = [until, look_at].into_iter().flatten().min();
            self.poller.wait(&mut Vec::new(), 2, timeout)?;
            self.receive()?;
            self.machine.handle_timeout(Clock::now());
        }
    }

    /// Opens the sockets that the machine's state needs, and closes others.
    fn open_and_close(&mut self) -> io::Result<()> {
        if !self.machine.is_unconfigured() {
            self.packets = None;
        } else if self.packets.is_none() {
            let socket = PacketSocket::new(&self.handle, LinkHeader::Cooked)?;
            socket.attach_filter(to_client_port()?)?;
            socket.set_ignore_outgoing(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&LinkAddr::new(self.iface, LinkAddr::ETH_P_IP))?;
            self.poller.add(&socket, Interest::READABLE, 0)?;
            self.packets = Some(socket);
        }
        if !self.machine.is_renewing() {
            self.datagrams = None;
        }
        Ok(())
    }

    /// The socket that is bound to the address of the lease.
    fn datagrams(&mut self) -> io::Result<&UdpSocket> {
        if self.datagrams.is_none() {
            let addr = self.machine.lease().map_or(Ipv4Addr::UNSPECIFIED, DhcpLease::addr);
            let socket = UdpSocket::bind(&self.handle, (addr, CLIENT_PORT))?;
            socket.bind_device(Some(&self.device))?;
            socket.set_broadcast(true)?;
            socket.set_nonblocking(true)?;
            self.poller.add(&socket, Interest::READABLE, 1)?;
            self.datagrams = Some(socket);
        }
        self.datagrams.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends a message. What cannot be sent counts as lost, and is sent again later.
    fn send(&mut self, route: Route, request: &[u8]) -> io::Result<()> {
        let sent = match route {
            Route::Unconfigured => {
                let to = LinkAddr::new(self.iface, LinkAddr::ETH_P_IP).mac(MacAddr::BROADCAST);
                let packet = Bytes::from(message::broadcast(request));
                match &self.packets {
                    Some(socket) => socket.send_packet(packet, &to),
                    None => PacketSocket::new(&self.handle, LinkHeader::Cooked)?.send_packet(packet, &to),
                }
            }
            Route::Broadcast => self.send_datagram(Ipv4Addr::BROADCAST, request),
            Route::Server(server) => self.send_datagram(server, request),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => Err(error),
            Err(error) => {
                log::debug!("{}: a DHCP message was not sent: {error}", self.device);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn send_datagram(&mut self, to: Ipv4Addr, request: &[u8]) -> io::Result<usize> {
        self.datagrams()?.send_to(request, SocketAddr::from((to, SERVER_PORT)))
    }

    /// Hands the machine what the sockets have received.
    fn receive(&mut self) -> io::Result<()> {
        let now = Clock::now();
        for _ in 0..MAX_MESSAGES {
            let Some(socket) = &self.packets else { break };
            match socket.recv_packet() {
                Ok((packet, _)) => {
                    if let Some(payload) = message::payload_of(&packet) {
                        self.machine.handle_message(now, payload);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Err(error),
                Err(_) => break,
            }
        }
        let mut buf = [0; MAX_RECEIVED_BYTES];
        for _ in 0..MAX_MESSAGES {
            let Some(socket) = &self.datagrams else { break };
            match socket.recv_from(&mut buf) {
                Ok((len, from)) if from.port() == SERVER_PORT => {
                    self.machine.handle_message(now, &buf[..len])
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Err(error),
                // Such as an ICMP error: the next message goes elsewhere.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Tells the machine what became of the address of its lease. Returns after which time to look
    /// again.
    fn look_at_address(&mut self) -> Option<Duration> {
        let addr: IpAddr = self.machine.lease()?.addr().into();
        let interfaces = self.handle.interfaces();
        let interface = interfaces.iter().find(|interface| interface.id == self.iface);
        let addresses = interface.map_or(&[][..], |interface| &interface.addresses);
        let state = addresses.iter().find(|(cidr, _)| cidr.addr == addr).map(|(_, state)| *state);
        let now = Clock::now();
        match state {
            Some(AddressState::Tentative) => return Some(PROBE_LOOK_INTERVAL),
            Some(AddressState::Duplicated) => self.machine.on_conflict(now),
            _ if !self.machine.is_checking() => return Some(CONFLICT_LOOK_INTERVAL),
            Some(_) => self.machine.on_unique(),
            None => self.machine.give_up(now),
        }
        // The machine has something to do at once.
        Some(Duration::ZERO)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Add(lease) => {
                let added = self
                    .handle
                    .with_stack(|stack| stack.add_address(Clock::now(), self.iface, lease.address));
                // The program may have added the address itself.
                if let Err(error) = added
                    && error != portolan::Error::AlreadyExists
                {
                    self.report(format!("the stack cannot have the address {}: {error}", lease.address));
                }
            }
            Change::Bound(lease) => {
                self.set_routes(&lease);
                self.set_resolver(&lease);
                self.mailbox.push(DhcpEvent::Bound(lease));
            }
            Change::Renewed(lease) => {
                if self.mailbox.lock().lease.as_ref().is_none_or(|old| old.routes != lease.routes) {
                    self.remove_routes();
                    self.set_routes(&lease);
                }
                self.set_resolver(&lease);
                self.mailbox.push(DhcpEvent::Renewed(lease));
            }
            Change::Lost(lease, why) => {
                self.remove(&lease);
                self.mailbox.push(DhcpEvent::Lost(lease, why.to_owned()));
            }
            Change::Problem(problem) => self.report(problem),
        }
    }

    fn report(&self, problem: String) {
        log::warn!("{}: {problem}", self.device);
        self.mailbox.push(DhcpEvent::Problem(problem));
    }

    fn set_routes(&mut self, lease: &DhcpLease) {
        for &DhcpRoute { destination, router } in &lease.routes {
            let route = StackRoute::new(destination, self.iface);
            let route = router.map_or(route, |router| route.via(router.into()));
            match self.handle.with_stack(|stack| stack.add_route(route)) {
                Ok(()) => self.routes.push(destination),
                Err(error) => {
                    self.report(format!("the stack cannot have the route to {destination}: {error}"))
                }
            }
        }
    }

    fn remove_routes(&mut self) {
        for destination in self.routes.drain(..) {
            // The program may have removed it.
            let _ = self.handle.with_stack(|stack| stack.remove_route(destination, self.iface));
        }
    }

    /// Takes everything away that the lease brought.
    fn remove(&mut self, lease: &DhcpLease) {
        self.remove_routes();
        let _ = self.handle.with_stack(|stack| stack.remove_address(self.iface, lease.addr().into()));
        #[cfg(feature = "resolver")]
        if self.sets_resolver && !lease.dns_servers.is_empty() {
            let resolver = self.handle.resolver();
            let mut config = resolver.config();
            if config.servers == servers_of(lease) {
                config.servers.clear();
                config.search.clear();
                resolver.set_config(config);
            }
        }
    }

    #[cfg(feature = "resolver")]
    fn set_resolver(&self, lease: &DhcpLease) {
        let resolver = self.handle.resolver();
        let mut config = resolver.config();
        let (servers, search) = (servers_of(lease), Vec::from_iter(lease.domain.clone()));
        if self.sets_resolver && !servers.is_empty() && (config.servers != servers || config.search != search)
        {
            (config.servers, config.search) = (servers, search);
            resolver.set_config(config);
        }
    }

    #[cfg(not(feature = "resolver"))]
    fn set_resolver(&self, _: &DhcpLease) {
        log::trace!("{}: no resolver to configure: {}", self.device, self.sets_resolver);
    }
}

#[cfg(feature = "resolver")]
fn servers_of(lease: &DhcpLease) -> Vec<SocketAddr> {
    const DNS: u16 = 53;
    lease.dns_servers.iter().map(|&server| (server, DNS).into()).collect()
}

/// Lets through UDP datagrams to the client's port, in IP packets that are not fragments.
fn to_client_port() -> io::Result<Filter> {
    let filter = Filter::new(&[
        // The protocol of the IP header.
        Instruction::new(0x30, 0, 0, 9),
        Instruction::new(0x15, 0, 6, 17),
        // The offset of a fragment.
        Instruction::new(0x28, 0, 0, 6),
        Instruction::new(0x45, 4, 0, 0x1fff),
        // The destination port, behind the IP header.
        Instruction::new(0xb1, 0, 0, 0),
        Instruction::new(0x48, 0, 0, 2),
        Instruction::new(0x15, 0, 1, CLIENT_PORT.into()),
        Instruction::new(0x06, 0, 0, u32::MAX),
        Instruction::new(0x06, 0, 0, 0),
    ]);
    filter.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_through_what_is_for_the_client() {
        let filter = to_client_port().unwrap();
        let passes = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = message::broadcast(b"from a client");
            packet.swap(21, 23); // as from a server
            change(&mut packet);
            filter.run(&portolan::bpf::PacketView::new(&packet), &mut || 0) > 0
        };
        assert!(passes(&|_| {}));
        assert!(!passes(&|packet| packet[9] = 6));
        assert!(!passes(&|packet| packet[7] = 1));
        assert!(!passes(&|packet| packet[23] = 67));
        assert!(!passes(&|packet| packet.truncate(22)));
    }
}
