//! The configuration of an interface, and its state as a program sees it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::address::AddressState;
use super::cidr::Cidr;
use super::forwarding::Forwarding;
use super::interception::Interception;
use super::link_state::LinkState;
use super::slaac_config::SlaacConfig;
use super::zone::Zone;
use crate::interface_id::InterfaceId;
use crate::link::medium::Medium;
use crate::offload::Offloads;

/// The configuration of an interface that is added to a stack.
///
/// ```
/// use portolan::{Config, Instant, InterfaceConfig, MacAddr, Medium, Stack};
///
/// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// let ethernet = InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1])))
///     .name("lan")
///     .mtu(9000)
///     .address("192.0.2.1/24".parse()?)
///     .address("2001:db8::1/64".parse()?);
/// let lan = stack.add_interface(Instant::ZERO, ethernet)?;
/// let tunnel = stack.add_interface(Instant::ZERO, InterfaceConfig::new(Medium::Ip).address("10.7.0.1/24".parse()?))?;
/// assert_ne!(lan, tunnel);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceConfig {
    /// The kind of link.
    pub medium: Medium,
    /// The size of the largest IP packet in bytes, without the link header. At least 1,280 for
    /// IPv6.
    pub mtu: usize,
    /// Its addresses. On Ethernet the stack adds an IPv6 link-local address if the MTU allows IPv6.
    pub addresses: Vec<Cidr>,
    /// What the device does for frames that are sent to it.
    pub offloads: Offloads,
    /// The name, 1 to 15 bytes without white space, `/` and `:`, which no other interface of the
    /// stack has; not `lo`, the name of the loopback. `None`: `if0` for the first interface, and so
    /// on.
    pub name: Option<String>,
    /// Whether packets for other hosts that come in through it are forwarded. By default they are
    /// not.
    pub forwarding: Forwarding,
    /// The packets for other hosts that it takes. None.
    pub interception: Interception,
    /// How it configures itself from router advertisements; `None`, the default: not at all. Only
    /// for Ethernet with an MTU of at least 1,280.
    pub slaac: Option<SlaacConfig>,
    /// The zone that it is in; zone 0 by default.
    pub zone: Zone,
}

impl InterfaceConfig {
    /// An interface on this medium with an MTU of 1,500, no offloads, no addresses except the
    /// link-local one, and the default name.
    pub fn new(medium: Medium) -> Self {
        InterfaceConfig {
            medium,
            mtu: 1500,
            addresses: Vec::new(),
            offloads: Offloads::NONE,
            name: None,
            forwarding: Forwarding::NONE,
            interception: Interception::none(),
            slaac: None,
            zone: Zone::DEFAULT,
        }
    }

    /// Sets the MTU.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets the offloads of the device.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Sets the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets what is forwarded.
    pub fn forwarding(mut self, forwarding: Forwarding) -> Self {
        self.forwarding = forwarding;
        self
    }

    /// Sets the packets for other hosts that it takes.
    pub fn intercept(mut self, interception: Interception) -> Self {
        self.interception = interception;
        self
    }

    /// Has it configure itself from router advertisements.
    pub fn slaac(mut self, config: SlaacConfig) -> Self {
        self.slaac = Some(config);
        self
    }

    /// Sets the zone.
    pub fn zone(mut self, zone: impl Into<Zone>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Adds an address.
    pub fn address(mut self, cidr: Cidr) -> Self {
        self.addresses.push(cidr);
        self
    }
}

/// The state of an interface.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// The interface.
    pub id: InterfaceId,
    /// Its name.
    pub name: String,
    /// The kind of link.
    pub medium: Medium,
    /// Whether its link carries frames.
    pub link: LinkState,
    /// The size of the largest IP packet in bytes.
    pub mtu: usize,
    /// What its device does for frames that are sent to it.
    pub offloads: Offloads,
    /// Its addresses with their states, the link-local one included.
    pub addresses: Vec<(Cidr, AddressState)>,
    /// The multicast groups that it listens to (`ip maddr`), sorted, IPv4 first. A device that
    /// filters by MAC address must accept their frames.
    pub groups: Vec<IpAddr>,
    /// Whether packets for other hosts that come in through it are forwarded.
    pub forwarding: Forwarding,
    /// The zone that it is in.
    pub zone: Zone,
}
