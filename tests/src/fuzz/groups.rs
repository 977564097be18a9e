//! Multicast: queries, reports and datagrams in any order, among the calls of a program that joins
//! and leaves groups.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan::testing::{PacketBuilder, internet_checksum};
use portolan::{Descriptor, Domain, FilterMode, MulticastInterface, SocketKind, SocketOption, SourceFilter};

use super::Digest;
use super::host::{Bounds, Host, small_config};
use super::input::Input;
use crate::by_family;

const MAX_STEPS: usize = 64;
const PORT: u16 = 5000;
const IGMP: u8 = 2;
const HOP_BY_HOP: u8 = 0;
const IPV6_HEADER_LEN: usize = 40;
/// A hop-by-hop options header with router alert, before ICMPv6.
const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];

pub(super) fn run(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let first = input.byte();
    let mut config = small_config();
    config.multicast.old_versions = first & 2 == 0;
    config.multicast.max_group_sources = 6;
    let mut host = Host::new(first & 1 != 0, config, Bounds::SMALL);
    let at_first = host.stack.interfaces()[0].groups.clone();
    let sockets: Vec<Descriptor> = (0..4).map(|number| member(&mut host, number)).collect();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let (what, which) = (input.byte(), input.byte());
        let domain = if what & 0x80 == 0 { Domain::V4 } else { Domain::V6 };
        let socket = sockets[usize::from(which >> 6)];
        match what & 7 {
            0 | 1 => {
                let message = Message { domain, kind: what >> 3 & 7, which, fields: input.byte() };
                message.send(&mut host, input.counted());
            }
            2 => {
                let packet = addressed(&host, domain, which).udp(9, PORT, b"to a group");
                host.receive_packet(&packet);
            }
            3 => host.pass(input.duration()),
            4 => {
                // Some of these destinations cannot be reached.
                let to = SocketAddr::new(group(domain, which), PORT);
                let _ = host.stack.send_to(host.now, socket, b"from a member", to);
                host.settle();
            }
            _ => call(&mut host, socket, what >> 3 & 7, group(domain, which), input.byte()),
        }
        check_groups(&mut host, &sockets, &at_first);
    }
    for socket in sockets {
        host.stack.close(host.now, socket).expect("it is open");
    }
    host.settle();
    assert_eq!(host.stack.interfaces()[0].groups, at_first, "groups that nobody is a member of");
    host.check_rest();
    host.digest()
}

/// A datagram socket of IPv6, which may be in groups of both families, bound to any address.
fn member(host: &mut Host, number: u16) -> Descriptor {
    let socket = host.stack.socket(Domain::V6, SocketKind::Datagram).expect("there are few sockets");
    host.stack.set_option(host.now, socket, SocketOption::ReuseAddr(true)).expect("it is new");
    host.stack.bind(socket, ([0u16; 8], PORT + number / 2)).expect("the port is shared");
    socket
}

/// A group by a small number; some are none, or are special.
fn group(domain: Domain, number: u8) -> IpAddr {
    let number = u16::from(number % 8);
    let (v4, v6) = match number {
        0 => ([224, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1]),
        1 => ([224, 0, 0, 22], [0xff01, 0, 0, 0, 0, 0, 0, 5]),
        2 => ([10, 0, 0, 77], [0xfd00, 0, 0, 0, 0, 0, 0, 0x77]),
        _ => ([239, 1, 2, number as u8], [0xff12, 0, 0, 0, 0, 0, 0, number]),
    };
    by_family(domain, Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into())
}

/// A source by a small number; 0 is the peer.
fn source(domain: Domain, number: u8) -> IpAddr {
    match number % 4 {
        0 => by_family(domain, crate::RawPeer::PEER_V4.into(), crate::RawPeer::PEER_V6.into()),
        number => by_family(
            domain,
            Ipv4Addr::new(10, 0, 0, 100 + number).into(),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number.into()).into(),
        ),
    }
}

