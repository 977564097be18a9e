//! Memberships of sockets, and who gets a datagram to a group or a broadcast address.

use core::net::{Ipv4Addr, SocketAddr};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::network::{InterfaceConfig, Medium};
use crate::socket::{Descriptor, SendMeta, SocketOption};
use crate::testing::PacketBuilder;
use crate::time::Instant;
use crate::{Config, DropReason, Frame, Stack};

const NOW: Instant = Instant::ZERO;
const FIRST: InterfaceId = InterfaceId(0);
const SECOND: InterfaceId = InterfaceId(1);
const ANY: MulticastInterface = MulticastInterface::Any;
const PORT: u16 = 5000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// 10.0.0.1 and fd00::1 on the first link, 10.1.0.1 and fd01::1 on the second.
fn stack_with(config: Config) -> Stack {
    let mut stack = Stack::new(config, [6; 32], NOW);
    for addrs in [["10.0.0.1/24", "fd00::1/64"], ["10.1.0.1/24", "fd01::1/64"]] {
        let interface = InterfaceConfig::new(Medium::Ip);
        let interface = addrs.iter().fold(interface, |one, addr| one.address(addr.parse().unwrap()));
        stack.add_interface(NOW, interface).unwrap();
    }
    stack
}

fn stack() -> Stack {
    stack_with(Config::default())
}

fn socket(stack: &mut Stack, bound: Option<SocketAddr>) -> Descriptor {
    let domain = if bound.is_some_and(|addr| addr.is_ipv6()) { Domain::V6 } else { Domain::V4 };
    let d = stack.socket(domain, SocketKind::Datagram).unwrap();
    stack.set_option(NOW, d, SocketOption::ReuseAddr(true)).unwrap();
    if let Some(addr) = bound {
        stack.bind(d, addr).unwrap();
    }
    d
}

fn any(group: IpAddr) -> SocketAddr {
    let any = if group.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    SocketAddr::new(any, PORT)
}

/// Hands the stack a datagram, and returns which of the sockets got it.
fn deliver(stack: &mut Stack, iface: InterfaceId, src: &str, dst: IpAddr, ds: &[Descriptor]) -> Vec<usize> {
    let packet = PacketBuilder::new(ip(src), dst).udp(9, PORT, b"x");
    stack.handle_frame(NOW, iface, Frame::new(packet));
    takers(stack, ds)
}

/// Which of the sockets have one datagram.
fn takers(stack: &mut Stack, ds: &[Descriptor]) -> Vec<usize> {
    let got: Vec<usize> =
        (0..ds.len()).filter(|&index| stack.recv(NOW, ds[index], &mut [0]).is_ok()).collect();
    assert!(ds.iter().all(|&d| stack.recv(NOW, d, &mut [0]) == Err(Error::WouldBlock)), "one copy each");
    got
}

#[test]
fn a_datagram_reaches_the_members_and_those_that_take_all() {
    for (group, other, src) in [("239.1.1.1", "239.1.1.2", "10.0.0.9"), ("ff05::1", "ff05::2", "fd00::9")] {
        let (group, other) = (ip(group), ip(other));
        let mut stack = stack();
        // 0: any address; 1: bound to the group; 2: bound to another; 3, 4: not all groups; 5: not
        // its port; 6: connected to another peer.
        let mut ds: Vec<Descriptor> = Vec::new();
        for addr in [any(group).ip(), group, other, any(group).ip(), any(group).ip()] {
            ds.push(socket(&mut stack, Some(SocketAddr::new(addr, PORT))));
        }
        ds.push(socket(&mut stack, Some(SocketAddr::new(group, PORT + 1))));
        ds.push(socket(&mut stack, Some(SocketAddr::new(group, PORT))));
        stack.connect(NOW, ds[6], SocketAddr::new(ip(src), 10)).unwrap();
        let option = if group.is_ipv4() {
            SocketOption::MulticastAll(false)
        } else {
            SocketOption::MulticastAllV6(false)
        };
        for d in [3, 4] {
            stack.set_option(NOW, ds[d], option).unwrap();
        }
        assert_eq!(deliver(&mut stack, FIRST, src, group, &ds), [0; 0], "nobody has joined");
        stack.join_group(NOW, ds[3], group, FIRST).unwrap();
        assert_eq!(deliver(&mut stack, FIRST, src, group, &ds), [0, 1, 3]);
        assert_eq!(deliver(&mut stack, FIRST, src, other, &ds), [0; 0]);
        assert_eq!(deliver(&mut stack, SECOND, src, group, &ds), [0; 0], "joined on another link");
        stack.connect(NOW, ds[6], SocketAddr::new(ip(src), 9)).unwrap();
        assert_eq!(deliver(&mut stack, FIRST, src, group, &ds), [0, 1, 3, 6]);
        stack.leave_group(NOW, ds[3], group, ANY).unwrap();
        assert_eq!(deliver(&mut stack, FIRST, src, group, &ds), [0; 0]);
        stack.join_group(NOW, ds[0], group, FIRST).unwrap();
        stack.connect(NOW, ds[0], SocketAddr::new(ip(src), 8)).unwrap();
        let expected = [1, 6];
        assert_eq!(deliver(&mut stack, FIRST, src, group, &ds), expected, "connected: bound to one address");
        stack.close(NOW, ds[0]).unwrap();
        assert!(stack.interfaces().iter().all(|info| !info.groups.contains(&group)), "closed: left");
    }
}

