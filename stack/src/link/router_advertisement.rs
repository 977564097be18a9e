//! Router solicitations and advertisements (RFC 4861 §4.1, §4.2) with their options: prefixes and
//! the MTU (§4.6), routes (RFC 4191), name servers and search domains (RFC 8106).
//!
//! The whole message is checked here as RFC 4861 §6.1.2 demands. What the options say is not: a
//! host checks that when it uses them.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::mac::MacAddr;
use super::ndp::{ALL_ROUTERS, HOP_LIMIT};
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;
use crate::ip::checksum::transport_checksum;
use crate::ip::{protocol, read_u8, read_u16, read_u32};
use crate::time::Instant;

pub(crate) const ROUTER_SOLICITATION: u8 = 133;
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;

const ADVERTISEMENT_LEN: usize = 16;
const SOLICITATION_LEN: usize = 8;

/// The types of options.
const SOURCE_LINK_ADDRESS: u8 = 1;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const ROUTE_INFORMATION: u8 = 24;
const RECURSIVE_DNS_SERVER: u8 = 25;
const DNS_SEARCH_LIST: u8 = 31;

/// How much a router wants to be used (RFC 4191 §2.1).
// Exhaustive: RFC 4191 has these three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouterPreference {
    /// Only without another router.
    Low,
    /// As routers that say nothing of it.
    #[default]
    Medium,
    /// Before other routers.
    High,
}

impl RouterPreference {
    /// The preference in two bits; `None` for the reserved value.
    fn from_bits(bits: u8) -> Option<RouterPreference> {
        match bits & 3 {
            0 => Some(RouterPreference::Medium),
            1 => Some(RouterPreference::High),
            3 => Some(RouterPreference::Low),
            _ => None,
        }
    }
}

/// A router advertisement that passed the checks of RFC 4861 §6.1.2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouterAdvertisement<'a> {
    /// The hop limit for what hosts send; 0 if the router does not say.
    pub(crate) hop_limit: u8,
    /// The M flag: addresses come from DHCPv6.
    pub(crate) is_managed: bool,
    /// The O flag: other configuration comes from DHCPv6.
    pub(crate) has_other: bool,
    pub(crate) preference: RouterPreference,
    /// How long it is a default router; zero if it is none.
    pub(crate) router_lifetime: Duration,
    /// REACHABLE_TIME in milliseconds; 0 if the router does not say.
    pub(crate) reachable_millis: u32,
    /// RETRANS_TIMER in milliseconds; 0 if the router does not say.
    pub(crate) retransmit_millis: u32,
    /// The router's link address, if the option is there.
    pub(crate) source_mac: Option<MacAddr>,
    options: &'a [u8],
}

/// An option of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdvertisedOption<'a> {
    Prefix(AdvertisedPrefix),
    Mtu(u32),
    Route(RouteInformation),
    /// The addresses of name servers, 16 bytes each.
    NameServers {
        lifetime: Lifetime,
        addrs: &'a [u8],
    },
    /// Domains as in DNS messages, each a list of labels, padded with zeros.
    SearchDomains {
        lifetime: Lifetime,
        names: &'a [u8],
    },
    /// An option of the types above whose length or content is wrong.
    Malformed,
}

/// A prefix of the link (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisedPrefix {
    pub(crate) prefix: Ipv6Addr,
    pub(crate) len: u8,
    /// The L flag: its addresses are on the link.
    pub(crate) is_on_link: bool,
    /// The A flag: hosts form addresses in it.
    pub(crate) is_autonomous: bool,
    pub(crate) valid: Lifetime,
    pub(crate) preferred: Lifetime,
}

/// A route through the router (RFC 4191 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteInformation {
    pub(crate) prefix: Ipv6Addr,
    pub(crate) len: u8,
    pub(crate) preference: RouterPreference,
    pub(crate) lifetime: Lifetime,
}

/// A lifetime of an option: without end, or a number of seconds. `Finite` is less than `Infinite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifetime {
    Finite(Duration),
    Infinite,
}

impl Lifetime {
    pub(crate) const ZERO: Lifetime = Lifetime::Finite(Duration::ZERO);

    /// When it ends if it begins now; `None` for never.
    pub(crate) fn end(self, now: Instant) -> Option<Instant> {
        match self {
            Lifetime::Finite(time) => Some(now + time),
            Lifetime::Infinite => None,
        }
    }

    fn from_secs(secs: u32) -> Lifetime {
        if secs == u32::MAX { Lifetime::Infinite } else { Lifetime::Finite(Duration::from_secs(secs.into())) }
    }
}

impl<'a> RouterAdvertisement<'a> {
    /// Parses a router advertisement whose checksum was verified.
    pub(crate) fn parse(src: Ipv6Addr, hop_limit: u8, message: &'a [u8]) -> Result<Self, DropReason> {
        // RFC 4861 §6.1.2.
        let is_from_neighbor = src.is_unicast_link_local() && hop_limit == HOP_LIMIT;
        if !is_from_neighbor || message.len() < ADVERTISEMENT_LEN || read_u8(message, 1) != Some(0) {
            return Err(DropReason::BadNdp);
        }
        let (fixed, options) = message.split_at(ADVERTISEMENT_LEN);
        let flags = read_u8(fixed, 5).unwrap_or_default();
        let advertisement = RouterAdvertisement {
            hop_limit: read_u8(fixed, 4).unwrap_or_default(),
            is_managed: flags & 0x80 != 0,
            has_other: flags & 0x40 != 0,
            // RFC 4191 §2.2: the reserved value counts as medium.
            preference: RouterPreference::from_bits(flags >> 3).unwrap_or_default(),
            router_lifetime: Duration::from_secs(read_u16(fixed, 6).unwrap_or_default().into()),
            reachable_millis: read_u32(fixed, 8).unwrap_or_default(),
            retransmit_millis: read_u32(fixed, 12).unwrap_or_default(),
            source_mac: None,
            options,
        };
        let mut source_mac = None;
        for option in (OptionBytes { rest: options }) {
            let (kind, body) = option?;
            if kind == SOURCE_LINK_ADDRESS
                && let Ok(bytes) = body.try_into()
            {
                let mac = MacAddr(bytes);
                if !mac.is_station() {
                    return Err(DropReason::BadNdp);
                }
                source_mac = source_mac.or(Some(mac));
            }
        }
        Ok(RouterAdvertisement { source_mac, ..advertisement })
    }

