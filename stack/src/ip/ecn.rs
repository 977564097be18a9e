//! The ECN field of the IP header.

/// The ECN field of an IP packet (RFC 3168 §5), the low two bits of the traffic class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum IpEcn {
    /// The sender does not use ECN: a congested router drops the packet.
    #[default]
    NotEct = 0,
    Ect1 = 1,
    /// ECN-capable transport; the codepoint that we send (RFC 8311 §4.2).
    Ect0 = 2,
    /// Congestion experienced: set by a router.
    Ce = 3,
}

impl IpEcn {
    pub(crate) fn of_traffic_class(traffic_class: u8) -> IpEcn {
        match traffic_class & 3 {
            0 => IpEcn::NotEct,
            1 => IpEcn::Ect1,
            2 => IpEcn::Ect0,
            _ => IpEcn::Ce,
        }
    }

    pub(crate) fn bits(self) -> u8 {
        self as u8
    }
}
