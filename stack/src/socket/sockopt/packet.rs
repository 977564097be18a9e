//! SOL_PACKET: packet(7).

use alloc::vec::Vec;

use super::filter::program;
use super::row::{Change, Get, Level, OptionTarget, Row, Set, ask_for, asks_for, read_int};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::link::mac::MacAddr;
use crate::socket::common::Env;
use crate::socket::kind::SocketKind;
use crate::socket::options::{
    ControlData, PacketFanout, PacketFanoutMode, PacketMembership, PacketMembershipKind, SocketOption,
};
use crate::socket::protocol::ProtocolCalls;
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
    Row::new(
        18,
        "PACKET_FANOUT",
        Set::Bytes(|_, value| Ok(Some(SocketOption::PacketFanout(fanout(value)?)))),
        Get::Int(|target| Ok(target.socket.packets()?.fanout.map_or(0, number_of_fanout))),
    ),
    Row::new(22, "PACKET_FANOUT_DATA", Set::Call(fanout_program), Get::Never),
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

/// Linux's numbers of the modes. Those for a processor and a queue are not among them, because a
/// stack does not know either.
const MODES: [(u8, PacketFanoutMode); 5] = [
    (0, PacketFanoutMode::Hash),
    (1, PacketFanoutMode::RoundRobin),
    (3, PacketFanoutMode::Rollover),
    (4, PacketFanoutMode::Random),
    (6, PacketFanoutMode::Program),
];
/// Linux's PACKET_FANOUT_FLAG_ROLLOVER and PACKET_FANOUT_FLAG_IGNORE_OUTGOING, in the upper byte.
const ROLLS_OVER: u8 = 0x10;
const IGNORES_OUTGOING: u8 = 0x40;

/// An int or `struct fanout_args`: the number of the group, the mode, and flags. EINVAL.
fn fanout(value: &[u8]) -> Result<PacketFanout> {
    let &[a, b, number, flags, ..] = value else { return Err(Error::InvalidArgument) };
    let mode = MODES.into_iter().find(|(known, _)| *known == number).map(|(_, mode)| mode);
    let mode = mode.filter(|_| matches!(value.len(), 4 | 8) && flags & !(ROLLS_OVER | IGNORES_OUTGOING) == 0);
    let mut fanout = PacketFanout::new(u16::from_ne_bytes([a, b]), mode.ok_or(Error::InvalidArgument)?);
    fanout.rolls_over = flags & ROLLS_OVER != 0;
    fanout.ignores_outgoing = flags & IGNORES_OUTGOING != 0;
    if fanout.rolls_over && fanout.mode == PacketFanoutMode::Rollover {
        return Err(Error::InvalidArgument);
    }
    Ok(fanout)
}

fn number_of_fanout(fanout: PacketFanout) -> i32 {
    let mode = MODES.into_iter().find(|(_, mode)| *mode == fanout.mode).map_or(0, |(number, _)| number);
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    let flags = flag(fanout.rolls_over, ROLLS_OVER) | flag(fanout.ignores_outgoing, IGNORES_OUTGOING);
    let [a, b] = fanout.id.to_ne_bytes();
    i32::from_ne_bytes([a, b, mode, flags])
}

/// PACKET_FANOUT_DATA with a program in classic BPF.
fn fanout_program(kind: &mut dyn ProtocolCalls, _: &mut Env<'_>, id: SocketId, value: &[u8]) -> Result<()> {
    kind.set_fanout_program(id, program(value)?)
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
