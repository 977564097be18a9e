//! A stack on a TAP device, with services: the common part of `up` and `demo`.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan::{AddressState, Cidr, Config, InterfaceId, MacAddr};
use portolan_runtime::device::{Device, Impair, ImpairCounters, Impairment, PcapWriter};
use portolan_runtime::{Builder, DhcpClient, DhcpConfig, DhcpEvent, Handle, Runtime};
use portolan_tap::{Error, Offload, Tap, TapBuilder, kernel_addresses};

use crate::addresses::{AddressPlan, overlap};
use crate::failure::Failure;
use crate::services::{Services, serve};

/// The time in which the addresses must become usable. Duplicate address detection takes one to
/// three seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of a session may take, while connections still have data to deliver.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The name of the interface with the TAP device.
const FIRST_INTERFACE: &str = "if0";

/// The settings of a session.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) plan: AddressPlan,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: usize,
    pub(crate) pcap: Option<PathBuf>,
    pub(crate) impairment: Option<Impairment>,
    pub(crate) offload: Offload,
    pub(crate) queues: usize,
    /// [`Config::memory_limit_bytes`], if it is not the default.
    pub(crate) memory_limit_bytes: Option<usize>,
    /// Whether only the kernel and this stack are on the network.
    pub(crate) isolated: bool,
    /// Whether the stack gets its IPv4 address by DHCP.
    pub(crate) dhcp: bool,
}

impl Settings {
    fn config(&self) -> Config {
        let mut config = Config::default();
        if let Some(bytes) = self.memory_limit_bytes {
            config.memory_limit_bytes = bytes;
        }
        if self.isolated {
            // RFC 4862 §5.4: detection may be switched off where no other host can have the
            // address.
            config.neighbor.duplicate_address_probes = 0;
        }
        config
    }
}

/// A stack that runs on a TAP device.
pub(crate) struct Session {
    runtime: Runtime,
    pub(crate) name: String,
    pub(crate) plan: AddressPlan,
    /// The counters of the fault injectors, if there are any: one for each queue.
    impaired: Vec<ImpairCounters>,
    dhcp: Option<DhcpClient>,
}

impl Session {
    /// Makes the device and starts the stack on it. The stack's addresses are still being probed.
    pub(crate) fn start(settings: Settings) -> Result<Session, Failure> {
        let config = settings.config();
        let Settings { name, plan, mac, mtu, pcap, impairment, offload, queues, dhcp, isolated, .. } =
            settings;
        let mut builder = TapBuilder::new().mtu(mtu).offload(offload);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(mac) = mac {
            builder = builder.mac(mac);
        }
        let builder = plan.host.iter().fold(builder, |builder, &cidr| builder.host_address(cidr));
        let devices = open(builder, queues, isolated)?;
        let name = devices.first().map(|device| device.name().to_owned()).unwrap_or_default();
        let (devices, impaired) = impair(devices, impairment);
        let devices = record(devices, pcap.as_deref())?;
        let addresses = plan.stack.iter().copied();
        let builder = Builder::new().config(config).interface_with_queues(devices, addresses);
        let builder = if dhcp { builder.addresses_later() } else { builder };
        let runtime = plan
            .gateways
            .iter()
            .fold(builder, |builder, &gateway| builder.gateway(gateway))
            .start_without_waiting()
            .map_err(|error| Failure::failed(format!("cannot start the stack on {name}: {error}")))?;
        let start_dhcp = || DhcpClient::start(&runtime, FIRST_INTERFACE, DhcpConfig::default());
        let dhcp = dhcp.then(start_dhcp).transpose();
        let dhcp = dhcp.map_err(|error| Failure::failed(format!("cannot start DHCP on {name}: {error}")))?;
        Ok(Session { runtime, name, plan, impaired, dhcp })
    }

