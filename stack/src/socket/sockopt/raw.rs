//! IPPROTO_ICMPV6 and SOL_RAW, the levels of raw sockets only: raw(7), and RFC 3542 §3.

use alloc::vec::Vec;

use super::row::{Change, Get, Level, OptionTarget, Row, Set, read_int};
use crate::error::{Error, Result};
use crate::ip::protocol;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::options::{IcmpFilter, RawOptions, SocketOption};
use crate::socket::record::Socket;

pub(super) const LEVEL: Level = Level {
    number: 255,
    rows: &[Row::new(1, "ICMP_FILTER", Set::Bytes(icmp_filter), Get::Bytes(icmp_filter_of))],
    applies: |socket| socket.domain == Domain::V4 && is_raw(socket),
    read_int,
    checks_length_first: false,
    returns_bytes: false,
};

/// An IPv6 socket has no options of SOL_RAW, but Linux checks the lengths of their values.
pub(super) const LEVEL_OVER_IPV6: Level = Level {
    rows: &[],
    applies: |socket| socket.domain == Domain::V6 && is_raw(socket),
    checks_length_first: true,
    ..LEVEL
};

pub(super) const ICMPV6_LEVEL: Level = Level {
    number: 58,
    rows: &[Row::new(1, "ICMPV6_FILTER", Set::Bytes(icmp_filter), Get::Bytes(icmp_filter_of))],
    applies: |socket| socket.domain == Domain::V6 && is_raw(socket),
    read_int,
    checks_length_first: false,
    returns_bytes: false,
};

/// IPV6_CHECKSUM, an option of IPPROTO_IPV6. Any negative number switches it off.
pub(super) const CHECKSUM: Row = Row::new(
    7,
    "IPV6_CHECKSUM",
    Set::Bytes(|target, value| {
        raw_options(target)?;
        let at = read_int(value)?;
        let at = if at < 0 { None } else { Some(u16::try_from(at).map_err(|_| Error::InvalidArgument)?) };
        Ok(Some(SocketOption::ChecksumOffset(at)))
    }),
    Get::Int(|target| Ok(raw_options(target)?.checksum_at.map_or(-1, i32::from))),
);

pub(super) fn is_raw(socket: &Socket) -> bool {
    matches!(socket.kind, SocketKind::Raw(_))
}

/// ENOPROTOOPT for a socket of another kind.
pub(super) fn raw_options<'a>(target: &OptionTarget<'a>) -> Result<&'a RawOptions> {
    target.socket.options.raw.as_deref().ok_or(Error::ProtocolNotAvailable)
}

/// The bytes of the filter: a word over IPv4, eight over IPv6. EOPNOTSUPP for a socket of another
/// protocol.
fn filter_bytes(target: &OptionTarget<'_>) -> Result<Vec<u8>> {
    let (is_icmp, words) = match target.socket.domain {
        Domain::V4 => (target.socket.kind == SocketKind::Raw(protocol::ICMP), 1),
        Domain::V6 | Domain::Unix => (target.socket.kind == SocketKind::Raw(protocol::ICMPV6), 8),
    };
    if !is_icmp {
        return Err(Error::NotSupported);
    }
    let bits = raw_options(target)?.icmp_filter.bits();
    Ok(bits[..words].iter().flat_map(|word| word.to_ne_bytes()).collect())
}

/// A short value changes the beginning of the filter.
fn icmp_filter(target: &OptionTarget<'_>, value: &[u8]) -> Result<Change> {
    let mut bytes = filter_bytes(target)?;
    let len = value.len().min(bytes.len());
    bytes[..len].copy_from_slice(&value[..len]);
    let mut words = bytes.as_chunks().0.iter().map(|&word| u32::from_ne_bytes(word));
    let bits = core::array::from_fn(|_| words.next().unwrap_or(0));
    Ok(Some(SocketOption::IcmpFilter(IcmpFilter::from_bits(bits))))
}

fn icmp_filter_of(target: &OptionTarget<'_>, _: usize) -> Result<Vec<u8>> {
    filter_bytes(target)
}
