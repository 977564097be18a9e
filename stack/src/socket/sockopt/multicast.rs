//! The options of multicast, at the levels IPPROTO_IP and IPPROTO_IPV6.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::row::{Get, OptionTarget, Row, Set, SetCall, in_range, read_int};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::multicast::{FilterMode, MulticastInterface, SourceFilter};
use crate::socket::common::Env;
use crate::socket::groups::GroupChange;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::options::SocketOption;
use crate::socket::protocol::ProtocolCalls;
use crate::socket::scope::{iface_of, scope_id};

pub(super) const INTERFACE: Row = Row::new(
    32,
    "IP_MULTICAST_IF",
    Set::Bytes(|target, value| {
        if target.socket.kind == SocketKind::Stream {
            return Err(Error::InvalidArgument);
        }
        // `struct ip_mreqn`, `struct ip_mreq` or `struct in_addr`.
        let addr_at = if value.len() >= 8 { 4 } else { 0 };
        let addr = v4_at(value, addr_at)?;
        let iface = if value.len() >= 12 { interface_at(value, 8)? } else { MulticastInterface::Any };
        let named = if iface == MulticastInterface::Any { addr.into() } else { iface };
        Ok(Some(SocketOption::MulticastInterface(named)))
    }),
    Get::Bytes(|target, _| {
        let source = target.socket.options.multicast().source;
        Ok(source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec())
    }),
);

pub(super) const TTL: Row = Row::new(
    33,
    "IP_MULTICAST_TTL",
    Set::Bytes(|target, value| {
        if target.socket.kind == SocketKind::Stream {
            return Err(Error::InvalidArgument);
        }
        let ttl = match int_or_byte(value)? {
            -1 => 1,
            ttl => in_range(ttl, 0, 255)?,
        };
        Ok(Some(SocketOption::MulticastTtl(ttl as u8)))
    }),
    Get::Int(|target| Ok(target.socket.options.multicast().ttl.into())),
);

pub(super) const LOOP: Row = Row::new(
    34,
    "IP_MULTICAST_LOOP",
    Set::Bytes(|_, value| Ok(Some(SocketOption::MulticastLoop(int_or_byte(value)? != 0)))),
    Get::Int(|target| Ok(target.socket.options.multicast().loops.into())),
);

pub(super) const ALL: Row = Row::new(
    49,
    "IP_MULTICAST_ALL",
    Set::Bytes(|_, value| Ok(Some(SocketOption::MulticastAll(in_range(int_or_byte(value)?, 0, 1)? == 1)))),
    Get::Int(|target| Ok(target.socket.takes_all(true).into())),
);

pub(super) const INTERFACE_V6: Row = Row::new(
    17,
    "IPV6_MULTICAST_IF",
    Set::Bytes(|target, value| match int_of_datagrams(target, value)? {
        0 => Ok(Some(SocketOption::MulticastInterfaceV6(None))),
        index => {
            let iface = u16::try_from(index).ok().and_then(iface_of).ok_or(Error::NoDevice)?;
            Ok(Some(SocketOption::MulticastInterfaceV6(Some(iface))))
        }
    }),
    Get::Int(|target| {
        Ok(target.socket.options.multicast().interface_v6.map_or(0, |iface| scope_id(iface).into()))
    }),
);

pub(super) const HOPS: Row = Row::new(
    18,
    "IPV6_MULTICAST_HOPS",
    Set::Bytes(|target, value| match int_of_datagrams(target, value)? {
        -1 => Ok(Some(SocketOption::MulticastHopsV6(1))),
        hops => Ok(Some(SocketOption::MulticastHopsV6(in_range(hops, 0, 255)? as u8))),
    }),
    Get::Int(|target| Ok(target.socket.options.multicast().hops_v6.into())),
);

pub(super) const LOOP_V6: Row = Row::int(
    19,
    "IPV6_MULTICAST_LOOP",
    |_, on| Ok(Some(SocketOption::MulticastLoopV6(in_range(on, 0, 1)? == 1))),
    |target| Ok(target.socket.options.multicast().loops_v6.into()),
);

pub(super) const ALL_V6: Row = Row::int(
    29,
    "IPV6_MULTICAST_ALL",
    |_, on| Ok(Some(SocketOption::MulticastAllV6(on != 0))),
    |target| Ok(target.socket.options.multicast().all_v6.into()),
);