    /// The options that configure a host, in their order.
    pub(crate) fn options(&self) -> impl Iterator<Item = AdvertisedOption<'a>> + use<'a> {
        let raw = OptionBytes { rest: self.options };
        raw.flatten().filter_map(|(kind, body)| parse_option(kind, body))
    }
}

/// The type of each option, and the bytes behind its length. An error ends the list.
struct OptionBytes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for OptionBytes<'a> {
    type Item = Result<(u8, &'a [u8]), DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, _) = self.rest.split_first()?;
        // The length counts units of 8 bytes, the type and the length included.
        let len = usize::from(read_u8(self.rest, 1).unwrap_or_default()) * 8;
        let option = self.rest.get(2..len);
        self.rest = self.rest.get(len..).filter(|_| option.is_some()).unwrap_or_default();
        Some(option.map(|body| (kind, body)).ok_or(DropReason::BadNdp))
    }
}

/// Parses an option; `None` for one that does not configure a host.
fn parse_option(kind: u8, body: &[u8]) -> Option<AdvertisedOption<'_>> {
    let parsed = match kind {
        PREFIX_INFORMATION => parse_prefix(body),
        // Linux takes longer ones, too.
        MTU => read_u32(body, 2).map(AdvertisedOption::Mtu),
        ROUTE_INFORMATION => parse_route(body),
        RECURSIVE_DNS_SERVER | DNS_SEARCH_LIST => {
            let lifetime = Lifetime::from_secs(read_u32(body, 2).unwrap_or_default());
            body.get(6..).filter(|rest| !rest.is_empty()).and_then(|rest| match kind {
                DNS_SEARCH_LIST => Some(AdvertisedOption::SearchDomains { lifetime, names: rest }),
                _ if rest.len() % 16 == 0 => Some(AdvertisedOption::NameServers { lifetime, addrs: rest }),
                _ => None,
            })
        }
        _ => return None,
    };
    Some(parsed.unwrap_or(AdvertisedOption::Malformed))
}

fn parse_prefix(body: &[u8]) -> Option<AdvertisedOption<'_>> {
    let prefix: &[u8; 16] = body.get(14..)?.first_chunk()?;
    let flags = read_u8(body, 1)?;
    Some(AdvertisedOption::Prefix(AdvertisedPrefix {
        prefix: Ipv6Addr::from(*prefix),
        len: read_u8(body, 0).filter(|&len| len <= 128)?,
        is_on_link: flags & 0x80 != 0,
        is_autonomous: flags & 0x40 != 0,
        valid: Lifetime::from_secs(read_u32(body, 2)?),
        preferred: Lifetime::from_secs(read_u32(body, 6)?),
    }))
}

/// RFC 4191 §2.3: the option ends after 0, 8 or 16 bytes of the prefix, but not within it.
fn parse_route(body: &[u8]) -> Option<AdvertisedOption<'_>> {
    let (len, flags) = (read_u8(body, 0)?, read_u8(body, 1)?);
    let named = body.get(6..)?;
    let mut prefix = [0; 16];
    prefix.get_mut(..named.len())?.copy_from_slice(named);
    let is_whole = len <= 128 && usize::from(len) <= named.len() * 8;
    // RFC 4191 §2.3: with the reserved preference the option is ignored.
    let preference = RouterPreference::from_bits(flags >> 3).filter(|_| is_whole)?;
    let lifetime = Lifetime::from_secs(read_u32(body, 2)?);
    Some(AdvertisedOption::Route(RouteInformation { prefix: prefix.into(), len, preference, lifetime }))
}

/// The ICMPv6 message of a router solicitation with its checksum, and where it goes: to all routers
/// of the link.
pub(crate) fn emit_solicitation(src: Ipv6Addr, own: MacAddr) -> (HeaderBuf, Ipv6Addr) {
    let [dst, _] = ALL_ROUTERS;
    let mut header = HeaderBuf::new();
    // RFC 4861 §4.1: without an address of ours the option must not be there.
    let option_len = if src.is_unspecified() { 0 } else { 8 };
    let bytes = header.prepend(SOLICITATION_LEN + option_len);
    bytes.fill(0);
    if let Some((kind, _)) = bytes.split_first_mut() {
        *kind = ROUTER_SOLICITATION;
    }
    if let Some([kind, len, mac @ ..]) = bytes.get_mut(SOLICITATION_LEN..) {
        (*kind, *len) = (SOURCE_LINK_ADDRESS, 1);
        mac.copy_from_slice(&own.0);
    }
    let sum = transport_checksum(IpAddr::V6(src), IpAddr::V6(dst), protocol::ICMPV6, bytes, &[]);
    if let Some(checksum) = bytes.get_mut(2..4) {
        checksum.copy_from_slice(&sum.to_be_bytes());
    }
    (header, dst)
}

#[cfg(test)]
mod tests;
