//! Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4): the part of NDP that a host
//! without autoconfiguration needs.

use core::net::{IpAddr, Ipv6Addr};
use core::ops::RangeInclusive;

use smoltcp::wire::{EthernetAddress, Icmpv6Packet, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress};

use super::mac::MacAddr;
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;
use crate::ip::checksum::transport_checksum;
use crate::ip::protocol;

/// The ICMPv6 types of NDP. 133 and 134 are router solicitations and advertisements.
pub(crate) const TYPES: RangeInclusive<u8> = 133..=137;
pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;
pub(crate) const REDIRECT: u8 = 137;

/// The hop limit of NDP packets (RFC 4861 §3.1). A router would have decremented it, so a packet
/// that has it comes from this link.
pub(crate) const HOP_LIMIT: u8 = 255;

/// The group of all nodes on the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The groups of all routers on the link and in the site (RFC 4291 §2.7.1).
pub(crate) const ALL_ROUTERS: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2)];

/// The solicited-node group of `addr` (RFC 4291 §2.7.1): hosts listen to those of their addresses.
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The target of a neighbour solicitation that was not checked yet; `None` for another message.
pub(crate) fn solicited_target(message: &[u8]) -> Option<Ipv6Addr> {
    let target: &[u8; 16] = message.get(8..)?.first_chunk()?;
    (message.first() == Some(&NEIGHBOR_SOLICITATION)).then(|| Ipv6Addr::from(*target))
}

/// A message that passed the checks of RFC 4861.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NdpMessage {
    Solicitation {
        target: Ipv6Addr,
        /// The sender's link address, if the option is there.
        source_mac: Option<MacAddr>,
    },
    Advertisement {
        target: Ipv6Addr,
        /// The target's link address, if the option is there.
        target_mac: Option<MacAddr>,
        flags: AdvertisementFlags,
    },
}

/// The flags of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisementFlags {
    pub(crate) router: bool,
    pub(crate) solicited: bool,
    pub(crate) override_: bool,
}

impl NdpMessage {
    /// Parses a neighbour solicitation or advertisement whose checksum was verified.
    pub(crate) fn parse(
        src: Ipv6Addr,
        dst: Ipv6Addr,
        hop_limit: u8,
        message: &[u8],
    ) -> Result<Self, DropReason> {
        let packet = Icmpv6Packet::new_checked(message).map_err(|_| DropReason::BadNdp)?;
        // RFC 4861 §7.1.1 and §7.1.2 on the hop limit and the code. The parser rejects options of
        // length 0.
        if hop_limit != HOP_LIMIT || packet.msg_code() != 0 {
            return Err(DropReason::BadNdp);
        }
        let message = match NdiscRepr::parse(&packet).map_err(|_| DropReason::BadNdp)? {
            NdiscRepr::NeighborSolicit { target_addr, lladdr } => {
                NdpMessage::Solicitation { target: target_addr, source_mac: mac_of(lladdr)? }
            }
            NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } => NdpMessage::Advertisement {
                target: target_addr,
                target_mac: mac_of(lladdr)?,
                flags: AdvertisementFlags {
                    router: flags.contains(NdiscNeighborFlags::ROUTER),
                    solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
                    override_: flags.contains(NdiscNeighborFlags::OVERRIDE),
                },
            },
            _ => return Err(DropReason::BadNdp),
        };
        if message.is_consistent(src, dst) { Ok(message) } else { Err(DropReason::BadNdp) }
    }

    /// Checks the message against its addresses as RFC 4861 §7.1.1 and §7.1.2 demand.
    fn is_consistent(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        match *self {
            NdpMessage::Solicitation { target, source_mac } => {
                // A probe for duplicates goes to the solicited-node group and contains no link
                // address.
                let probe_is_right = dst == solicited_node(target) && source_mac.is_none();
                !target.is_multicast() && (!src.is_unspecified() || probe_is_right)
            }
            NdpMessage::Advertisement { target, flags, .. } => {
                let answers_a_group = dst.is_multicast() && flags.solicited;
                !target.is_multicast() && !src.is_unspecified() && !answers_a_group
            }
        }
    }

    /// The ICMPv6 message with its checksum, without an IPv6 header.
    pub(crate) fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr) -> HeaderBuf {
        let raw = |mac: Option<MacAddr>| mac.map(|mac| RawHardwareAddress::from(EthernetAddress(mac.0)));
        let repr = match *self {
            NdpMessage::Solicitation { target, source_mac } => {
                NdiscRepr::NeighborSolicit { target_addr: target, lladdr: raw(source_mac) }
            }
            NdpMessage::Advertisement { target, target_mac, flags } => {
                let mut bits = NdiscNeighborFlags::empty();
                bits.set(NdiscNeighborFlags::ROUTER, flags.router);
                bits.set(NdiscNeighborFlags::SOLICITED, flags.solicited);
                bits.set(NdiscNeighborFlags::OVERRIDE, flags.override_);
                NdiscRepr::NeighborAdvert { flags: bits, target_addr: target, lladdr: raw(target_mac) }
            }
        };
        let mut header = HeaderBuf::new();
        let bytes = header.prepend(repr.buffer_len());
        repr.emit(&mut Icmpv6Packet::new_unchecked(&mut *bytes));
        let sum = transport_checksum(IpAddr::V6(src), IpAddr::V6(dst), protocol::ICMPV6, bytes, &[]);
        Icmpv6Packet::new_unchecked(bytes).set_checksum(sum);
        header
    }
}