#[test]
fn source_filters_decide_about_each_socket() {
    for (group, a, b) in [("239.1.1.1", "10.0.0.8", "10.0.0.9"), ("ff05::1", "fd00::8", "fd00::9")] {
        let group = ip(group);
        let mut stack = stack();
        let ds: Vec<Descriptor> = (0..4).map(|_| socket(&mut stack, Some(any(group)))).collect();
        stack.join_source_group(NOW, ds[0], group, ip(a), FIRST).unwrap();
        stack.join_group(NOW, ds[1], group, FIRST).unwrap();
        stack.block_source(NOW, ds[1], group, ip(a), FIRST).unwrap();
        stack.join_group(NOW, ds[2], group, FIRST).unwrap();
        let filter = SourceFilter::new(FilterMode::Include, [ip(b), ip(a), ip(b)].into());
        stack.set_source_filter(NOW, ds[2], group, FIRST, &filter).unwrap();
        assert_eq!(stack.source_filter(ds[2], group, FIRST).unwrap().sources, [ip(a), ip(b)]);
        assert_eq!(deliver(&mut stack, FIRST, a, group, &ds), [0, 2, 3], "the last takes all");
        assert_eq!(deliver(&mut stack, FIRST, b, group, &ds), [1, 2, 3]);
        stack.unblock_source(NOW, ds[1], group, ip(a), FIRST).unwrap();
        stack.leave_source_group(NOW, ds[0], group, ip(a), FIRST).unwrap();
        assert_eq!(stack.source_filter(ds[0], group, FIRST), Err(Error::AddressNotAvailable), "left");
        assert_eq!(deliver(&mut stack, FIRST, a, group, &ds), [0, 1, 2, 3]);
        stack.close(NOW, ds[1]).unwrap();
        stack.leave_source_group(NOW, ds[2], group, ip(a), FIRST).unwrap();
        let drops = stack.stats().drops(DropReason::SourceFiltered);
        assert_eq!(deliver(&mut stack, FIRST, a, group, &[ds[0], ds[2], ds[3]]), [0; 0]);
        assert_eq!(stack.stats().drops(DropReason::SourceFiltered), drops + 1);
    }
}

