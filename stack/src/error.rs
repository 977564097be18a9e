//! The errors of calls, under their POSIX names, and the reasons for which a connection ends.

use core::fmt;

/// The result of a call.
pub type Result<T> = core::result::Result<T, Error>;

/// The error of a failed call: the POSIX errors under their usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// EAGAIN / EWOULDBLOCK: there is nothing to receive, or no room, now. An
    /// [`Event`](crate::Event) tells when to try again.
    WouldBlock,
    /// EINPROGRESS: the connection is being opened; the socket is writable when that is done.
    InProgress,
    /// EALREADY: an earlier `connect` has not finished.
    Already,
    /// EISCONN: the socket is connected already.
    IsConnected,
    /// ENOTCONN: the socket is not connected.
    NotConnected,
    /// EBADF: no such descriptor, or one that was closed.
    BadDescriptor,
    /// EINVAL: the call is not valid in this state or with these arguments.
    InvalidArgument,
    /// EOPNOTSUPP: this kind of socket has no such call; or a router did not follow a source route.
    NotSupported,
    /// EPROTONOSUPPORT: the kind of socket does not have this protocol.
    ProtocolNotSupported,
    /// EAFNOSUPPORT: an address of the other family.
    AddressFamilyNotSupported,
    /// EADDRINUSE: the address and port are taken.
    AddressInUse,
    /// EADDRNOTAVAIL: the address is not one of this stack, or no ephemeral port is left.
    AddressNotAvailable,
    /// EDOM: a number of microseconds that is a second or more.
    OutOfDomain,
    /// EDESTADDRREQ: no destination was given and the socket is not connected.
    DestinationRequired,
    /// EMSGSIZE: the datagram is too large for the protocol, the buffer or the path.
    MessageTooLong,
    /// ECONNREFUSED: nobody listens there.
    ConnectionRefused,
    /// ECONNRESET: the peer reset the connection.
    ConnectionReset,
    /// ECONNABORTED: the connection was ended by this side.
    ConnectionAborted,
    /// EPIPE: this half of the connection was shut down.
    BrokenPipe,
    /// ETIMEDOUT: the peer did not answer.
    TimedOut,
    /// EHOSTUNREACH: the host cannot be reached.
    HostUnreachable,
    /// ENETUNREACH: no route to the network.
    NetworkUnreachable,
    /// EHOSTDOWN: a router does not know the host (ICMP code 7).
    HostDown,
    /// ENONET: a router says that the source host is isolated (ICMP code 8).
    HostIsolated,
    /// ENOPROTOOPT: the peer's host does not support the protocol, or the option is unknown.
    ProtocolNotAvailable,
    /// EPROTO: a host or router found an error in the header of a packet.
    ProtocolError,
    /// EACCES: sending to a broadcast address needs SO_BROADCAST; or a router prohibits the
    /// communication (IPv6).
    PermissionDenied,
    /// ENOBUFS: the memory limit of the stack is reached, or was, and this connection was reset
    /// because of it.
    NoBufferSpace,
    /// EMFILE: the descriptor table is full.
    TooManyDescriptors,
    /// ENFILE: all owners together have as many descriptors as they may have.
    TooManyDescriptorsInAll,
    /// ESOCKTNOSUPPORT: the domain has no sockets of this kind.
    SocketTypeNotSupported,
    /// EPROTOTYPE: the socket with this name is of another kind.
    WrongSocketType,
    /// ETOOMANYREFS: too many descriptors wait in messages that nobody has received.
    TooManyReferences,
    /// ENODEV: there is no such interface.
    NoDevice,
    /// ENXIO: a frame is sent without an interface, or to one that does not exist.
    NoSuchInterface,
    /// ENETDOWN: the interface that the socket was bound to was removed.
    NetworkDown,
    /// EEXIST: the descriptor is registered with this poller already, or another interface has the
    /// name.
    AlreadyExists,
    /// ENOENT: the descriptor is not registered with this poller, the socket has no filter, there
    /// is no congestion control algorithm of that name, or no Unix-domain socket was ever bound to
    /// this path, or it was unlinked.
    NotFound,
    /// EPERM: the filter of the socket is locked; or the receiver of a datagram is connected to
    /// another socket.
    NotPermitted,
    /// ENOSPC: the owner has as many registrations with pollers as it may have.
    TooManyRegistrations,
}

