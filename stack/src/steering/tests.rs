//! Tests of steering with frames from another implementation, and of several stacks behind one
//! link.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::network::{InterfaceConfig, InterfaceId, MacAddr};
use crate::testing::{PacketBuilder, TcpSegment, ethernet};
use crate::time::Instant;
use crate::{
    Config, Descriptor, Domain, DropReason, Error, Frame, Readiness, SocketKind, SocketOption, Stack,
};

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn steering(stacks: u16) -> Steering {
    Steering::new(stacks, [7; 16])
}

/// Two addresses of one family, the local one first.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ]
}

/// The same packet with options or extension headers between its header and its transport.
fn with_options(packet: &[u8], count: usize) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[0] += count as u8;
        packet.splice(20..20, vec![1; 4 * count]);
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
    } else {
        for _ in 0..count {
            let header = [packet[6], 0, 1, 4, 0, 0, 0, 0];
            packet[6] = 60;
            packet.splice(40..40, header);
        }
    }
    packet
}

proptest! {
    #[test]
    fn no_frame_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..120), stacks in 0u16..9) {
        let steering = steering(stacks);
        for medium in [Medium::Ip, Medium::Ethernet(OURS)] {
            for frame in [&bytes[..], &ethernet(THEIRS, OURS, &bytes)] {
                if let Destination::One(index) = steering.of_frame(medium, frame) {
                    prop_assert!(index < steering.stacks());
                }
            }
        }
        let _ = steering.of_looped(&bytes);
    }

    /// Valid packets that are cut at any place, or changed in any byte, are invalid in ways that
    /// random bytes are not.
    #[test]
    fn no_packet_is_cut_in_a_wrong_place(
        (local, remote) in addresses(), count in 0usize..4, cut in any::<proptest::sample::Index>(), byte: u8,
    ) {
        let incoming = PacketBuilder::new(remote, local);
        let quoted = PacketBuilder::new(local, remote).udp(5, 6, b"data");
        let mut rest = vec![0; 4];
        rest.extend_from_slice(&quoted);
        let kind = if local.is_ipv4() { 3 } else { 1 };
        for packet in [incoming.udp(1, 2, &[]), incoming.icmp(kind, 0, &rest), incoming.echo_request(1, 2, &[])] {
            let mut packet = with_options(&packet, count);
            let at = cut.index(packet.len());
            let _ = steering(4).of_packet(&packet[..at]);
            packet[at] = byte;
            let _ = steering(4).of_packet(&packet);
            let _ = steering(4).of_looped(&packet);
        }
    }

    #[test]
    fn whatever_belongs_to_a_connection_comes_to_the_same_stack(
        (local, remote) in addresses(), ports: (u16, u16), count in 0usize..4, stacks in 1u16..9,
    ) {
        let steering = steering(stacks);
        let (local, remote) = (SocketAddr::new(local, ports.0), SocketAddr::new(remote, ports.1));
        let owner = Destination::One(steering.of_tcp(local, remote));
        let incoming = PacketBuilder::new(remote.ip(), local.ip());
        let segment = incoming.tcp(&TcpSegment::new(remote.port(), local.port()));
        prop_assert_eq!(steering.of_packet(&with_options(&segment, count)), owner);
        prop_assert_eq!(steering.of_frame(Medium::Ethernet(OURS), &ethernet(THEIRS, OURS, &segment)), owner);
        let outgoing = PacketBuilder::new(local.ip(), remote.ip());
        let sent = with_options(&outgoing.tcp(&TcpSegment::new(local.port(), remote.port())), count);
        for kind in if local.is_ipv4() { [3, 11, 12] } else { [1, 2, 3] } {
            let mut rest = vec![0; 4];
            // RFC 792: the header and eight more bytes.
            rest.extend_from_slice(&sent[..sent.len() - 12]);
            prop_assert_eq!(steering.of_packet(&incoming.icmp(kind, 1, &rest)), owner);
        }
    }

    #[test]
    fn datagrams_echo_replies_and_errors_about_them_come_by_the_local_port(
        (local, remote) in addresses(), ports: (u16, u16), stacks in 1u16..9,
    ) {
        let steering = steering(stacks);
        let owner = Destination::One(ports.0 % stacks);
        let (incoming, outgoing) = (PacketBuilder::new(remote, local), PacketBuilder::new(local, remote));
        prop_assert_eq!(steering.of_packet(&incoming.udp(ports.1, ports.0, b"x")), owner);
        let (unreachable, reply) = if local.is_ipv4() { (3, 0) } else { (1, 129) };
        let mut rest = Vec::from(ports.0.to_be_bytes());
        rest.extend_from_slice(&ports.1.to_be_bytes());
        prop_assert_eq!(steering.of_packet(&incoming.icmp(reply, 0, &rest)), owner);
        for sent in [outgoing.udp(ports.0, ports.1, b"x"), outgoing.echo_request(ports.0, 1, b"x")] {
            let mut rest = vec![0; 4];
            rest.extend_from_slice(&sent);
            prop_assert_eq!(steering.of_packet(&incoming.icmp(unreachable, 1, &rest)), owner);
        }
        prop_assert_eq!(steering.of_packet(&incoming.echo_request(ports.0, 1, b"x")), Destination::Any);
        // A raw socket of another protocol receives all of its packets, and errors about its own.
        prop_assert_eq!(steering.of_packet(&incoming.raw(253, b"x")), Destination::One(0));
        let sent = [&[0; 4][..], &outgoing.raw(253, b"12345678")].concat();
        prop_assert_eq!(steering.of_packet(&incoming.icmp(unreachable, 1, &sent)), Destination::One(0));
        let transport = vec![0; 64];
        for protocol in [6, 17, 1, 58] {
            for fragment in incoming.fragments(protocol, &transport, 32) {
                prop_assert_eq!(steering.of_packet(&fragment), Destination::All);
            }
        }
    }
}

