//! Why a packet is not taken, and what its sender is told.

use crate::drop_reason::DropReason;

/// Why a packet is not taken, and what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) error: Option<IcmpError>,
    /// The sender is told even if the packet went to a group.
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
    /// IPv6 says it with a "parameter problem", whose pointer is the field that names the protocol.
    ProtocolUnreachable {
        pointer: u32,
    },
    PortUnreachable,
    /// IPv4 only.
    SourceRouteFailed,
    ReassemblyTimeExceeded,
    ParameterProblem {
        code: u8,
        pointer: u32,
    },
}
