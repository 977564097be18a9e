//! [`SlaacConfig`]: how an interface configures itself from router advertisements.

use core::time::Duration;

/// How an interface forms the last 64 bits of its IPv6 addresses. The link-local address, which
/// stays on the link, always contains the MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceIdentifiers {
    /// RFC 7217: they follow from the prefix and a secret, so an interface keeps its address while
    /// it stays in a network, and has unrelated ones in two networks. RFC 8064 recommends them;
    /// Linux's `addr_gen_mode` 2.
    #[default]
    Stable,
    /// They contain the MAC address (RFC 4291 appendix A), so everybody who receives a packet can
    /// recognize the interface in every network. Linux's default.
    Eui64,
}

/// Whether an interface has temporary addresses (RFC 8981), Linux's `use_tempaddr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemporaryAddresses {
    /// It has none. The default, as on Linux.
    #[default]
    Off,
    /// It has them, for programs that bind to them; connections start from the stable ones.
    Available,
    /// It has them, and connections start from them.
    Preferred,
}

/// How an interface configures itself from router advertisements: IPv6 stateless address
/// autoconfiguration (RFC 4862). The defaults are those of Linux 6.18, except that addresses do not
/// contain the MAC address.
///
/// ```
/// use portolan::{Config, Instant, InterfaceConfig, MacAddr, Medium, SlaacConfig, Stack};
///
/// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// let link = InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1])));
/// let iface = stack.add_interface(Instant::ZERO, link.slaac(SlaacConfig::default()))?;
/// // Once a router has answered the solicitations of the stack, it has addresses and routes.
/// assert!(stack.slaac(iface).is_some_and(|learned| learned.routes.is_empty()));
/// # Ok::<(), portolan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlaacConfig {
    /// How addresses are formed.
    pub identifiers: InterfaceIdentifiers,
    /// The secret of [`InterfaceIdentifiers::Stable`]. `None`: it follows from the seed of the
    /// stack. Store one to have the same addresses again after a restart.
    pub secret: Option<[u8; 16]>,
    /// Whether there are temporary addresses.
    pub temporary: TemporaryAddresses,
    /// TEMP_VALID_LIFETIME: how long a temporary address is used at most. Two days; Linux's
    /// `temp_valid_lft` is still the week of RFC 4941.
    pub temporary_valid: Duration,
    /// TEMP_PREFERRED_LIFETIME: how long a temporary address is chosen for new connections at most,
    /// less a random time. A day, Linux's `temp_prefered_lft`.
    pub temporary_preferred: Duration,
    /// MAX_DESYNC_FACTOR: the longest random time. 600 s, Linux's `max_desync_factor`.
    pub max_desync: Duration,
    /// The most addresses of the interface, those of programs included, beyond which it forms none.
    /// 16, Linux's `max_addresses`.
    pub max_addresses: usize,
    /// The longest prefix of a route information option (RFC 4191) that is followed, 0 to 128. 0,
    /// Linux's `accept_ra_rt_info_max_plen`: only those about default routes are.
    pub max_route_prefix_len: u8,
    /// Whether it configures itself while it forwards IPv6 packets, Linux's `accept_ra` 2. It does
    /// not: routers are configured by hand.
    pub even_if_forwarding: bool,
}

impl Default for SlaacConfig {
    fn default() -> Self {
        SlaacConfig {
            identifiers: InterfaceIdentifiers::Stable,
            secret: None,
            temporary: TemporaryAddresses::Off,
            temporary_valid: Duration::from_secs(2 * 86_400),
            temporary_preferred: Duration::from_secs(86_400),
            max_desync: Duration::from_secs(600),
            max_addresses: 16,
            max_route_prefix_len: 0,
            even_if_forwarding: false,
        }
    }
}

impl SlaacConfig {
    /// Sets how addresses are formed.
    pub fn identifiers(mut self, identifiers: InterfaceIdentifiers) -> Self {
        self.identifiers = identifiers;
        self
    }

    /// Sets the secret of stable addresses.
    pub fn secret(mut self, secret: [u8; 16]) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets whether there are temporary addresses.
    pub fn temporary(mut self, temporary: TemporaryAddresses) -> Self {
        self.temporary = temporary;
        self
    }
}
