//! IPPROTO_TCP: tcp(7).

use alloc::vec::Vec;
use core::str;
use core::time::Duration;

use super::row::{
    Change, Get, Level, OptionPhase, OptionTarget, Row, Set, ask_for, asks_for, in_range, name_of, read_int,
    saturated, whole,
};
use super::tcp_info::tcp_info;
use crate::config::CongestionControl;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::socket::kind::SocketKind;
use crate::socket::options::{ControlData, SocketOption};
use crate::socket::tcp::questions;
use crate::tcp::FastOpenKey;

pub(super) const LEVEL: Level = Level {
    number: 6,
    rows: ROWS,
    applies: |socket| socket.kind == SocketKind::Stream,
    read_int,
    checks_length_first: true,
    returns_bytes: false,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Linux's MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL, in seconds.
const MAX_KEEPALIVE: i32 = 32_767;
/// Linux's MAX_TCP_KEEPCNT.
const MAX_KEEPALIVE_COUNT: i32 = 127;
/// Linux's TCP_CA_NAME_MAX.
const CONGESTION_NAME_BYTES: usize = 16;

const ROWS: &[Row] = &[
    Row::int(
        1,
        "TCP_NODELAY",
        |_, on| Ok(Some(SocketOption::NoDelay(on != 0))),
        |target| Ok(target.socket.options.tcp.nodelay.into()),
    ),
    Row::int(
        2,
        "TCP_MAXSEG",
        |_, mss| {
            let mss = u16::try_from(mss).map_err(|_| Error::InvalidArgument)?;
            Ok(Some(SocketOption::MaxSegment(mss)))
        },
        |target| Ok(max_segment_of(target)),
    ),
    Row::int(
        3,
        "TCP_CORK",
        |_, on| Ok(Some(SocketOption::Cork(on != 0))),
        |target| Ok(target.socket.options.tcp.cork.into()),
    ),
    Row::int(
        4,
        "TCP_KEEPIDLE",
        |_, seconds| Ok(Some(SocketOption::KeepIdle(keepalive_time(seconds)?))),
        |target| Ok(whole(target.socket.options.tcp.keepalive_idle, SECOND)),
    ),
    Row::int(
        5,
        "TCP_KEEPINTVL",
        |_, seconds| Ok(Some(SocketOption::KeepInterval(keepalive_time(seconds)?))),
        |target| Ok(whole(target.socket.options.tcp.keepalive_interval, SECOND)),
    ),
    Row::int(
        6,
        "TCP_KEEPCNT",
        |_, count| Ok(Some(SocketOption::KeepCount(in_range(count, 1, MAX_KEEPALIVE_COUNT)? as u8))),
        |target| Ok(target.socket.options.tcp.keepalive_count.into()),
    ),
    Row::int(
        7,
        "TCP_SYNCNT",
        |_, count| {
            let count = u8::try_from(count).map_err(|_| Error::InvalidArgument)?;
            Ok(Some(SocketOption::SynCount(count)))
        },
        |target| Ok(target.socket.options.tcp.syn_count.unwrap_or(target.config.tcp.syn_retries).into()),
    ),
    Row::int(
        8,
        "TCP_LINGER2",
        |_, seconds| Ok(Some(SocketOption::Linger2(u64::try_from(seconds).ok().map(Duration::from_secs)))),
        |target| Ok(target.socket.options.tcp.linger2.map_or(-1, |time| whole(time, SECOND))),
    ),
    Row::int(
        9,
        "TCP_DEFER_ACCEPT",
        |_, seconds| {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            Ok(Some(SocketOption::DeferAccept(Duration::from_secs(seconds))))
        },
        |target| Ok(deferral(target.socket.options.tcp.defer_accept)),
    ),
    Row::int(
        10,
        "TCP_WINDOW_CLAMP",
        // As on Linux a negative number is the least clamp.
        |_, bytes| Ok(Some(SocketOption::WindowClamp(u32::try_from(bytes).unwrap_or(1)))),
        |target| Ok(target.socket.options.tcp.window_clamp.cast_signed()),
    ),
    Row::read_only(11, "TCP_INFO", Get::Bytes(|target, _| tcp_info(target))),
    Row::int(
        12,
        "TCP_QUICKACK",
        |_, on| Ok(Some(SocketOption::QuickAck(on != 0))),
        |target| Ok(target.options().tcp.quick_ack.into()),
    ),
    Row::new(13, "TCP_CONGESTION", Set::Bytes(congestion), Get::Bytes(congestion_of)),
    Row::int(
        16,
        "TCP_THIN_LINEAR_TIMEOUTS",
        |_, on| Ok(Some(SocketOption::ThinLinearTimeouts(in_range(on, 0, 1)? == 1))),
        |target| Ok(target.socket.options.tcp.thin_linear_timeouts.into()),
    ),
    Row::int(
        18,
        "TCP_USER_TIMEOUT",
        |_, millis| {
            let millis = u64::try_from(millis).map_err(|_| Error::InvalidArgument)?;
            Ok(Some(SocketOption::UserTimeout(Some(Duration::from_millis(millis)))))
        },
        |target| Ok(whole(target.socket.options.tcp.user_timeout.unwrap_or_default(), MILLISECOND)),
    ),
    Row::int(
        23,
        "TCP_FASTOPEN",
        |_, limit| {
            let limit = usize::try_from(limit).map_err(|_| Error::InvalidArgument)?;
            Ok(Some(SocketOption::FastOpen(limit)))
        },
        |target| Ok(saturated(target.socket.options.tcp.fast_open.limit)),
    ),
    Row::int(
        25,
        "TCP_NOTSENT_LOWAT",
        // 0 is the default on Linux, and there is no limit by default.
        |_, bytes| {
            let bytes = bytes.cast_unsigned() as usize;
            Ok(Some(SocketOption::UnsentLowWater(if bytes == 0 { usize::MAX } else { bytes })))
        },
        |target| {
            let bytes = target.socket.options.tcp.unsent_low_water;
            Ok(u32::try_from(bytes).unwrap_or(0).cast_signed())
        },
    ),
    Row::int(
        27,
        "TCP_SAVE_SYN",
        |_, on| Ok(Some(SocketOption::SaveSyn(in_range(on, 0, 1)? == 1))),
        |target| Ok(target.socket.options.tcp.save_syn.into()),
    ),
    Row::read_only(28, "TCP_SAVED_SYN", Get::Call(saved_syn)),
    Row::int(
        30,
        "TCP_FASTOPEN_CONNECT",
        |_, on| Ok(Some(SocketOption::FastOpenConnect(in_range(on, 0, 1)? == 1))),
        |target| Ok(target.socket.options.tcp.fast_open.connect.into()),
    ),
    Row::new(33, "TCP_FASTOPEN_KEY", Set::Bytes(fast_open_key), Get::Bytes(fast_open_key_of)),
    Row::int(
        34,
        "TCP_FASTOPEN_NO_COOKIE",
        |_, on| Ok(Some(SocketOption::FastOpenWithoutCookie(in_range(on, 0, 1)? == 1))),
        |target| Ok(target.socket.options.tcp.fast_open.without_cookie.into()),
    ),
    Row::int(
        36,
        "TCP_INQ",
        |_, on| ask_for(ControlData::Unread, in_range(on, 0, 1)?),
        |target| asks_for(target, ControlData::Unread),
    ),
];

/// The headers of the SYN, once. EINVAL if there is not enough room for them.
fn saved_syn(env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
    let saved = env.common.take_saved_syn(id, buf.len())?;
    buf[..saved.len()].copy_from_slice(&saved);
    Ok(saved.len())
}

fn keepalive_time(seconds: i32) -> Result<Duration> {
    Ok(Duration::from_secs(in_range(seconds, 1, MAX_KEEPALIVE)?.unsigned_abs().into()))
}

/// The MSS of the connection. Without one, TCP_MAXSEG, or 536 as on Linux.
fn max_segment_of(target: &OptionTarget<'_>) -> i32 {
    const DEFAULT: u16 = 536;
    match target.phase() {
        OptionPhase::Connection => questions::info(target.socket, target.now, target.config)
            .map_or(DEFAULT.into(), |info| saturated(info.snd_mss as usize)),
        OptionPhase::Closed | OptionPhase::Listening => {
            target.socket.options.tcp.max_segment.unwrap_or(DEFAULT).into()
        }
    }
}

/// The time in which the SYN-ACK is repeated that often that the deferral has passed: 1, 3, 7, ...
/// seconds, as Linux rounds it.
fn deferral(time: Duration) -> i32 {
    const MAX_TIMEOUT: u64 = 120;
    const MAX_REPEATS: usize = 255;
    let (mut period, mut timeout) = (0, 1);
    for _ in 0..MAX_REPEATS {
        if period >= time.as_secs() {
            break;
        }
        period += timeout;
        timeout = (2 * timeout).min(MAX_TIMEOUT);
    }
    i32::try_from(period).unwrap_or(i32::MAX)
}

/// EINVAL for no name, ENOENT for one that is unknown.
fn congestion(_: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    if value.is_empty() {
        return Err(Error::InvalidArgument);
    }
    let value = &value[..value.len().min(CONGESTION_NAME_BYTES - 1)];
    let kind = str::from_utf8(name_of(value)).ok().and_then(|name| name.parse().ok());
    kind.map(|kind| Some(SocketOption::Congestion(kind))).ok_or(Error::NotFound)
}

fn congestion_of(target: &OptionTarget<'_>, _: usize) -> Result<Vec<u8>> {
    let mut name = CongestionControl::name(target.socket.options.tcp.congestion).as_bytes().to_vec();
    name.resize(CONGESTION_NAME_BYTES, 0);
    Ok(name)
}

/// One key or two. EINVAL for another length.
fn fast_open_key(_: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    let key = match value.as_chunks() {
        (&[primary], []) => FastOpenKey { primary, backup: None },
        (&[primary, backup], []) => FastOpenKey { primary, backup: Some(backup) },
        _ => return Err(Error::InvalidArgument),
    };
    Ok(Some(SocketOption::FastOpenKey(key)))
}

fn fast_open_key_of(target: &OptionTarget<'_>, _: usize) -> Result<Vec<u8>> {
    let key = target.socket.options.tcp.fast_open.key.as_deref();
    Ok(key.map_or(Vec::new(), |key| [&key.primary[..], key.backup.as_ref().map_or(&[], |key| key)].concat()))
}
