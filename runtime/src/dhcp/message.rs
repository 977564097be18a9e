//! The messages of DHCP (RFC 2131 §2, RFC 2132), with their IP and UDP headers.

use std::net::Ipv4Addr;

use portolan::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use super::lease::Granted;

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;
const HOP_LIMIT: u8 = 64;
/// The longest message that servers are told to send: it fits into the smallest usual MTU.
const MAX_MESSAGE_BYTES: u16 = 1024;

// Options of RFC 2132, and of RFC 3442.
const OPTION_MASK: u8 = 1;
const OPTION_ROUTERS: u8 = 3;
const OPTION_DNS_SERVERS: u8 = 6;
const OPTION_DOMAIN: u8 = 15;
const OPTION_MTU: u8 = 26;
const OPTION_LEASE_TIME: u8 = 51;
const OPTION_MESSAGE_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_RENEW_TIME: u8 = 58;
const OPTION_REBIND_TIME: u8 = 59;
const OPTION_CLASSLESS_ROUTES: u8 = 121;

/// RFC 3442: classless routes are asked for before routers.
const ASKED_FOR: [u8; 8] = [
    OPTION_MASK,
    OPTION_CLASSLESS_ROUTES,
    OPTION_ROUTERS,
    OPTION_DNS_SERVERS,
    OPTION_DOMAIN,
    OPTION_MTU,
    OPTION_RENEW_TIME,
    OPTION_REBIND_TIME,
];

/// A message of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    pub(super) xid: u32,
    /// Seconds since the client began.
    pub(super) secs: u16,
    pub(super) mac: MacAddr,
    /// The client's address, once it may use it.
    pub(super) client: Option<Ipv4Addr>,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Discover,
    Request,
    Decline,
    Release,
}

impl Request {
    /// The message without headers.
    pub(super) fn encode(&self) -> Vec<u8> {
        let asks = matches!(self.kind, RequestKind::Discover | RequestKind::Request);
        let mac = EthernetAddress(self.mac.0);
        let repr = DhcpRepr {
            message_type: match self.kind {
                RequestKind::Discover => DhcpMessageType::Discover,
                RequestKind::Request => DhcpMessageType::Request,
                RequestKind::Decline => DhcpMessageType::Decline,
                RequestKind::Release => DhcpMessageType::Release,
            },
            transaction_id: self.xid,
            secs: self.secs,
            client_hardware_address: mac,
            client_ip: self.client.unwrap_or(Ipv4Addr::UNSPECIFIED),
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            // A packet socket receives what is sent to an address that the host does not have yet,
            // so the server need not broadcast its answer.
            broadcast: false,
            requested_ip: self.requested,
            client_identifier: Some(mac),
            server_identifier: self.server,
            parameter_request_list: asks.then_some(&ASKED_FOR),
            dns_servers: None,
            max_size: asks.then_some(MAX_MESSAGE_BYTES),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; repr.buffer_len()];
        // The buffer has the length that the representation asks for.
        let _ = repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]));
        bytes
    }
}

/// Puts an IP and a UDP header before a message that is broadcast by a host without an address.
pub(super) fn broadcast(message: &[u8]) -> Vec<u8> {
    let (src, dst) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let udp = UdpRepr { src_port: CLIENT_PORT, dst_port: SERVER_PORT };
    let payload_len = udp.header_len() + message.len();
    let ip = Ipv4Repr {
        src_addr: src,
        dst_addr: dst,
        next_header: IpProtocol::Udp,
        payload_len,
        hop_limit: HOP_LIMIT,
    };
    let mut bytes = vec![0; ip.buffer_len() + payload_len];
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    ip.emit(&mut packet, &checksums);
    udp.emit(
        &mut UdpPacket::new_unchecked(packet.payload_mut()),
        &src.into(),
        &dst.into(),
        message.len(),
        |payload| payload.copy_from_slice(message),
        &checksums,
    );
    bytes
}

/// The message in an IP packet from a server to a client. The checksum of UDP is not compared: a
/// server on this machine may leave it to a network card that is not there.
pub(super) fn payload_of(packet: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Udp
        || ip.more_frags()
        || ip.frag_offset() != 0
        || !ip.verify_checksum()
    {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    (udp.src_port() == SERVER_PORT && udp.dst_port() == CLIENT_PORT).then(|| udp.payload())
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: ReplyKind,
    pub(super) granted: Granted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// Reads a message to the client with this transaction and MAC address. `None` if it is not one.
pub(super) fn decode(bytes: &[u8], xid: u32, mac: MacAddr) -> Option<Reply> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let is_ours = packet.transaction_id() == xid
        && packet.hardware_len() == 6
        && packet.client_hardware_address().0 == mac.0;
    if !is_ours || u8::from(packet.opcode()) != BOOTREPLY || packet.magic_number() != MAGIC {
        return None;
    }
    let mut granted = Granted { address: Some(packet.your_ip()), ..Default::default() };
    let mut kind = None;
    for option in packet.options() {
        let data = option.data;
        match option.kind {
            OPTION_MESSAGE_TYPE => kind = data.first().copied(),
            OPTION_MASK => granted.mask = addresses(data).next(),
            OPTION_ROUTERS => granted.routers = addresses(data).collect(),
            OPTION_DNS_SERVERS => granted.dns_servers = addresses(data).collect(),
            OPTION_DOMAIN => {
                let text = String::from_utf8_lossy(data);
                granted.domain = Some(text.trim_end_matches('\0').to_owned());
            }
            OPTION_MTU => granted.mtu = data.first_chunk().map(|data| u16::from_be_bytes(*data)),
            OPTION_LEASE_TIME => granted.lease_secs = seconds(data),
            OPTION_SERVER => granted.server = addresses(data).next(),
            OPTION_RENEW_TIME => granted.renew_secs = seconds(data),
            OPTION_REBIND_TIME => granted.rebind_secs = seconds(data),
            // RFC 3396: the parts of a long option belong together.
            OPTION_CLASSLESS_ROUTES => {
                granted.classless_routes.get_or_insert_default().extend_from_slice(data)
            }
            _ => {}
        }
    }
    let kind = match DhcpMessageType::from(kind?) {
        DhcpMessageType::Offer => ReplyKind::Offer,
        DhcpMessageType::Ack => ReplyKind::Ack,
        DhcpMessageType::Nak => ReplyKind::Nak,
        _ => return None,
    };
    Some(Reply { kind, granted })
}

/// RFC 2131 §2: a message of a server.
const BOOTREPLY: u8 = 2;
/// The first four bytes of the options (RFC 2131 §3).
const MAGIC: u32 = 0x6382_5363;

fn addresses(data: &[u8]) -> impl Iterator<Item = Ipv4Addr> + '_ {
    data.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets))
}

fn seconds(data: &[u8]) -> Option<u32> {
    data.first_chunk().map(|data| u32::from_be_bytes(*data))
}
