//! MAC addresses.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

/// A MAC address.
///
/// ```
/// use portolan::MacAddr;
///
/// let mac: MacAddr = "02:00:5e:00:00:01".parse()?;
/// assert_eq!(mac, MacAddr([2, 0, 0x5e, 0, 0, 1]));
/// assert_eq!(mac.to_string(), "02:00:5e:00:00:01");
/// # Ok::<(), portolan::ParseMacAddrError>(())
/// ```
// Exhaustive: an address is its six octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// Whether it is a group address: broadcast or multicast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be the address of one station: neither a group nor all zeros.
    pub const fn is_station(self) -> bool {
        !self.is_group() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// The MAC address that packets to a multicast group are sent to (RFC 1112 §6.4, RFC 2464 §7);
    /// `None` if `group` is not a group.
    pub(crate) fn for_group(group: IpAddr) -> Option<MacAddr> {
        match group {
            IpAddr::V4(group) if group.is_multicast() => {
                let [_, b, c, d] = group.octets();
                Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V6(group) if group.is_multicast() => {
                let [.., c, d, e, f] = group.octets();
                Some(MacAddr([0x33, 0x33, c, d, e, f]))
            }
            _ => None,
        }
    }

    /// Whether frames to it are for a solicited-node group (RFC 4291 §2.7.1, RFC 2464 §7).
    pub(crate) fn is_for_solicited_node(self) -> bool {
        matches!(self.0, [0x33, 0x33, 0xff, ..])
    }

    /// The link-local address for this MAC address: fe80::/64 and the modified EUI-64 identifier
    /// (RFC 4291 §2.5.1 and appendix A).
    pub(crate) fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
    }
}

/// Writes it as `02:00:5e:10:00:01`.
impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a text that is not a MAC address. Its message says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseMacAddrError;

impl fmt::Display for ParseMacAddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address; write six bytes in hexadecimal, as in 02:00:5e:10:00:01")
    }
}

impl core::error::Error for ParseMacAddrError {}

/// Parses six bytes in hexadecimal, separated by `:` or `-`.
impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    fn from_str(text: &str) -> Result<Self, ParseMacAddrError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or(ParseMacAddrError)?;
            let is_hex = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hex {
                return Err(ParseMacAddrError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacAddrError)?;
        }
        if parts.next().is_some() {
            return Err(ParseMacAddrError);
        }
        Ok(MacAddr(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn parses_what_it_prints() {
        let mac: MacAddr = "02:00:5e:10:00:01".parse().unwrap();
        assert_eq!(mac, MacAddr([2, 0, 0x5e, 0x10, 0, 1]));
        assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
        assert_eq!("02-00-5E-10-00-01".parse(), Ok(mac));
        for wrong in ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02:00:5e:10:00:+1", "02:00:5e:10:00:001"]
        {
            assert_eq!(wrong.parse::<MacAddr>(), Err(ParseMacAddrError), "{wrong}");
        }
        assert!(ParseMacAddrError.to_string().contains("02:00:5e:10:00:01"));
    }

    #[test]
    fn groups_map_to_mac_addresses() {
        // RFC 1112 §6.4: the low 23 bits.
        let group = |text: &str| MacAddr::for_group(text.parse().unwrap());
        assert_eq!(group("224.0.0.251"), Some(MacAddr([1, 0, 0x5e, 0, 0, 251])));
        assert_eq!(group("239.129.2.3"), Some(MacAddr([1, 0, 0x5e, 1, 2, 3])));
        // RFC 2464 §7: the low 32 bits.
        assert_eq!(group("ff02::1:ff28:9c5a"), Some(MacAddr([0x33, 0x33, 0xff, 0x28, 0x9c, 0x5a])));
        assert_eq!(group("10.0.0.1"), None);
        assert_eq!(group("fe80::1"), None);
    }

    #[test]
    fn link_local_addresses_hold_the_modified_eui_64() {
        // RFC 2464 §4: 34-56-78-9A-BC-DE gives 36-56-78-FF-FE-9A-BC-DE.
        let mac = MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }
}
