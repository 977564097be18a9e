//! What a program is told of errors that the network reports.

use crate::error::Error;
use crate::network::NetworkErrorKind;

/// What a program is told of a network error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) error: Error,
    /// It does not pass by itself: datagram sockets are told only of such.
    pub(super) is_hard: bool,
}

/// Linux's `icmp_err_convert` and `icmpv6_err_convert`, as measured in `tests/tests/icmp_errors.rs`.
pub(super) fn report(kind: NetworkErrorKind, is_v4: bool) -> Option<Report> {
    let (error, is_hard) = match kind {
        NetworkErrorKind::NetUnreachable | NetworkErrorKind::NetUnreachableForTos => {
            (Error::NetworkUnreachable, false)
        }
        NetworkErrorKind::NetRefused => (Error::NetworkUnreachable, true),
        NetworkErrorKind::HostUnreachable | NetworkErrorKind::HostUnreachableForTos => {
            (Error::HostUnreachable, false)
        }
        NetworkErrorKind::HostUnknown => (Error::HostDown, true),
        NetworkErrorKind::HostIsolated => (Error::HostIsolated, true),
        NetworkErrorKind::SourceRouteFailed => (Error::NotSupported, false),
        NetworkErrorKind::Prohibited if is_v4 => (Error::HostUnreachable, true),
        NetworkErrorKind::Prohibited => (Error::PermissionDenied, true),
        NetworkErrorKind::ProtocolUnreachable if is_v4 => (Error::ProtocolNotAvailable, true),
        NetworkErrorKind::PortUnreachable => (Error::ConnectionRefused, true),
        NetworkErrorKind::TimeExceeded => (Error::HostUnreachable, false),
        // The peer's host has lost a fragment: over IPv4 Linux takes that for nothing more.
        NetworkErrorKind::ReassemblyTimeExceeded if is_v4 => return None,
        NetworkErrorKind::ReassemblyTimeExceeded => (Error::HostUnreachable, false),
        NetworkErrorKind::ProtocolUnreachable
        | NetworkErrorKind::ParameterProblem
        | NetworkErrorKind::OtherUnreachable => (Error::ProtocolError, true),
        NetworkErrorKind::Unknown => (Error::ProtocolError, false),
        // The transports handle it by themselves.
        NetworkErrorKind::PacketTooBig { .. } => return None,
    };
    Some(Report { error, is_hard })
}
