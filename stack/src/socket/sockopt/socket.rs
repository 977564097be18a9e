//! SOL_SOCKET: socket(7).

use alloc::vec::Vec;
use core::time::Duration;

use super::filter;
use super::row::{
    Change, Get, Level, OptionTarget, Row, Set, ask_for, asks_for, name_of, read_int, saturated, words,
};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::socket::address::UnixAddr;
use crate::socket::common::Env;
use crate::socket::credentials::Credentials;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::options::{ControlData, SocketOption};
use crate::socket::packet::LinkHeader;
use crate::socket::protocol::ProtocolCalls;
use crate::socket::scope::{iface_of, scope_id};

pub(super) const LEVEL: Level = Level {
    number: 1,
    rows: ROWS,
    applies: |_| true,
    read_int,
    checks_length_first: true,
    returns_bytes: false,
};

const ROWS: &[Row] = &[
    Row::int(
        2,
        "SO_REUSEADDR",
        |_, on| Ok(Some(SocketOption::ReuseAddr(on != 0))),
        |target| Ok(target.socket.options.reuse_addr.into()),
    ),
    Row::read_only(3, "SO_TYPE", Get::Int(|target| Ok(type_of(target.socket.kind)))),
    Row::read_only(4, "SO_ERROR", Get::PendingError),
    Row::int(
        5,
        "SO_DONTROUTE",
        |_, on| Ok(Some(SocketOption::DontRoute(on != 0))),
        |target| Ok(target.socket.options.dont_route.into()),
    ),
    Row::int(
        6,
        "SO_BROADCAST",
        |_, on| Ok(Some(SocketOption::Broadcast(on != 0))),
        |target| Ok(target.socket.options.broadcast.into()),
    ),
    Row::int(
        7,
        "SO_SNDBUF",
        |_, bytes| Ok(Some(SocketOption::SendBuffer(unsigned(bytes)))),
        |target| Ok(saturated(target.options().send_buffer)),
    ),
    Row::int(
        8,
        "SO_RCVBUF",
        |_, bytes| Ok(Some(SocketOption::ReceiveBuffer(unsigned(bytes)))),
        |target| Ok(saturated(target.options().receive_buffer)),
    ),
    Row::int(
        9,
        "SO_KEEPALIVE",
        |_, on| Ok(Some(SocketOption::KeepAlive(on != 0))),
        |target| Ok(target.socket.options.keepalive.into()),
    ),
    Row::int(
        10,
        "SO_OOBINLINE",
        |_, on| Ok(Some(SocketOption::OobInline(on != 0))),
        |target| Ok(target.socket.options.oob_inline.into()),
    ),
    Row::int(
        11,
        "SO_NO_CHECK",
        |_, on| Ok(Some(SocketOption::NoCheck(on != 0))),
        |target| Ok(target.socket.options.no_check.into()),
    ),
    Row::int(
        12,
        "SO_PRIORITY",
        |_, priority| Ok(Some(SocketOption::Priority(priority.cast_unsigned()))),
        |target| Ok(target.socket.options.priority.cast_signed()),
    ),
    Row::new(13, "SO_LINGER", Set::Bytes(linger), Get::Bytes(|target, _| Ok(linger_of(target)))),
    Row::int(
        15,
        "SO_REUSEPORT",
        |_, on| Ok(Some(SocketOption::ReusePort(on != 0))),
        |target| Ok(target.socket.options.reuse_port.into()),
    ),
    Row::int(
        16,
        "SO_PASSCRED",
        |target, on| target.socket.unix().map(|_| Some(SocketOption::PassCredentials(on != 0))),
        |target| Ok(target.socket.unix()?.passes_credentials.into()),
    ),
    Row::read_only(17, "SO_PEERCRED", Get::Bytes(|target, _| Ok(peer_credentials(target)))),
    Row::int(
        18,
        "SO_RCVLOWAT",
        |_, bytes| Ok(Some(SocketOption::ReceiveLowWater(usize::try_from(bytes).unwrap_or(usize::MAX)))),
        |target| Ok(saturated(target.socket.options.receive_low_water)),
    ),
    Row::read_only(19, "SO_SNDLOWAT", Get::Int(|_| Ok(1))),
    RECEIVE_TIMEOUT,
    SEND_TIMEOUT,
    Row::new(25, "SO_BINDTODEVICE", Set::Bytes(device), Get::Bytes(device_of)),
    Row::new(26, "SO_ATTACH_FILTER", Set::Call(filter::attach), Get::Bytes(filter::attached)),
    Row::new(27, "SO_DETACH_FILTER", Set::Call(filter::detach), Get::Never),
    Row::read_only(28, "SO_PEERNAME", Get::Bytes(peer_name)),
    Row::new(
        29,
        "SO_TIMESTAMP",
        Set::Call(|kind, env, id, value| timestamp(kind, env, id, (ControlData::Timestamp, value))),
        Get::Int(|target| asks_for(target, ControlData::Timestamp)),
    ),
    Row::read_only(30, "SO_ACCEPTCONN", Get::Int(|target| Ok(target.socket.is_listening().into()))),
    Row::new(
        35,
        "SO_TIMESTAMPNS",
        Set::Call(|kind, env, id, value| timestamp(kind, env, id, (ControlData::TimestampNanos, value))),
        Get::Int(|target| asks_for(target, ControlData::TimestampNanos)),
    ),
    Row::int(
        36,
        "SO_MARK",
        |_, mark| Ok(Some(SocketOption::Mark(mark.cast_unsigned()))),
        |target| Ok(target.socket.options.mark.cast_signed()),
    ),
    Row::read_only(38, "SO_PROTOCOL", Get::Int(|target| Ok(protocol_of(target)))),
    Row::read_only(
        39,
        "SO_DOMAIN",
        Get::Int(|target| {
            Ok(match (target.socket.kind, target.socket.domain) {
                (SocketKind::Packet(_), _) => AF_PACKET.into(),
                (_, Domain::V4) => AF_INET.into(),
                (_, Domain::V6) => AF_INET6.into(),
                (_, Domain::Unix) => AF_UNIX.into(),
            })
        }),
    ),
    Row::int(
        40,
        "SO_RXQ_OVFL",
        |_, on| ask_for(ControlData::Drops, on),
        |target| asks_for(target, ControlData::Drops),
    ),
    Row::int(
        42,
        "SO_PEEK_OFF",
        |_, offset| Ok(Some(SocketOption::PeekOffset(offset))),
        |target| {
            let offset = target.socket.options.peek_offset;
            if target.socket.has_peek_offset() { Ok(offset) } else { Err(Error::NotSupported) }
        },
    ),
    Row::int(
        44,
        "SO_LOCK_FILTER",
        |_, on| Ok(Some(SocketOption::LockFilter(on != 0))),
        |target| Ok(target.socket.options.is_filter_locked.into()),
    ),
    Row::new(47, "SO_MAX_PACING_RATE", Set::Bytes(pacing_rate), Get::Bytes(pacing_rate_of)),
    Row::read_only(48, "SO_BPF_EXTENSIONS", Get::Int(|_| Ok(BPF_EXTENSIONS))),
    Row::new(51, "SO_ATTACH_REUSEPORT_CBPF", Set::Call(filter::attach_selector), Get::Never),
    Row::read_only(55, "SO_MEMINFO", Get::Bytes(|target, _| Ok(memory_info(target)))),
    Row::read_only(57, "SO_COOKIE", Get::Bytes(cookie)),
    Row::int(
        62,
        "SO_BINDTOIFINDEX",
        |_, index| match index {
            0 => Ok(Some(SocketOption::BindToDevice(None))),
            index if index < 0 => Err(Error::InvalidArgument),
            index => {
                let scope = u16::try_from(index).map_err(|_| Error::NoDevice)?;
                Ok(Some(SocketOption::BindToDevice(iface_of(scope))))
            }
        },
        |target| Ok(target.socket.device().map_or(0, |device| scope_id(device).into())),
    ),
    Row::new(
        63,
        "SO_TIMESTAMP",
        Set::Call(|kind, env, id, value| timestamp(kind, env, id, (ControlData::TimestampNew, value))),
        Get::Int(|target| asks_for(target, ControlData::TimestampNew)),
    ),
    Row::new(
        64,
        "SO_TIMESTAMPNS",
        Set::Call(|kind, env, id, value| timestamp(kind, env, id, (ControlData::TimestampNanosNew, value))),
        Get::Int(|target| asks_for(target, ControlData::TimestampNanosNew)),
    ),
    Row { number: 66, ..RECEIVE_TIMEOUT },
    Row { number: 67, ..SEND_TIMEOUT },
    Row::new(68, "SO_DETACH_REUSEPORT_BPF", Set::Call(filter::detach_selector), Get::Never),
    Row::new(72, "SO_BUF_LOCK", Set::Call(lock_buffers), Get::Int(|target| Ok(buffer_locks(target)))),
];