#[test]
fn arp_and_ndp_are_for_all() {
    let steering = steering(2);
    let medium = Medium::Ethernet(OURS);
    let arp = crate::testing::arp_request(THEIRS, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    assert_eq!(steering.of_frame(medium, &arp), Destination::All);
    let (theirs, ours) = (THEIRS.link_local(), OURS.link_local());
    let ndp = crate::testing::neighbor_advertisement(THEIRS, theirs, OURS, ours);
    assert_eq!(steering.of_frame(medium, &ndp), Destination::All);
}

#[test]
fn connections_spread_over_the_stacks_and_the_key_says_how() {
    let local = "10.0.0.2:80".parse().unwrap();
    let owners = |key: [u8; 16]| -> Vec<u16> {
        let steering = Steering::new(4, key);
        (1..=4000).map(|port| steering.of_tcp(local, SocketAddr::from(([10, 0, 0, 1], port)))).collect()
    };
    let (one, other) = (owners([1; 16]), owners([2; 16]));
    for index in 0..4 {
        let count = one.iter().filter(|&&owner| owner == index).count();
        assert!((850..1150).contains(&count), "{count} of 4,000 on stack {index}");
    }
    let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!((850..1150).contains(&same), "{same} of 4,000 are where they are under another key");
}

/// A host (`peer`) and several stacks (`members`) that form one host for it. A frame may come to
/// any queue.
struct Group {
    peer: Stack,
    members: Vec<Stack>,
    steering: Steering,
    now: Instant,
    /// The state of the generator that chooses queues.
    draws: u64,
    /// The number of frames that came to the queue of another stack.
    handed_over: usize,
}

const IFACE: InterfaceId = InterfaceId::from_index(0);
const PEER: [u8; 4] = [10, 0, 0, 1];
const GROUP: [u8; 4] = [10, 0, 0, 2];

impl Group {
    fn new(stacks: u16) -> Group {
        Group::with(stacks, Config::default())
    }

    fn with(stacks: u16, config: Config) -> Group {
        let steering = steering(stacks);
        let start = Instant::from_secs(1);
        let connect = |mut stack: Stack, mac: MacAddr, addr: &str| {
            let interface = InterfaceConfig::new(Medium::Ethernet(mac)).address(addr.parse().unwrap());
            stack.add_interface(start, interface).unwrap();
            stack
        };
        let members = (0..stacks).map(|index| {
            let share = Share::new(steering.clone(), index);
            let seed = [index as u8 + 1; 32];
            let stack = Stack::with_share(config.divided_by(stacks), share, seed, start);
            connect(stack, OURS, "10.0.0.2/24")
        });
        let members = members.collect();
        let peer = connect(Stack::new(Config::default(), [99; 32], start), THEIRS, "10.0.0.1/24");
        let mut group = Group { peer, members, steering, now: start, draws: 1, handed_over: 0 };
        group.run_for(Duration::from_secs(4));
        group
    }

    /// The queue for the next frame. The choice is as bad as possible: another queue for each
    /// frame.
    fn queue(&mut self) -> usize {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draws >> 33) as usize % self.members.len()
    }

    fn arrive(&mut self, frame: Frame) {
        let queue = self.queue();
        match self.steering.of_frame(Medium::Ethernet(OURS), &frame.bytes) {
            Destination::Any => self.members[queue].handle_frame(self.now, IFACE, frame),
            Destination::One(index) => {
                self.handed_over += usize::from(usize::from(index) != queue);
                self.members[usize::from(index)].handle_frame(self.now, IFACE, frame);
            }
            Destination::All => {
                for member in &mut self.members {
                    member.handle_frame(self.now, IFACE, frame.clone());
                }
            }
        }
    }

    /// Exchanges frames until no stack has any to send.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.peer.poll_transmit(self.now) {
                quiet = false;
                self.arrive(transmit.to_frame());
            }
            quiet &= !self.peer.handle_loopback(self.now);
            for index in 0..self.members.len() {
                while let Some(transmit) = self.members[index].poll_transmit(self.now) {
                    quiet = false;
                    if transmit.iface() == InterfaceId::LOOPBACK {
                        let frame = transmit.to_frame();
                        let Destination::One(to) = self.steering.of_packet(&frame.bytes) else {
                            panic!("{frame:?} is nobody's")
                        };
                        assert_ne!(usize::from(to), index);
                        self.members[usize::from(to)].handle_frame(self.now, InterfaceId::LOOPBACK, frame);
                    } else {
                        self.peer.handle_frame(self.now, IFACE, transmit.to_frame());
                    }
                }
                quiet &= !self.members[index].handle_loopback(self.now);
            }
            if quiet {
                return;
            }
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(10);
            self.peer.handle_timeout(self.now);
            for member in &mut self.members {
                member.handle_timeout(self.now);
            }
            self.exchange();
        }
    }

    fn listen(stack: &mut Stack, addr: [u8; 4], port: u16) -> Descriptor {
        let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        stack.bind(d, (addr, port)).unwrap();
        stack.listen(d, 1000).unwrap();
        d
    }

    fn connect(now: Instant, stack: &mut Stack, addr: [u8; 4], port: u16) -> Descriptor {
        let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        assert_eq!(stack.connect(now, d, (addr, port)), Err(Error::InProgress));
        d
    }

    fn udp(stack: &mut Stack, port: u16) -> Descriptor {
        let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.bind(d, ([0; 4], port)).unwrap();
        d
    }

    fn assert_nothing_went_wrong(&self) {
        for stack in self.members.iter().chain([&self.peer]) {
            let stats = stack.stats();
            assert_eq!((stats.tcp.out_rsts, stats.icmp.errors_sent), (0, 0), "{stats:?}");
            assert_eq!(stats.tcp.retrans_segs + stats.recovery.timeouts, 0, "{stats:?}");
            assert_eq!(stats.drops(DropReason::NoTcpSocket) + stats.drops(DropReason::NoUdpSocket), 0);
        }
    }
}

