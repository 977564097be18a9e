//! Multicast on UDP sockets, under the names of `std::net` and socket2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan::{InterfaceId, MulticastInterface, MulticastOptions, SocketOption};

use super::UdpSocket;

/// Multicast. An interface of IPv4 is named by its address, 0.0.0.0 for the one with a route to the
/// group; an interface of IPv6 by its scope id ([`InterfaceId::scope_id`]), 0 for any.
impl UdpSocket {
    /// IP_ADD_MEMBERSHIP: joins a group, whose datagrams are then received.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let (group, iface) = (IpAddr::V4(*group), *interface);
        self.socket.call(|stack, now, d| stack.join_group(now, d, group, iface))
    }

    /// IPV6_ADD_MEMBERSHIP.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, iface) = (IpAddr::V6(*group), named(interface));
        self.socket.call(|stack, now, d| stack.join_group(now, d, group, iface))
    }

    /// IP_DROP_MEMBERSHIP: leaves a group.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let (group, iface) = (IpAddr::V4(*group), *interface);
        self.socket.call(|stack, now, d| stack.leave_group(now, d, group, iface))
    }

    /// IPV6_DROP_MEMBERSHIP.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, iface) = (IpAddr::V6(*group), named(interface));
        self.socket.call(|stack, now, d| stack.leave_group(now, d, group, iface))
    }

    /// IP_ADD_SOURCE_MEMBERSHIP: joins a group for datagrams of one source, or of one more.
    pub fn join_ssm_v4(&self, source: &Ipv4Addr, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V4(*group), IpAddr::V4(*source), *interface);
        self.socket.call(|stack, now, d| stack.join_source_group(now, d, group, source, iface))
    }

    /// IP_DROP_SOURCE_MEMBERSHIP.
    pub fn leave_ssm_v4(&self, source: &Ipv4Addr, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V4(*group), IpAddr::V4(*source), *interface);
        self.socket.call(|stack, now, d| stack.leave_source_group(now, d, group, source, iface))
    }

    /// MCAST_JOIN_SOURCE_GROUP for IPv6.
    pub fn join_ssm_v6(&self, source: &Ipv6Addr, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V6(*group), IpAddr::V6(*source), named(interface));
        self.socket.call(|stack, now, d| stack.join_source_group(now, d, group, source, iface))
    }

    /// MCAST_LEAVE_SOURCE_GROUP for IPv6.
    pub fn leave_ssm_v6(&self, source: &Ipv6Addr, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V6(*group), IpAddr::V6(*source), named(interface));
        self.socket.call(|stack, now, d| stack.leave_source_group(now, d, group, source, iface))
    }

    /// IP_MULTICAST_LOOP: whether members on this host receive what the socket sends to groups.
    pub fn set_multicast_loop_v4(&self, loops: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastLoop(loops))
    }

    /// IP_MULTICAST_LOOP.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        Ok(self.multicast()?.loops)
    }

    /// IP_MULTICAST_TTL, 0 to 255. 1, the default, keeps datagrams on the link, 0 on this host.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastTtl(byte(ttl)?))
    }

    /// IP_MULTICAST_TTL.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        Ok(self.multicast()?.ttl.into())
    }

    /// IP_MULTICAST_IF: the interface that datagrams to groups leave through, by its address.
    pub fn set_multicast_if_v4(&self, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastInterface((*interface).into()))
    }

    /// IP_MULTICAST_ALL: whether the socket receives datagrams to every group of this host, whoever
    /// joined it.
    pub fn set_multicast_all_v4(&self, all: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastAll(all))
    }

    /// IPV6_MULTICAST_LOOP.
    pub fn set_multicast_loop_v6(&self, loops: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastLoopV6(loops))
    }

    /// IPV6_MULTICAST_LOOP.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        Ok(self.multicast()?.loops_v6)
    }

    /// IPV6_MULTICAST_HOPS, 0 to 255.
    pub fn set_multicast_hops_v6(&self, hops: u32) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastHopsV6(byte(hops)?))
    }

    /// IPV6_MULTICAST_HOPS.
    pub fn multicast_hops_v6(&self) -> io::Result<u32> {
        Ok(self.multicast()?.hops_v6.into())
    }

    /// IPV6_MULTICAST_IF, by the scope id of the interface.
    pub fn set_multicast_if_v6(&self, interface: u32) -> io::Result<()> {
        let iface = match named(interface) {
            MulticastInterface::Id(iface) => Some(iface),
            _ => None,
        };
        self.socket.set_option(SocketOption::MulticastInterfaceV6(iface))
    }

    /// IPV6_MULTICAST_ALL.
    pub fn set_multicast_all_v6(&self, all: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastAllV6(all))
    }

    fn multicast(&self) -> io::Result<MulticastOptions> {
        Ok(self.socket.options()?.multicast())
    }
}

/// The interface with this scope id. One that cannot exist is an interface that the stack does not
/// have.
fn named(scope_id: u32) -> MulticastInterface {
    match scope_id {
        0 => MulticastInterface::Any,
        id => InterfaceId::from_index(u16::try_from(id - 1).unwrap_or(u16::MAX)).into(),
    }
}

fn byte(number: u32) -> io::Result<u8> {
    u8::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}