/// An option that changes a membership.
pub(super) const fn row(number: i32, name: &'static str, call: SetCall) -> Row {
    Row::new(number, name, Set::Call(call), Get::Never)
}

/// An int, for a socket that is not a stream. ENOPROTOOPT for a stream, EINVAL.
fn int_of_datagrams(target: &OptionTarget<'_>, value: &[u8]) -> Result<i32> {
    match target.socket.kind {
        SocketKind::Stream => Err(Error::ProtocolNotAvailable),
        _ => read_int(value),
    }
}

/// An int, or a byte. EINVAL for nothing.
pub(super) fn int_or_byte(value: &[u8]) -> Result<i32> {
    match (value.first_chunk(), value.first()) {
        (Some(&int), _) => Ok(i32::from_ne_bytes(int)),
        (None, Some(&byte)) => Ok(byte.into()),
        (None, None) => Err(Error::InvalidArgument),
    }
}

/// The IPv4 address at this offset. EINVAL if the value is too short.
fn v4_at(value: &[u8], at: usize) -> Result<Ipv4Addr> {
    let octets: &[u8; 4] =
        value.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::InvalidArgument)?;
    Ok(Ipv4Addr::from(*octets))
}

/// The interface whose index is at this offset; 0 stands for any. ENODEV for one that no stack has,
/// EINVAL if the value is too short.
fn interface_at(value: &[u8], at: usize) -> Result<MulticastInterface> {
    match read_int(value.get(at..).unwrap_or_default())? {
        0 => Ok(MulticastInterface::Any),
        index => {
            let iface = u16::try_from(index).ok().and_then(iface_of).unwrap_or(NONE);
            Ok(MulticastInterface::Id(iface))
        }
    }
}

/// An interface that no stack has: interfaces have lower numbers than the loopback.
const NONE: InterfaceId = InterfaceId(u16::MAX);

/// The parts of a call about a membership.
struct Request {
    group: IpAddr,
    iface: MulticastInterface,
}

type RoomCalls<'a> = &'a mut dyn ProtocolCalls;

fn change(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    request: &Request,
    change: GroupChange<'_>,
) -> Result<()> {
    kind.change_groups(env, id, request.group, request.iface, change)
}

/// EPROTO for a stream, before the value is looked at.
fn check_kind(env: &Env<'_>, id: SocketId) -> Result<()> {
    match env.common.record(id)?.kind {
        SocketKind::Stream => Err(Error::ProtocolError),
        _ => Ok(()),
    }
}

/// `struct ip_mreq` or `struct ip_mreqn`.
fn ip_mreq(value: &[u8]) -> Result<Request> {
    let (group, addr) = (v4_at(value, 0)?, v4_at(value, 4)?);
    let iface = if value.len() >= 12 { interface_at(value, 8)? } else { MulticastInterface::Any };
    let iface = if iface == MulticastInterface::Any { addr.into() } else { iface };
    Ok(Request { group: group.into(), iface })
}

pub(super) fn add_membership(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    check_kind(env, id)?;
    change(kind, env, id, &ip_mreq(value)?, GroupChange::Join)
}

pub(super) fn drop_membership(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    check_kind(env, id)?;
    change(kind, env, id, &ip_mreq(value)?, GroupChange::Leave)
}

/// `struct ip_mreq_source`: group, interface, source. EINVAL for another length.
fn ip_mreq_source(value: &[u8]) -> Result<(Request, IpAddr)> {
    if value.len() != 12 {
        return Err(Error::InvalidArgument);
    }
    let source = v4_at(value, 8)?.into();
    let (group, iface) = (v4_at(value, 0)?.into(), v4_at(value, 4)?.into());
    Ok((Request { group, iface }, source))
}

pub(super) fn block_source(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    let (request, source) = ip_mreq_source(value)?;
    change(kind, env, id, &request, GroupChange::Block(source))
}

pub(super) fn unblock_source(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = ip_mreq_source(value)?;
    change(kind, env, id, &request, GroupChange::Unblock(source))
}

pub(super) fn add_source_membership(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = ip_mreq_source(value)?;
    change(kind, env, id, &request, GroupChange::JoinSource(source))
}

pub(super) fn drop_source_membership(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = ip_mreq_source(value)?;
    change(kind, env, id, &request, GroupChange::LeaveSource(source))
}

/// `struct ipv6_mreq`: group and interface. EINVAL for a shorter value.
fn ipv6_mreq(value: &[u8]) -> Result<Request> {
    let octets: &[u8; 16] = value.first_chunk().ok_or(Error::InvalidArgument)?;
    Ok(Request { group: Ipv6Addr::from(*octets).into(), iface: interface_at(value, 16)? })
}

