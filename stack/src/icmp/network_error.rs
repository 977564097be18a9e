//! What went wrong with a packet that we sent.

use core::net::IpAddr;

use bytes::Bytes;

use crate::interface_id::InterfaceId;

/// An ICMP error about a packet that we sent, or an error that our own network layer found.
#[derive(Clone, Debug)]
pub(crate) struct NetworkError {
    /// The interface that the error came in through, or that the packet would have left through.
    pub(crate) iface: Option<InterfaceId>,
    /// Source and destination of the packet.
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) protocol: u8,
    /// The start of the packet's transport header; at least 8 bytes.
    pub(crate) transport: Bytes,
    pub(crate) kind: NetworkErrorKind,
    /// The sender of the ICMP message; our own address if our own network layer found the error.
    pub(crate) offender: IpAddr,
    /// Type and code of the ICMP message.
    pub(crate) message: (u8, u8),
    /// The MTU or the pointer in the ICMP message; otherwise 0 (`ee_info`).
    pub(crate) info: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkErrorKind {
    NetUnreachable,
    /// The network is unknown, or access to it is prohibited.
    NetRefused,
    /// The network is unreachable for this type of service.
    NetUnreachableForTos,
    HostUnreachable,
    /// The host is unreachable for this type of service.
    HostUnreachableForTos,
    /// A router does not know the host.
    HostUnknown,
    /// The source host is isolated.
    HostIsolated,
    SourceRouteFailed,
    ProtocolUnreachable,
    PortUnreachable,
    Prohibited,
    /// Unreachable for a reason that this stack does not know (ICMPv6).
    OtherUnreachable,
    /// The path takes IP packets of at most this many bytes.
    PacketTooBig {
        mtu: usize,
    },
    TimeExceeded,
    ReassemblyTimeExceeded,
    ParameterProblem,
    /// RFC 4443 §2.4 (a): an ICMPv6 error of a type that we do not know.
    Unknown,
}
