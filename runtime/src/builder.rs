//! [`Builder`]: makes a running stack from devices and addresses.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan::steering::{Share, Steering};
use portolan::{Cidr, Config, Interception, InterfaceId, Route, Stack, Zone};

use crate::clock::Clock;
use crate::device::Device;
use crate::engine::inbox::{InboxDevice, InboxSet, QueueDevice};
use crate::engine::stacks::Stacks;
#[cfg(feature = "resolver")]
use crate::names::config::ResolverConfig;
use crate::plan::{self, InterfaceSettings, PlannedInterface, refused};
use crate::runtime::{Devices, Runtime};

/// Puts a stack together and starts it.
///
/// ```
/// use portolan::Config;
/// use portolan_runtime::Builder;
///
/// let mut config = Config::default();
/// config.memory_limit_bytes = 16 << 20;
/// config.neighbor.duplicate_address_probes = 0; // nobody else is on this wire
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new()
///     .config(config)
///     .interface(device, ["10.0.0.2/24".parse()?, "fd00::2/64".parse()?])
///     .gateway("10.0.0.1".parse()?)
///     .start()?;
/// assert!(runtime.handle().interfaces().iter().any(|interface| interface.addresses.len() == 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Builder {
    config: Config,
    seed: Option<[u8; 32]>,
    interfaces: Vec<PlannedInterface>,
    /// Whether a gateway was given before any interface.
    stray_gateway: Option<IpAddr>,
    /// Whether an interception was given before any interface.
    has_stray_interception: bool,
    /// The same for a zone.
    has_stray_zone: bool,
    busy_poll: Duration,
    spread_udp_ports: Vec<u16>,
    #[cfg(feature = "resolver")]
    resolver: ResolverConfig,
}

impl Builder {
    /// Begins with the default configuration, a seed from the operating system, and no interface.
    pub fn new() -> Self {
        Builder {
            config: Config::default(),
            seed: None,
            interfaces: Vec::new(),
            stray_gateway: None,
            has_stray_interception: false,
            has_stray_zone: false,
            busy_poll: Duration::ZERO,
            spread_udp_ports: Vec::new(),
            #[cfg(feature = "resolver")]
            resolver: ResolverConfig::default(),
        }
    }

    /// Sets the configuration of the stack.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets a fixed seed, for runs that are to be repeated. Without it the seed comes from the
    /// operating system, which is right wherever a peer is not trusted.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds an interface: a device, and the stack's addresses on it.
    pub fn interface(
        mut self,
        device: impl Device + 'static,
        addresses: impl IntoIterator<Item = Cidr>,
    ) -> Self {
        self.add(vec![Box::new(device)], addresses);
        self
    }

