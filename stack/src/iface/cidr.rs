//! An address with the prefix length of its network.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// An address and the prefix length of its network: `10.0.0.2/24`.
///
/// ```
/// use portolan::Cidr;
///
/// let network: Cidr = "10.0.0.1/24".parse()?;
/// assert_eq!(network.prefix_len, 24);
/// assert!(network.contains("10.0.0.77".parse()?) && !network.contains("10.0.1.1".parse()?));
/// assert!("10.0.0.1/33".parse::<Cidr>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// Exhaustive: an address and a prefix length are all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address, host bits included.
    pub addr: IpAddr,
    /// The length of the prefix in bits.
    pub prefix_len: u8,
}

impl Cidr {
    /// `0.0.0.0/0`: every IPv4 address.
    pub const ANY_V4: Cidr = Cidr { addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_len: 0 };
    /// `::/0`: every IPv6 address.
    pub const ANY_V6: Cidr = Cidr { addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix_len: 0 };

    /// This address in a network with this prefix length in bits.
    pub const fn new(addr: IpAddr, prefix_len: u8) -> Self {
        Cidr { addr, prefix_len }
    }

    /// The number of bits in an address of this family: 32 or 128.
    pub const fn max_prefix_len(addr: IpAddr) -> u8 {
        match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// Whether the prefix is not longer than the address.
    pub(crate) const fn is_valid(&self) -> bool {
        self.prefix_len <= Cidr::max_prefix_len(self.addr)
    }

    /// Whether the address is in this network.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => (own.to_bits() ^ addr.to_bits()) & self.mask_v4() == 0,
            (IpAddr::V6(own), IpAddr::V6(addr)) => (own.to_bits() ^ addr.to_bits()) & self.mask_v6() == 0,
            _ => false,
        }
    }

    /// The network: the same prefix with the host bits zero.
    pub fn network(&self) -> Cidr {
        let addr = match self.addr {
            IpAddr::V4(addr) => IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & self.mask_v4())),
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & self.mask_v6())),
        };
        Cidr { addr, prefix_len: self.prefix_len }
    }

    /// The broadcast address of this network. `None` for IPv6, and for IPv4 networks of one or two
    /// addresses (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(addr) if self.prefix_len <= 30 => {
                Some(Ipv4Addr::from_bits(addr.to_bits() | !self.mask_v4()))
            }
            _ => None,
        }
    }

    fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0)
    }

    fn mask_v6(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix_len.min(128))).unwrap_or(0)
    }
}

/// Writes it as `10.0.0.2/24`.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// The error for a text that is not an address with a prefix length. Its message says how to write
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseCidrError {
    /// There is no `/`.
    NoPrefixLength {
        /// The text as an address, if it is one.
        addr: Option<IpAddr>,
    },
    /// The text before the `/` is not an address.
    BadAddress(String),
    /// The text after the `/` is not a prefix length.
    BadPrefixLength {
        /// The text after the `/`.
        text: String,
        /// The largest prefix length for this address.
        max: u8,
    },
}

impl fmt::Display for ParseCidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXAMPLES: &str = "write for example 10.0.0.2/24 or fd00::2/64";
        match self {
            ParseCidrError::NoPrefixLength { addr: Some(addr) } => {
                let usual = if addr.is_ipv4() { 24 } else { 64 };
                write!(f, "the length of the network's prefix is missing; write for example {addr}/{usual}")
            }
            ParseCidrError::NoPrefixLength { addr: None } => {
                write!(f, "not an address with the length of its network's prefix; {EXAMPLES}")
            }
            ParseCidrError::BadAddress(text) => write!(f, "`{text}` is not an IP address; {EXAMPLES}"),
            ParseCidrError::BadPrefixLength { text, max } => {
                write!(f, "`{text}` is not the length of a prefix, which here is a number from 0 to {max}")
            }
        }
    }
}

impl core::error::Error for ParseCidrError {}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let Some((addr, prefix_len)) = text.split_once('/') else {
            return Err(ParseCidrError::NoPrefixLength { addr: text.parse().ok() });
        };
        let addr: IpAddr = addr.parse().map_err(|_| ParseCidrError::BadAddress(addr.to_string()))?;
        let max = Cidr::max_prefix_len(addr);
        let bad = || ParseCidrError::BadPrefixLength { text: prefix_len.to_string(), max };
        if !prefix_len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let cidr = Cidr { addr, prefix_len: prefix_len.parse().map_err(|_| bad())? };
        if cidr.is_valid() { Ok(cidr) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn parses_what_it_prints() {
        for text in ["10.0.0.2/24", "0.0.0.0/0", "10.0.0.2/32", "fd00::2/64", "::/0", "::1/128"] {
            assert_eq!(cidr(text).to_string(), text);
        }
    }

    #[test]
    fn mistakes_get_messages_that_help() {
        let message = |text: &str| text.parse::<Cidr>().unwrap_err().to_string();
        assert!(message("10.0.0.2").contains("write for example 10.0.0.2/24"));
        assert!(message("fd00::2").contains("fd00::2/64"));
        assert!(message("host").contains("10.0.0.2/24"));
        assert!(message("10.0.2/24").contains("`10.0.2` is not an IP address"));
        assert!(message("10.0.0.2/33").contains("`33`") && message("10.0.0.2/33").contains("0 to 32"));
        assert!(message("fd00::2/129").contains("0 to 128"));
        assert!(message("10.0.0.2/").contains("0 to 32"));
        assert!(message("10.0.0.2/+8").contains("`+8`"));
    }

    #[test]
    fn networks() {
        let net = cidr("10.1.2.3/24");
        assert_eq!(net.network(), cidr("10.1.2.0/24"));
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert!(net.contains("10.1.2.200".parse().unwrap()));
        assert!(!net.contains("10.1.3.3".parse().unwrap()));
        assert!(!net.contains("fd00::1".parse().unwrap()));
        assert!(Cidr::ANY_V4.contains("1.2.3.4".parse().unwrap()));
        assert!(Cidr::ANY_V6.contains("fd00::1".parse().unwrap()));
        assert_eq!(cidr("10.0.0.0/31").broadcast(), None);
        assert_eq!(cidr("fd00::2/64").broadcast(), None);
        assert_eq!(cidr("fd00::2:3/64").network(), cidr("fd00::/64"));
        assert_eq!(cidr("10.0.0.2/32").network(), cidr("10.0.0.2/32"));
        // The fields are public: a prefix length that is too large counts as the largest.
        assert!(Cidr::new(net.addr, 255).contains(net.addr));
    }
}
