//! [`AdvertisementBuilder`]: router advertisements for tests.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::build::{PacketBuilder, ethernet};
use crate::MacAddr;

/// The L flag of a prefix: its addresses are on the link.
pub const ON_LINK: u8 = 0x80;
/// The A flag of a prefix: hosts form addresses in it.
pub const AUTONOMOUS: u8 = 0x40;

/// Builds a router advertisement (RFC 4861 §4.2), right or wrong.
///
/// ```
/// use portolan::testing::{AUTONOMOUS, AdvertisementBuilder, ON_LINK};
/// use portolan::MacAddr;
///
/// let frame = AdvertisementBuilder::new("fe80::1".parse()?, MacAddr([2, 0, 0, 0, 0, 1]))
///     .prefix("2001:db8::".parse()?, 64, ON_LINK | AUTONOMOUS, 86400, 14400)
///     .build();
/// assert_eq!(frame.len(), 14 + 40 + 16 + 32);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdvertisementBuilder {
    router: Ipv6Addr,
    mac: MacAddr,
    ip_hop_limit: u8,
    code: u8,
    /// What is behind the checksum.
    body: Vec<u8>,
}

impl AdvertisementBuilder {
    /// An advertisement of this router: a default router for half an hour, a hop limit of 64, and
    /// no options.
    pub fn new(router: Ipv6Addr, mac: MacAddr) -> Self {
        let mut body = Vec::from([0; 12]);
        body[0] = 64;
        AdvertisementBuilder { router, mac, ip_hop_limit: 255, code: 0, body }.lifetime(1800)
    }

    /// Sets the router lifetime in seconds.
    pub fn lifetime(mut self, secs: u16) -> Self {
        self.body[2..4].copy_from_slice(&secs.to_be_bytes());
        self
    }

    /// Sets the hop limit that hosts are to use.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.body[0] = hop_limit;
        self
    }

    /// Sets the byte with the flags and the preference.
    pub fn flags(mut self, flags: u8) -> Self {
        self.body[1] = flags;
        self
    }

    /// Sets the reachable time and the retransmission time in milliseconds.
    pub fn times(mut self, reachable: u32, retransmit: u32) -> Self {
        self.body[4..8].copy_from_slice(&reachable.to_be_bytes());
        self.body[8..12].copy_from_slice(&retransmit.to_be_bytes());
        self
    }

    /// Sets the hop limit of the packet itself.
    pub fn ip_hop_limit(mut self, hop_limit: u8) -> Self {
        self.ip_hop_limit = hop_limit;
        self
    }

    /// Sets the ICMPv6 code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Appends bytes, whatever they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }

    /// Appends an option. `content` is what is behind its length, padded to a multiple of 8 bytes.
    pub fn option(mut self, kind: u8, content: &[u8]) -> Self {
        let units = (content.len() + 2).div_ceil(8);
        self.body.extend([kind, units as u8]);
        self.body.extend_from_slice(content);
        self.body.resize(self.body.len() + units * 8 - 2 - content.len(), 0);
        self
    }

    /// Appends the router's MAC address.
    pub fn source_mac(self) -> Self {
        let mac = self.mac.0;
        self.option(1, &mac)
    }

    /// Appends a prefix; `flags` are [`ON_LINK`] and [`AUTONOMOUS`], the lifetimes are in seconds.
    pub fn prefix(self, prefix: Ipv6Addr, len: u8, flags: u8, valid: u32, preferred: u32) -> Self {
        let mut content = Vec::from([len, flags]);
        content.extend(valid.to_be_bytes());
        content.extend(preferred.to_be_bytes());
        content.extend([0; 4]);
        content.extend(prefix.octets());
        self.option(3, &content)
    }

    /// Appends an MTU.
    pub fn mtu(self, mtu: u32) -> Self {
        let [a, b, c, d] = mtu.to_be_bytes();
        self.option(5, &[0, 0, a, b, c, d])
    }

    /// Appends a route (RFC 4191), with the two bits of its preference.
    pub fn route(self, prefix: Ipv6Addr, len: u8, preference: u8, secs: u32) -> Self {
        let mut content = Vec::from([len, preference << 3]);
        content.extend(secs.to_be_bytes());
        content.extend_from_slice(&prefix.octets()[..usize::from(len.div_ceil(64) * 8).min(16)]);
        self.option(24, &content)
    }

    /// Appends the addresses of name servers (RFC 8106).
    pub fn name_servers(self, secs: u32, servers: &[Ipv6Addr]) -> Self {
        let mut content = Vec::from([0; 2]);
        content.extend(secs.to_be_bytes());
        servers.iter().for_each(|server| content.extend(server.octets()));
        self.option(25, &content)
    }

    /// Appends domains to search (RFC 8106), written with dots.
    pub fn search_domains(self, secs: u32, domains: &[&str]) -> Self {
        let mut content = Vec::from([0; 2]);
        content.extend(secs.to_be_bytes());
        for domain in domains {
            for label in domain.split('.') {
                content.push(label.len() as u8);
                content.extend_from_slice(label.as_bytes());
            }
            content.push(0);
        }
        self.option(31, &content)
    }

    /// The frame, to all nodes of the link.
    pub fn build(&self) -> Vec<u8> {
        const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let packet = PacketBuilder::new(self.router.into(), ALL_NODES.into()).hop_limit(self.ip_hop_limit);
        let packet = packet.icmp(134, self.code, &self.body);
        ethernet(self.mac, MacAddr([0x33, 0x33, 0, 0, 0, 1]), &packet)
    }
}