fn is_open(readiness: Readiness) -> bool {
    readiness.writable && !readiness.error
}

#[test]
fn connections_in_both_directions_wherever_the_frames_come() {
    let mut group = Group::new(4);
    let listeners: Vec<_> = group.members.iter_mut().map(|member| Group::listen(member, GROUP, 80)).collect();
    let listener = Group::listen(&mut group.peer, PEER, 80);
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    for n in 0..200 {
        incoming.push(Group::connect(group.now, &mut group.peer, GROUP, 80));
        outgoing.push((n % 4, Group::connect(group.now, &mut group.members[n % 4], PEER, 80)));
        group.exchange();
    }
    for &d in &incoming {
        assert!(is_open(group.peer.readiness(d).unwrap()));
        group.peer.send(group.now, d, b"hello").unwrap();
    }
    for &(index, d) in &outgoing {
        assert!(is_open(group.members[index].readiness(d).unwrap()));
        group.members[index].send(group.now, d, b"hello").unwrap();
    }
    group.exchange();
    let mut accepted = 0;
    for (member, &listener) in group.members.iter_mut().zip(&listeners) {
        let before = accepted;
        while let Ok((d, _)) = member.accept(listener) {
            let mut buf = [0; 9];
            assert_eq!(member.recv(group.now, d, &mut buf), Ok(5));
            member.close(group.now, d).unwrap();
            accepted += 1;
        }
        assert!(accepted - before > 20, "all stacks have some of 200 connections");
    }
    assert_eq!(accepted, 200);
    let mut accepted = 0;
    while let Ok((d, _)) = group.peer.accept(listener) {
        assert_eq!(group.peer.recv(group.now, d, &mut [0; 9]), Ok(5));
        accepted += 1;
    }
    assert_eq!(accepted, 200);
    group.exchange();
    group.assert_nothing_went_wrong();
    assert!(group.handed_over > 700, "frames came to any queue: {}", group.handed_over);
}

