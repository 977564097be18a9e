//! The addresses of packet sockets.

use core::fmt;

use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;
use crate::link::packet_type::PacketType;

/// The address of a packet socket, or of a frame (`struct sockaddr_ll`).
///
/// ```
/// use portolan::{InterfaceId, LinkAddr, MacAddr};
///
/// // Everything that comes in and goes out, on all interfaces.
/// let all = LinkAddr::new(None, LinkAddr::ETH_P_ALL);
/// // A destination for an ARP request.
/// let everybody = LinkAddr::new(InterfaceId::from_index(0), LinkAddr::ETH_P_ARP).mac(MacAddr::BROADCAST);
/// # assert_eq!((all.iface, everybody.mac), (None, Some(MacAddr::BROADCAST)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LinkAddr {
    /// The interface (`sll_ifindex`); `None` for all of them, in `bind`.
    pub iface: Option<InterfaceId>,
    /// The EtherType, in host byte order (`sll_protocol`); 0 for none.
    pub protocol: u16,
    /// The ARP hardware type of the interface (`sll_hatype`). Calls do not read it.
    pub hardware_type: u16,
    /// How the frame was addressed (`sll_pkttype`). Calls do not read it.
    pub packet_type: PacketType,
    /// The MAC address (`sll_addr`): of the sender of a frame, or the destination of one that is
    /// sent. `None` on links without link addresses.
    pub mac: Option<MacAddr>,
}

impl LinkAddr {
    /// All frames, those that this host sends included.
    pub const ETH_P_ALL: u16 = 3;
    /// IPv4.
    pub const ETH_P_IP: u16 = 0x0800;
    /// ARP.
    pub const ETH_P_ARP: u16 = 0x0806;
    /// IPv6.
    pub const ETH_P_IPV6: u16 = 0x86dd;
    /// Frames with a length instead of an EtherType, as Novell's raw IPX has them.
    pub const ETH_P_802_3: u16 = 1;
    /// Frames with a length instead of an EtherType, and an 802.2 header behind it.
    pub const ETH_P_802_2: u16 = 4;

    /// An interface and an EtherType.
    pub fn new(iface: impl Into<Option<InterfaceId>>, protocol: u16) -> Self {
        LinkAddr { iface: iface.into(), protocol, hardware_type: 0, packet_type: PacketType::Host, mac: None }
    }

    /// Sets the MAC address.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }
}

/// Writes EtherType, interface and MAC address, as in `0x0806 on 1, 02:00:5e:10:00:01`.
impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x} on ", self.protocol)?;
        match self.iface {
            Some(InterfaceId::LOOPBACK) => f.write_str("the loopback")?,
            Some(iface) => write!(f, "{}", iface.index())?,
            None => f.write_str("*")?,
        }
        match self.mac {
            Some(mac) => write!(f, ", {mac}"),
            None => Ok(()),
        }
    }
}
