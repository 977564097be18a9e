//! From a device and an address to a running stack.

use std::io;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portolan::{
    AddressState, Cidr, Config, InterfaceConfig, InterfaceId, InterfaceInfo, Route, SocketInfo, Stack, Stats,
};

use crate::Clock;
use crate::device::Device;
use crate::driver::Driver;
use crate::ended::Ended;
use crate::shared::{Shared, to_io_error};
use crate::wait::Waited;

/// Puts a stack together and starts it.
pub struct Builder {
    config: Config,
    seed: Option<[u8; 32]>,
    interfaces: Vec<PlannedInterface>,
    busy_poll: Duration,
}

struct PlannedInterface {
    device: Box<dyn Device>,
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
}

impl Builder {
    /// The default configuration, a seed from the operating system, no interface but the loopback.
    pub fn new() -> Self {
        Builder { config: Config::default(), seed: None, interfaces: Vec::new(), busy_poll: Duration::ZERO }
    }

    /// Other tunables.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A fixed seed, to make runs alike. Without it the operating system's randomness is used, as it should be
    /// where a peer is not to be trusted.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// One more interface: a device, and the stack's addresses on it.
    pub fn interface(
        mut self,
        device: impl Device + 'static,
        addresses: impl IntoIterator<Item = Cidr>,
    ) -> Self {
        let addresses = addresses.into_iter().collect();
        self.interfaces.push(PlannedInterface { device: Box::new(device), addresses, gateways: Vec::new() });
        self
    }

    /// A default route through this router on the interface that was added last; ignored if there is none.
    pub fn gateway(mut self, router: IpAddr) -> Self {
        if let Some(interface) = self.interfaces.last_mut() {
            interface.gateways.push(router);
        }
        self
    }

    /// For those who pay processor time for latency: how long a thread that waits in a call asks the devices again and again
    /// before it sleeps. Zero, the default, is never; 20 to 100 microseconds are reasonable.
    ///
    /// It adapts. When nothing comes in that time, or threads wait for longer, less time is spent, down to none; when
    /// answers come so soon that asking would have met them, it is spent again. A thread that is spinning keeps its
    /// processor busy, so this is for machines with more of them than threads that wait.
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.busy_poll = limit;
        self
    }

    /// Makes the stack and starts its driving thread.
    ///
    /// Errors are those of the addresses and routes (EINVAL and the like), and of the operating system when it has
    /// no thread or descriptor to give.
    pub fn start(self) -> io::Result<Runtime> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => random_seed()?,
        };
        let now = Clock::now();
        let mut stack = Stack::new(self.config, seed, now);
        let mut devices = Vec::new();
        for PlannedInterface { device, addresses, gateways } in self.interfaces {
            let config = InterfaceConfig::new(device.medium()).mtu(device.mtu()).offloads(device.offloads());
            let config = addresses.into_iter().fold(config, InterfaceConfig::address);
            let iface = stack.add_interface(now, config).map_err(to_io_error)?;
            for router in gateways {
                stack.add_route(default_route(iface, router)).map_err(to_io_error)?;
            }
            devices.push((iface, device));
        }
        Runtime::start_with(stack, devices, self.busy_poll)
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
    Route { destination: Cidr { addr: any, prefix_len: 0 }, gateway: Some(router), iface, metric: 0 }
}

fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(seed)
}

/// A stack, and the thread that drives it when no other does: a thread that waits in a call of a socket drives the stack
/// itself.
///
/// It is a [`Handle`] too. When it is dropped the thread ends and the devices are closed; sockets that are still
/// there get an error of kind `NetworkDown` from every call. Connections are not closed in order by that: shut
/// them down and read to their end first.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Drives a stack that was made elsewhere, with [`Clock::now`] as its time. Each device serves the interface beside
    /// it; an interface without a device loses what it sends.
    pub fn start(stack: Stack, devices: Vec<(InterfaceId, Box<dyn Device>)>) -> io::Result<Runtime> {
        Runtime::start_with(stack, devices, Duration::ZERO)
    }

    fn start_with(
        stack: Stack,
        devices: Vec<(InterfaceId, Box<dyn Device>)>,
        busy_poll: Duration,
    ) -> io::Result<Runtime> {
        let names = devices.iter().map(|(iface, device)| (*iface, device.name().to_owned())).collect();
        let shared = Arc::new(Shared::new(stack, devices, names, busy_poll)?);
        let driver = Driver::new(shared.clone());
        let thread = std::thread::Builder::new().name("portolan".into()).spawn(move || driver.run())?;
        Ok(Runtime { handle: Handle { shared }, thread: Some(thread) })
    }

    /// A handle for others.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the thread and closes the devices. The error is the one that ended the runtime before, if any.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.stop();
        self.handle.error().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        self.handle.shared.end(Ended::Shutdown);
        if let Some(thread) = self.thread.take() {
            // A panic in it was logged by std and is told by `Handle::error`.
            let _ = thread.join();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// A running stack, to make sockets with and to look at. Cheap to clone; it does not keep the runtime alive.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// The interfaces with their addresses and the state of these.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        self.shared.inspect(Stack::interfaces)
    }

    /// The name of the device behind an interface.
    pub fn device_name(&self, iface: InterfaceId) -> Option<&str> {
        self.shared.names.iter().find(|(other, _)| *other == iface).map(|(_, name)| name.as_str())
    }

    /// The stack's counters.
    pub fn stats(&self) -> Stats {
        self.shared.inspect(|stack| stack.stats().clone())
    }

    /// Every socket, handshakes and TIME-WAIT included.
    pub fn sockets(&self) -> Vec<SocketInfo> {
        self.shared.inspect(Stack::sockets)
    }

    /// Does something with the stack itself, and then what is to be done after any call: transmits, wakes. The stack
    /// is locked meanwhile: be brief, and use no socket of the runtime in there, not even to drop it. Leave its `poll_transmit` and `poll_event` to the runtime, and take the time
    /// from [`Clock::now`].
    pub fn with_stack<R>(&self, f: impl FnOnce(&mut Stack) -> R) -> R {
        self.shared.enter(|core, _, _| f(&mut core.stack))
    }

    /// Waits until no address of the stack is tentative any more: duplicate address detection takes a second or so.
    /// `TimedOut` if that takes longer than `timeout`.
    pub fn wait_ready(&self, timeout: Duration) -> io::Result<()> {
        let waited = self.shared.wait_until(timeout, |stack| {
            let mut addresses = stack.interfaces().into_iter().flat_map(|interface| interface.addresses);
            !addresses.any(|(_, state)| state == AddressState::Tentative)
        })?;
        match waited {
            Waited::Woken => Ok(()),
            Waited::TimedOut => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// What ended the runtime: an error of a device, or a panic. `None` while it runs and after an ordinary shutdown.
    pub fn error(&self) -> Option<io::Error> {
        match self.shared.ended() {
            None | Some(Ended::Shutdown) => None,
            Some(ended) => Some(ended.to_error()),
        }
    }

    /// Whether the runtime still drives the stack.
    pub fn is_running(&self) -> bool {
        self.shared.ended().is_none()
    }
}