#[test]
fn a_socket_that_is_bound_opens_only_connections_whose_answers_come_to_it() {
    let mut group = Group::new(2);
    Group::listen(&mut group.peer, PEER, 80);
    let now = group.now;
    let mut results: Vec<_> = (0..2)
        .map(|index| {
            let d = group.members[index].socket(Domain::V4, SocketKind::Stream).unwrap();
            group.members[index].bind(d, ([0; 4], 1234)).unwrap();
            group.members[index].connect(now, d, (PEER, 80))
        })
        .collect();
    results.sort_by_key(|result| *result == Err(Error::InProgress));
    assert_eq!(results, [Err(Error::AddressNotAvailable), Err(Error::InProgress)]);
}

#[test]
fn only_one_speaks_for_the_addresses_and_all_know_the_neighbours() {
    let mut group = Group::new(3);
    // Its request for the group's address is answered once; the members learn its address.
    let d = Group::udp(&mut group.peer, 9);
    let port = Group::udp(&mut group.members[0], 3 * 1000);
    let before: Vec<u64> = group.members.iter().map(|member| member.stats().link.frames_out).collect();
    group.peer.send_to(group.now, d, b"x", (GROUP, 3000)).unwrap();
    group.exchange();
    assert!(group.members[0].recv_msg(group.now, port).is_ok());
    let sent: Vec<u64> = group.members.iter().map(|member| member.stats().link.frames_out).collect();
    assert_eq!([sent[0] - before[0], sent[1] - before[1], sent[2] - before[2]], [1, 0, 0]);
    for member in &group.members {
        assert_eq!(member.neighbors(IFACE).len(), 1);
    }
    // Probes and announcements came from the first stack only, and all stacks can use the
    // addresses.
    assert!(before[0] > 0);
    assert_eq!(before[1..], [0, 0]);
    for member in &group.members {
        let info = &member.interfaces()[0];
        assert!(info.addresses.iter().all(|(_, state)| *state == crate::AddressState::Preferred));
    }
}

#[test]
fn a_duplicate_address_is_found_by_all() {
    let steering = steering(2);
    for index in 0..2 {
        let share = Share::new(steering.clone(), index);
        let mut stack = Stack::with_share(Config::default(), share, [1; 32], Instant::ZERO);
        let interface = InterfaceConfig::new(Medium::Ethernet(OURS)).address("10.0.0.2/24".parse().unwrap());
        stack.add_interface(Instant::ZERO, interface).unwrap();
        let reply = crate::testing::arp_reply(THEIRS, GROUP.into(), OURS, [0, 0, 0, 0].into());
        stack.handle_frame(Instant::ZERO, IFACE, Frame::new(reply));
        let states = stack.interfaces()[0].addresses.clone();
        assert!(states.iter().any(
            |(cidr, state)| cidr.addr == IpAddr::from(GROUP) && *state == crate::AddressState::Duplicated
        ));
    }
}

#[test]
fn fragments_become_one_packet_on_one_stack() {
    let mut group = Group::new(3);
    for port in 3000..3006 {
        let index = usize::from(port % 3);
        let at = Group::udp(&mut group.members[index], port);
        let from = Group::udp(&mut group.peer, port);
        let data = vec![port as u8; 5000];
        group.peer.send_to(group.now, from, &data, (GROUP, port)).unwrap();
        group.exchange();
        let (bytes, _) = group.members[index].recv_msg(group.now, at).unwrap();
        assert_eq!(bytes, data);
        // And in the other direction.
        group.members[index].send_to(group.now, at, &data, (PEER, port)).unwrap();
        group.exchange();
        assert_eq!(group.peer.recv_msg(group.now, from).unwrap().0, data);
    }
    // A ping that needs fragments gets one answer.
    let echo = group.peer.socket(Domain::V4, SocketKind::Echo).unwrap();
    let mut request = vec![8, 0, 0, 0, 0, 0, 0, 1];
    request.resize(4000, 5);
    group.peer.send_to(group.now, echo, &request, (GROUP, 0)).unwrap();
    group.exchange();
    assert_eq!(group.peer.recv_msg(group.now, echo).unwrap().0.len(), 4000);
    assert_eq!(group.peer.recv_msg(group.now, echo), Err(Error::WouldBlock));
    group.assert_nothing_went_wrong();
    let others: u64 = group.members.iter().map(|member| member.stats().drops(DropReason::OtherStack)).sum();
    assert_eq!(others, 2 * 7);
}

