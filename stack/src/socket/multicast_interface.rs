//! Setting the options of multicast, with the checks that need the interfaces and the kind of the
//! socket.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::common::Env;
use super::kind::{Domain, SocketKind};
use super::options::{MulticastOptions, SocketOption};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::multicast::MulticastInterface;

impl MulticastOptions {
    /// Sets an option of multicast; others are ignored.
    pub(super) fn set(&mut self, option: SocketOption) {
        match option {
            SocketOption::MulticastTtl(ttl) => self.ttl = ttl,
            SocketOption::MulticastLoop(on) => self.loops = on,
            SocketOption::MulticastAll(on) => self.all = Some(on),
            SocketOption::MulticastInterface(named) => {
                self.interface = match named {
                    MulticastInterface::Id(iface) => Some(iface),
                    MulticastInterface::Any | MulticastInterface::Address(_) => None,
                };
                self.source = None;
            }
            SocketOption::MulticastHopsV6(hops) => self.hops_v6 = hops,
            SocketOption::MulticastLoopV6(on) => self.loops_v6 = on,
            SocketOption::MulticastAllV6(on) => self.all_v6 = on,
            SocketOption::MulticastInterfaceV6(iface) => self.interface_v6 = iface,
            _ => {}
        }
    }
}

impl SocketOption {
    /// The option as it was before it was set, for IP_MULTICAST_ALL and IPV6_MULTICAST_ALL.
    pub(super) fn negated(self) -> SocketOption {
        match self {
            SocketOption::MulticastAll(on) => SocketOption::MulticastAll(!on),
            SocketOption::MulticastAllV6(on) => SocketOption::MulticastAllV6(!on),
            option => option,
        }
    }

    /// Whether it is an option of multicast, and if so, of which family.
    pub(super) fn multicast_domain(self) -> Option<Domain> {
        match self {
            SocketOption::MulticastTtl(_)
            | SocketOption::MulticastLoop(_)
            | SocketOption::MulticastAll(_)
            | SocketOption::MulticastInterface(_) => Some(Domain::V4),
            SocketOption::MulticastHopsV6(_)
            | SocketOption::MulticastLoopV6(_)
            | SocketOption::MulticastAllV6(_)
            | SocketOption::MulticastInterfaceV6(_) => Some(Domain::V6),
            _ => None,
        }
    }
}

impl Env<'_> {
    /// Checks a multicast option before the socket's kind sets it, with the errors of Linux: an
    /// option of the other family is ENOPROTOOPT (`Socket::has_groups_of`); a stream has no TTL and
    /// no interface for groups, which is EINVAL, or for IPv6 ENOPROTOOPT; an interface must exist,
    /// otherwise EADDRNOTAVAIL, or for IPv6 ENODEV.
    pub(crate) fn check_multicast_option(&self, id: SocketId, option: SocketOption) -> Result<()> {
        let Some(domain) = option.multicast_domain() else { return Ok(()) };
        let socket = self.common.record(id)?;
        if !socket.has_groups_of(domain) {
            return Err(Error::ProtocolNotAvailable);
        }
        let is_stream = socket.kind == SocketKind::Stream;
        match option {
            SocketOption::MulticastTtl(_) | SocketOption::MulticastInterface(_) if is_stream => {
                Err(Error::InvalidArgument)
            }
            SocketOption::MulticastHopsV6(_) | SocketOption::MulticastInterfaceV6(_) if is_stream => {
                Err(Error::ProtocolNotAvailable)
            }
            SocketOption::MulticastInterface(MulticastInterface::Any) => Ok(()),
            SocketOption::MulticastInterface(named) => {
                let group = Ipv4Addr::UNSPECIFIED.into();
                self.network.multicast_interface(group, named).ok_or(Error::AddressNotAvailable)?;
                Ok(())
            }
            SocketOption::MulticastInterfaceV6(Some(iface)) => {
                let group = Ipv6Addr::UNSPECIFIED.into();
                self.network.multicast_interface(group, iface.into()).ok_or(Error::NoDevice)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Completes IP_MULTICAST_IF that was set by an address: the interface that has it.
    pub(crate) fn resolve_multicast_interface(&mut self, id: SocketId, option: SocketOption) {
        if let SocketOption::MulticastInterface(named @ MulticastInterface::Address(addr)) = option
            && let Ok(socket) = self.common.record_mut(id)
        {
            let iface = self.network.multicast_interface(addr.into(), named);
            let options = socket.options.multicast_mut();
            (options.interface, options.source) = (iface, Some(addr));
        }
    }
}