#[test]
fn errors_of_memberships_are_those_of_linux() {
    for (group, host) in [("239.1.1.1", "10.0.0.9"), ("ff05::1", "fd00::9")] {
        let (group, host) = (ip(group), ip(host));
        let mut stack = stack();
        let d = socket(&mut stack, Some(any(group)));
        let nowhere = InterfaceId(7);
        assert_eq!(stack.join_group(NOW, d, host, ANY), Err(Error::InvalidArgument));
        assert_eq!(stack.join_group(NOW, d, group, nowhere), Err(Error::NoDevice));
        assert_eq!(stack.leave_group(NOW, d, group, ANY), Err(Error::AddressNotAvailable));
        assert_eq!(stack.block_source(NOW, d, group, host, ANY), Err(Error::InvalidArgument), "no member");
        assert_eq!(stack.join_group(NOW, d, group, ANY), Ok(()));
        assert_eq!(stack.join_group(NOW, d, group, FIRST), Err(Error::AddressInUse));
        assert_eq!(stack.join_group(NOW, d, group, SECOND), Ok(()));
        assert_eq!(stack.unblock_source(NOW, d, group, host, ANY), Err(Error::AddressNotAvailable));
        assert_eq!(stack.block_source(NOW, d, group, host, FIRST), Ok(()));
        assert_eq!(stack.block_source(NOW, d, group, host, FIRST), Err(Error::AddressNotAvailable));
        let mixed = stack.join_source_group(NOW, d, group, host, FIRST);
        assert_eq!(mixed, Err(Error::InvalidArgument), "it excludes");
        let unnamed = stack.source_filter(d, group, ANY).map(|filter| filter.mode);
        let expected =
            if group.is_ipv4() { Ok(FilterMode::Exclude) } else { Err(Error::AddressNotAvailable) };
        assert_eq!(unnamed, expected);
        assert_eq!(stack.leave_group(NOW, d, group, SECOND), Ok(()));
        assert_eq!(stack.leave_group(NOW, d, group, ANY), Ok(()));
        assert_eq!(stack.leave_group(NOW, d, group, ANY), Err(Error::AddressNotAvailable));
        let stream = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
        assert_eq!(stack.join_group(NOW, stream, group, ANY), Err(Error::ProtocolError));
    }
    let mut stack = stack();
    let d = socket(&mut stack, None);
    assert_eq!(stack.join_group(NOW, d, ip("ff05::1"), ANY), Err(Error::ProtocolNotAvailable));
    assert_eq!(stack.source_filter(d, ip("ff05::1"), FIRST), Err(Error::NotSupported));
    let addr: Ipv4Addr = [10, 1, 0, 1].into();
    assert_eq!(stack.join_group(NOW, d, ip("239.1.1.1"), addr), Ok(()));
    assert!(stack.interfaces()[1].groups.contains(&ip("239.1.1.1")));
    assert_eq!(stack.join_group(NOW, d, ip("239.1.1.1"), Ipv4Addr::new(10, 9, 9, 9)), Err(Error::NoDevice));
}

// RFC 9776 §2 (RFC9776-2-a, RFC9776-2-b), §3.2 (RFC9776-3.2-b).
#[test]
fn memberships_sources_and_members_are_limited() {
    let mut stack = stack();
    let d = socket(&mut stack, None);
    let group = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0xef01_0000 + n));
    let before = stack.memory_bytes();
    for n in 0..20 {
        stack.join_group(NOW, d, group(n), FIRST).unwrap();
    }
    assert!(stack.memory_bytes() >= before + 20 * MEMBERSHIP_BYTES, "memberships are accounted for");
    assert_eq!(stack.join_group(NOW, d, group(20), FIRST), Err(Error::NoBufferSpace));
    for n in 0..64 {
        stack.block_source(NOW, d, group(0), IpAddr::V4([10, 0, 0, n].into()), FIRST).unwrap();
    }
    let full = stack.block_source(NOW, d, group(0), ip("10.0.0.64"), FIRST);
    assert_eq!(full, Err(Error::NoBufferSpace));
    stack.close(NOW, d).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    assert_eq!(stack.memory_bytes(), stack_with(Config::default()).memory_bytes());

    let mut config = Config::default();
    config.multicast.max_members = 3;
    config.multicast.max_group_sources = 2;
    let mut stack = stack_with(config);
    let bind = |stack: &mut Stack, addr: SocketAddr| {
        let d = socket(stack, None);
        stack.bind(d, addr).map(|()| d)
    };
    for addr in [any(group(0)), SocketAddr::new(group(0), PORT), SocketAddr::new(ip("10.0.0.255"), PORT)] {
        let ds: Vec<_> = (0..3).map(|_| bind(&mut stack, addr).unwrap()).collect();
        assert_eq!(bind(&mut stack, addr), Err(Error::NoBufferSpace));
        stack.close(NOW, ds[0]).unwrap();
        bind(&mut stack, addr).unwrap();
    }
    // Members that do not take all groups are counted for each group.
    let port = SocketAddr::new(ip("0.0.0.0"), PORT + 1);
    let all = SocketOption::MulticastAll;
    let members: Vec<_> = (0..3).map(|_| bind(&mut stack, port).unwrap()).collect();
    for &d in &members {
        stack.set_option(NOW, d, all(false)).unwrap();
        stack.join_group(NOW, d, group(1), FIRST).unwrap();
    }
    let fourth = socket(&mut stack, None);
    stack.join_group(NOW, fourth, group(1), FIRST).unwrap();
    stack.set_option(NOW, fourth, all(false)).unwrap();
    assert_eq!(stack.bind(fourth, port), Err(Error::NoBufferSpace));
    stack.leave_group(NOW, members[0], group(1), FIRST).unwrap();
    for n in 0..2 {
        stack.block_source(NOW, members[1], group(1), IpAddr::V4([10, 0, 0, n].into()), FIRST).unwrap();
    }
    let source = stack.block_source(NOW, members[2], group(1), ip("10.0.0.7"), FIRST);
    assert_eq!(source, Err(Error::NoBufferSpace), "the sources of all members of the group");
}

