//! Why a packet is refused, and the ICMP error that its sender gets.

use crate::drop_reason::DropReason;

/// Why a packet is refused, and the ICMP error that its sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) error: Option<IcmpError>,
    /// Whether the error is sent even if the packet went to a group.
    pub(crate) even_to_group: bool,
}

impl Refusal {
    pub(crate) const fn silent(reason: DropReason) -> Self {
        Refusal { reason, error: None, even_to_group: false }
    }

    pub(crate) const fn answered(reason: DropReason, error: IcmpError) -> Self {
        Refusal { reason, error: Some(error), even_to_group: false }
    }
}

/// An ICMP error that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpError {
    NetUnreachable,
    HostUnreachable,
    Prohibited,
    /// IPv6 sends a "parameter problem" for this, whose pointer is the field that names the
    /// protocol.
    ProtocolUnreachable {
        pointer: u32,
    },
    PortUnreachable,
    /// A source route that we do not follow; IPv4 only.
    SourceRouteFailed,
    ReassemblyTimeExceeded,
    /// The TTL or hop limit has run out.
    TimeExceeded,
    /// IPv4 calls it "fragmentation needed and DF set".
    PacketTooBig {
        mtu: u32,
    },
    /// The source is valid on its link only; IPv6 only.
    BeyondScope,
    ParameterProblem {
        code: u8,
        pointer: u32,
    },
}

impl IcmpError {
    /// Whether the host that the packet was for sends such an error itself. Routers send the
    /// others.
    pub(crate) fn comes_from_destination(self) -> bool {
        match self {
            IcmpError::ProtocolUnreachable { .. }
            | IcmpError::PortUnreachable
            | IcmpError::ReassemblyTimeExceeded
            | IcmpError::ParameterProblem { .. } => true,
            IcmpError::NetUnreachable
            | IcmpError::HostUnreachable
            | IcmpError::Prohibited
            | IcmpError::SourceRouteFailed
            | IcmpError::TimeExceeded
            | IcmpError::BeyondScope
            | IcmpError::PacketTooBig { .. } => false,
        }
    }
}