const RECEIVE_TIMEOUT: Row = Row::new(
    20,
    "SO_RCVTIMEO",
    Set::Bytes(|_, value| Ok(Some(SocketOption::ReceiveTimeout(timeout(value)?)))),
    Get::Bytes(|target, _| Ok(timeval(target.socket.options.receive_timeout))),
);

const SEND_TIMEOUT: Row = Row::new(
    21,
    "SO_SNDTIMEO",
    Set::Bytes(|_, value| Ok(Some(SocketOption::SendTimeout(timeout(value)?)))),
    Get::Bytes(|target, _| Ok(timeval(target.socket.options.send_timeout))),
);

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_UNIX: u16 = 1;
const AF_PACKET: u16 = 17;

/// Linux's SKF_AD_MAX.
const BPF_EXTENSIONS: i32 = 64;

/// The forms of SO_TIMESTAMP exclude each other: the last one that was asked for counts.
const TIMESTAMPS: [ControlData; 4] = [
    ControlData::Timestamp,
    ControlData::TimestampNew,
    ControlData::TimestampNanos,
    ControlData::TimestampNanosNew,
];

fn timestamp(
    kind: &mut dyn ProtocolCalls,
    env: &mut Env<'_>,
    id: SocketId,
    (form, value): (ControlData, &[u8]),
) -> Result<()> {
    let on = read_int(value)? != 0;
    for data in TIMESTAMPS {
        kind.set_option(env, id, SocketOption::AskFor(data, on && data == form))?;
    }
    Ok(())
}

