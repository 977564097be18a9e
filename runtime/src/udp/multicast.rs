//! Multicast on UDP sockets, under the names of `std::net` and socket2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan::{InterfaceId, MulticastInterface, MulticastOptions, SocketOption, SourceFilter};

use super::UdpSocket;

/// Multicast. An interface of IPv4 is named by its address, 0.0.0.0 for the one with a route to the
/// group; an interface of IPv6 by its scope id ([`InterfaceId::scope_id`]), 0 for any.
///
/// ```
/// use std::net::Ipv4Addr;
///
/// use portolan_runtime::{Builder, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// let (group, any) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::UNSPECIFIED);
/// let member = UdpSocket::bind(&b, (group, 5000))?;
/// member.join_multicast_v4(&group, &any)?;
///
/// // Whoever sends need not join.
/// let sender = UdpSocket::bind(&a, (any, 0))?;
/// sender.send_to(b"to all members", (group, 5000))?;
/// let mut buf = [0; 100];
/// let (len, from) = member.recv_from(&mut buf)?;
/// assert_eq!((&buf[..len], from), (&b"to all members"[..], ([10, 0, 0, 1], sender.local_addr()?.port()).into()));
/// member.leave_multicast_v4(&group, &any)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// IP_BLOCK_SOURCE: no longer receives what this source sends to a group that was joined.
    pub fn block_source_v4(
        &self,
        source: &Ipv4Addr,
        group: &Ipv4Addr,
        interface: &Ipv4Addr,
    ) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V4(*group), IpAddr::V4(*source), *interface);
        self.socket.call(|stack, now, d| stack.block_source(now, d, group, source, iface))
    }

    /// IP_UNBLOCK_SOURCE.
    pub fn unblock_source_v4(
        &self,
        source: &Ipv4Addr,
        group: &Ipv4Addr,
        interface: &Ipv4Addr,
    ) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V4(*group), IpAddr::V4(*source), *interface);
        self.socket.call(|stack, now, d| stack.unblock_source(now, d, group, source, iface))
    }

    /// MCAST_BLOCK_SOURCE for IPv6.
    pub fn block_source_v6(&self, source: &Ipv6Addr, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V6(*group), IpAddr::V6(*source), named(interface));
        self.socket.call(|stack, now, d| stack.block_source(now, d, group, source, iface))
    }

    /// MCAST_UNBLOCK_SOURCE for IPv6.
    pub fn unblock_source_v6(&self, source: &Ipv6Addr, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let (group, source, iface) = (IpAddr::V6(*group), IpAddr::V6(*source), named(interface));
        self.socket.call(|stack, now, d| stack.unblock_source(now, d, group, source, iface))
    }

    /// MCAST_MSFILTER: replaces the filter of a membership, of either family.
    pub fn set_source_filter(
        &self,
        group: IpAddr,
        interface: impl Into<MulticastInterface>,
        filter: &SourceFilter,
    ) -> io::Result<()> {
        let iface = interface.into();
        self.socket.call(|stack, now, d| stack.set_source_filter(now, d, group, iface, filter))
    }

    /// MCAST_MSFILTER: the filter of a membership.
    pub fn source_filter(
        &self,
        group: IpAddr,
        interface: impl Into<MulticastInterface>,
    ) -> io::Result<SourceFilter> {
        let iface = interface.into();
        self.socket.call(|stack, _, d| stack.source_filter(d, group, iface))
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

    /// IP_MULTICAST_IF: the address that was set; 0.0.0.0 if none was.
    pub fn multicast_if_v4(&self) -> io::Result<Ipv4Addr> {
        Ok(self.multicast()?.source.unwrap_or(Ipv4Addr::UNSPECIFIED))
    }

    /// IP_MULTICAST_ALL: whether the socket receives datagrams to every group of this host, whoever
    /// joined it.
    pub fn set_multicast_all_v4(&self, all: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastAll(all))
    }

    /// IP_MULTICAST_ALL. By default on for an IPv4 socket, and off for an IPv6 socket.
    pub fn multicast_all_v4(&self) -> io::Result<bool> {
        let default = self.socket.local_addr()?.is_ipv4();
        Ok(self.multicast()?.all.unwrap_or(default))
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

    /// IPV6_MULTICAST_IF: the scope id that was set; 0 if none was.
    pub fn multicast_if_v6(&self) -> io::Result<u32> {
        Ok(self.multicast()?.interface_v6.map_or(0, InterfaceId::scope_id))
    }

    /// IPV6_MULTICAST_ALL.
    pub fn set_multicast_all_v6(&self, all: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::MulticastAllV6(all))
    }

    /// IPV6_MULTICAST_ALL.
    pub fn multicast_all_v6(&self) -> io::Result<bool> {
        Ok(self.multicast()?.all_v6)
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