/// A fragment without the others of its packet, and an invalid fragment: one error for each.
#[test]
fn bad_fragments_have_one_complaint() {
    let mut group = Group::new(3);
    let builder = PacketBuilder::new(PEER.into(), GROUP.into());
    let fragment = builder.fragment(17, 0, &[9; 64], true);
    group.arrive(Frame::new(ethernet(THEIRS, OURS, &fragment)));
    group.run_for(Duration::from_secs(40));
    let sent = |group: &Group| -> u64 { group.members.iter().map(|m| m.stats().icmp.errors_sent).sum() };
    assert_eq!(sent(&group), 1);
    // RFC 8200 §4.5: the length of a fragment that is not the last is a multiple of 8 bytes.
    let ours = OURS.link_local();
    let odd = PacketBuilder::new(THEIRS.link_local().into(), ours.into()).fragment(17, 0, &[9; 63], true);
    group.arrive(Frame::new(ethernet(THEIRS, OURS, &odd)));
    group.exchange();
    assert_eq!(sent(&group), 2);
}

#[test]
fn pings_go_out_from_any_stack_and_come_back_to_it() {
    let mut group = Group::new(3);
    for index in 0..3 {
        let now = group.now;
        let member = &mut group.members[index];
        let echo = member.socket(Domain::V4, SocketKind::Echo).unwrap();
        member.send_to(now, echo, &[8, 0, 0, 0, 0, 0, 0, 1, 42], (PEER, 0)).unwrap();
        group.exchange();
        assert_eq!(group.members[index].recv_msg(now, echo).unwrap().0.last(), Some(&42));
    }
}

#[test]
fn datagrams_to_ourselves_find_the_stack_of_their_socket() {
    let mut group = Group::new(2);
    let (even, odd) = (Group::udp(&mut group.members[0], 2000), Group::udp(&mut group.members[1], 2001));
    for to in [GROUP, [127, 0, 0, 1]] {
        group.members[0].send_to(group.now, even, b"over", (to, 2001)).unwrap();
        group.exchange();
        let (bytes, meta) = group.members[1].recv_msg(group.now, odd).unwrap();
        assert_eq!((&bytes[..], meta.peer()), (&b"over"[..], (to, 2000).into()));
        group.members[1].send_to(group.now, odd, b"back", meta.peer()).unwrap();
        group.exchange();
        assert_eq!(&group.members[0].recv_msg(group.now, even).unwrap().0[..], b"back");
    }
    group.assert_nothing_went_wrong();
    // The port is closed: the error comes back to the stack that sent the packet.
    group.members[0].connect(group.now, even, (GROUP, 2003)).unwrap();
    group.members[0].send(group.now, even, b"nobody").unwrap();
    group.exchange();
    assert_eq!(group.members[0].take_error(even), Ok(Some(Error::ConnectionRefused)));
    // A connection from the host to itself has both ends on one stack.
    let listener = Group::listen(&mut group.members[1], GROUP, 80);
    for _ in 0..20 {
        let now = group.now;
        let d = Group::connect(now, &mut group.members[1], GROUP, 80);
        group.exchange();
        assert!(is_open(group.members[1].readiness(d).unwrap()));
        assert!(group.members[1].accept(listener).is_ok());
    }
}

