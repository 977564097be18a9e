//! IPPROTO_IP: ip(7). Sockets of IPv6 have these options, too, for packets of IPv4.

use super::multicast::{self, int_or_byte};
use super::raw::{is_raw, raw_options};
use super::row::{Change, Get, Level, OptionTarget, Row, Set, ask_for, asks_for, in_range, saturated};
use crate::error::{Error, Result};
use crate::network::InterfaceId;
use crate::socket::kind::Domain;
use crate::socket::options::{ControlData, MtuDiscover, SocketOption};
use crate::socket::scope::{iface_of, scope_id};

pub(super) const LEVEL: Level = Level {
    number: 0,
    rows: ROWS,
    applies: |socket| socket.domain == Domain::V4 || !is_raw(socket),
    read_int: read_int_or_byte,
    checks_length_first: false,
    returns_bytes: true,
};

const ROWS: &[Row] = &[
    Row::int(
        1,
        "IP_TOS",
        // Linux keeps the low byte of the number.
        |_, tos| Ok(Some(SocketOption::Tos(tos as u8))),
        |target| Ok(target.socket.options.ip.tos.into()),
    ),
    Row::int(
        2,
        "IP_TTL",
        |_, ttl| match ttl {
            -1 => Ok(Some(SocketOption::ResetTtl)),
            _ => ttl_of(ttl).map(Some),
        },
        |target| Ok(target.socket.options.ip.ttl.unwrap_or(target.config.ip.hop_limit).into()),
    ),
    Row::int(
        3,
        "IP_HDRINCL",
        |_, on| Ok(Some(SocketOption::HeaderIncluded(on != 0))),
        |target| Ok(raw_options(target).is_ok_and(|raw| raw.header_included).into()),
    ),
    Row::int(
        8,
        "IP_PKTINFO",
        |_, on| ask_for(ControlData::PacketInfo, on),
        |target| asks_for(target, ControlData::PacketInfo),
    ),
    Row::int(10, "IP_MTU_DISCOVER", |_, mode| mtu_discover(mode, 0), |target| Ok(mtu_mode(target))),
    Row::int(
        11,
        "IP_RECVERR",
        |_, on| Ok(Some(SocketOption::ReceiveErrors(on != 0))),
        |target| Ok(target.socket.options.ip.receive_errors.into()),
    ),
    Row::int(
        12,
        "IP_RECVTTL",
        |_, on| ask_for(ControlData::Ttl, on),
        |target| asks_for(target, ControlData::Ttl),
    ),
    Row::int(
        13,
        "IP_RECVTOS",
        |_, on| ask_for(ControlData::Tos, on),
        |target| asks_for(target, ControlData::Tos),
    ),
    Row::read_only(14, "IP_MTU", Get::Int(path_mtu)),
    Row::new(
        15,
        "IP_FREEBIND",
        Set::Bytes(|_, value| Ok(Some(SocketOption::FreeBind(int_or_byte(value)? != 0)))),
        Get::Int(|target| Ok(target.socket.options.ip.free_bind.into())),
    ),
    Row::int(
        20,
        "IP_RECVORIGDSTADDR",
        |_, on| ask_for(ControlData::OriginalDestination, on),
        |target| asks_for(target, ControlData::OriginalDestination),
    ),
    Row::new(
        21,
        "IP_MINTTL",
        Set::Bytes(|_, value| Ok(Some(SocketOption::MinTtl(in_range(int_or_byte(value)?, 0, 255)? as u8)))),
        Get::Int(|target| Ok(target.socket.options.ip.min_ttl.into())),
    ),
    Row::int(
        24,
        "IP_BIND_ADDRESS_NO_PORT",
        |_, on| Ok(Some(SocketOption::BindAddressNoPort(on != 0))),
        |target| Ok(target.socket.options.ip.bind_address_no_port.into()),
    ),
    multicast::INTERFACE,
    multicast::TTL,
    multicast::LOOP,
    multicast::row(35, "IP_ADD_MEMBERSHIP", multicast::add_membership),
    multicast::row(36, "IP_DROP_MEMBERSHIP", multicast::drop_membership),
    multicast::row(37, "IP_UNBLOCK_SOURCE", multicast::unblock_source),
    multicast::row(38, "IP_BLOCK_SOURCE", multicast::block_source),
    multicast::row(39, "IP_ADD_SOURCE_MEMBERSHIP", multicast::add_source_membership),
    multicast::row(40, "IP_DROP_SOURCE_MEMBERSHIP", multicast::drop_source_membership),
    Row::new(41, "IP_MSFILTER", Set::Call(multicast::set_filter), Get::Call(multicast::filter)),
    multicast::row(42, "MCAST_JOIN_GROUP", multicast::join_group),
    multicast::row(43, "MCAST_BLOCK_SOURCE", multicast::block_group_source),
    multicast::row(44, "MCAST_UNBLOCK_SOURCE", multicast::unblock_group_source),
    multicast::row(45, "MCAST_LEAVE_GROUP", multicast::leave_group),
    multicast::row(46, "MCAST_JOIN_SOURCE_GROUP", multicast::join_source_group),
    multicast::row(47, "MCAST_LEAVE_SOURCE_GROUP", multicast::leave_source_group),
    Row::new(
        48,
        "MCAST_MSFILTER",
        Set::Call(multicast::set_group_filter),
        Get::Call(multicast::group_filter),
    ),
    multicast::ALL,
    Row::new(
        50,
        "IP_UNICAST_IF",
        Set::Bytes(|target, value| {
            Ok(Some(SocketOption::UnicastInterface(unicast_interface(target, value)?)))
        }),
        Get::Int(|target| Ok(in_network_order(target.socket.options.ip.unicast_interface))),
    ),
    Row::new(
        51,
        "IP_LOCAL_PORT_RANGE",
        Set::Bytes(|_, value| {
            let bytes: [u8; 4] = value.try_into().map_err(|_| Error::InvalidArgument)?;
            let range = u32::from_ne_bytes(bytes);
            Ok(Some(SocketOption::LocalPortRange(range as u16, (range >> 16) as u16)))
        }),
        Get::Int(|target| {
            let (low, high) = target.socket.options.ip.local_port_range;
            Ok((u32::from(high) << 16 | u32::from(low)).cast_signed())
        }),
    ),
];