    /// A function that waits until the stack answers on the wire and then starts the services. It
    /// may be called on another thread.
    pub(crate) fn finish_start(
        &self,
        services: Services,
    ) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let (handle, name) = (self.handle().clone(), self.name.clone());
        move || {
            handle.wait_ready(READY_TIMEOUT)?;
            check_duplicates(&handle)?;
            serve(&handle, &name, &services)
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// The line that says that the stack is ready:
    /// `ready portolan0: 10.0.0.2/24 fd10::2/64 (kernel 10.0.0.1/24), offloads: checksums, TSO, TSO6, USO`.
    pub(crate) fn ready_line(&self) -> String {
        let interfaces = self.runtime.handle().interfaces();
        let mut in_use: Vec<Cidr> = interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
            .filter(|(cidr, state)| *state == AddressState::Preferred && !cidr.addr.is_loopback())
            .map(|(cidr, _)| *cidr)
            .collect();
        // Addresses that were given come before those that the stack added.
        in_use.sort_by_key(|cidr| !self.plan.stack.contains(cidr));
        let offloads = interfaces.iter().find(|interface| interface.id != InterfaceId::LOOPBACK);
        let offloads = offloads.map(|interface| interface.offloads).unwrap_or_default();
        let (in_use, host) = (show_all(&in_use), show_all(&self.plan.host));
        format!("ready {}: {in_use} (kernel {host}), offloads: {offloads}", self.name)
    }

    /// A line for each thing that has happened to the lease since the last call:
    /// `dhcp portolan0: bound 10.0.0.54/24 from 10.0.0.1 for 3600 s`.
    pub(crate) fn dhcp_lines(&self) -> Vec<String> {
        let Some(client) = &self.dhcp else { return Vec::new() };
        // When the runtime is over there are no more.
        let events = std::iter::from_fn(|| client.next_event(Duration::ZERO).ok().flatten());
        let text = |event| match event {
            DhcpEvent::Bound(lease) => format!("bound {lease}"),
            DhcpEvent::Renewed(lease) => format!("renewed {lease}"),
            DhcpEvent::Lost(lease, why) => format!("lost {}: {why}", lease.address),
            DhcpEvent::Problem(problem) => problem,
            other => format!("{other:?}"),
        };
        events.map(|event| format!("dhcp {}: {}", self.name, text(event))).collect()
    }

    /// Logs the counters, and stops.
    pub(crate) fn stop(self) {
        if let Some(client) = &self.dhcp {
            client.release();
        }
        let stats = self.runtime.handle().stats();
        log::info!("{}: {stats:?}", self.name);
        if self.runtime.handle().stacks() > 1 {
            log::info!(
                "{}: between {} stacks: {:?}",
                self.name,
                self.runtime.handle().stacks(),
                self.runtime.handle().handovers()
            );
        }
        for counters in &self.impaired {
            log::info!("{}: to the kernel: {:?}", self.name, counters.outgoing());
            log::info!("{}: to the stack: {:?}", self.name, counters.incoming());
        }
        match self.runtime.shutdown(DELIVERY_TIMEOUT) {
            Ok(undelivered) if undelivered.is_empty() => {}
            Ok(undelivered) => log::warn!("{}: {undelivered}", self.name),
            Err(error) => log::warn!("{}: {error}", self.name),
        }
        log::info!("{}: removed", self.name);
    }
}

fn show_all(cidrs: &[Cidr]) -> String {
    cidrs.iter().map(Cidr::to_string).collect::<Vec<_>>().join(" ")
}

/// Makes the TAP device. In a network namespace of its own, where nobody relies on the kind of
/// device, a veth pair takes its place if there can be none, as in many containers.
fn open(builder: TapBuilder, queues: usize, isolated: bool) -> Result<Vec<Box<dyn Device>>, Failure> {
    let boxed = |tap: Tap| -> Box<dyn Device> { Box::new(tap) };
    match builder.clone().open_queues(queues) {
        Err(error @ (Error::NoTunDevice(_) | Error::TunForbidden(_))) if isolated && queues == 1 => {
            let veth = builder.open_veth().map_err(|other| {
                Failure::failed(format!("{error}; nor is there a veth pair in its place: {other}"))
            })?;
            let name = veth.name();
            eprintln!(
                "portolan: {name} is a veth pair with a packet socket, as no TAP device can be made here"
            );
            log::info!("{error}");
            Ok(vec![Box::new(veth)])
        }
        opened => Ok(opened?.into_iter().map(boxed).collect()),
    }
}

/// Puts a fault injector around each queue. They are independent of each other.
fn impair(
    devices: Vec<Box<dyn Device>>,
    impairment: Option<Impairment>,
) -> (Vec<Box<dyn Device>>, Vec<ImpairCounters>) {
    let mut counters = Vec::new();
    let devices = devices.into_iter().map(|device| -> Box<dyn Device> {
        let Some(impairment) = impairment else { return device };
        let impair = Impair::new(impairment, device);
        counters.push(impair.counters());
        Box::new(impair)
    });
    (devices.collect(), counters)
}

/// Puts a recorder around each queue, all with one file. The recorders are next to the stack, so
/// they show the frames that the stack sends and receives.
fn record(devices: Vec<Box<dyn Device>>, path: Option<&Path>) -> Result<Vec<Box<dyn Device>>, Failure> {
    let Some(path) = path else { return Ok(devices) };
    let mut devices = devices.into_iter();
    let Some(first) = devices.next() else { return Ok(Vec::new()) };
    let first = PcapWriter::create(path, first).map_err(|error| {
        Failure::failed(format!("cannot record to {error}; choose a file that can be written, with --pcap"))
    })?;
    let mut recorders: Vec<Box<dyn Device>> = Vec::new();
    for device in devices {
        recorders.push(Box::new(first.beside(device)));
    }
    recorders.insert(0, Box::new(first));
    Ok(recorders)
}

/// Warns about addresses that another host has. Fails if none is left.
fn check_duplicates(handle: &Handle) -> io::Result<()> {
    let addresses: Vec<(Cidr, AddressState)> =
        handle.interfaces().into_iter().flat_map(|interface| interface.addresses).collect();
    let duplicates = addresses.iter().filter(|(_, state)| *state == AddressState::Duplicated);
    let mut taken = Vec::new();
    for (cidr, _) in duplicates {
        log::warn!("another station on the link has {}; the stack does not use it", cidr.addr);
        taken.push(cidr.addr.to_string());
    }
    let usable = |addr: IpAddr| !addr.is_loopback() && !is_link_local(addr);
    let any_left =
        addresses.iter().any(|(cidr, state)| *state == AddressState::Preferred && usable(cidr.addr));
    if taken.is_empty() || any_left {
        return Ok(());
    }
    let message =
        format!("another station on the link has {}; choose others with --addr", taken.join(" and "));
    Err(io::Error::new(io::ErrorKind::AddrInUse, message))
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// Whether this network namespace has IPv6.
pub(crate) fn kernel_has_ipv6() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        .is_ok_and(|value| value.trim() == "0")
}

/// Refuses networks that this host already has: either the host would lose its connection to them,
/// or the stack would not be reachable.
pub(crate) fn check_host_networks(plan: &AddressPlan) -> Result<(), Failure> {
    for (link, theirs) in kernel_addresses()? {
        let ours = plan.host.iter().chain(&plan.stack);
        if theirs.addr.is_loopback() || is_link_local(theirs.addr) {
            continue;
        }
        if let Some(ours) = ours.into_iter().find(|ours| overlap(**ours, theirs)) {
            return Err(Failure::usage(format!(
                "{} overlaps {} on {link} of this host; choose another network with --host and --addr, such as \
                 --host 192.168.77.1/24 --addr 192.168.77.2/24, or add `--isolated`",
                ours, theirs
            )));
        }
    }
    Ok(())
}