impl Error {
    /// The POSIX name, for instance `EADDRINUSE`.
    pub const fn name(self) -> &'static str {
        match self {
            Error::WouldBlock => "EAGAIN",
            Error::InProgress => "EINPROGRESS",
            Error::Already => "EALREADY",
            Error::IsConnected => "EISCONN",
            Error::NotConnected => "ENOTCONN",
            Error::BadDescriptor => "EBADF",
            Error::InvalidArgument => "EINVAL",
            Error::NotSupported => "EOPNOTSUPP",
            Error::ProtocolNotSupported => "EPROTONOSUPPORT",
            Error::AddressFamilyNotSupported => "EAFNOSUPPORT",
            Error::AddressInUse => "EADDRINUSE",
            Error::AddressNotAvailable => "EADDRNOTAVAIL",
            Error::OutOfDomain => "EDOM",
            Error::DestinationRequired => "EDESTADDRREQ",
            Error::MessageTooLong => "EMSGSIZE",
            Error::ConnectionRefused => "ECONNREFUSED",
            Error::ConnectionReset => "ECONNRESET",
            Error::ConnectionAborted => "ECONNABORTED",
            Error::BrokenPipe => "EPIPE",
            Error::TimedOut => "ETIMEDOUT",
            Error::HostUnreachable => "EHOSTUNREACH",
            Error::NetworkUnreachable => "ENETUNREACH",
            Error::HostDown => "EHOSTDOWN",
            Error::HostIsolated => "ENONET",
            Error::ProtocolNotAvailable => "ENOPROTOOPT",
            Error::ProtocolError => "EPROTO",
            Error::PermissionDenied => "EACCES",
            Error::NoBufferSpace => "ENOBUFS",
            Error::TooManyDescriptors => "EMFILE",
            Error::TooManyDescriptorsInAll => "ENFILE",
            Error::SocketTypeNotSupported => "ESOCKTNOSUPPORT",
            Error::WrongSocketType => "EPROTOTYPE",
            Error::TooManyReferences => "ETOOMANYREFS",
            Error::NoDevice => "ENODEV",
            Error::NoSuchInterface => "ENXIO",
            Error::NetworkDown => "ENETDOWN",
            Error::AlreadyExists => "EEXIST",
            Error::NotFound => "ENOENT",
            Error::NotPermitted => "EPERM",
            Error::TooManyRegistrations => "ENOSPC",
        }
    }

    /// Linux's number for the error, for programs that exchange errno values.
    pub const fn errno(self) -> i32 {
        match self {
            Error::WouldBlock => 11,
            Error::InProgress => 115,
            Error::Already => 114,
            Error::IsConnected => 106,
            Error::NotConnected => 107,
            Error::BadDescriptor => 9,
            Error::InvalidArgument => 22,
            Error::NotSupported => 95,
            Error::ProtocolNotSupported => 93,
            Error::AddressFamilyNotSupported => 97,
            Error::AddressInUse => 98,
            Error::AddressNotAvailable => 99,
            Error::OutOfDomain => 33,
            Error::DestinationRequired => 89,
            Error::MessageTooLong => 90,
            Error::ConnectionRefused => 111,
            Error::ConnectionReset => 104,
            Error::ConnectionAborted => 103,
            Error::BrokenPipe => 32,
            Error::TimedOut => 110,
            Error::HostUnreachable => 113,
            Error::NetworkUnreachable => 101,
            Error::HostDown => 112,
            Error::HostIsolated => 64,
            Error::ProtocolNotAvailable => 92,
            Error::ProtocolError => 71,
            Error::PermissionDenied => 13,
            Error::NoBufferSpace => 105,
            Error::TooManyDescriptors => 24,
            Error::TooManyDescriptorsInAll => 23,
            Error::SocketTypeNotSupported => 94,
            Error::WrongSocketType => 91,
            Error::TooManyReferences => 109,
            Error::NoDevice => 19,
            Error::NoSuchInterface => 6,
            Error::NetworkDown => 100,
            Error::AlreadyExists => 17,
            Error::NotFound => 2,
            Error::NotPermitted => 1,
            Error::TooManyRegistrations => 28,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Error::WouldBlock => {
                "nothing can be done now without waiting; wait for the descriptor's next event"
            }
            Error::InProgress => "the connection is being opened; wait until the descriptor is writable",
            Error::Already => "an earlier connect is still under way; wait until the descriptor is writable",
            Error::IsConnected => "the socket is connected already",
            Error::NotConnected => "the socket is not connected; call connect first, or name the destination",
            Error::BadDescriptor => {
                "no socket is open under this descriptor; it was closed or never given out"
            }
            Error::InvalidArgument => "the call makes no sense for this socket now or with these arguments",
            Error::NotSupported => "this kind of socket does not have this call",
            Error::ProtocolNotSupported => "this kind of socket does not have this protocol",
            Error::AddressFamilyNotSupported => "the address is of another family than the socket",
            Error::AddressInUse => {
                "the address and port are in use; choose another port, or set SO_REUSEADDR or SO_REUSEPORT"
            }
            Error::AddressNotAvailable => "not an address of this stack, or no ephemeral port is free",
            Error::OutOfDomain => "a time has a million microseconds or more, or less than none",
            Error::DestinationRequired => "no destination; connect the socket or use send_to",
            Error::MessageTooLong => {
                "the message is too long for a datagram, for the send buffer or for the path"
            }
            Error::ConnectionRefused => "connection refused: nobody listens on that port",
            Error::ConnectionReset => "connection reset by the peer",
            Error::ConnectionAborted => "connection aborted by this side",
            Error::BrokenPipe => "this side of the connection was shut down for sending, or the peer is gone",
            Error::TimedOut => "the peer did not answer in time",
            Error::HostUnreachable => "the host cannot be reached: it or a router on the way does not answer",
            Error::NetworkUnreachable => "no route to that network; add one, or a gateway",
            Error::HostDown => "a router on the way does not know the host",
            Error::HostIsolated => "a router on the way says that this host is isolated",
            Error::ProtocolNotAvailable => "the protocol or option is not available",
            Error::ProtocolError => "a host on the way found an error in the header of a packet",
            Error::PermissionDenied => {
                "sending to a broadcast address needs SO_BROADCAST, or a router on the way forbids it"
            }
            Error::NoBufferSpace => {
                "the stack's memory limit is reached; close sockets or raise Config::memory_limit_bytes"
            }
            Error::TooManyDescriptorsInAll => {
                "too many open sockets of all owners; close some or raise Config::max_descriptors_in_all"
            }
            Error::TooManyDescriptors => "too many open sockets; close some or raise Config::max_descriptors",
            Error::SocketTypeNotSupported => "this domain has no sockets of this kind",
            Error::WrongSocketType => "the socket with this name is of another kind",
            Error::TooManyReferences => {
                "too many passed descriptors wait to be received; receive some or raise UnixConfig::max_in_flight"
            }
            Error::NoDevice => "the stack has no such interface",
            Error::NetworkDown => "the interface that the socket was bound to was removed",
            Error::NoSuchInterface => {
                "no interface to send the frame through; bind the socket to one, or name one"
            }
            Error::AlreadyExists => {
                "it exists already: the descriptor is registered with this poller, or the name is taken"
            }
            Error::NotFound => {
                "not found: the descriptor is not registered with this poller, the socket has no filter, or there is \
                 no socket with this path"
            }
            Error::NotPermitted => {
                "the filter of the socket is locked, or the receiver is connected to another socket"
            }
            Error::TooManyRegistrations => {
                "too many descriptors are registered with pollers; delete some or raise Config::max_registrations"
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.name())
    }
}

