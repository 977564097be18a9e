//! IPPROTO_IP: ip(7). Sockets of IPv6 have these options, too, for packets of IPv4.

use super::raw::{is_raw, raw_options};
use super::row::{Level, Row};
use crate::error::{Error, Result};
use crate::socket::kind::Domain;
use crate::socket::options::SocketOption;

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
];

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