pub(super) fn join_v6(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    change(kind, env, id, &ipv6_mreq(value)?, GroupChange::Join)
}

pub(super) fn leave_v6(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    change(kind, env, id, &ipv6_mreq(value)?, GroupChange::Leave)
}

/// The length of Linux's `struct sockaddr_storage`.
const STORAGE_BYTES: usize = 128;
/// Where the first address is in `struct group_req`, `group_source_req` and `group_filter`.
const GROUP_AT: usize = 8;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The address of a `struct sockaddr_storage`; `None` for another family.
fn storage_at(value: &[u8], at: usize) -> Option<IpAddr> {
    let storage = value.get(at..at + STORAGE_BYTES)?;
    match u16::from_ne_bytes(*storage.first_chunk()?) {
        AF_INET => v4_at(storage, 4).ok().map(IpAddr::V4),
        AF_INET6 => {
            let octets: &[u8; 16] = storage.get(8..)?.first_chunk()?;
            Some(Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

/// `struct group_req`. EINVAL for a shorter value; for an address that is not of the level EINVAL
/// (IPv4) or EADDRNOTAVAIL (IPv6).
fn group_req(env: &Env<'_>, id: SocketId, value: &[u8]) -> Result<Request> {
    if value.len() < GROUP_AT + STORAGE_BYTES {
        return Err(Error::InvalidArgument);
    }
    let is_v6 = env.common.record(id)?.domain == Domain::V6;
    let other = if is_v6 { Error::AddressNotAvailable } else { Error::InvalidArgument };
    let group = storage_at(value, GROUP_AT).filter(|group| is_v6 || group.is_ipv4()).ok_or(other)?;
    Ok(Request { group, iface: interface_at(value, 0)? })
}

pub(super) fn join_group(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    let request = group_req(env, id, value)?;
    change(kind, env, id, &request, GroupChange::Join)
}

pub(super) fn leave_group(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    let request = group_req(env, id, value)?;
    change(kind, env, id, &request, GroupChange::Leave)
}

/// `struct group_source_req`. EINVAL for another length, EADDRNOTAVAIL for another family.
fn group_source_req(value: &[u8]) -> Result<(Request, IpAddr)> {
    if value.len() != GROUP_AT + 2 * STORAGE_BYTES {
        return Err(Error::InvalidArgument);
    }
    let source_at = GROUP_AT + STORAGE_BYTES;
    let addrs = storage_at(value, GROUP_AT).zip(storage_at(value, source_at));
    let (group, source) = addrs.ok_or(Error::AddressNotAvailable)?;
    Ok((Request { group, iface: interface_at(value, 0)? }, source))
}

pub(super) fn block_group_source(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = group_source_req(value)?;
    change(kind, env, id, &request, GroupChange::Block(source))
}

pub(super) fn unblock_group_source(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = group_source_req(value)?;
    change(kind, env, id, &request, GroupChange::Unblock(source))
}

pub(super) fn join_source_group(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = group_source_req(value)?;
    change(kind, env, id, &request, GroupChange::JoinSource(source))
}

pub(super) fn leave_source_group(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let (request, source) = group_source_req(value)?;
    change(kind, env, id, &request, GroupChange::LeaveSource(source))
}

/// MCAST_INCLUDE and MCAST_EXCLUDE. EINVAL.
fn filter_mode(number: i32) -> Result<FilterMode> {
    match number {
        0 => Ok(FilterMode::Exclude),
        1 => Ok(FilterMode::Include),
        _ => Err(Error::InvalidArgument),
    }
}

fn number_of(mode: FilterMode) -> u32 {
    match mode {
        FilterMode::Exclude => 0,
        FilterMode::Include => 1,
    }
}

/// `struct ip_msfilter`: group, interface, mode, the number of sources, and the sources. ENOBUFS
/// for too many, EINVAL for a value that is too short.
pub(super) fn set_filter(kind: RoomCalls<'_>, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    let count = read_int(value.get(12..).unwrap_or_default())?.cast_unsigned() as usize;
    if count > env.ctx.config.multicast.max_sources_v4 {
        return Err(Error::NoBufferSpace);
    }
    let sources = value.get(16..).unwrap_or_default().chunks_exact(4).take(count);
    if sources.len() < count {
        return Err(Error::InvalidArgument);
    }
    let sources = sources.filter_map(|source| v4_at(source, 0).ok().map(IpAddr::V4)).collect();
    let filter = SourceFilter::new(filter_mode(read_int(&value[8..])?)?, sources);
    let request = Request { group: v4_at(value, 0)?.into(), iface: v4_at(value, 4)?.into() };
    change(kind, env, id, &request, GroupChange::SetFilter(&filter))
}

/// Like [`set_filter`]. Writes as many sources as fit after the number of all of them.
pub(super) fn filter(env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
    const SOURCES_AT: usize = 16;
    if buf.len() < SOURCES_AT {
        return Err(Error::InvalidArgument);
    }
    let filter = env.source_filter(id, v4_at(buf, 0)?.into(), v4_at(buf, 4)?.into())?;
    let v4 = |source: &IpAddr| match source {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    };
    let sources: Vec<[u8; 4]> = filter.sources.iter().filter_map(v4).collect();
    buf[8..12].copy_from_slice(&number_of(filter.mode).to_ne_bytes());
    buf[12..16].copy_from_slice(&(sources.len() as u32).to_ne_bytes());
    Ok(SOURCES_AT + fill(&mut buf[SOURCES_AT..], sources.iter().map(|source| &source[..])))
}

/// Writes as many of the pieces as fit, and returns their length.
fn fill<'a>(mut buf: &mut [u8], pieces: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut len = 0;
    for piece in pieces {
        let Some((place, rest)) = buf.split_at_mut_checked(piece.len()) else { break };
        place.copy_from_slice(piece);
        len += piece.len();
        buf = rest;
    }
    len
}

/// Where the list begins in `struct group_filter`: interface, group, mode, number of sources.
const LIST_AT: usize = GROUP_AT + STORAGE_BYTES + 8;

/// `struct group_filter`. ENOBUFS for too many sources, EINVAL for a value that is too short,
/// EADDRNOTAVAIL for another family.
pub(super) fn set_group_filter(
    kind: RoomCalls<'_>,
    env: &mut Env<'_>,
    id: SocketId,
    value: &[u8],
) -> Result<()> {
    let head = value.get(..LIST_AT).ok_or(Error::InvalidArgument)?;
    let count = read_int(&head[LIST_AT - 4..])?.cast_unsigned() as usize;
    let limits = &env.ctx.config.multicast;
    if count > limits.max_sources_v4.max(limits.max_sources_v6) {
        return Err(Error::NoBufferSpace);
    }
    let list = value[LIST_AT..].chunks_exact(STORAGE_BYTES).take(count);
    if list.len() < count {
        return Err(Error::InvalidArgument);
    }
    let group = storage_at(head, GROUP_AT).ok_or(Error::AddressNotAvailable)?;
    let sources: Option<Vec<IpAddr>> = list.map(|storage| storage_at(storage, 0)).collect();
    let sources = sources.ok_or(Error::AddressNotAvailable)?;
    let filter = SourceFilter::new(filter_mode(read_int(&head[LIST_AT - 8..])?)?, sources);
    let request = Request { group, iface: interface_at(head, 0)? };
    change(kind, env, id, &request, GroupChange::SetFilter(&filter))
}

/// Like [`set_group_filter`]. Writes as many sources as fit after the number of all of them.
pub(super) fn group_filter(env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
    if buf.len() < LIST_AT {
        return Err(Error::InvalidArgument);
    }
    let group = storage_at(buf, GROUP_AT).ok_or(Error::AddressNotAvailable)?;
    let filter = env.source_filter(id, group, interface_at(buf, 0)?)?;
    buf[LIST_AT - 8..LIST_AT - 4].copy_from_slice(&number_of(filter.mode).to_ne_bytes());
    buf[LIST_AT - 4..LIST_AT].copy_from_slice(&(filter.sources.len() as u32).to_ne_bytes());
    let sources: Vec<[u8; STORAGE_BYTES]> = filter.sources.iter().copied().map(storage_of).collect();
    Ok(LIST_AT + fill(&mut buf[LIST_AT..], sources.iter().map(|source| &source[..])))
}

fn storage_of(addr: IpAddr) -> [u8; STORAGE_BYTES] {
    let mut storage = [0; STORAGE_BYTES];
    match addr {
        IpAddr::V4(v4) => {
            storage[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            storage[4..8].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            storage[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            storage[8..24].copy_from_slice(&v6.octets());
        }
    }
    storage
}
