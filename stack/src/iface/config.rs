//! An interface as it is added to a stack, and as it is shown.

use alloc::vec::Vec;

use super::address::AddressState;
use super::cidr::Cidr;
use crate::interface_id::InterfaceId;
use crate::link::medium::Medium;
use crate::offload::Offloads;

/// An interface as it is added to a stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceConfig {
    /// The kind of link.
    pub medium: Medium,
    /// The largest IP packet in bytes, link header not counted. At least 1,280 for IPv6.
    pub mtu: usize,
    /// Its addresses. On Ethernet an IPv6 link-local address is added by itself where the MTU
    /// allows IPv6.
    pub addresses: Vec<Cidr>,
    /// What the device does for the frames that are sent to it.
    pub offloads: Offloads,
}

impl InterfaceConfig {
    /// An interface on this medium with an MTU of 1,500 and no addresses but the link-local one,
    /// whose device sends frames as they are.
    pub fn new(medium: Medium) -> Self {
        InterfaceConfig { medium, mtu: 1500, addresses: Vec::new(), offloads: Offloads::NONE }
    }

    /// The same with another MTU.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// The same with a device that does this much.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// The same with one more address.
    pub fn address(mut self, cidr: Cidr) -> Self {
        self.addresses.push(cidr);
        self
    }
}

/// An interface as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// Which.
    pub id: InterfaceId,
    /// The kind of link.
    pub medium: Medium,
    /// The largest IP packet in bytes.
    pub mtu: usize,
    /// What its device does for the frames that leave.
    pub offloads: Offloads,
    /// Its addresses, the link-local one included.
    pub addresses: Vec<(Cidr, AddressState)>,
}