#[test]
fn what_is_sent_to_a_group_has_the_options_of_multicast() {
    let mut stack = stack();
    let group = ip("239.1.1.1");
    let to = SocketAddr::new(group, PORT);
    let member = socket(&mut stack, Some(any(group)));
    stack.join_group(NOW, member, group, SECOND).unwrap();
    let d = socket(&mut stack, None);
    stack.set_option(NOW, d, SocketOption::Ttl(99)).unwrap();
    // The interface, the source, the TTL, and whether the member got a copy.
    let send = |stack: &mut Stack, meta: SendMeta| {
        stack.send_msg(NOW, d, bytes::Bytes::from_static(b"x"), &meta).unwrap();
        let mut sent = Vec::new();
        loop {
            match stack.poll_transmit(NOW) {
                Some(frame) => sent.push((frame.iface(), frame.to_vec()[12..16].to_vec(), frame.to_vec()[8])),
                None if stack.handle_loopback(NOW) => {}
                None => break,
            }
        }
        (sent.pop(), !takers(stack, &[member]).is_empty())
    };
    let plain = SendMeta::to(to);
    assert_eq!(send(&mut stack, plain), (Some((FIRST, vec![10, 0, 0, 1], 1)), false));
    stack.set_option(NOW, d, SocketOption::MulticastInterface(SECOND.into())).unwrap();
    assert_eq!(send(&mut stack, plain), (Some((SECOND, vec![10, 1, 0, 1], 1)), true));
    stack.set_option(NOW, d, SocketOption::MulticastTtl(7)).unwrap();
    stack.set_option(NOW, d, SocketOption::MulticastLoop(false)).unwrap();
    assert_eq!(send(&mut stack, plain), (Some((SECOND, vec![10, 1, 0, 1], 7)), false));
    assert_eq!(send(&mut stack, plain.hop_limit(9)).0.unwrap().2, 9);
    assert_eq!(send(&mut stack, plain.iface(FIRST)).0.unwrap().0, FIRST, "IP_PKTINFO comes first");
    let addr: Ipv4Addr = [10, 0, 0, 1].into();
    stack.set_option(NOW, d, SocketOption::MulticastInterface(addr.into())).unwrap();
    assert_eq!(send(&mut stack, plain).0, Some((FIRST, vec![10, 0, 0, 1], 7)));
    let options = stack.options(d).unwrap().multicast();
    assert_eq!((options.interface, options.source, options.ttl), (Some(FIRST), Some(addr), 7));
    stack.set_option(NOW, d, SocketOption::MulticastInterface(SECOND.into())).unwrap();
    stack.set_option(NOW, d, SocketOption::MulticastLoop(true)).unwrap();
    stack.set_option(NOW, d, SocketOption::MulticastTtl(0)).unwrap();
    assert_eq!(send(&mut stack, plain), (None, true), "only on this host");

    let set = |stack: &mut Stack, d, option| stack.set_option(NOW, d, option);
    let nowhere = InterfaceId(7);
    let unknown = SocketOption::MulticastInterface(nowhere.into());
    assert_eq!(set(&mut stack, d, unknown), Err(Error::AddressNotAvailable));
    let v6 = SocketOption::MulticastInterfaceV6(Some(nowhere));
    assert_eq!(set(&mut stack, d, v6), Err(Error::ProtocolNotAvailable));
    let dual = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    assert_eq!(set(&mut stack, dual, v6), Err(Error::NoDevice));
    let stream = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    assert_eq!(set(&mut stack, stream, v6), Err(Error::ProtocolNotAvailable));
    assert_eq!(set(&mut stack, stream, SocketOption::MulticastTtl(1)), Err(Error::InvalidArgument));
}

