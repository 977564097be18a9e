//! IPPROTO_IPV6: ipv6(7).

use super::ip::{in_network_order, mtu_discover, mtu_mode, path_mtu, ttl_of, unicast_interface};
use super::multicast;
use super::raw::{CHECKSUM, raw_options};
use super::row::{Get, Level, Row, Set, ask_for, asks_for, in_range, read_int};
use crate::socket::kind::Domain;
use crate::socket::options::{ControlData, SocketOption};

pub(super) const LEVEL: Level = Level {
    number: 41,
    rows: ROWS,
    applies: |socket| socket.domain == Domain::V6,
    read_int,
    checks_length_first: false,
    returns_bytes: false,
};

const ROWS: &[Row] = &[
    CHECKSUM,
    Row::int(
        16,
        "IPV6_UNICAST_HOPS",
        |_, hops| match hops {
            -1 => Ok(Some(SocketOption::ResetTtl)),
            _ => ttl_of(hops).map(Some),
        },
        |target| Ok(target.socket.options.ip.ttl.unwrap_or(target.config.ip.hop_limit).into()),
    ),
    multicast::INTERFACE_V6,
    multicast::HOPS,
    multicast::LOOP_V6,
    multicast::row(20, "IPV6_JOIN_GROUP", multicast::join_v6),
    multicast::row(21, "IPV6_LEAVE_GROUP", multicast::leave_v6),
    Row::int(23, "IPV6_MTU_DISCOVER", |_, mode| mtu_discover(mode, 0), |target| Ok(mtu_mode(target))),
    Row::read_only(24, "IPV6_MTU", Get::Int(path_mtu)),
    Row::int(
        25,
        "IPV6_RECVERR",
        |_, on| Ok(Some(SocketOption::ReceiveErrors(on != 0))),
        |target| Ok(target.socket.options.ip.receive_errors.into()),
    ),
    Row::int(
        26,
        "IPV6_V6ONLY",
        |_, on| Ok(Some(SocketOption::V6Only(on != 0))),
        |target| Ok(target.socket.options.ip.v6_only.into()),
    ),
    multicast::ALL_V6,
    Row::new(
        36,
        "IPV6_HDRINCL",
        Set::Bytes(|target, value| {
            raw_options(target)?;
            Ok(Some(SocketOption::HeaderIncluded(read_int(value)? != 0)))
        }),
        Get::Int(|target| Ok(raw_options(target)?.header_included.into())),
    ),
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
    Row::int(
        49,
        "IPV6_RECVPKTINFO",
        |_, on| ask_for(ControlData::PacketInfoV6, on),
        |target| asks_for(target, ControlData::PacketInfoV6),
    ),
    Row::int(
        51,
        "IPV6_RECVHOPLIMIT",
        |_, on| ask_for(ControlData::HopLimit, on),
        |target| asks_for(target, ControlData::HopLimit),
    ),
    Row::new(
        62,
        "IPV6_DONTFRAG",
        // As on Linux a value that is too short stands for 0.
        Set::Bytes(|_, value| Ok(Some(SocketOption::DontFragment(read_int(value).unwrap_or(0) != 0)))),
        Get::Int(|target| Ok(target.socket.options.ip.dont_fragment.into())),
    ),
    Row::int(
        66,
        "IPV6_RECVTCLASS",
        |_, on| ask_for(ControlData::TrafficClass, on),
        |target| asks_for(target, ControlData::TrafficClass),
    ),
    Row::int(
        67,
        "IPV6_TCLASS",
        |_, class| Ok(Some(SocketOption::Tos(in_range(class, -1, 255)?.max(0) as u8))),
        |target| Ok(target.socket.options.ip.tos.into()),
    ),
    Row::int(
        73,
        "IPV6_MINHOPCOUNT",
        |_, hops| Ok(Some(SocketOption::MinHopCount(in_range(hops, 0, 255)? as u8))),
        |target| Ok(target.socket.options.ip.min_hop_count.into()),
    ),
    Row::int(
        74,
        "IPV6_RECVORIGDSTADDR",
        |_, on| ask_for(ControlData::OriginalDestinationV6, on),
        |target| asks_for(target, ControlData::OriginalDestinationV6),
    ),
    Row::new(
        76,
        "IPV6_UNICAST_IF",
        Set::Bytes(|target, value| {
            Ok(Some(SocketOption::UnicastInterfaceV6(unicast_interface(target, value)?)))
        }),
        Get::Int(|target| Ok(in_network_order(target.socket.options.ip.unicast_interface_v6))),
    ),
    Row::int(
        78,
        "IPV6_FREEBIND",
        |_, on| Ok(Some(SocketOption::FreeBind(on != 0))),
        |target| Ok(target.socket.options.ip.free_bind.into()),
    ),
];
