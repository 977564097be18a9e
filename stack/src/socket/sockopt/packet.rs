//! SOL_PACKET: packet(7).

use alloc::vec::Vec;

use super::row::{Change, Get, Level, OptionTarget, Row, Set, ask_for, asks_for, read_int};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::link::mac::MacAddr;
use crate::socket::common::Env;
use crate::socket::kind::SocketKind;
use crate::socket::options::{ControlData, PacketMembership, PacketMembershipKind, SocketOption};
use crate::socket::scope::iface_of;

pub(super) const LEVEL: Level = Level {
    number: 263,
    rows: ROWS,
    applies: |socket| matches!(socket.kind, SocketKind::Packet(_)),
    read_int,
    checks_length_first: false,
    returns_bytes: false,
};

const ROWS: &[Row] = &[
    Row::new(
        1,
        "PACKET_ADD_MEMBERSHIP",
        Set::Bytes(|_, value| Ok(Some(SocketOption::PacketAddMembership(membership(value)?)))),
        Get::Never,
    ),
    Row::new(
        2,
        "PACKET_DROP_MEMBERSHIP",
        Set::Bytes(|_, value| Ok(Some(SocketOption::PacketDropMembership(membership(value)?)))),
        Get::Never,
    ),
    Row::read_only(6, "PACKET_STATISTICS", Get::Call(statistics)),
    Row::int(
        8,
        "PACKET_AUXDATA",
        |_, on| ask_for(ControlData::Auxiliary, on),
        |target| asks_for(target, ControlData::Auxiliary),
    ),
    Row::int(23, "PACKET_IGNORE_OUTGOING", ignore_outgoing, |target| {
        Ok(target.socket.packets()?.ignores_outgoing().into())
    }),
];

/// EINVAL for another number than 0 and 1.
fn ignore_outgoing(_: &OptionTarget<'_>, on: i32) -> Result<Change> {
    match on {
        0 | 1 => Ok(Some(SocketOption::PacketIgnoreOutgoing(on == 1))),
        _ => Err(Error::InvalidArgument),
    }
}

/// `struct packet_mreq`: interface, kind, the length of the address, and the address. EINVAL,
/// ENODEV.
fn membership(value: &[u8]) -> Result<PacketMembership> {
    let value: &[u8; 16] = value.first_chunk().ok_or(Error::InvalidArgument)?;
    let iface = u16::try_from(read_int(value)?).ok().and_then(iface_of).ok_or(Error::NoDevice)?;
    let kind = match u16::from_ne_bytes([value[4], value[5]]) {
        0 => PacketMembershipKind::Multicast,
        1 => PacketMembershipKind::Promiscuous,
        2 => PacketMembershipKind::AllMulticast,
        3 => PacketMembershipKind::Unicast,
        _ => return Err(Error::InvalidArgument),
    };
    let has_mac = u16::from_ne_bytes([value[6], value[7]]) == 6;
    let mac = value[8..].first_chunk().filter(|_| has_mac).map(|&octets| MacAddr(octets));
    Ok(PacketMembership::new(iface, kind, mac))
}

/// `struct tpacket_stats`: packets and drops, which this resets.
fn statistics(env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
    let statistics = env.common.record_mut(id)?.packets_mut()?.take_statistics();
    let bytes: Vec<u8> =
        [statistics.packets, statistics.drops].into_iter().flat_map(u32::to_ne_bytes).collect();
    let len = bytes.len().min(buf.len());
    buf[..len].copy_from_slice(&bytes[..len]);
    Ok(len)
}