/// Linux's SOCK_SNDBUF_LOCK and SOCK_RCVBUF_LOCK.
const SEND_LOCK: i32 = 1;
const RECEIVE_LOCK: i32 = 2;

/// EINVAL for other bits.
fn lock_buffers(kind: &mut dyn ProtocolCalls, env: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    let bits = read_int(value)?;
    if bits & !(SEND_LOCK | RECEIVE_LOCK) != 0 {
        return Err(Error::InvalidArgument);
    }
    kind.set_option(env, id, SocketOption::LockSendBuffer(bits & SEND_LOCK != 0))?;
    kind.set_option(env, id, SocketOption::LockReceiveBuffer(bits & RECEIVE_LOCK != 0))
}

fn buffer_locks(target: &OptionTarget<'_>) -> i32 {
    let options = &target.socket.options;
    let bit = |is_auto: bool, bit: i32| if is_auto { 0 } else { bit };
    bit(options.auto_send_buffer, SEND_LOCK) | bit(options.auto_receive_buffer, RECEIVE_LOCK)
}

/// Linux's IFNAMSIZ.
const NAME_BYTES: usize = 16;

/// The name of an interface; an empty one ends the restriction. ENODEV.
fn device(target: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    let name = name_of(&value[..value.len().min(NAME_BYTES - 1)]);
    if name.is_empty() {
        return Ok(Some(SocketOption::BindToDevice(None)));
    }
    let iface = str::from_utf8(name).ok().and_then(|name| target.network.interface_by_name(name));
    iface.map(|iface| Some(SocketOption::BindToDevice(Some(iface)))).ok_or(Error::NoDevice)
}