impl core::error::Error for Error {}

/// On Linux the error with that number. On other systems, where numbers differ, an error of the
/// closest kind.
#[cfg(feature = "std")]
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        match cfg!(any(target_os = "linux", target_os = "android")) {
            true => std::io::Error::from_raw_os_error(error.errno()),
            false => std::io::Error::new(kind(error), error),
        }
    }
}

#[cfg(feature = "std")]
fn kind(error: Error) -> std::io::ErrorKind {
    use std::io::ErrorKind;
    match error {
        Error::WouldBlock => ErrorKind::WouldBlock,
        Error::NotConnected => ErrorKind::NotConnected,
        Error::InvalidArgument => ErrorKind::InvalidInput,
        Error::AddressInUse => ErrorKind::AddrInUse,
        Error::AddressNotAvailable => ErrorKind::AddrNotAvailable,
        Error::ConnectionRefused => ErrorKind::ConnectionRefused,
        Error::ConnectionReset => ErrorKind::ConnectionReset,
        Error::ConnectionAborted => ErrorKind::ConnectionAborted,
        Error::BrokenPipe => ErrorKind::BrokenPipe,
        Error::TimedOut => ErrorKind::TimedOut,
        Error::HostUnreachable => ErrorKind::HostUnreachable,
        Error::NetworkUnreachable => ErrorKind::NetworkUnreachable,
        Error::NetworkDown => ErrorKind::NetworkDown,
        Error::PermissionDenied => ErrorKind::PermissionDenied,
        Error::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Other,
    }
}

