//! Floods: memory stays bounded, and existing connections continue.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portolan::testing::{PacketBuilder, Pair, PairConfig, Side, TcpSegment, ethernet, internet_checksum};
use portolan::{Domain, DropReason, Medium, SocketKind, SynCookieMode};
use portolan_tests::{by_family, data};

use crate::FAMILIES;

const LIMIT_BYTES: usize = 4 << 20;

/// A pair in which B listens on port 80, with an open connection.
struct Flooded {
    pair: Pair,
    client: portolan::Descriptor,
    server: portolan::Descriptor,
    listener: portolan::Descriptor,
    domain: Domain,
}

impl Flooded {
    fn new(domain: Domain) -> Flooded {
        Flooded::with_cookies(domain, SynCookieMode::WhenFull)
    }

    fn with_cookies(domain: Domain, mode: SynCookieMode) -> Flooded {
        let mut config = PairConfig::seeded(9);
        config.b.memory_limit_bytes = LIMIT_BYTES;
        config.b.tcp.syn_cookies = mode;
        let mut pair = Pair::new(config);
        let listener = pair.listener(domain, 80);
        let (client, server) = pair.connect_to(domain, listener, 80);
        Flooded { pair, client, server, listener, domain }
    }

    fn inject(&mut self, packet: &[u8]) {
        let (Medium::Ethernet(a), Medium::Ethernet(b)) = (self.pair.a.medium, self.pair.b.medium) else {
            panic!("an Ethernet link")
        };
        self.pair.inject(Side::B, ethernet(a, b, packet));
        assert!(self.pair.b.stack.memory_bytes() <= LIMIT_BYTES);
    }

    /// A packet builder for a host of the network that does not exist.
    fn stranger(&self, number: u32) -> PacketBuilder {
        let [_, b, c, d] = number.to_be_bytes();
        let src: IpAddr = by_family(
            self.domain,
            Ipv4Addr::new(10, 0, 0, 3 + d % 250).into(),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 7, u16::from(b), u16::from(c), u16::from(d)).into(),
        );
        PacketBuilder::new(src, self.pair.b.addr(self.domain))
    }

    /// Checks that the existing connection carries data in both directions.
    fn connection_goes_on(&mut self) {
        let bytes = data(9, 100_000);
        let (client, server) = (self.client, self.server);
        for (from, to) in [((Side::A, client), (Side::B, server)), ((Side::B, server), (Side::A, client))] {
            let (mut sent, mut received) = (0, Vec::new());
            let whole = self.pair.drive(Duration::from_secs(60), |pair| {
                let now = pair.now();
                sent += pair.host(from.0).stack.send(now, from.1, &bytes[sent..]).unwrap_or(0);
                while let Ok(slice) = pair.host(to.0).stack.recv_bytes(now, to.1, usize::MAX) {
                    received.extend_from_slice(&slice);
                }
                received.len() == bytes.len()
            });
            assert!(whole && received == bytes, "{} bytes: {:?}", received.len(), self.pair.b.stack.stats());
        }
    }
}

/// The SYN of one of many hosts.
fn syn_of(number: u32) -> TcpSegment {
    TcpSegment {
        seq: number.wrapping_mul(0x9e37_79b9),
        flags: TcpSegment::SYN,
        options: vec![2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7],
        ..TcpSegment::new((1024 + number % 60_000) as u16, 80)
    }
}

#[test]
fn syns_from_strangers_without_cookies() {
    for domain in FAMILIES {
        let mut flooded = Flooded::with_cookies(domain, SynCookieMode::Off);
        for number in 0..50_000u32 {
            let packet = flooded.stranger(number).tcp(&syn_of(number));
            flooded.inject(&packet);
            if number % 500 == 0 {
                flooded.pair.run_for(Duration::from_millis(1));
            }
        }
        // The listener's backlog limits what waits; the rest was counted.
        let stats = flooded.pair.b.stack.stats();
        assert!(stats.drops(DropReason::SynQueueFull) > 40_000, "{stats:?}");
        assert!(flooded.pair.b.stack.sockets().count() < 5_000);
        flooded.connection_goes_on();
        // After the flood the listener accepts connections again.
        flooded.pair.run_for(Duration::from_secs(300));
        flooded.pair.connect_to(domain, flooded.listener, 80);
    }
}

