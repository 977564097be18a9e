//! A server with two peers: a regular one, whose connection carries data all the time, and one that
//! attacks over its own connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portolan::testing::{
    PacketBuilder, Pair, PairConfig, Side, TcpSegment, arp_reply, ethernet, neighbor_advertisement,
};
use portolan::{Descriptor, Domain, MacAddr, Medium};
use portolan_tests::{RawConnection, by_family, tcp_segment};

const LIMIT_BYTES: usize = 16 << 20;
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);
/// The bytes that the regular programs send each other in a step.
const HONEST_BYTES: usize = 5_000;
/// The most bytes that may be in flight between them at the end of a step.
const BACKLOG_BYTES: usize = 100_000;

/// The regular peer's ephemeral ports begin here; the attacker's are smaller.
const HONEST_PORTS: u16 = 32_768;

/// The SYN options of a modern peer except timestamps: MSS 1,000, SACK, windows in units of 128.
pub(crate) const MODERN: [u8; 12] = [2, 4, 3, 0xe8, 4, 2, 3, 3, 7, 1, 1, 1];

/// The server is B, the regular peer is A.
pub(crate) struct Arena {
    pub(crate) pair: Pair,
    /// The server's listener on port 80.
    pub(crate) listener: Descriptor,
    /// The server's end of the attacker's connection.
    pub(crate) victim: Descriptor,
    /// The attacker's end.
    pub(crate) attacker: RawConnection,
    domain: Domain,
    /// The ends of the regular connection, and the progress of each direction.
    honest: [Honest; 2],
    /// The number of frames from the attacker and to it, and their bytes.
    pub(crate) frames_in: usize,
    pub(crate) frames_out: usize,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
}

/// The byte at a position of the stream that the regular programs send.
fn honest_byte(place: usize) -> u8 {
    (place ^ place >> 8) as u8
}

struct Honest {
    from: (Side, Descriptor),
    to: (Side, Descriptor),
    sent: usize,
    received: usize,
}

impl Arena {
    /// Makes an arena in which the attacker's SYN has these options.
    pub(crate) fn new(domain: Domain, options: &[u8]) -> Arena {
        let mut config = PairConfig { record: true, ..PairConfig::seeded(11) };
        config.b.memory_limit_bytes = LIMIT_BYTES;
        let mut pair = Pair::new(config);
        let listener = pair.listener(domain, 80);
        let (client, server) = pair.connect_to(domain, listener, 80);
        let [a, b] = [(Side::A, client), (Side::B, server)];
        let honest = [(a, b), (b, a)].map(|(from, to)| Honest { from, to, sent: 0, received: 0 });
        let isn = 1_000_000;
        let attacker = RawConnection { domain, peer_port: 6_666, stack_port: 80, snd_nxt: isn, rcv_nxt: 0 };
        let mut arena = Arena {
            pair,
            listener,
            victim: server,
            attacker,
            domain,
            honest,
            frames_in: 0,
            frames_out: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        let syn = TcpSegment { ack: 0, options: options.to_vec(), ..attacker.segment(TcpSegment::SYN, &[]) };
        arena.send(&syn);
        let answers = [arena.step(1), arena.step(1)].concat();
        let [syn_ack, ..] = &answers[..] else { panic!("no SYN-ACK") };
        arena.attacker.snd_nxt = isn + 1;
        arena.attacker.rcv_nxt = syn_ack.seq.wrapping_add(1);
        arena.send(&arena.attacker.segment(TcpSegment::ACK, &[]));
        arena.victim = arena.pair.b.stack.accept(listener).expect("a whole handshake").0;
        (arena.frames_in, arena.frames_out, arena.bytes_in, arena.bytes_out) = (0, 0, 0, 0);
        arena
    }

    fn addr(&self) -> IpAddr {
        by_family(
            self.domain,
            Ipv4Addr::new(10, 0, 0, 0x66).into(),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x66).into(),
        )
    }

    /// A packet from the attacker's address.
    pub(crate) fn packet(&self) -> PacketBuilder {
        PacketBuilder::new(self.addr(), self.pair.b.addr(self.domain))
    }

    fn server_mac(&self) -> MacAddr {
        let Medium::Ethernet(mac) = self.pair.b.medium else { panic!("an Ethernet link") };
        mac
    }

    /// Passes a packet to the server.
    pub(crate) fn inject(&mut self, packet: &[u8]) {
        let frame = ethernet(MAC, self.server_mac(), packet);
        self.bytes_in += frame.len();
        self.pair.inject(Side::B, frame);
        self.frames_in += 1;
    }

