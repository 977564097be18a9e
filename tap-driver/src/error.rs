//! The errors of setting up a TAP device, each with advice on what to do.

use std::fmt;
use std::io;

use portolan::Cidr;

use crate::limits;

/// The error of setting up a device or a namespace. The message says what happened, to what, and
/// what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `/dev/net/tun` does not exist, or has no driver.
    NoTunDevice(io::Error),
    /// This user may not open `/dev/net/tun`.
    TunForbidden(io::Error),
    /// CAP_NET_ADMIN is missing.
    NotPermitted {
        /// The action that needs it, in a form that follows "may not":
        /// `create the TAP device portolan0`.
        doing: String,
    },
    /// The name is not a valid interface name.
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no interface of this name.
    NoInterface {
        /// The name.
        name: String,
    },
    /// An interface of this name exists already.
    NameTaken {
        /// The name.
        name: String,
        /// Whether that interface is a TUN or TAP device.
        is_tun: bool,
    },
    /// The MTU is out of range.
    InvalidMtu {
        /// The MTU.
        mtu: usize,
        /// The smallest MTU that the addresses allow.
        smallest: usize,
    },
    /// The number of queues is out of range.
    InvalidQueues {
        /// The number of queues.
        queues: usize,
    },
    /// The kernel does not support IPv6 on the device.
    NoIpv6 {
        /// The address that it refused.
        address: String,
    },
    /// The namespaces could not be created.
    Isolation {
        /// What happened and what to do, in sentences.
        reason: String,
    },
    /// Another call to the kernel failed.
    Io {
        /// The action that failed, in a form that follows "cannot": `bring portolan0 up`.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// The error of a netlink request or ioctl that changes the network. A missing permission
    /// becomes [`Error::NotPermitted`].
    pub(crate) fn changing(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Error::NotPermitted { doing },
            _ => Error::Io { doing, source },
        }
    }
}

/// The error of giving an interface an address.
pub(crate) fn refused_address(name: &str, cidr: Cidr, source: io::Error) -> Error {
    // EACCES, and EOPNOTSUPP or EAFNOSUPPORT if the kernel has no IPv6. A missing capability is
    // EPERM.
    const NO_IPV6: [i32; 3] = [13, 95, 97];
    if cidr.addr.is_ipv6() && source.raw_os_error().is_some_and(|errno| NO_IPV6.contains(&errno)) {
        return Error::NoIpv6 { address: cidr.to_string() };
    }
    Error::changing(format!("give {name} the address {}", cidr), source)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoTunDevice(source) => write!(
                f,
                "there is no usable /dev/net/tun ({source}), so no TAP device can be made; load the driver with \
                 `modprobe tun`, or, in a container, start it with `--device /dev/net/tun`"
            ),
            Error::TunForbidden(source) => write!(
                f,
                "/dev/net/tun may not be opened by this user ({source}); ask an administrator for \
                 `chmod 666 /dev/net/tun` (the usual mode: the device itself checks for CAP_NET_ADMIN), or run as root"
            ),
            Error::NotPermitted { doing } => write!(
                f,
                "no permission to {doing}: that needs the capability CAP_NET_ADMIN; run as root (sudo), or call \
                 `portolan_tap::isolate` first, which needs no privileges and touches nothing of this host"
            ),
            Error::InvalidName { name, reason } => {
                write!(f, "{name:?} cannot be an interface name: {reason}")
            }
            Error::NoInterface { name } => {
                write!(f, "there is no interface {name} in this network namespace; `ip link` lists them")
            }
            Error::NameTaken { name, is_tun: true } => write!(
                f,
                "the name {name} is taken: a TAP device of that name exists; choose another, or remove it with \
                 `ip link delete {name}` if nobody uses it"
            ),
            Error::NameTaken { name, is_tun: false } => {
                write!(f, "the name {name} is taken: an interface of that name exists; choose another")
            }
            Error::InvalidMtu { mtu, smallest: 1280 } => write!(
                f,
                "an MTU of {mtu} does not work: with IPv6 addresses it is 1280 to {MAX_MTU} (RFC 8200); choose \
                 another, or give only IPv4 addresses",
                MAX_MTU = limits::MAX_MTU
            ),
            Error::InvalidMtu { mtu, smallest } => write!(
                f,
                "an MTU of {mtu} does not work: it is {smallest} to {MAX_MTU}",
                MAX_MTU = limits::MAX_MTU
            ),
            Error::InvalidQueues { queues } => write!(
                f,
                "a TAP device cannot have {queues} queues: it has 1 to {MAX_QUEUES}",
                MAX_QUEUES = limits::MAX_QUEUES
            ),
            Error::NoIpv6 { address } => write!(
                f,
                "the kernel does no IPv6 here, so {address} cannot be set; switch it on \
                 (`sysctl net.ipv6.conf.all.disable_ipv6=0`), or give only IPv4 addresses"
            ),
            Error::Isolation { reason } => f.write_str(reason),
            Error::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::NoTunDevice(source) | Error::TunForbidden(source) | Error::Io { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }
}
