//! IPPROTO_IPV6: ipv6(7).

use super::ip::ttl_of;
use super::raw::{CHECKSUM, raw_options};
use super::row::{Get, Level, Row, Set, in_range, read_int};
use crate::socket::kind::Domain;
use crate::socket::options::SocketOption;

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
    Row::int(
        26,
        "IPV6_V6ONLY",
        |_, on| Ok(Some(SocketOption::V6Only(on != 0))),
        |target| Ok(target.socket.options.ip.v6_only.into()),
    ),
    Row::new(
        36,
        "IPV6_HDRINCL",
        Set::Bytes(|target, value| {
            raw_options(target)?;
            Ok(Some(SocketOption::HeaderIncluded(read_int(value)? != 0)))
        }),
        Get::Int(|target| Ok(raw_options(target)?.header_included.into())),
    ),
    Row::int(
        67,
        "IPV6_TCLASS",
        |_, class| Ok(Some(SocketOption::Tos(in_range(class, -1, 255)?.max(0) as u8))),
        |target| Ok(target.socket.options.ip.tos.into()),
    ),
];