/// RFC 4987 §3.6: with cookies the listener accepts regular connections during the flood, and
/// stores no more than its backlog.
#[test]
fn syns_from_strangers_and_honest_clients_among_them() {
    for domain in FAMILIES {
        for mode in [SynCookieMode::WhenFull, SynCookieMode::Always] {
            let mut flooded = Flooded::with_cookies(domain, mode);
            let mut honest = Vec::new();
            for number in 0..20_000u32 {
                let packet = flooded.stranger(number).tcp(&syn_of(number));
                flooded.inject(&packet);
                if number % 500 == 0 {
                    flooded.pair.run_for(Duration::from_millis(1));
                }
                if number % 2_000 == 1_999 {
                    honest.push(flooded.pair.connect_to(domain, flooded.listener, 80));
                }
            }
            let stats = flooded.pair.b.stack.stats();
            assert!(stats.cookies.sent > 18_000, "{stats:?}");
            let by_cookie = honest.len() as u64 + u64::from(mode == SynCookieMode::Always);
            assert_eq!((stats.cookies.recv, stats.cookies.failed), (by_cookie, 0), "{stats:?}");
            assert_eq!(stats.drops(DropReason::SynQueueFull), 0, "{stats:?}");
            assert!(flooded.pair.b.stack.sockets().count() < 200);
            // Clients that connected meanwhile have full connections: they carry a megabyte in each
            // direction, with scaled windows and SACK.
            flooded.connection_goes_on();
            for (client, server) in honest {
                (flooded.client, flooded.server) = (client, server);
                flooded.connection_goes_on();
            }
        }
    }
}

/// ACKs that acknowledge nothing: if no cookies were sent they are not checked, and if cookies were
/// sent none is accepted.
#[test]
fn acks_that_guess_a_cookie() {
    for mode in [SynCookieMode::WhenFull, SynCookieMode::Always] {
        let mut flooded = Flooded::with_cookies(Domain::V4, mode);
        for number in 0..20_000u32 {
            let ack = TcpSegment { ack: number, flags: TcpSegment::ACK, options: vec![], ..syn_of(number) };
            let packet = flooded.stranger(number).tcp(&ack);
            flooded.inject(&packet);
            flooded.pair.run_for(Duration::ZERO);
        }
        let stats = flooded.pair.b.stack.stats();
        let looked_at = if mode == SynCookieMode::Always { 20_000 } else { 0 };
        assert_eq!((stats.cookies.failed, stats.cookies.recv), (looked_at, u64::from(looked_at > 0)));
        assert_eq!(stats.tcp.passive_opens, 1);
        flooded.connection_goes_on();
    }
}

/// Complete handshakes whose connections are never accepted.
#[test]
fn connections_that_nobody_accepts() {
    let mut flooded = Flooded::new(Domain::V4);
    let addr = SocketAddr::new(flooded.pair.b.addr(Domain::V4), 80);
    for _ in 0..300 {
        let stack = &mut flooded.pair.a.stack;
        let client = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        let now = flooded.pair.now();
        let _ = flooded.pair.a.stack.connect(now, client, addr);
    }
    flooded.pair.run_for(Duration::from_secs(10));
    assert!(flooded.pair.b.stack.memory_bytes() <= LIMIT_BYTES);
    flooded.connection_goes_on();
    let mut accepted = 0;
    while flooded.pair.b.stack.accept(flooded.listener).is_ok() {
        accepted += 1;
    }
    assert!((100..=140).contains(&accepted), "{accepted} with a backlog of 128");
}