/// The modes in the order of Linux's numbers.
const MODES: [MtuDiscover; 6] = [
    MtuDiscover::Dont,
    MtuDiscover::Want,
    MtuDiscover::Do,
    MtuDiscover::Probe,
    MtuDiscover::Interface,
    MtuDiscover::Omit,
];

/// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER. EINVAL for a number that is not `least` or more.
pub(super) fn mtu_discover(mode: i32, least: i32) -> Result<Change> {
    let mode = usize::try_from(in_range(mode, least, 5)?).ok().and_then(|mode| MODES.get(mode));
    mode.map(|&mode| Some(SocketOption::MtuDiscover(mode))).ok_or(Error::InvalidArgument)
}

pub(super) fn mtu_mode(target: &OptionTarget<'_>) -> i32 {
    let own = target.socket.options.ip.mtu_discover;
    MODES.iter().position(|&mode| mode == own).map_or(0, saturated)
}

/// IP_MTU and IPV6_MTU: the path MTU to the peer. ENOTCONN.
pub(super) fn path_mtu(target: &OptionTarget<'_>) -> Result<i32> {
    let flow = target.socket.peer_flow()?;
    Ok(saturated(target.network.path_mtu(target.now, flow.remote.addr, iface_of(flow.scope))))
}

/// IP_UNICAST_IF and IPV6_UNICAST_IF, whose value is an index in network order. EINVAL for another
/// length, EADDRNOTAVAIL.
pub(super) fn unicast_interface(target: &OptionTarget<'_>, value: &[u8]) -> Result<Option<InterfaceId>> {
    let bytes: [u8; 4] = value.try_into().map_err(|_| Error::InvalidArgument)?;
    let index = u32::from_be_bytes(bytes);
    if index == 0 {
        return Ok(None);
    }
    let iface = u16::try_from(index).ok().and_then(iface_of);
    let iface = iface.filter(|&iface| target.network.interface_name(iface).is_some());
    iface.map(Some).ok_or(Error::AddressNotAvailable)
}

pub(super) fn in_network_order(iface: Option<InterfaceId>) -> i32 {
    u32::from(iface.map_or(0, scope_id)).to_be().cast_signed()
}

/// An int, a byte, or nothing, which is 0.
fn read_int_or_byte(value: &[u8]) -> Result<i32> {
    Ok(match (value.first_chunk(), value.first()) {
        (Some(&int), _) => i32::from_ne_bytes(int),
        (None, Some(&byte)) => byte.into(),
        (None, None) => 0,
    })
}

pub(super) fn ttl_of(ttl: i32) -> Result<SocketOption> {
    u8::try_from(ttl).map(SocketOption::Ttl).map_err(|_| Error::InvalidArgument)
}