/// Why a connection ended. A connection that has ended keeps its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides closed in order.
    Finished,
    /// The peer answered the opening SYN with a reset.
    Refused,
    /// The peer sent a valid reset.
    PeerReset,
    /// This side aborted: SO_LINGER with zero, data that nobody can read any more, or an explicit
    /// abort.
    Aborted,
    /// Retransmissions, probes or keepalives went unanswered.
    TimedOut,
    /// The memory of the stack was used up, and this connection, which made no progress, was reset
    /// to make room for others.
    NoMemory,
    /// The network reported this error while the connection was being opened, or when it timed out.
    Unreachable(Error),
}

impl CloseReason {
    /// The error that calls on such a connection return; `None` if it ended in order.
    pub const fn error(self) -> Option<Error> {
        match self {
            CloseReason::Finished => None,
            CloseReason::Refused => Some(Error::ConnectionRefused),
            CloseReason::PeerReset => Some(Error::ConnectionReset),
            CloseReason::Aborted => Some(Error::ConnectionAborted),
            CloseReason::TimedOut => Some(Error::TimedOut),
            CloseReason::NoMemory => Some(Error::NoBufferSpace),
            CloseReason::Unreachable(error) => Some(error),
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::io;

    use super::*;

    /// The number is kept, and its kind is the one that other systems get.
    #[test]
    #[cfg(target_os = "linux")]
    fn io_errors_have_the_number_and_its_kind() {
        for error in [
            Error::WouldBlock,
            Error::InProgress,
            Error::Already,
            Error::IsConnected,
            Error::NotConnected,
            Error::BadDescriptor,
            Error::InvalidArgument,
            Error::NotSupported,
            Error::ProtocolNotSupported,
            Error::AddressFamilyNotSupported,
            Error::AddressInUse,
            Error::AddressNotAvailable,
            Error::OutOfDomain,
            Error::DestinationRequired,
            Error::MessageTooLong,
            Error::ConnectionRefused,
            Error::ConnectionReset,
            Error::ConnectionAborted,
            Error::BrokenPipe,
            Error::TimedOut,
            Error::HostUnreachable,
            Error::NetworkUnreachable,
            Error::HostDown,
            Error::HostIsolated,
            Error::ProtocolNotAvailable,
            Error::ProtocolError,
            Error::PermissionDenied,
            Error::NoBufferSpace,
            Error::TooManyDescriptors,
            Error::TooManyDescriptorsInAll,
            Error::SocketTypeNotSupported,
            Error::WrongSocketType,
            Error::TooManyReferences,
            Error::NoDevice,
            Error::NoSuchInterface,
            Error::NetworkDown,
            Error::AlreadyExists,
            Error::NotFound,
            Error::NotPermitted,
            Error::TooManyRegistrations,
        ] {
            let converted = io::Error::from(error);
            assert_eq!(converted.raw_os_error(), Some(error.errno()), "{error:?}");
            // Kinds that are not stable print differently from `Other`.
            let is_named = kind(error) != io::ErrorKind::Other;
            assert!(!is_named || converted.kind() == kind(error), "{error:?}: {:?}", converted.kind());
        }
    }
}
