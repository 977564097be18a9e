//! IPPROTO_UDP: udp(7).

use super::row::{Level, Row, read_int};
use crate::error::Error;
use crate::socket::kind::SocketKind;
use crate::socket::options::SocketOption;

pub(super) const LEVEL: Level = Level {
    number: 17,
    rows: ROWS,
    applies: |socket| socket.kind == SocketKind::Datagram,
    read_int,
    checks_length_first: true,
    returns_bytes: false,
};

const ROWS: &[Row] = &[
    Row::int(
        103,
        "UDP_SEGMENT",
        |_, len| {
            let len = u16::try_from(len).map_err(|_| Error::InvalidArgument)?;
            Ok(Some(SocketOption::UdpSegment(len)))
        },
        |target| Ok(target.socket.options.udp.segment.into()),
    ),
    Row::int(
        104,
        "UDP_GRO",
        |_, on| Ok(Some(SocketOption::UdpGro(on != 0))),
        |target| Ok(target.socket.options.udp.gro.into()),
    ),
];
