//! What became of a packet that we sent.

use core::net::IpAddr;

use bytes::Bytes;

use crate::interface_id::InterfaceId;

/// An ICMP error (or what our own network layer found out) about a packet that we sent.
#[derive(Clone, Debug)]
pub(crate) struct NetworkError {
    /// The interface that the error came in through, or that the packet should have left through.
    pub(crate) iface: Option<InterfaceId>,
    /// Source and destination of the packet that it is about.
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) protocol: u8,
    /// The start of that packet's transport header; at least 8 bytes.
    pub(crate) transport: Bytes,
    pub(crate) kind: NetworkErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkErrorKind {
    NetUnreachable,
    /// The network is unknown, or the way to it prohibited.
    NetRefused,
    /// For this type of service.
    NetUnreachableForTos,
    HostUnreachable,
    /// For this type of service.
    HostUnreachableForTos,
    /// A router does not know the host.
    HostUnknown,
    /// The source host is isolated.
    HostIsolated,
    SourceRouteFailed,
    ProtocolUnreachable,
    PortUnreachable,
    Prohibited,
    /// Unreachable for a reason that has no name yet (ICMPv6).
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
