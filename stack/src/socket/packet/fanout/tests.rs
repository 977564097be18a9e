//! Groups of packet sockets. What is expected was measured on Linux 6.18.

use core::net::IpAddr;
use std::vec::Vec;

use crate::bpf::{Filter, Instruction};
use crate::network::{InterfaceConfig, InterfaceId};
use crate::testing::PacketBuilder;
use crate::{
    Config, Descriptor, Domain, Error, Frame, Instant, LinkAddr, LinkHeader, Medium, PacketFanout,
    PacketFanoutMode, SocketKind, SocketOption, Stack,
};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);

fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    stack
}

fn socket(stack: &mut Stack, protocol: u16) -> Descriptor {
    let d = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Cooked)).unwrap();
    stack.bind(d, LinkAddr::new(Some(IFACE), protocol)).unwrap();
    d
}

fn join(stack: &mut Stack, d: Descriptor, fanout: PacketFanout) -> Result<(), Error> {
    stack.set_option(NOW, d, SocketOption::PacketFanout(fanout))
}

/// Three members of a group.
fn members(stack: &mut Stack, fanout: PacketFanout) -> [Descriptor; 3] {
    [(); 3].map(|()| {
        let d = socket(stack, LinkAddr::ETH_P_IP);
        join(stack, d, fanout).unwrap();
        d
    })
}

/// Which of the sockets get a datagram between these ends.
fn takers(stack: &mut Stack, from: (u8, u16), to: (u8, u16), sockets: &[Descriptor]) -> Vec<usize> {
    let addr = |last| IpAddr::from([10, 0, 0, last]);
    let packet = PacketBuilder::new(addr(from.0), addr(to.0)).udp(from.1, to.1, b"x");
    stack.handle_frame(NOW, IFACE, Frame::new(packet));
    let has = |stack: &mut Stack, d: Descriptor| stack.recv_packet(NOW, d).is_ok();
    (0..sockets.len()).filter(|&at| has(stack, sockets[at])).collect()
}

#[test]
fn each_mode_chooses_one_member() {
    let mut stack = stack();
    let group = |id, mode| PacketFanout::new(id, mode);
    let plain = socket(&mut stack, LinkAddr::ETH_P_IP);
    let in_turn = members(&mut stack, group(1, PacketFanoutMode::RoundRobin));
    let by_hash = members(&mut stack, group(2, PacketFanoutMode::Hash));
    let by_chance = members(&mut stack, group(3, PacketFanoutMode::Random));
    let by_program = members(&mut stack, group(4, PacketFanoutMode::Program));
    let mut used = [[0; 3]; 4];
    for port in 1000..1060 {
        let mut all = Vec::from([plain]);
        [in_turn, by_hash, by_chance, by_program].iter().for_each(|group| all.extend(group));
        let there = takers(&mut stack, (2, port), (1, 53), &all);
        // One of each group, and whoever is in none.
        assert_eq!(there.len(), 5, "{there:?}");
        for (counts, taker) in used.iter_mut().zip(&there[1..]) {
            counts[(taker - 1) % 3] += 1;
        }
        // A flow stays, in both directions.
        let back = takers(&mut stack, (1, 53), (2, port), &by_hash);
        assert_eq!(back[0], there[2] - 4);
        all.iter().for_each(|&d| while stack.recv_packet(NOW, d).is_ok() {});
    }
    assert!(used[..3].iter().flatten().all(|&count| count > 5), "{used:?}");
    assert_eq!(used[3], [60, 0, 0], "there is no program yet");
}

#[test]
fn in_turn_the_second_one_is_the_first_and_the_last_one_fills_a_gap() {
    let mut stack = stack();
    let in_turn = members(&mut stack, PacketFanout::new(1, PacketFanoutMode::RoundRobin));
    let order: Vec<_> = (0..4).map(|_| takers(&mut stack, (2, 9), (1, 53), &in_turn)).collect();
    assert_eq!(order, [[1], [2], [0], [1]]);
    stack.close(NOW, in_turn[0]).unwrap();
    let rest = [in_turn[2], in_turn[1]];
    let order: Vec<_> = (0..2).map(|_| takers(&mut stack, (2, 9), (1, 53), &rest)).collect();
    assert_eq!(order, [[1], [0]]);
}