/// A builder for packets to a group, or to the stack itself, from one of the sources.
fn addressed(host: &Host, domain: Domain, which: u8) -> PacketBuilder {
    let mut builder = host.packet(domain);
    builder.src = source(domain, which >> 3);
    if which & 0x20 == 0 {
        builder.dst = group(domain, which);
    }
    builder
}

/// A message of IGMP or MLD.
struct Message {
    domain: Domain,
    /// One of those that hosts and routers know, or another.
    kind: u8,
    /// Its source and its destination.
    which: u8,
    /// The group that it names, and which fields are unusual.
    fields: u8,
}

impl Message {
    /// Sends it. `rest` follows the group.
    fn send(&self, host: &mut Host, rest: &[u8]) {
        let &Message { domain, kind, which, fields } = self;
        let mut builder = addressed(host, domain, which).hop_limit(if fields & 0x40 == 0 { 1 } else { 2 });
        let about = match fields & 0x10 {
            0 => by_family(domain, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
            _ => group(domain, fields),
        };
        let code = fields << 4 | which >> 4;
        let packet = match about {
            IpAddr::V4(about) => {
                let kind = [0x11, 0x11, 0x12, 0x16, 0x17, 0x22, 0x13, kind][usize::from(kind)];
                let mut message = vec![kind, code, 0, 0];
                message.extend(about.octets());
                message.extend(rest);
                let sum = internet_checksum(&[&message]);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                builder.raw(IGMP, &message)
            }
            IpAddr::V6(about) => {
                if which & 0x18 == 0 {
                    builder.src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9).into();
                }
                let kind = [130, 130, 130, 131, 132, 143, 151, kind][usize::from(kind)];
                let body = [&[code, which, 0, 0], &about.octets()[..], rest].concat();
                let message = &builder.icmp(kind, 0, &body)[IPV6_HEADER_LEN..];
                match fields & 0x80 {
                    0 => builder.raw(HOP_BY_HOP, &[&ROUTER_ALERT, message].concat()),
                    _ => builder.raw(58, message),
                }
            }
        };
        host.receive_packet(&packet);
    }
}

/// A call on a membership, which may fail.
fn call(host: &mut Host, socket: Descriptor, what: u8, group: IpAddr, fields: u8) {
    let (now, iface) = (host.now, MulticastInterface::Id(host.iface));
    let iface = if fields & 0x80 == 0 { iface } else { MulticastInterface::Any };
    let domain = if group.is_ipv4() { Domain::V4 } else { Domain::V6 };
    let from = source(domain, fields);
    let stack = &mut host.stack;
    let _ = match what {
        0 | 1 => stack.join_group(now, socket, group, iface),
        2 => stack.leave_group(now, socket, group, iface),
        3 => stack.join_source_group(now, socket, group, from, iface),
        4 => stack.leave_source_group(now, socket, group, from, iface),
        5 => stack.block_source(now, socket, group, from, iface),
        6 => stack.unblock_source(now, socket, group, from, iface),
        _ => {
            let mode = if fields & 0x40 == 0 { FilterMode::Include } else { FilterMode::Exclude };
            let sources = (0..4).filter(|n| fields >> n & 1 != 0).map(|n| source(domain, n)).collect();
            stack.set_source_filter(now, socket, group, iface, &SourceFilter::new(mode, sources))
        }
    };
    host.settle();
}

/// Checks that the interface listens to the groups that sockets are members of, and to its own.
fn check_groups(host: &mut Host, sockets: &[Descriptor], own: &[IpAddr]) {
    let listens_to = host.stack.interfaces()[0].groups.clone();
    for domain in [Domain::V4, Domain::V6] {
        for group in (0..8).map(|number| group(domain, number)) {
            let (stack, iface) = (&mut host.stack, host.iface);
            let has_member = sockets.iter().any(|&socket| stack.source_filter(socket, group, iface).is_ok());
            let is_meant = has_member || own.contains(&group);
            assert_eq!(listens_to.contains(&group), is_meant, "{group}: {listens_to:?}");
        }
    }
}