#[test]
fn an_ipv6_socket_sends_to_an_ipv4_group_from_an_ipv4_address() {
    let mut stack = stack();
    let to = SendMeta::to(SocketAddr::new(ip("::ffff:239.1.1.1"), PORT));
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.connect(NOW, d, SocketAddr::new(ip("fd00::9"), 9)).unwrap();
    stack.set_option(NOW, d, SocketOption::MulticastInterface(SECOND.into())).unwrap();
    stack.send_msg(NOW, d, bytes::Bytes::from_static(b"x"), &to).unwrap();
    let frame = stack.poll_transmit(NOW).unwrap();
    assert_eq!((frame.iface(), &frame.to_vec()[12..16]), (SECOND, &[10, 1, 0, 1][..]));
    let d = socket(&mut stack, Some(SocketAddr::new(ip("fd00::1"), PORT)));
    for meta in [to, to.iface(FIRST), to.source(ip("10.0.0.1"))] {
        let sent = stack.send_msg(NOW, d, bytes::Bytes::from_static(b"x"), &meta);
        assert_eq!(sent, Err(Error::NetworkUnreachable));
    }
}

#[test]
fn a_broadcast_reaches_every_socket_on_the_port() {
    let mut stack = stack();
    let broadcast = ip("10.0.0.255");
    let addrs = [ip("0.0.0.0"), ip("0.0.0.0"), broadcast, ip("255.255.255.255"), ip("10.0.0.1")];
    let mut ds: Vec<_> =
        addrs.iter().map(|&addr| socket(&mut stack, Some(SocketAddr::new(addr, PORT)))).collect();
    ds.push(socket(&mut stack, Some(SocketAddr::new(ip("::"), PORT))));
    assert_eq!(deliver(&mut stack, FIRST, "10.0.0.9", broadcast, &ds), [0, 1, 2, 5]);
    assert_eq!(deliver(&mut stack, FIRST, "10.0.0.9", ip("255.255.255.255"), &ds), [0, 1, 3, 5]);
    // What this host sends to a broadcast address, it receives, too.
    let sender = socket(&mut stack, None);
    let to = SocketAddr::new(broadcast, PORT);
    assert_eq!(stack.send_to(NOW, sender, b"x", to), Err(Error::PermissionDenied));
    stack.set_option(NOW, sender, SocketOption::Broadcast(true)).unwrap();
    stack.send_to(NOW, sender, b"x", to).unwrap();
    let mut frames = 0;
    while stack.has_transmits() {
        frames += usize::from(stack.poll_transmit(NOW).is_some());
        stack.handle_loopback(NOW);
    }
    assert_eq!((frames, takers(&mut stack, &ds)), (1, [0, 1, 2, 5].into()));
}

/// Measured on Linux 6.18: the membership of a socket stays until the socket drops it, and a socket
/// that is bound to the interface cannot send.
#[test]
fn memberships_of_a_removed_interface_can_be_dropped() {
    for group in [ip("239.1.2.3"), ip("ff05::123")] {
        let mut stack = stack();
        let [d, closed] = [(); 2].map(|()| socket(&mut stack, Some(any(group))));
        for d in [d, closed] {
            stack.join_group(NOW, d, group, FIRST).unwrap();
        }
        stack.set_option(NOW, closed, SocketOption::BindToDevice(Some(FIRST))).unwrap();
        stack.remove_interface(NOW, FIRST).unwrap();
        let to = if group.is_ipv4() { ip("10.0.0.2") } else { ip("fd00::2") };
        assert_eq!(stack.send_to(NOW, closed, b"x", SocketAddr::new(to, 9)), Err(Error::NoDevice));
        stack.close(NOW, closed).unwrap();
        // Linux looks for the membership first with IPv6, and for the interface with IPv4.
        let refused = if group.is_ipv4() { Error::NoDevice } else { Error::AddressInUse };
        assert_eq!(stack.join_group(NOW, d, group, MulticastInterface::Id(FIRST)), Err(refused));
        assert_eq!(stack.leave_group(NOW, d, group, MulticastInterface::Id(FIRST)), Ok(()));
        let again = stack.leave_group(NOW, d, group, MulticastInterface::Id(FIRST));
        assert_eq!(again, Err(Error::AddressNotAvailable));
        stack.join_group(NOW, d, group, MulticastInterface::Id(SECOND)).unwrap();
    }
}