/// Invalid segments for the connection.
#[test]
fn segments_guessed_by_a_stranger() {
    for domain in FAMILIES {
        let mut flooded = Flooded::new(domain);
        let client = flooded.pair.a.stack.local_addr(flooded.client).unwrap();
        let builder = PacketBuilder::new(flooded.pair.a.addr(domain), flooded.pair.b.addr(domain));
        for number in 0..20_000u32 {
            let flags = [
                TcpSegment::RST,
                TcpSegment::SYN,
                TcpSegment::RST | TcpSegment::ACK,
                TcpSegment::FIN | TcpSegment::ACK,
                TcpSegment::ACK,
            ];
            let segment = TcpSegment {
                // Numbers over the whole space: some are in the window, but hardly any is exactly
                // RCV.NXT.
                seq: number.wrapping_mul(214_748),
                ack: number.wrapping_mul(0x9e37_79b9),
                flags: flags[number as usize % flags.len()],
                payload: vec![0xbd; 10],
                ..TcpSegment::new(client.port(), 80)
            };
            let packet = builder.tcp(&segment);
            flooded.inject(&packet);
        }
        flooded.pair.run_for(Duration::from_secs(1));
        flooded.connection_goes_on();
        // RFC 5961 §7: the number of answers is limited.
        assert!(flooded.pair.b.stack.stats().tcp.challenge_ack <= 2_500);
    }
}

#[test]
fn fragments_that_never_become_whole() {
    for domain in FAMILIES {
        let mut flooded = Flooded::new(domain);
        for number in 0..30_000u32 {
            let mut builder = flooded.stranger(number);
            builder.identification = number;
            let packet = builder.fragment(17, 800, &[0; 1400], true);
            flooded.inject(&packet);
        }
        flooded.connection_goes_on();
        flooded.pair.run_for(Duration::from_secs(120));
        flooded.connection_goes_on();
    }
}

/// Datagrams that make the stack resolve hosts that do not exist.
#[test]
fn datagrams_from_strangers_to_closed_ports() {
    for domain in FAMILIES {
        let mut flooded = Flooded::new(domain);
        for number in 0..20_000u32 {
            let packet = flooded.stranger(number).udp(5, 4000, &[0; 100]);
            flooded.inject(&packet);
            if number % 100 == 0 {
                flooded.pair.run_for(Duration::from_micros(100));
            }
        }
        flooded.connection_goes_on();
        let stats = flooded.pair.b.stack.stats();
        assert!(stats.icmp.errors_sent < 3_000, "{stats:?}");
    }
}

/// The memory limit holds although each of many connections may offer a window; and when the
/// programs read at last, everything arrives.
#[test]
fn many_connections_with_data_that_nobody_reads() {
    let mut flooded = Flooded::new(Domain::V4);
    let streams: Vec<_> =
        (0..20).map(|_| flooded.pair.connect_to(Domain::V4, flooded.listener, 80)).collect();
    let bytes = data(9, 1 << 20);
    let mut sent = vec![0; streams.len()];
    flooded.pair.drive(Duration::from_secs(120), |pair| {
        let now = pair.now();
        for (&(client, _), sent) in streams.iter().zip(&mut sent) {
            *sent += pair.a.stack.send(now, client, &bytes[*sent..]).unwrap_or(0);
        }
        assert!(pair.b.stack.memory_bytes() <= LIMIT_BYTES);
        false
    });
    assert!(flooded.pair.b.stack.stats().drops(DropReason::MemoryLimit) > 0);
    let mut received = vec![Vec::new(); streams.len()];
    let whole = flooded.pair.drive(Duration::from_secs(3600), |pair| {
        let now = pair.now();
        for (&(_, server), received) in streams.iter().zip(&mut received) {
            while let Ok(slice) = pair.b.stack.recv_bytes(now, server, usize::MAX) {
                received.extend_from_slice(&slice);
            }
        }
        received.iter().zip(&sent).all(|(received, &sent)| received.len() >= sent)
    });
    assert!(whole, "{sent:?}");
    for (received, sent) in received.iter().zip(sent) {
        assert!(received[..] == bytes[..sent]);
    }
}