/// RFC 7413: the client's next connection comes to another stack, and its cookie is valid there.
#[test]
fn fast_open_cookies_are_good_on_all_stacks() {
    let mut group = Group::new(2);
    let now = group.now;
    let listeners: Vec<_> = (0..2)
        .map(|index| {
            let d = Group::listen(&mut group.members[index], GROUP, 80);
            group.members[index].set_option(now, d, SocketOption::FastOpen(100)).unwrap();
            d
        })
        .collect();
    for _ in 0..16 {
        let d = group.peer.socket(Domain::V4, SocketKind::Stream).unwrap();
        let to = (GROUP, 80).into();
        let _ = group.peer.connect_with_data(group.now, d, to, b"early");
        group.exchange();
    }
    for (member, listener) in group.members.iter_mut().zip(listeners) {
        assert!(member.accept(listener).is_ok());
        assert_eq!(member.stats().fast_open.passive_fail, 0);
    }
    let fast: u64 = group.members.iter().map(|member| member.stats().fast_open.passive).sum();
    assert_eq!(fast, 15);
}

#[test]
fn what_is_limited_for_the_whole_is_divided() {
    let config = Config::default();
    let part = config.divided_by(4);
    assert_eq!(part.memory_limit_bytes, config.memory_limit_bytes / 4);
    assert_eq!(part.tcp.max_time_wait, config.tcp.max_time_wait / 4);
    assert_eq!(part.ip.icmp_errors_per_second, 250);
    assert_eq!(config.divided_by(0).memory_limit_bytes, config.memory_limit_bytes);
}

#[test]
fn one_stack_of_one_has_everything() {
    let steering = Steering::new(0, [0; 16]);
    assert_eq!(steering.stacks(), 1);
    let share = Share::new(steering, 5);
    assert_eq!(share.index(), 0);
    assert!(share.has_port(7) && share.is_first());
}

/// Datagrams from 300 ports to a port that three stacks share: as on one stack with SO_REUSEPORT,
/// each socket has a part, and a flow stays with its socket.
#[test]
fn a_spread_udp_port_is_on_every_stack() {
    let steering = steering(3).spread_udp_ports([443, 53, 53]);
    assert!(steering.is_spread(53) && steering.is_spread(443) && !steering.is_spread(54));
    let now = Instant::ZERO;
    let (ours, theirs): (IpAddr, IpAddr) = ([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    let mut stacks: Vec<(Stack, Descriptor)> = (0..3)
        .map(|index| {
            let mut stack =
                Stack::with_share(Config::default(), Share::new(steering.clone(), index), [9; 32], now);
            let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.2/24".parse().unwrap());
            stack.add_interface(now, interface).unwrap();
            let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            let addr = SocketAddr::new(ours, 53);
            // The port is for sockets that share it.
            assert_eq!(stack.bind(d, addr), Err(Error::AddressNotAvailable));
            stack.set_option(now, d, SocketOption::ReusePort(true)).unwrap();
            stack.bind(d, addr).unwrap();
            (stack, d)
        })
        .collect();
    let mut counts = [0; 3];
    for port in 1000..1300 {
        let packet = PacketBuilder::new(theirs, ours).udp(port, 53, b"x");
        let Destination::One(index) = steering.of_packet(&packet) else { panic!("one stack") };
        let (stack, d) = &mut stacks[usize::from(index)];
        stack.handle_frame(now, InterfaceId::from_index(0), Frame::new(packet.clone()));
        assert_eq!(stack.recv(now, *d, &mut [0; 9]), Ok(1));
        counts[usize::from(index)] += 1;
        // The answer, and an error about it, belong to the same stack.
        stack.send_to(now, *d, b"y", SocketAddr::new(theirs, port)).unwrap();
        let answer = stack.poll_transmit(now).unwrap().to_vec();
        let quote = [&[0; 4][..], &answer].concat();
        let error = PacketBuilder::new(theirs, ours).icmp(3, 3, &quote);
        assert_eq!(steering.of_packet(&error), Destination::One(index));
    }
    assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
    // Every stack has members of groups.
    let to_group = PacketBuilder::new(theirs, [224, 5, 6, 7].into()).udp(1000, 53, b"x");
    assert_eq!(steering.of_packet(&to_group), Destination::All);
    // A datagram from one stack to the address of all goes to the one that has its flow.
    let (stack, d) = &mut stacks[0];
    let mut leaves = 0;
    for port in 0..30 {
        stack.send_to(now, *d, b"z", SocketAddr::new(ours, 53)).unwrap();
        let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.bind(sender, SocketAddr::new(ours, 3000 + 3 * port)).unwrap();
        stack.send_to(now, sender, b"z", SocketAddr::new(ours, 53)).unwrap();
        while let Some(transmit) = stack.poll_transmit(now) {
            leaves += usize::from(transmit.iface() == InterfaceId::LOOPBACK);
        }
    }
    assert!(leaves > 5, "{leaves}");
}