/// The name of the interface with its NUL; nothing if there is none. EINVAL for a buffer that is
/// shorter than a name may be, ENODEV if there is no such interface.
fn device_of(target: &OptionTarget<'_>, len: usize) -> Result<Vec<u8>> {
    let Some(device) = target.socket.device() else { return Ok(Vec::new()) };
    if len < NAME_BYTES {
        return Err(Error::InvalidArgument);
    }
    let name = target.network.interface_name(device).ok_or(Error::NoDevice)?;
    Ok([name.as_bytes(), &[0]].concat())
}

/// A buffer size. As on Linux a negative number is a very large one.
fn unsigned(bytes: i32) -> usize {
    bytes.cast_unsigned() as usize
}

fn type_of(kind: SocketKind) -> i32 {
    match kind {
        SocketKind::Stream => 1,
        SocketKind::Datagram | SocketKind::Echo | SocketKind::Packet(LinkHeader::Cooked) => 2,
        SocketKind::Raw(_) | SocketKind::Packet(LinkHeader::Included) => 3,
        SocketKind::SeqPacket => 5,
    }
}

/// The number of the protocol, as `socket` takes it.
fn protocol_of(target: &OptionTarget<'_>) -> i32 {
    match (target.socket.kind, target.socket.domain) {
        (_, Domain::Unix) | (SocketKind::SeqPacket, _) => 0,
        (SocketKind::Stream, _) => 6,
        (SocketKind::Datagram, _) => 17,
        (SocketKind::Echo, Domain::V4) => 1,
        (SocketKind::Echo, Domain::V6) => 58,
        (SocketKind::Raw(protocol), _) => protocol.into(),
        // `local_name` has the EtherType.
        (SocketKind::Packet(_), _) => 0,
    }
}

