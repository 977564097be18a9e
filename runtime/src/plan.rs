//! Checks the settings of a builder before a stack is made.

use std::io;
use std::net::IpAddr;

use portolan::{Cidr, Config, Interception, InterfaceConfig, MacAddr, Medium, Zone};

use crate::device::Device;

const SMALLEST_MTU: usize = 68;
const LARGEST_MTU: usize = 65_535;
/// The smallest MTU for IPv6 (RFC 8200 §5).
const SMALLEST_IPV6_MTU: usize = 1280;

/// An interface with the settings of a builder.
pub(crate) struct PlannedInterface {
    /// One device for each queue.
    pub(crate) devices: Vec<Box<dyn Device>>,
    pub(crate) settings: InterfaceSettings,
}

/// The settings of an interface, which are the same for each of its queues.
#[derive(Clone)]
pub(crate) struct InterfaceSettings {
    pub(crate) addresses: Vec<Cidr>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) interception: Interception,
    pub(crate) zone: Zone,
    /// Whether it may have no address yet.
    pub(crate) addresses_later: bool,
}

impl InterfaceSettings {
    /// The settings of an interface with these addresses, which may be none yet.
    pub(crate) fn of(addresses: impl IntoIterator<Item = Cidr>) -> InterfaceSettings {
        InterfaceSettings {
            addresses: addresses.into_iter().collect(),
            gateways: Vec::new(),
            interception: Interception::none(),
            zone: Zone::DEFAULT,
            addresses_later: true,
        }
    }

    /// The configuration of an interface of the stack with this device.
    pub(crate) fn config(&self, device: &dyn Device) -> InterfaceConfig {
        let config = InterfaceConfig::new(device.medium()).mtu(device.mtu()).offloads(device.offloads());
        let config = config.intercept(self.interception.clone()).zone(self.zone);
        self.addresses.iter().copied().fold(config, InterfaceConfig::address)
    }
}

/// Checks everything that can be known before a stack is made. Returns how many queues each
/// interface has.
pub(crate) fn check(config: &Config, interfaces: &[PlannedInterface]) -> io::Result<u16> {
    config.check().map_err(|error| refused(error.to_string()))?;
    let Some(first) = interfaces.first() else {
        return Err(refused(
            "no interface: give at least one device and its addresses with Builder::interface; a stack with nothing \
             but its loopback is made with Stack::new and driven with Runtime::start",
        ));
    };
    let count = first.devices.len();
    if count == 0 || interfaces.iter().any(|other| other.devices.len() != count) {
        return Err(refused("all interfaces of a runtime must have the same number of queues, at least one"));
    }
    interfaces.iter().try_for_each(PlannedInterface::check)?;
    u16::try_from(count).map_err(|_| refused("an interface has more than 65,535 queues"))
}

impl PlannedInterface {
    /// Checks one interface.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Some(device) = self.devices.first() else { return Ok(()) };
        let name = device.name();
        let kind = |device: &dyn Device| (device.medium(), device.mtu());
        if self.devices.iter().any(|other| kind(&**other) != kind(&**device)) {
            return Err(refused(format!(
                "the queues of {name} differ: all must have the same medium, MAC address and MTU"
            )));
        }
        if self.settings.addresses.is_empty() && !self.settings.addresses_later {
            return Err(refused(format!(
                "{name} has no address: give one with Builder::interface, such as \"10.0.0.2/24\"; for addresses that \
                 come later (Stack::add_address, DHCP), call Builder::addresses_later"
            )));
        }
        let mtu = device.mtu();
        check_link(name, device.medium(), mtu)?;
        for (index, cidr) in self.settings.addresses.iter().enumerate() {
            if let Some(why) = fault(*cidr) {
                return Err(refused(format!("{name} cannot have the address {cidr}: {why}")));
            }
            if cidr.addr.is_ipv6() && mtu < SMALLEST_IPV6_MTU {
                return Err(refused(format!(
                    "{name} cannot have the address {cidr}: its MTU is {mtu}, and IPv6 needs {SMALLEST_IPV6_MTU} bytes \
                     (RFC 8200 §5); raise the MTU, or give only IPv4 addresses"
                )));
            }
            if self.settings.addresses.iter().take(index).any(|earlier| earlier.addr == cidr.addr) {
                return Err(refused(format!(
                    "{name} is given the address {} twice: leave one out",
                    cidr.addr
                )));
            }
        }
        self.settings.gateways.iter().try_for_each(|&gateway| self.check_gateway(gateway, &**device))
    }

    fn check_gateway(&self, gateway: IpAddr, device: &dyn Device) -> io::Result<()> {
        let name = device.name();
        if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
            return Err(refused(format!(
                "{gateway} cannot be a gateway of {name}: give the address of a router on its link"
            )));
        }
        if self.settings.addresses.iter().any(|ours| ours.addr == gateway) {
            return Err(refused(format!(
                "the gateway {gateway} is the stack's own address on {name}: give that of a router on its link"
            )));
        }
        let is_link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let has_neighbors = device.medium().mac().is_some();
        if has_neighbors
            && !is_link_local
            && !self.settings.addresses.iter().any(|ours| ours.contains(gateway))
        {
            let networks: Vec<String> =
                self.settings.addresses.iter().map(|ours| ours.network().to_string()).collect();
            return Err(refused(format!(
                "the gateway {gateway} is not on the link of {name}, whose networks are {}: give a router in one of \
                 them, or the stack an address in the gateway's network",
                networks.join(", ")
            )));
        }
        Ok(())
    }
}

/// Checks that an interface can have this link, of the device with this name.
pub(crate) fn check_link(name: &str, medium: Medium, mtu: usize) -> io::Result<()> {
    if !(SMALLEST_MTU..=LARGEST_MTU).contains(&mtu) {
        return Err(refused(format!(
            "{name} has an MTU of {mtu}: IP needs {SMALLEST_MTU} to {LARGEST_MTU} bytes"
        )));
    }
    if let Some(mac) = medium.mac()
        && (mac.is_group() || mac == MacAddr([0; 6]))
    {
        return Err(refused(format!(
            "{name} has the MAC address {mac}, which no station can have: use one whose first octet is even, and not \
             all zeros, like 02:00:5e:10:00:01"
        )));
    }
    Ok(())
}

/// Why no host can have this address; `None` if one can.
fn fault(cidr: Cidr) -> Option<&'static str> {
    match cidr.addr {
        addr if cidr.prefix_len > Cidr::max_prefix_len(addr) => {
            Some("the prefix is longer than an address; it has at most 32 bits in IPv4 and 128 in IPv6")
        }
        addr if addr.is_unspecified() => Some("the unspecified address is no host's; give the stack's own"),
        addr if addr.is_loopback() => {
            Some("loopback addresses do not leave a host, and the stack has them anyway")
        }
        addr if addr.is_multicast() => Some("a multicast address is a group's, not a host's"),
        IpAddr::V4(addr) if addr.octets()[0] == 0 => {
            Some("addresses that begin with 0 mean \"this network\"")
        }
        IpAddr::V4(addr) if addr.is_broadcast() || cidr.broadcast() == Some(addr) => {
            Some("that is the broadcast address of its network; give a host's address")
        }
        IpAddr::V4(addr) if addr.octets()[0] >= 240 => Some("that range is reserved (RFC 1112 §4)"),
        IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some() => {
            Some("write it as the IPv4 address that it is")
        }
        _ => None,
    }
}

pub(crate) fn refused(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}