/// The MAC address in a link address option; an error unless it is that of a station.
fn mac_of(raw: Option<RawHardwareAddress>) -> Result<Option<MacAddr>, DropReason> {
    let Some(raw) = raw else { return Ok(None) };
    let bytes = raw.as_bytes().try_into().map_err(|_| DropReason::BadNdp)?;
    let mac = MacAddr(bytes);
    if mac.is_station() { Ok(Some(mac)) } else { Err(DropReason::BadNdp) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::checksum::verify_transport_checksum;
    use alloc::vec::Vec;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn solicitation() -> NdpMessage {
        NdpMessage::Solicitation { target: addr("fe80::2"), source_mac: Some(MAC) }
    }

    fn advertisement(solicited: bool) -> NdpMessage {
        let flags = AdvertisementFlags { router: false, solicited, override_: true };
        NdpMessage::Advertisement { target: addr("fe80::2"), target_mac: Some(MAC), flags }
    }

    fn emit(message: NdpMessage, src: &str, dst: &str) -> Vec<u8> {
        message.emit(addr(src), addr(dst)).as_slice().to_vec()
    }

    fn parse(bytes: &[u8], src: &str, dst: &str) -> Result<NdpMessage, DropReason> {
        NdpMessage::parse(addr(src), addr(dst), 255, bytes)
    }

    #[test]
    fn parses_what_it_emits_and_another_parser_agrees() {
        assert_eq!(solicited_node(addr("fe80::2aa:ff:fe28:9c5a")), addr("ff02::1:ff28:9c5a"));
        for message in [solicitation(), advertisement(true)] {
            let bytes = emit(message, "fe80::1", "fe80::2");
            assert_eq!(parse(&bytes, "fe80::1", "fe80::2"), Ok(message));
            let (src, dst) = (addr("fe80::1"), addr("fe80::2"));
            assert!(verify_transport_checksum(src.into(), dst.into(), 58, &bytes));
            let other = etherparse::Icmpv6Slice::from_slice(&bytes).unwrap();
            assert!(other.is_checksum_valid(src.octets(), dst.octets()));
        }
    }

    #[test]
    fn rfc_4861_7_1_1_solicitations_are_checked() {
        let group = "ff02::1:ff00:2";
        let bytes = emit(solicitation(), "fe80::1", group);
        let parse_at = |hop_limit| NdpMessage::parse(addr("fe80::1"), addr(group), hop_limit, &bytes);
        assert!(parse_at(255).is_ok());
        assert_eq!(parse_at(254), Err(DropReason::BadNdp));
        let mut coded = bytes.clone();
        coded[1] = 1;
        assert_eq!(parse(&coded, "fe80::1", group), Err(DropReason::BadNdp));
        assert_eq!(parse(&bytes[..23], "fe80::1", group), Err(DropReason::BadNdp));
        // An option of length 0, an option that is cut off, a group as link address.
        let mut option = bytes.clone();
        option[25] = 0;
        assert_eq!(parse(&option, "fe80::1", group), Err(DropReason::BadNdp));
        assert_eq!(parse(&bytes[..28], "fe80::1", group), Err(DropReason::BadNdp));
        option[25] = 1;
        option[26] = 0x33;
        assert_eq!(parse(&option, "fe80::1", group), Err(DropReason::BadNdp));
        // A group as target.
        let to_group = NdpMessage::Solicitation { target: addr("ff02::2"), source_mac: None };
        let to_group = emit(to_group, "fe80::1", "ff02::1");
        assert_eq!(parse(&to_group, "fe80::1", "ff02::1"), Err(DropReason::BadNdp));
        // From the unspecified address: only to the solicited-node group, and without a link
        // address.
        assert_eq!(parse(&bytes, "::", group), Err(DropReason::BadNdp));
        let probe = NdpMessage::Solicitation { target: addr("fe80::2"), source_mac: None };
        let bytes = emit(probe, "::", group);
        assert_eq!(parse(&bytes, "::", group), Ok(probe));
        assert_eq!(parse(&bytes, "::", "fe80::2"), Err(DropReason::BadNdp));
    }

    #[test]
    fn rfc_4861_7_1_2_advertisements_are_checked() {
        let bytes = emit(advertisement(true), "fe80::2", "fe80::1");
        assert!(parse(&bytes, "fe80::2", "fe80::1").is_ok());
        // A solicited advertisement to a group: groups do not solicit.
        assert_eq!(parse(&bytes, "fe80::2", "ff02::1"), Err(DropReason::BadNdp));
        assert_eq!(parse(&bytes, "::", "fe80::1"), Err(DropReason::BadNdp));
        let unsolicited = emit(advertisement(false), "fe80::2", "ff02::1");
        assert!(parse(&unsolicited, "fe80::2", "ff02::1").is_ok());
    }
}