    /// Adds an interface with several queues, each of them a device, such as those of a multi-queue
    /// TAP. There is a stack for each queue. All stacks have these addresses; each has its own
    /// queue, sockets and driver thread. So every interface must have the same number of queues.
    /// With one queue this is [`interface`](Builder::interface).
    ///
    /// Sockets are used as with one stack. A connection stays on one stack: an accepted one on the
    /// stack that a hash of addresses and ports chooses, an opened one on each stack in turn. A
    /// [`TcpListener`](crate::TcpListener) listens on all stacks. A UDP socket is on the stack that
    /// its port chooses, so a program that receives much over UDP should use several ports. Limits
    /// of the configuration that are meant for the whole are divided among the stacks
    /// ([`Config::divided_by`]).
    pub fn interface_with_queues<D: Device + 'static>(
        mut self,
        queues: impl IntoIterator<Item = D>,
        addresses: impl IntoIterator<Item = Cidr>,
    ) -> Self {
        let queues = queues.into_iter().map(|device| Box::new(device) as Box<dyn Device>);
        self.add(queues.collect(), addresses);
        self
    }

    fn add(&mut self, devices: Vec<Box<dyn Device>>, addresses: impl IntoIterator<Item = Cidr>) {
        let settings = InterfaceSettings { addresses_later: false, ..InterfaceSettings::of(addresses) };
        self.interfaces.push(PlannedInterface { devices, settings });
    }

    /// Adds a default route through this router, on the interface that was added last.
    pub fn gateway(mut self, router: IpAddr) -> Self {
        match self.interfaces.last_mut() {
            Some(interface) => interface.settings.gateways.push(router),
            None => self.stray_gateway = Some(router),
        }
        self
    }

    /// Makes the interface that was added last take these packets for other hosts.
    /// [`TcpInterceptor`](crate::TcpInterceptor) decides about TCP connections.
    pub fn intercept(mut self, interception: Interception) -> Self {
        match self.interfaces.last_mut() {
            Some(interface) => interface.settings.interception = interception,
            None => self.has_stray_interception = true,
        }
        self
    }

    /// Puts the interface that was added last into a zone. Interfaces of different zones may have
    /// the same addresses, on both sides: see [`Zone`].
    ///
    /// ```
    /// use portolan::{Interception, Medium};
    /// use portolan_runtime::Builder;
    /// use portolan_runtime::device::PacketChannel;
    ///
    /// let mut builder = Builder::new();
    /// for guest in 1..=2 {
    ///     let (device, _to_guest, _from_guest) = PacketChannel::new(Medium::Ip).build();
    ///     builder = builder.interface(device, ["10.0.0.1/24".parse()?]).zone(guest);
    ///     builder = builder.intercept(Interception::all());
    /// }
    /// let runtime = builder.start()?;
    /// assert_eq!(runtime.handle().interfaces()[1].zone.number(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn zone(mut self, zone: impl Into<Zone>) -> Self {
        match self.interfaces.last_mut() {
            Some(interface) => interface.settings.zone = zone.into(),
            None => self.has_stray_zone = true,
        }
        self
    }

    /// Lets the interface that was added last begin without an address. It gets one while the stack
    /// runs: from DHCP (`DhcpClient`, feature `dhcp`), or with
    /// [`Stack::add_address`](portolan::Stack::add_address).
    pub fn addresses_later(mut self) -> Self {
        if let Some(interface) = self.interfaces.last_mut() {
            interface.settings.addresses_later = true;
        }
        self
    }

    /// Sets how long a thread that waits in a call busy-polls the devices before it sleeps. This
    /// buys lower latency for processor time. The default is zero, no busy-polling; 20 to 100
    /// microseconds are reasonable.
    ///
    /// The time adapts. It shrinks, down to none, when no frame comes while the thread spins, or
    /// when threads wait for longer. It grows again when frames come so soon that spinning would
    /// have caught them. A thread that spins keeps its processor busy, so this is for machines with
    /// more processors than waiting threads.
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.busy_poll = limit;
        self
    }

    /// Spreads the datagrams to this UDP port over all queues, by a hash of their addresses and
    /// ports. Otherwise each UDP port belongs to one queue.
    /// [`UdpSocket::bind_on_every_queue`](crate::UdpSocket::bind_on_every_queue) binds sockets to
    /// such a port. With one queue this has no effect.
    pub fn spread_udp_port(mut self, port: u16) -> Self {
        self.spread_udp_ports.push(port);
        self
    }

    /// Sets how names are looked up ([`Handle::resolver`](crate::Handle::resolver)): the DNS
    /// servers, the search list, and the table of hosts. Without it only `localhost` is known.
    #[cfg(feature = "resolver")]
    pub fn resolver(mut self, config: ResolverConfig) -> Self {
        self.resolver = config;
        self
    }

    /// Makes the stack, starts its driver thread, and waits until the stack's addresses can be
    /// used. If interfaces have several queues, there are as many stacks and threads.
    ///
    /// On Ethernet a host asks the others whether one of them has its address already (duplicate
    /// address detection, RFC 5227 and RFC 4862), which takes one to three seconds.
    /// `duplicate_address_probes` of [`NeighborConfig`](portolan::NeighborConfig) switches it off,
    /// for links that have no other hosts, and
    /// [`start_without_waiting`](Builder::start_without_waiting) does not wait for it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a configuration that cannot work, with a message that says what is wrong
    /// and what to write instead: no interface, an interface without an address, an address that no
    /// host can have, a gateway that is not on the link, interfaces with different numbers of
    /// queues, or what [`Config::check`] refuses. `AddrInUse` if another host on the link has one
    /// of the addresses. An error of the operating system if it has no thread or descriptor left,
    /// and an error of a device that fails.
    pub fn start(self) -> io::Result<Runtime> {
        let wanted: Vec<Cidr> = self
            .interfaces
            .iter()
            .flat_map(|interface| interface.settings.addresses.iter().copied())
            .collect();
        let runtime = self.start_without_waiting()?;
        runtime.handle().wait_until_probed(None)?;
        runtime.handle().check_unique(&wanted)?;
        Ok(runtime)
    }

    /// Like [`start`](Builder::start), but returns while addresses are still being probed. Until
    /// [`Handle::wait_ready`](crate::Handle::wait_ready) returns, calls that need such an address
    /// fail with `AddrNotAvailable`. [`Handle::interfaces`](crate::Handle::interfaces) shows
    /// whether another host has one of them.
    pub fn start_without_waiting(self) -> io::Result<Runtime> {
        #[cfg(feature = "resolver")]
        let resolver = self.resolver.clone();
        let runtime = self.start_stacks()?;
        #[cfg(feature = "resolver")]
        runtime.handle().set_resolver(resolver);
        Ok(runtime)
    }

    fn start_stacks(self) -> io::Result<Runtime> {
        let count = plan::check(&self.config, &self.interfaces)?;
        if let Some(router) = self.stray_gateway {
            return Err(refused(format!(
                "the gateway {router} was given before any interface: call Builder::gateway after Builder::interface, as \
                 it belongs to the interface that was added last"
            )));
        }
        if self.has_stray_interception {
            return Err(refused(
                "an interception was given before any interface: call Builder::intercept after Builder::interface, as it \
                 belongs to the interface that was added last",
            ));
        }
        if self.has_stray_zone {
            return Err(refused(
                "a zone was given before any interface: call Builder::zone after Builder::interface, as it belongs to the \
                 interface that was added last",
            ));
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => random_seed()?,
        };
        if count > 1 {
            return self.start_several(count, seed);
        }
        let plan = self.interfaces.into_iter().flat_map(|interface| {
            let PlannedInterface { devices, settings } = interface;
            devices.into_iter().map(move |device| (device, settings.clone()))
        });
        let (stack, devices) = connect(Stack::new(self.config, seed, Clock::now()), plan)?;
        Runtime::start_with(stack, devices, self.busy_poll)
    }

    fn start_several(self, count: u16, seed: [u8; 32]) -> io::Result<Runtime> {
        let key = match self.seed {
            Some(seed) => first_half(seed),
            None => first_half(random_seed()?),
        };
        let steering = Steering::new(count, key).spread_udp_ports(self.spread_udp_ports);
        let config = self.config.divided_by(count);
        config.check().map_err(|error| {
            refused(format!("the limits are divided among {count} queues with a stack each: {error}"))
        })?;
        let inbox_set = || Arc::new(InboxSet::new(steering.clone()));
        let mut inbox_sets: Vec<_> = self.interfaces.iter().map(|_| inbox_set()).collect();
        let loopback = inbox_set();
        let mut interfaces: Vec<_> = self
            .interfaces
            .into_iter()
            .map(|interface| (interface.devices.into_iter(), interface.settings))
            .collect();
        let mut all = Vec::new();
        for index in 0..count {
            let (mut plan, mut inboxes) = (Vec::new(), Vec::new());
            for ((devices, settings), inbox_set) in interfaces.iter_mut().zip(&inbox_sets) {
                // `plan::check` has counted them.
                let Some(device) = devices.next() else { continue };
                inboxes.push(InboxDevice::beside(&device, index, inbox_set.clone()));
                let device: Box<dyn Device> = Box::new(QueueDevice::new(device, index, inbox_set.clone()));
                plan.push((device, settings.clone()));
            }
            // Each stack has its own seed: the random numbers of one tell nothing about those of
            // the others.
            let mut seed = seed;
            for (byte, index) in seed.iter_mut().zip(index.to_be_bytes()) {
                *byte ^= index;
            }
            let share = Share::new(steering.clone(), index);
            let stack = Stack::with_share(config.clone(), share, seed, Clock::now());
            let (stack, mut devices) = connect(stack, plan)?;
            for (at, inbox) in inboxes.into_iter().enumerate() {
                devices.push((InterfaceId::from_index(at as u16), Box::new(inbox)));
            }
            devices.push((InterfaceId::LOOPBACK, Box::new(InboxDevice::loopback(index, loopback.clone()))));
            all.push(Runtime::share(stack, devices, self.busy_poll)?);
        }
        inbox_sets.push(loopback);
        let mut all = all.into_iter();
        let Some(first) = all.next() else { return Err(io::ErrorKind::InvalidInput.into()) };
        Runtime::start_all(Stacks::new(first, all.collect(), Some(steering), inbox_sets))
    }
}