/// `struct ucred`. As on Linux a socket without a peer of this host has process 0 of nobody.
fn peer_credentials(target: &OptionTarget<'_>) -> Vec<u8> {
    let nobody = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let Credentials { pid, uid, gid } = target.socket.peer_credentials().ok().flatten().unwrap_or(nobody);
    [pid, uid, gid].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `struct linger`: whether it is on, and the time in seconds.
fn linger(_: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    let (on, seconds) = (read_int(value)?, read_int(value.get(4..).unwrap_or_default())?);
    let time = Duration::from_secs(seconds.cast_unsigned().into());
    Ok(Some(SocketOption::Linger((on != 0).then_some(time))))
}

fn linger_of(target: &OptionTarget<'_>) -> Vec<u8> {
    let time = target.socket.options.linger;
    let seconds = time.unwrap_or_default().as_secs() as u32;
    [u32::from(time.is_some()), seconds].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `struct timeval`. EDOM for microseconds that are more than a second. As on Linux a negative
/// number of seconds is no time at all, and zero is for ever.
fn timeout(value: &[u8]) -> Result<Option<Duration>> {
    let [seconds, micros] = [value.first_chunk(), value.get(8..).and_then(|rest| rest.first_chunk())]
        .map(|bytes| bytes.map(|&bytes| i64::from_ne_bytes(bytes)));
    let (seconds, micros) = seconds.zip(micros).ok_or(Error::InvalidArgument)?;
    let micros = u32::try_from(micros).ok().filter(|&micros| micros < 1_000_000);
    let micros = micros.ok_or(Error::OutOfDomain)?;
    let Ok(seconds) = u64::try_from(seconds) else { return Ok(Some(Duration::ZERO)) };
    let time = Duration::new(seconds, micros * 1000);
    // Linux counts ticks in 64 bits, and waits for ever where they do not suffice.
    let is_long = seconds >= i64::MAX.unsigned_abs() / 1000;
    Ok(Some(time).filter(|time| !time.is_zero() && !is_long))
}

fn timeval(time: Option<Duration>) -> Vec<u8> {
    let time = time.unwrap_or_default();
    words(&[time.as_secs().cast_signed(), time.subsec_micros().into()])
}

/// The address of the peer as `struct sockaddr_in`, `sockaddr_in6` or `sockaddr_un`. EINVAL for a
/// larger buffer.
fn peer_name(target: &OptionTarget<'_>, len: usize) -> Result<Vec<u8>> {
    use core::net::SocketAddr;
    if target.socket.domain == Domain::Unix {
        let name = target.common.peer_name(target.id)?;
        let bytes = name.unix().map_or_else(Vec::new, unix_name);
        return if len > bytes.len() { Err(Error::InvalidArgument) } else { Ok(bytes) };
    }
    let peer = target.socket.peer_addr()?;
    let port = peer.port().to_be_bytes();
    let bytes: Vec<u8> = match peer {
        SocketAddr::V4(v4) => [&AF_INET.to_ne_bytes()[..], &port, &v4.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(v6) => [
            &AF_INET6.to_ne_bytes()[..],
            &port,
            &v6.flowinfo().to_be_bytes(),
            &v6.ip().octets(),
            &v6.scope_id().to_ne_bytes(),
        ]
        .concat(),
    };
    if len > bytes.len() { Err(Error::InvalidArgument) } else { Ok(bytes) }
}

/// `struct sockaddr_un`: a path ends with a NUL, and an abstract name begins with one.
fn unix_name(name: &UnixAddr) -> Vec<u8> {
    let family = AF_UNIX.to_ne_bytes();
    match (name.as_path(), name.as_abstract_name()) {
        (Some(path), _) => [&family[..], path, &[0]].concat(),
        (None, Some(name)) => [&family[..], &[0], name].concat(),
        (None, None) => family.to_vec(),
    }
}

/// A rate as 4 or 8 bytes. All ones is no limit.
fn pacing_rate(_: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    let short = read_int(value)?.cast_unsigned();
    let rate = match value.first_chunk() {
        Some(&long) => u64::from_ne_bytes(long),
        None if short == u32::MAX => u64::MAX,
        None => short.into(),
    };
    Ok(Some(SocketOption::MaxPacingRate(Some(rate).filter(|&rate| rate != u64::MAX))))
}

fn pacing_rate_of(target: &OptionTarget<'_>, len: usize) -> Result<Vec<u8>> {
    let rate = target.socket.options.max_pacing_rate.unwrap_or(u64::MAX);
    Ok(match len {
        8.. => rate.to_ne_bytes().to_vec(),
        _ => u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes().to_vec(),
    })
}

/// The nine numbers of SO_MEMINFO, as far as the stack has them: bytes to read and the receive
/// buffer, bytes to send and the send buffer.
fn memory_info(target: &OptionTarget<'_>) -> Vec<u8> {
    let options = target.options();
    let (to_read, to_send) = target.socket.queued();
    let [to_read, receive_buffer, to_send, send_buffer] =
        [to_read, options.receive_buffer, to_send, options.send_buffer].map(saturated);
    let numbers = [to_read, receive_buffer, 0, send_buffer, 0, to_send, 0, 0, 0];
    numbers.into_iter().flat_map(i32::to_ne_bytes).collect()
}

/// A number that no other socket of the stack ever has. EINVAL for a smaller buffer.
fn cookie(target: &OptionTarget<'_>, len: usize) -> Result<Vec<u8>> {
    if len < 8 { Err(Error::InvalidArgument) } else { Ok(target.id.cookie().to_ne_bytes().to_vec()) }
}