    /// Passes a segment of the attacker to the server.
    pub(crate) fn send(&mut self, segment: &TcpSegment) {
        let packet = self.packet().tcp(segment);
        self.inject(&packet);
    }

    /// Sends an acknowledgement of everything before `ack`, with this window and these options.
    pub(crate) fn acknowledge(&mut self, ack: u32, window: u16, options: Vec<u8>) {
        let ack = TcpSegment { ack, window, options, ..self.attacker.segment(TcpSegment::ACK, &[]) };
        self.send(&ack);
    }

    /// Lets milliseconds pass. The regular connection continues, and the server keeps within its
    /// memory. Returns the segments that the attacker gets.
    pub(crate) fn step(&mut self, millis: u64) -> Vec<TcpSegment> {
        for honest in &mut self.honest {
            let now = self.pair.now();
            let (side, descriptor) = honest.from;
            let chunk: Vec<u8> = (honest.sent..honest.sent + HONEST_BYTES).map(honest_byte).collect();
            honest.sent += self.pair.host(side).stack.send(now, descriptor, &chunk).unwrap_or(0);
        }
        self.tell_where_the_attacker_is();
        self.pair.run_for(Duration::from_millis(millis));
        self.tell_where_the_attacker_is();
        self.pair.run_for(Duration::ZERO);
        for honest in &mut self.honest {
            let now = self.pair.now();
            let (side, descriptor) = honest.to;
            while let Ok(slice) = self.pair.host(side).stack.recv_bytes(now, descriptor, usize::MAX) {
                assert!(!slice.is_empty(), "the connection has ended");
                for byte in slice {
                    assert_eq!(byte, honest_byte(honest.received));
                    honest.received += 1;
                }
            }
            assert!(honest.sent - honest.received <= BACKLOG_BYTES, "the honest connection stands still");
        }
        let memory = self.pair.b.stack.memory_bytes();
        assert!(memory <= LIMIT_BYTES, "{memory} bytes");
        self.take()
    }

    fn tell_where_the_attacker_is(&mut self) {
        let server = self.server_mac();
        let frame = match (self.addr(), self.pair.b.addr(self.domain)) {
            (IpAddr::V4(addr), IpAddr::V4(to)) => arp_reply(MAC, addr, server, to),
            (IpAddr::V6(addr), IpAddr::V6(to)) => neighbor_advertisement(MAC, addr, server, to),
            _ => unreachable!("one family"),
        };
        self.pair.inject(Side::B, frame);
    }

    /// The segments that the server has sent to the attacker since the last call.
    fn take(&mut self) -> Vec<TcpSegment> {
        let medium = self.pair.b.medium;
        let frames = self.pair.recorded();
        let mut segments = Vec::new();
        for recorded in frames.iter().filter(|recorded| recorded.from == Side::B) {
            let segment = tcp_segment(medium, &recorded.frame);
            if let Some(segment) = segment.filter(|segment| segment.dst_port < HONEST_PORTS) {
                self.frames_out += 1;
                self.bytes_out += recorded.frame.len();
                segments.push(segment);
            }
        }
        segments
    }

    /// Lets the victim's program write as much as possible.
    pub(crate) fn serve(&mut self) {
        let now = self.pair.now();
        while let Ok(1..) = self.pair.b.stack.send(now, self.victim, &[7; 100_000]) {}
    }

    /// Returns what the victim's program reads.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        let now = self.pair.now();
        let mut all = Vec::new();
        while let Ok(slice) = self.pair.b.stack.recv_bytes(now, self.victim, usize::MAX) {
            if slice.is_empty() {
                break;
            }
            all.extend_from_slice(&slice);
        }
        all
    }

    /// Checks that the regular connection has carried data all the time, and lets it carry the
    /// rest.
    pub(crate) fn innocent_goes_on(&mut self) {
        let before = self.honest[0].received;
        for _ in 0..20 {
            self.step(50);
        }
        for honest in &self.honest {
            assert!(honest.received > 0 && honest.received + 2 * HONEST_BYTES >= honest.sent);
        }
        assert!(self.honest[0].received >= before + 10 * HONEST_BYTES);
    }
}

/// SACK blocks as an option.
pub(crate) fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut option = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (left, right) in blocks {
        option.extend_from_slice(&left.to_be_bytes());
        option.extend_from_slice(&right.to_be_bytes());
    }
    option
}
