//! Options of raw sockets, of the levels IPPROTO_IP, IPPROTO_IPV6, IPPROTO_ICMPV6 and SOL_RAW.

/// The options of raw sockets, see [`SocketOptions`](super::SocketOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawOptions {
    /// IP_HDRINCL and IPV6_HDRINCL: the program's data begins with the IP header. On by default for
    /// protocol 255 (IPPROTO_RAW).
    ///
    /// Such a packet goes to the address that the call names, whatever its header says, and is not
    /// fragmented: one that is larger than the link's MTU is `MessageTooLong`. Of an IPv4 header
    /// the stack fills in the total length and the checksum, and if they are zero the source
    /// address and, without "don't fragment", the identification. An IPv6 header is sent as it is.
    pub header_included: bool,
    /// IPV6_CHECKSUM (RFC 3542 §3.1, RFC3542-3.1-c): the offset of the checksum in the data, which
    /// the stack computes of what is sent and verifies of what is received. `None` by default; 2
    /// and fixed for ICMPv6.
    pub checksum_at: Option<u16>,
    /// ICMP_FILTER or ICMP6_FILTER, of a socket of ICMP or ICMPv6.
    pub icmp_filter: IcmpFilter,
}

/// The types of ICMP messages that a raw socket receives: `struct icmp6_filter` (RFC 3542 §3.2)
/// and, for the types below 32, Linux's `struct icmp_filter`.
///
/// ```
/// use portolan::IcmpFilter;
///
/// let errors = IcmpFilter::BLOCK_ALL.pass(1).pass(3);
/// assert!(errors.passes(3) && !errors.passes(128));
/// assert!(IcmpFilter::PASS_ALL.block(128).passes(129));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IcmpFilter {
    /// A bit for each type, set if messages of that type are blocked, as in the C structures.
    blocked: [u32; 8],
}

impl IcmpFilter {
    /// Every type passes, which is the default (ICMP6_FILTER_SETPASSALL).
    pub const PASS_ALL: IcmpFilter = IcmpFilter { blocked: [0; 8] };
    /// No type passes (ICMP6_FILTER_SETBLOCKALL). Over IPv4, as on Linux, types from 32 on always
    /// pass.
    pub const BLOCK_ALL: IcmpFilter = IcmpFilter { blocked: [u32::MAX; 8] };

    /// The filter with these bits, each of which blocks a type, as the C structures have them.
    pub const fn from_bits(blocked: [u32; 8]) -> IcmpFilter {
        IcmpFilter { blocked }
    }

    /// The bits of the C structures. IPv4's has the first word only.
    pub const fn bits(self) -> [u32; 8] {
        self.blocked
    }

    /// Lets a type pass (ICMP6_FILTER_SETPASS).
    #[must_use]
    pub const fn pass(mut self, kind: u8) -> IcmpFilter {
        self.blocked[kind as usize / 32] &= !(1 << (kind % 32));
        self
    }

    /// Blocks a type (ICMP6_FILTER_SETBLOCK).
    #[must_use]
    pub const fn block(mut self, kind: u8) -> IcmpFilter {
        self.blocked[kind as usize / 32] |= 1 << (kind % 32);
        self
    }

    /// Whether messages of this type pass (ICMP6_FILTER_WILLPASS).
    pub const fn passes(self, kind: u8) -> bool {
        self.blocked[kind as usize / 32] & 1 << (kind % 32) == 0
    }
}
