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
        1,
        "UDP_CORK",
        |_, on| Ok(Some(SocketOption::UdpCork(on != 0))),
        |target| Ok(target.socket.options.udp.cork.into()),
    ),
    Row::int(
        101,
        "UDP_NO_CHECK6_TX",
        |_, on| Ok(Some(SocketOption::NoCheck6Tx(on != 0))),
        |target| Ok(target.socket.options.udp.no_check6_tx.into()),
    ),
    Row::int(
        102,
        "UDP_NO_CHECK6_RX",
        |_, on| Ok(Some(SocketOption::NoCheck6Rx(on != 0))),
        |target| Ok(target.socket.options.udp.no_check6_rx.into()),
    ),
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
