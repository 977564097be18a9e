//! The kernel's side of a link, over rtnetlink: finds links, brings them up, gives them addresses,
//! and lists addresses.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use portolan::{Cidr, MacAddr};

/// ENODEV, for which std's `ErrorKind` has no stable name.
const ENODEV: i32 = 19;

/// A link of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    /// Whether it is a TUN or TAP device.
    pub(crate) is_tun: bool,
}

/// A netlink socket.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// The link of this name, if there is one.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        match self.exchange(RouteNetlinkMessage::GetLink(by_name(name)), NLM_F_REQUEST) {
            Ok(answers) => Ok(answers.into_iter().find_map(as_link)),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.exchange(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(as_link).collect())
    }

    /// Sets the MTU of a link and the length of its transmit queue, from which we read.
    pub(crate) fn set_sizes(&mut self, index: u32, mtu: u32, queue_len: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        message.attributes.push(LinkAttribute::TxQueueLen(queue_len));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets the MTU of a link.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Has the kernel give a link no IPv6 link-local address of its own.
    pub(crate) fn set_no_link_local(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Makes a veth pair. EEXIST if a link has one of the names.
    pub(crate) fn add_veth(&mut self, name: &str, peer: &str) -> io::Result<()> {
        self.request(RouteNetlinkMessage::NewLink(veth(name, peer)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a link; of a veth pair, both ends.
    pub(crate) fn delete(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Brings a link up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(RouteNetlinkMessage::SetLink(up(index)), 0)
    }

    /// Gives a link an address. EEXIST if the link has it.
    pub(crate) fn add_address(&mut self, index: u32, cidr: Cidr) -> io::Result<()> {
        self.request(RouteNetlinkMessage::NewAddress(address(index, cidr)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The addresses of all links, each with the index of its link.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<(u32, Cidr)>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.exchange(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(as_address).collect())
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    /// Sends a request and collects the answers up to the acknowledgement or the end of the dump.
    /// For a request that asks for neither, only the first answer is collected.
    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = encode(message, flags, self.sequence);
        self.socket.send(&request, 0)?;
        let one_answer = flags & (NLM_F_ACK | NLM_F_DUMP) == 0;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(invalid_data)?;
                // Messages are aligned to four bytes.
                let len = usize::try_from(message.header.length).map_err(invalid_data)?.next_multiple_of(4);
                rest = rest.get(len.max(4)..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    _ => {}
                }
                if one_answer && !answers.is_empty() {
                    return Ok(answers);
                }
            }
        }
    }
}

fn invalid_data(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn by_name(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn veth(name: &str, peer: &str) -> LinkMessage {
    let mut message = by_name(name);
    let peer = InfoData::Veth(InfoVeth::Peer(by_name(peer)));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
    message
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn address(index: u32, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = cidr.prefix_len;
    message.attributes.push(AddressAttribute::Local(cidr.addr));
    message.attributes.push(AddressAttribute::Address(cidr.addr));
    match cidr.addr {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.extend(cidr.broadcast().map(AddressAttribute::Broadcast));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Both stations on this link are ours, and their addresses were checked to differ, so
            // the kernel need not spend a second on duplicate address detection.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message
}

fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let index = message.header.index;
    let mut link = Link { index, name: String::new(), mac: None, mtu: 0, is_tun: false };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(MacAddr),
            LinkAttribute::LinkInfo(infos) => link.is_tun = infos.contains(&LinkInfo::Kind(InfoKind::Tun)),
            _ => {}
        }
    }
    Some(link)
}

fn as_address(message: RouteNetlinkMessage) -> Option<(u32, Cidr)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(addr),
            AddressAttribute::Address(addr) => address = Some(addr),
            _ => {}
        }
    }
    // On a point-to-point link Address is the peer's; IPv6 has no Local where the two are the same.
    let addr = local.or(address)?;
    Some((message.header.index, Cidr { addr, prefix_len: message.header.prefix_len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a request after its 16-byte header, and the header's type and flags.
    fn body(message: RouteNetlinkMessage, flags: u16) -> (u16, u16, Vec<u8>) {
        let bytes = encode(message, flags, 7);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes[8..12], 7u32.to_ne_bytes());
        let u16_at = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        (u16_at(4), u16_at(6), bytes[16..].to_vec())
    }

    /// rtnetlink(7): struct ifaddrmsg { family, prefixlen, flags, scope: u8; index: u32 }, then
    /// attributes of { length: u16, type: u16, value }.
    #[cfg(target_endian = "little")]
    #[test]
    fn an_ipv4_address_has_local_address_and_broadcast() {
        let request =
            RouteNetlinkMessage::NewAddress(address(5, "10.1.2.3/24".parse().expect("a CIDR of the test")));
        let (kind, flags, body) = body(request, NLM_F_REQUEST | NLM_F_ACK);
        assert_eq!((kind, flags), (20, 0x05));
        assert_eq!(body[..8], [2, 24, 0, 0, 5, 0, 0, 0]);
        assert_eq!(body[8..16], [8, 0, 2, 0, 10, 1, 2, 3]);
        assert_eq!(body[16..24], [8, 0, 1, 0, 10, 1, 2, 3]);
        assert_eq!(body[24..], [8, 0, 4, 0, 10, 1, 2, 255]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn an_ipv6_address_is_not_probed_and_has_no_broadcast() {
        let cidr = "fd10::1/64".parse().expect("a CIDR of the test");
        let (_, _, body) = body(RouteNetlinkMessage::NewAddress(address(9, cidr)), NLM_F_REQUEST);
        assert_eq!(body[..8], [10, 64, 2, 0, 9, 0, 0, 0]);
        assert_eq!(body.len(), 8 + 20 + 20);
    }

    /// rtnetlink(7): struct ifinfomsg { family, pad: u8; type: u16; index, flags, change: u32 }.
    #[cfg(target_endian = "little")]
    #[test]
    fn up_changes_one_flag_only() {
        let (kind, _, body) = body(RouteNetlinkMessage::SetLink(up(3)), NLM_F_REQUEST);
        assert_eq!(kind, 19);
        assert_eq!(body, [0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn what_the_kernel_says_is_read_back() {
        let cidr = "fd10::1/64".parse().expect("a CIDR of the test");
        assert_eq!(as_address(RouteNetlinkMessage::NewAddress(address(9, cidr))), Some((9, cidr)));
        let mut message = by_name("tap7");
        message.header.index = 4;
        message.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
        message.attributes.push(LinkAttribute::Mtu(1400));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Tun)]));
        let link = as_link(RouteNetlinkMessage::NewLink(message)).expect("a link");
        let mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(link, Link { index: 4, name: "tap7".into(), mac, mtu: 1400, is_tun: true });
    }

    #[test]
    fn the_loopback_is_found_and_a_name_that_nobody_has_is_not() {
        let mut netlink = Netlink::open().expect("a netlink socket");
        let lo = netlink.link("lo").expect("an answer").expect("every namespace has lo");
        assert_eq!((lo.name.as_str(), lo.is_tun), ("lo", false));
        assert_eq!(netlink.link("no-such-link").expect("an answer"), None);
        assert!(netlink.links().expect("a dump").contains(&lo));
        netlink.addresses().expect("a dump");
    }
}