/// Gives a stack an interface for each device.
fn connect(
    mut stack: Stack,
    interfaces: impl IntoIterator<Item = (Box<dyn Device>, InterfaceSettings)>,
) -> io::Result<(Stack, Devices)> {
    let now = Clock::now();
    let mut devices = Vec::new();
    for (device, settings) in interfaces {
        let name = device.name();
        let iface = stack
            .add_interface(now, settings.config(&*device))
            .map_err(|error| refused(format!("the stack cannot take {name} as an interface: {error}")))?;
        for router in settings.gateways {
            stack.add_route(default_route(iface, router)).map_err(|error| {
                refused(format!("the stack cannot take {router} as the gateway of {name}: {error}"))
            })?;
        }
        devices.push((iface, device));
    }
    Ok((stack, devices))
}

fn first_half(seed: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&seed[..16]);
    half
}

// Written by hand: devices are not `Debug`, and a seed is a secret.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = self.interfaces.iter().flat_map(|interface| &interface.devices);
        let devices: Vec<&str> = devices.map(|device| device.name()).collect();
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("devices", &devices)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

fn default_route(iface: InterfaceId, router: IpAddr) -> Route {
    let any = match router {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Route::new(Cidr { addr: any, prefix_len: 0 }, iface).via(router)
}

fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}
