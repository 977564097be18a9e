//! How errors from the network are reported to programs.

use crate::error::Error;
use crate::network::NetworkErrorKind;

/// How a network error is reported to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) error: Error,
    /// Whether the error is permanent. Datagram sockets get only such errors.
    pub(super) is_hard: bool,
}

/// Linux's `icmp_err_convert` and `icmpv6_err_convert`, as measured in
/// `tests/tests/icmp_errors.rs`.
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
        // The peer has lost a fragment: over IPv4 Linux ignores that.
        NetworkErrorKind::ReassemblyTimeExceeded if is_v4 => return None,
        NetworkErrorKind::ReassemblyTimeExceeded => (Error::HostUnreachable, false),
        NetworkErrorKind::ProtocolUnreachable
        | NetworkErrorKind::ParameterProblem
        | NetworkErrorKind::OtherUnreachable => (Error::ProtocolError, true),
        NetworkErrorKind::Unknown => (Error::ProtocolError, false),
        // The transports handle this themselves.
        NetworkErrorKind::PacketTooBig { .. } => return None,
    };
    Some(Report { error, is_hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_error_in_each_family() {
        use Error as E;
        use NetworkErrorKind as K;
        let told = |kind, is_v4| report(kind, is_v4).map(|report| (report.error, report.is_hard));
        for (kind, v4, v6) in [
            (K::NetUnreachable, Some((E::NetworkUnreachable, false)), None),
            (K::NetUnreachableForTos, Some((E::NetworkUnreachable, false)), None),
            (K::NetRefused, Some((E::NetworkUnreachable, true)), None),
            (K::HostUnreachable, Some((E::HostUnreachable, false)), None),
            (K::HostUnreachableForTos, Some((E::HostUnreachable, false)), None),
            (K::HostUnknown, Some((E::HostDown, true)), None),
            (K::HostIsolated, Some((E::HostIsolated, true)), None),
            (K::SourceRouteFailed, Some((E::NotSupported, false)), None),
            (K::Prohibited, Some((E::HostUnreachable, true)), Some((E::PermissionDenied, true))),
            (K::ProtocolUnreachable, Some((E::ProtocolNotAvailable, true)), Some((E::ProtocolError, true))),
            (K::PortUnreachable, Some((E::ConnectionRefused, true)), None),
            (K::TimeExceeded, Some((E::HostUnreachable, false)), None),
            (K::ParameterProblem, Some((E::ProtocolError, true)), None),
            (K::OtherUnreachable, Some((E::ProtocolError, true)), None),
            (K::Unknown, Some((E::ProtocolError, false)), None),
        ] {
            assert_eq!(told(kind, true), v4, "{kind:?} over IPv4");
            assert_eq!(told(kind, false), v6.or(v4), "{kind:?} over IPv6");
        }
        assert_eq!(told(K::ReassemblyTimeExceeded, true), None);
        assert_eq!(told(K::ReassemblyTimeExceeded, false), Some((E::HostUnreachable, false)));
        for is_v4 in [true, false] {
            assert_eq!(told(K::PacketTooBig { mtu: 1280 }, is_v4), None);
        }
    }
}
