//! Options by number and bytes, as `setsockopt` and `getsockopt` of Linux take them, on top of
//! [`SocketOption`] and [`SocketOptions`](super::options::SocketOptions).
//!
//! Read `row` (how an option is described), then the table of each level: `socket`, `ip`, `ipv6`,
//! `tcp` with `tcp_info`, `udp`, `raw` and `packet`; `multicast` and `filter` have the options that
//! are calls of their own. docs/options.md lists the same options for readers; a
//! test compares the two.

mod filter;
mod ip;
mod ipv6;
mod multicast;
mod packet;
mod raw;
mod row;
mod socket;
mod tcp;
mod tcp_info;
mod udp;

use self::row::{Get, Level, OptionTarget, Set};
use super::common::Env;
use super::protocol::ProtocolCalls;
use crate::error::{Error, Result};
use crate::id::SocketId;

/// The levels, in the order of their numbers.
const LEVELS: [&Level; 9] = [
    &ip::LEVEL,
    &socket::LEVEL,
    &tcp::LEVEL,
    &udp::LEVEL,
    &ipv6::LEVEL,
    &raw::ICMPV6_LEVEL,
    &raw::LEVEL,
    &raw::LEVEL_OVER_IPV6,
    &packet::LEVEL,
];

/// The name of an option that [`Stack::setsockopt`](crate::Stack::setsockopt) or
/// [`Stack::getsockopt`](crate::Stack::getsockopt) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OptionName {
    /// Linux's number of the level, for instance 6 for IPPROTO_TCP.
    pub level: i32,
    /// Linux's number of the option.
    pub number: i32,
    /// The name, for instance `TCP_NODELAY`. Some options have two numbers.
    pub name: &'static str,
}

/// Every option that [`Stack::setsockopt`](crate::Stack::setsockopt) or
/// [`Stack::getsockopt`](crate::Stack::getsockopt) knows.
///
/// ```
/// let nodelay = portolan::option_names().find(|option| (option.level, option.number) == (6, 1));
/// assert_eq!(nodelay.map(|option| option.name), Some("TCP_NODELAY"));
/// ```
pub fn option_names() -> impl Iterator<Item = OptionName> {
    LEVELS.into_iter().flat_map(|level| {
        let number = level.number;
        level.rows.iter().map(move |row| OptionName { level: number, number: row.number, name: row.name })
    })
}

/// `setsockopt`. ENOPROTOOPT, EINVAL, EDOM, and the errors of the option.
pub(crate) fn set(
    kind: &mut dyn ProtocolCalls,
    env: &mut Env<'_>,
    id: SocketId,
    (level, number): (i32, i32),
    value: &[u8],
) -> Result<()> {
    let target = OptionTarget::new(env, id)?;
    let level = level_of(&target, level).ok_or(match target.socket.domain {
        super::Domain::Unix => Error::NotSupported,
        _ => Error::ProtocolNotAvailable,
    })?;
    let row = level.row(number);
    if level.checks_length_first && !row.is_some_and(|row| matches!(row.set, Set::Bytes(_) | Set::Call(_))) {
        (level.read_int)(value)?;
    }
    let change = match row.ok_or(Error::ProtocolNotAvailable)?.set {
        Set::Never => return Err(Error::ProtocolNotAvailable),
        Set::Int(convert) => convert(&target, (level.read_int)(value)?)?,
        Set::Bytes(convert) => convert(&target, value)?,
        Set::Call(call) => return call(kind, env, id, value),
    };
    let Some(option) = change else { return Ok(()) };
    env.check_multicast_option(id, option)?;
    kind.set_option(env, id, option)?;
    env.resolve_multicast_interface(id, option);
    Ok(())
}

/// `getsockopt`: writes the value, or what fits of it, and returns its length. ENOPROTOOPT, and the
/// errors of the option.
pub(crate) fn get(
    env: &mut Env<'_>,
    id: SocketId,
    (level, number): (i32, i32),
    buf: &mut [u8],
) -> Result<usize> {
    let target = OptionTarget::new(env, id)?;
    // Measured on Linux 6.18: a socket of IPv4, or of the Unix domain, does not know that there are
    // other levels.
    let unknown = match target.socket.domain {
        super::Domain::V4 | super::Domain::Unix if level != socket::LEVEL.number => Error::NotSupported,
        _ => Error::ProtocolNotAvailable,
    };
    let level = level_of(&target, level).ok_or(unknown)?;
    match level.row(number).ok_or(Error::ProtocolNotAvailable)?.get {
        Get::Int(read) => Ok(put_int(level, buf, read(&target)?)),
        Get::Bytes(read) => Ok(put(buf, &read(&target, buf.len())?)),
        Get::Call(call) => call(env, id, buf),
        Get::Never => Err(Error::ProtocolNotAvailable),
        Get::PendingError => {
            let error = env.common.take_error(id)?;
            Ok(put_int(level, buf, error.map_or(0, Error::errno)))
        }
    }
}

/// A level, if the socket has options of it. A Unix-domain socket has those of SOL_SOCKET only.
fn level_of(target: &OptionTarget<'_>, number: i32) -> Option<&'static Level> {
    if target.socket.domain == super::Domain::Unix && number != socket::LEVEL.number {
        return None;
    }
    LEVELS.into_iter().find(|level| level.number == number && (level.applies)(target.socket))
}

/// Writes an int, or its first bytes. At the level of IP a small one fits into a byte.
fn put_int(level: &Level, buf: &mut [u8], value: i32) -> usize {
    match (u8::try_from(value), &mut *buf) {
        (Ok(byte), [first, rest @ ..]) if level.returns_bytes && rest.len() < 3 => {
            *first = byte;
            1
        }
        _ => put(buf, &value.to_ne_bytes()),
    }
}

/// Writes as many of the bytes as fit.
fn put(buf: &mut [u8], bytes: &[u8]) -> usize {
    let len = bytes.len().min(buf.len());
    buf[..len].copy_from_slice(&bytes[..len]);
    len
}

#[cfg(test)]
mod tests;