/// Queries about every group and source, of all versions and with every response time, and the
/// reports of other hosts, to a host that is a member of a thousand groups.
#[test]
fn queries_and_reports_about_groups() {
    const GROUPS: u32 = 1000;
    for domain in FAMILIES {
        let mut flooded = Flooded::new(domain);
        let Flooded { pair, .. } = &mut flooded;
        let (now, host) = (pair.now(), &mut pair.b);
        for first in (0..GROUPS).step_by(20) {
            let member = host.stack.socket(domain, SocketKind::Datagram).unwrap();
            for number in first..first + 20 {
                host.stack.join_group(now, member, group(domain, number), host.iface).unwrap();
            }
        }
        pair.run_for(Duration::from_secs(30));
        let (memory, sent) = (pair.b.stack.memory_bytes(), pair.b.stack.stats().multicast.reports_sent);
        for number in 0..20_000u32 {
            // Old queries come last: after one of them, the host speaks the old version.
            let message = group_message(domain, number % 4 + number / 10_000 * 4, number);
            flooded.inject(&message);
        }
        flooded.pair.run_for(Duration::from_secs(30));
        let stats = flooded.pair.b.stack.stats();
        let reports = stats.multicast.reports_sent - sent;
        assert!(stats.multicast.queries_received > 10_000, "{:?}", stats.multicast);
        assert!(reports > 100 && reports <= u64::from(2 * GROUPS), "{domain:?}: {reports} reports");
        assert_eq!(flooded.pair.b.stack.memory_bytes(), memory);
        flooded.connection_goes_on();
    }
}

fn group(domain: Domain, number: u32) -> IpAddr {
    let number = number as u16;
    by_family(
        domain,
        Ipv4Addr::from_bits(0xef01_0000 + u32::from(number)).into(),
        Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 1, number).into(),
    )
}

/// A message of IGMP or MLD: a general query, one about a group, one about sources or a report, of
/// the current version or of the one before.
fn group_message(domain: Domain, kind: u32, number: u32) -> Vec<u8> {
    let about = match kind % 4 {
        0 => by_family(domain, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
        _ => group(domain, number % 3000),
    };
    let all = by_family(domain, Ipv4Addr::new(224, 0, 0, 1).into(), "ff02::1".parse().unwrap());
    let (is_report, is_old) = (kind % 4 == 3, kind >= 4);
    let mut rest = if is_old || is_report { Vec::new() } else { vec![2, 125, 0, 0] };
    if kind == 2 {
        rest[3] = 50;
        rest.extend((0..50 * if domain == Domain::V4 { 4 } else { 16 }).map(|n| n as u8 ^ number as u8));
    }
    let code = (number % 255 + 1) as u8;
    match about {
        IpAddr::V4(about) => {
            let mut message = vec![if is_report { 0x16 } else { 0x11 }, code, 0, 0];
            message.extend(about.octets());
            message.extend(rest);
            let sum = internet_checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            PacketBuilder::new(Ipv4Addr::new(10, 0, 0, 9).into(), all).hop_limit(1).raw(2, &message)
        }
        IpAddr::V6(about) => {
            let querier: Ipv6Addr = "fe80::9".parse().unwrap();
            let builder = PacketBuilder::new(querier.into(), all).hop_limit(1);
            let body = [&[code, 0, 0, 0], &about.octets()[..], &rest].concat();
            let message = &builder.icmp(if is_report { 131 } else { 130 }, 0, &body)[40..];
            // Behind hop-by-hop options with router alert.
            builder.raw(0, &[&[58, 0, 5, 2, 0, 0, 1, 0], message].concat())
        }
    }
}