#[test]
fn a_program_sees_the_frame_from_its_network_header_on() {
    let mut stack = stack();
    let group = members(&mut stack, PacketFanout::new(1, PacketFanoutMode::Program));
    let byte_at =
        |at| Filter::new(&[Instruction::new(0x30, 0, 0, at), Instruction::new(0x16, 0, 0, 0)]).unwrap();
    // The protocol is 17, and 17 % 3 is 2.
    stack.set_fanout_program(group[1], byte_at(9)).unwrap();
    assert_eq!(takers(&mut stack, (2, 9), (1, 53), &group), [2]);
    let one = [[6, 0], [0, 0], [1, 0], [0, 0]].concat();
    stack.setsockopt(NOW, group[0], 263, 22, &one).unwrap();
    assert_eq!(takers(&mut stack, (2, 9), (1, 53), &group), [1]);
    let outsider = socket(&mut stack, LinkAddr::ETH_P_IP);
    assert_eq!(stack.set_fanout_program(outsider, byte_at(9)), Err(Error::InvalidArgument));
    join(&mut stack, outsider, PacketFanout::new(2, PacketFanoutMode::Hash)).unwrap();
    assert_eq!(stack.set_fanout_program(outsider, byte_at(9)), Err(Error::InvalidArgument));
}

#[test]
fn a_full_member_is_passed_by_if_the_group_rolls_over() {
    for mode in [PacketFanoutMode::Rollover, PacketFanoutMode::Program] {
        let mut stack = stack();
        let mut fanout = PacketFanout::new(1, mode);
        fanout.rolls_over = mode == PacketFanoutMode::Program;
        let group = members(&mut stack, fanout);
        for d in group {
            stack.set_option(NOW, d, SocketOption::ReceiveBuffer(4096)).unwrap();
        }
        // Each queue holds some frames, one after the other.
        let packet = PacketBuilder::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into()).udp(9, 53, &[0; 1000]);
        let waiting = |stack: &Stack, d| stack.readiness(d).unwrap().readable;
        let mut seen = Vec::new();
        for _ in 0..12 {
            stack.handle_frame(NOW, IFACE, Frame::new(packet.clone()));
            seen.push(group.iter().filter(|&&d| waiting(&stack, d)).count());
        }
        seen.dedup();
        assert_eq!(seen, [1, 2, 3], "{mode:?}");
    }
}

#[test]
fn a_group_is_of_one_kind_and_by_number() {
    let mut stack = stack();
    let fanout = PacketFanout::new(7, PacketFanoutMode::RoundRobin);
    let [first, ..] = members(&mut stack, fanout);
    assert_eq!(join(&mut stack, first, fanout), Err(Error::Already));
    let addr = LinkAddr::new(Some(IFACE), LinkAddr::ETH_P_IP);
    assert_eq!(stack.bind(first, addr), Err(Error::InvalidArgument));
    let other_protocol = socket(&mut stack, LinkAddr::ETH_P_IPV6);
    assert_eq!(join(&mut stack, other_protocol, fanout), Err(Error::InvalidArgument));
    let d = socket(&mut stack, LinkAddr::ETH_P_IP);
    let hash = PacketFanout::new(7, PacketFanoutMode::Hash);
    assert_eq!(join(&mut stack, d, hash), Err(Error::InvalidArgument));
    let unbound = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Cooked)).unwrap();
    assert_eq!(join(&mut stack, unbound, fanout), Err(Error::InvalidArgument));
    let udp = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(join(&mut stack, udp, fanout), Err(Error::ProtocolNotAvailable));
    // By bytes: group 7, in turn.
    let mut value = [0; 4];
    assert_eq!(stack.getsockopt(NOW, d, 263, 18, &mut value), Ok(4));
    assert_eq!(value, [0; 4]);
    let set = |stack: &mut Stack, d, value: &[u8]| stack.setsockopt(NOW, d, 263, 18, value);
    assert_eq!(set(&mut stack, d, &[1, 0]), Err(Error::InvalidArgument));
    assert_eq!(set(&mut stack, d, &0x1003_0009_u32.to_ne_bytes()), Err(Error::InvalidArgument));
    assert_eq!(set(&mut stack, d, &0x0008_0009_u32.to_ne_bytes()), Err(Error::InvalidArgument));
    assert_eq!(set(&mut stack, d, &0x0001_0007_u32.to_ne_bytes()), Ok(()));
    assert_eq!(stack.getsockopt(NOW, d, 263, 18, &mut value), Ok(4));
    assert_eq!(value, 0x0001_0007_u32.to_ne_bytes());
    assert_eq!(stack.packet_fanout(d), Ok(Some(fanout)));
    // Groups that do not want what this host sends.
    let quiet = socket(&mut stack, LinkAddr::ETH_P_ALL);
    assert_eq!(set(&mut stack, quiet, &0x4000_0009_u32.to_ne_bytes()), Ok(()));
    let loud = socket(&mut stack, LinkAddr::ETH_P_ALL);
    assert_eq!(set(&mut stack, loud, &0x0000_000a_u32.to_ne_bytes()), Ok(()));
    stack.send_to(NOW, udp, b"x", ([10, 0, 0, 7], 9)).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    assert!(stack.recv_packet(NOW, loud).is_ok());
    assert!(stack.recv_packet(NOW, quiet).is_err());
}
