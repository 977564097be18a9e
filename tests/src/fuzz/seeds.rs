//! Seeds: each does something that real hosts do, so that the fuzzer can vary it.

use std::time::Duration;

use portolan::testing::{
    PacketBuilder, TcpSegment, arp_reply, arp_request, ethernet, neighbor_advertisement,
};

use super::features::{Beginning, Features};
use super::input::Output;
use super::step::{Options, Segment, Step};
use crate::RawPeer;

const ACK: u8 = TcpSegment::ACK;
const FIN: u8 = TcpSegment::FIN;
const PSH: u8 = TcpSegment::PSH;
const RST: u8 = TcpSegment::RST;
const SYN: u8 = TcpSegment::SYN;
const URG: u8 = TcpSegment::URG;

/// A seed: the target, its file name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds in `fuzz/seeds/`, except those that once found a bug.
pub fn generated_seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    tcp_states(&mut seeds);
    calls(&mut seeds);
    tcp_options(&mut seeds);
    frames(&mut seeds);
    extension_headers(&mut seeds);
    reassembly(&mut seeds);
    neighbors(&mut seeds);
    vnet(&mut seeds);
    impairment(&mut seeds);
    bpf(&mut seeds);
    groups(&mut seeds);
    interception(&mut seeds);
    seeds
}

fn data(len: u16) -> Step {
    Step::Segment(Segment::due(ACK | PSH, len))
}

fn segment(flags: u8, seq: i32, ack: i32, len: u16) -> Step {
    Step::Segment(Segment { seq, ack, ..Segment::due(flags, len) })
}

fn wait(millis: u64) -> Step {
    Step::Wait(Duration::from_millis(millis))
}

/// Steps that may happen to a connection in any state: data in order, old and early; ACKs old and
/// new; FIN, RST, SYN; calls and time.
fn encounters() -> Vec<Step> {
    let sack = Segment { options: Options::Sack(vec![(-1000, 0)]), ack: -5000, ..Segment::due(ACK, 0) };
    vec![
        data(500),
        segment(ACK, 1000, 0, 500),
        segment(ACK, -300, 0, 600),
        segment(ACK, 0, -1, 0),
        segment(ACK, 0, 1, 0),
        segment(ACK, -1, 0, 0),
        Step::Segment(sack),
        Step::Send(0, 4000),
        Step::Recv(0, 2000),
        wait(240),
        Step::Icmp { flow: 0, kind: 0, code: 4, word: 1000, seq: -1000 },
        segment(RST, 1, 0, 0),
        segment(SYN, 0, 0, 0),
        segment(FIN | ACK, 0, 0, 10),
        wait(3000),
        segment(RST, 0, 0, 0),
    ]
}

fn states_input(features: u16, beginning: Beginning, steps: &[Step]) -> Vec<u8> {
    let index = Beginning::ALL.iter().position(|&known| known == beginning).expect("it is one of all");
    let mut output = Output::default();
    output.word(features).byte(index as u8);
    steps.iter().for_each(|step| step.write(&mut output));
    output.bytes
}

fn tcp_states(seeds: &mut Vec<Seed>) {
    let usual = Features::TIMESTAMPS | Features::SACK | Features::SCALE;
    let mut add = |name: String, bytes: Vec<u8>| seeds.push(("tcp_states", name, bytes));
    for beginning in Beginning::ALL {
        let name = format!("{beginning:?}").to_lowercase();
        add(name.clone(), states_input(usual, beginning, &encounters()));
        add(format!("{name}-plain"), states_input(Features::V6, beginning, &encounters()));
    }
    let ecn = usual | Features::ECN_REQUEST | Features::ECN_ACCURATE;
    let marked = Step::Segment(Segment { ecn: 3, ..Segment::due(ACK, 1000) });
    add(
        "accurate-ecn".into(),
        states_input(ecn, Beginning::Accepted, &[marked, data(10), Step::Send(0, 9000)]),
    );
    let cookies = Features::COOKIES | usual;
    add("cookies".into(), states_input(cookies, Beginning::SynReceived, &[data(0), Step::Accept, data(100)]));
    let urgent = [segment(ACK | URG, 0, 0, 40), Step::Look(0, 3), Step::Look(0, 2), Step::Recv(0, 40)];
    add("urgent".into(), states_input(0, Beginning::Accepted, &urgent));
    let small = Features::SMALL_BACKLOG | Features::DEFER_ACCEPT;
    add(
        "deferred".into(),
        states_input(small, Beginning::Backlog, &[data(0), wait(5000), data(10), Step::Accept]),
    );
    let window = Step::Segment(Segment { window: 0, ..Segment::due(ACK, 0) });
    let probed = [Step::Send(0, 10_000), window, wait(2000), segment(ACK, 0, 0, 0)];
    add("zero-window".into(), states_input(usual, Beginning::Accepted, &probed));
    let probing = usual | Features::MTU_PROBING | Features::PACING;
    let stamped = Step::Segment(Segment { options: Options::Stamped(-5, 0), ..Segment::due(ACK, 10) });
    let steps =
        [Step::Send(0, 19_000), stamped, data(0), Step::Burst { flow: 0, count: 9, len: 1000 }, wait(300)];
    add("probing".into(), states_input(probing, Beginning::Accepted, &steps));
}

fn calls_input(features: u16, steps: &[Step]) -> Vec<u8> {
    let mut output = Output::default();
    output.word(features);
    steps.iter().for_each(|step| step.write(&mut output));
    output.bytes
}

fn calls(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push(("calls", name.into(), bytes));
    let loopback = [Step::Open(1), Step::Open(3), Step::Accept, Step::Send(0, 9000), Step::Recv(1, 9000)];
    let ending = [Step::Shutdown(0, 1), Step::Recv(1, 10), Step::Close(1), wait(100), Step::Close(0)];
    add("loopback", calls_input(0, &[&loopback[..], &ending].concat()));
    add("loopback-v6", calls_input(Features::V6 | Features::ETHERNET, &[&loopback[..], &ending].concat()));
    let options: Vec<Step> = (0..20).map(|which| Step::SetOption(0, which, 4097)).collect();
    add("options", calls_input(0, &[&[Step::Open(0)][..], &options, &encounters()].concat()));
    let reused =
        [Step::Open(0), segment(RST | ACK, 0, 0, 0), Step::Shutdown(0, 0), Step::Look(0, 6), Step::Close(0)];
    add("listen-again", calls_input(0, &reused));
    let fast = [Step::Open(2), wait(1000), Step::Open(5), Step::Send(1, 300), Step::Look(1, 0)];
    add("fast-open", calls_input(Features::FAST_OPEN | Features::TIMESTAMPS, &fast));
    let datagrams =
        [Step::Open(4), Step::Datagram { port: 0, len: 900 }, Step::Recv(0, 100), Step::Send(0, 901)];
    add("datagrams", calls_input(Features::ETHERNET, &datagrams));
    let looks: Vec<Step> = (0..8).map(|what| Step::Look(0, what)).collect();
    add("looks", calls_input(Features::LITTLE_MEMORY, &[&loopback[..], &looks].concat()));
}

fn tcp_options(seeds: &mut Vec<Seed>) {
    let stamp = [8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
    let syn = [&[2, 4, 5, 180, 4, 2][..], &stamp, &[1, 3, 3, 7]].concat();
    let sack = [&[1, 1, 5, 18][..], &[0, 0, 4, 200, 0, 0, 5, 200], &[0, 0, 4, 220, 0, 0, 5, 0]].concat();
    let accurate = [172, 11, 0, 0, 1, 0, 0, 2, 0, 0, 3];
    let named: [(&str, [&[u8]; 4]); 6] = [
        ("usual", [&syn, &stamp, &syn, &stamp]),
        ("none", [&[], &[], &[], &[]]),
        ("sack", [&syn, &[1, 1], &syn, &sack]),
        ("accurate-ecn", [&syn, &accurate, &syn, &accurate]),
        (
            "fast-open",
            [
                &[34, 2],
                &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
                &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
                &[254, 4, 0xf9, 0x89],
            ],
        ),
        ("broken", [&[2, 3, 1, 0], &[8, 0], &[3, 40, 7], &[5, 3, 255]]),
    ];
    for (name, [syn, ack, syn_ack, data]) in named {
        for v6 in [0, 1] {
            let mut output = Output::default();
            output.byte(v6).counted(syn).counted(ack).counted(syn_ack);
            output.byte(20).counted(data).byte(21).counted(data).byte(0).counted(data);
            seeds.push(("tcp_options", format!("{name}-{}", ["v4", "v6"][usize::from(v6)]), output.bytes));
        }
    }
}

fn builder(v6: bool) -> PacketBuilder {
    if v6 {
        PacketBuilder::new(RawPeer::PEER_V6.into(), RawPeer::STACK_V6.into())
    } else {
        PacketBuilder::new(RawPeer::PEER_V4.into(), RawPeer::STACK_V4.into())
    }
}

/// Packets that each have an effect on a host.
fn packets(v6: bool) -> Vec<(&'static str, Vec<u8>)> {
    let builder = builder(v6);
    let syn = TcpSegment { seq: 7, flags: SYN, ..TcpSegment::new(40_000, 80) };
    let about = PacketBuilder::new(builder.dst, builder.src).udp(50, 9, b"a datagram of ours");
    let unreachable = if v6 { (1, 4) } else { (3, 3) };
    vec![
        ("syn", builder.tcp(&syn)),
        ("ack", builder.tcp(&TcpSegment { flags: ACK, ..syn.clone() })),
        ("closed-port", builder.tcp(&TcpSegment { dst_port: 81, ..syn })),
        ("datagram", builder.udp(40_000, 50, b"hello")),
        ("no-socket", builder.udp(40_000, 51, b"hello")),
        ("echo", builder.echo_request(1, 2, b"abcdefgh")),
        ("unreachable", builder.icmp(unreachable.0, unreachable.1, &[&[0; 4], &about[..]].concat())),
        ("protocol", builder.raw(200, b"what is this")),
        ("fragment", builder.fragment(17, 0, &[5; 64], true)),
    ]
}

fn frames(seeds: &mut Vec<Seed>) {
    for v6 in [false, true] {
        for (name, packet) in packets(v6) {
            let mut output = Output::default();
            output.byte(1);
            let frame = ethernet(RawPeer::PEER_MAC, RawPeer::STACK_MAC, &packet);
            output.byte(0).counted_long(&frame).byte(1).counted_long(&frame).byte(0x44);
            seeds.push(("frames", format!("{name}-{}", if v6 { "v6" } else { "v4" }), output.bytes));
        }
    }
    let arp = arp_request(RawPeer::PEER_MAC, RawPeer::PEER_V4, RawPeer::STACK_V4);
    let advertisement =
        neighbor_advertisement(RawPeer::PEER_MAC, RawPeer::PEER_V6, RawPeer::STACK_MAC, RawPeer::STACK_V6);
    let reply = arp_reply(RawPeer::PEER_MAC, RawPeer::PEER_V4, RawPeer::STACK_MAC, RawPeer::STACK_V4);
    let mut output = Output::default();
    output.byte(1);
    for frame in [arp, reply, advertisement] {
        output.byte(0).counted_long(&frame);
    }
    seeds.push(("frames", "resolution".into(), output.bytes));
}

fn extension_headers(seeds: &mut Vec<Seed>) {
    let (icmp, tcp, udp) = (58, 6, 17);
    let fragment = |next: u8, more: u8| [next, 0, 0, more, 0, 0, 0, 9];
    let chains: [(&str, u8, u8, Vec<u8>); 10] = [
        ("none", icmp, 0, vec![]),
        ("hop-by-hop", 0, 0, vec![icmp, 0, 1, 4, 0, 0, 0, 0]),
        ("router-alert", 0, 1, vec![tcp, 0, 5, 2, 0, 0, 1, 0]),
        ("destination", 60, 2, vec![udp, 0, 1, 4, 0, 0, 0, 0]),
        ("unknown-option", 60, 2, vec![udp, 0, 0xc7, 4, 0, 0, 0, 0]),
        ("unknown-option-to-a-group", 60, 0x82, vec![udp, 0, 0x87, 4, 0, 0, 0, 0]),
        ("routing", 43, 0, vec![icmp, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("atomic-fragment", 44, 1, fragment(tcp, 0).to_vec()),
        ("two", 0, 3, [&[60, 0, 1, 4, 0, 0, 0, 0][..], &[udp, 0, 1, 4, 0, 0, 0, 0]].concat()),
        ("end", 59, 0, vec![]),
    ];
    for (name, first, what, chain) in chains {
        let mut output = Output::default();
        output.byte(first).byte(what).counted_long(&chain);
        seeds.push(("extension_headers", name.into(), output.bytes));
    }
}

fn reassembly(seeds: &mut Vec<Seed>) {
    // Kind, offset in units of 8, length. With its header the datagram has 4,008 bytes.
    let (more, datagram, waits) = (2, 4, 8);
    type Pieces = Vec<(u8, u16, u16)>;
    let orders: [(&str, Pieces); 6] = [
        ("in-order", vec![(more, 0, 1400), (more, 175, 1400), (0, 350, 1208)]),
        ("backwards", vec![(datagram, 350, 1208), (datagram | more, 175, 1400), (datagram | more, 0, 1400)]),
        ("overlap", vec![(more, 0, 1400), (more, 174, 1400), (0, 350, 1208)]),
        ("repeated", vec![(more, 0, 1400), (more, 0, 1400), (more, 175, 1400), (0, 350, 1208)]),
        ("shorter-end", vec![(0, 350, 1208), (0, 350, 1200), (more, 0, 1400), (more, 175, 1400)]),
        ("too-late", vec![(more | waits, 0, 1400), (more, 175, 1400), (0, 350, 1208)]),
    ];
    for (name, pieces) in orders {
        for v6 in [0, 1] {
            let mut output = Output::default();
            for &(what, offset, len) in &pieces {
                output.byte(what | v6).word(offset).word(len);
                if what & waits != 0 {
                    output.byte(0xe8);
                }
            }
            seeds.push(("reassembly", format!("{name}-{}", ["v4", "v6"][usize::from(v6)]), output.bytes));
        }
    }
}

fn neighbors(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, steps: &[&[u8]]| seeds.push(("neighbors", name.into(), steps.concat()));
    let (mut solicitation, mut advertisement) = (Output::default(), Output::default());
    solicitation.raw(&[3, 0, 1]).byte(2).counted(&[1, 1, 2, 0, 0, 0, 0, 2]);
    advertisement.raw(&[3, 0, 0]).byte(3).counted(&[2, 1, 2, 0, 0, 0, 0, 2]);
    add("asked-for", &[&[4, 0, 0], &[1, 0, 1], &[4, 0, 0], &[5, 0, 0, 0xb8], &[4, 0, 0]]);
    add("asked-for-v6", &[&[4, 0, 1], &advertisement.bytes, &[4, 0, 1]]);
    add("asks", &[&[0, 0, 1], &solicitation.bytes]);
    add("conflict", &[&[0, 1, 1], &[1, 2, 1], &[0, 5, 5]]);
    add("odd-fields", &[&[2, 0, 1, 4, 1, 6, 7, 2], &[2, 0, 0, 2, 3, 0]]);
    add("nobody-answers", &[&[4, 6, 0], &[4, 14, 0], &[4, 22, 0], &[5, 0, 0, 0xc8]]);
    let many: Vec<Vec<u8>> = (0..12).map(|who| vec![4, 6 + 8 * who, 0]).collect();
    add("many", &many.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

fn groups(seeds: &mut Vec<Seed>) {
    // What happens, and on which family; `which` names group 3 of the first socket.
    let v6 = 0x80;
    let (join, leave, block) = (5, 2 << 3 | 5, 5 << 3 | 5);
    let (query, report, datagram, wait, send) = (0, 3 << 3, 2, 3, 4);
    let seven_seconds = 10 << 4 | 7;
    // To all systems, about all groups: of the newest version, and of the one before.
    let general = |family: u8| [query | family, 0, 0, 4, 2, 125, 0, 0].to_vec();
    let old = |family: u8| [query | family, 0, 1, 0].to_vec();
    // To group 3 and about it, with one source.
    let specific = |family: u8| {
        let source = if family == 0 { vec![10, 0, 0, 101] } else { vec![0xfd; 16] };
        let rest = [&[2, 125, 0, 1], &source[..]].concat();
        [&[query | family, 3, 0x13, rest.len() as u8], &rest[..]].concat()
    };
    let others_report = |family: u8| [report | family, 3, 0x13, 0].to_vec();
    for (name, family) in [("v4", 0), ("v6", v6)] {
        let joined = [join | family, 3, 0].to_vec();
        let left = [leave | family, 3, 0].to_vec();
        let pause = [wait, 0, seven_seconds].to_vec();
        let told = [datagram | family, 3].to_vec();
        let mut add = |what: &str, steps: &[&[u8]]| {
            for ethernet in [0, 1] {
                let medium = ["ip", "ethernet"][usize::from(ethernet)];
                let bytes = [&[ethernet], &steps.concat()[..]].concat();
                seeds.push(("groups", format!("{what}-{name}-{medium}"), bytes));
            }
        };
        add("join-and-leave", &[&joined, &told, &pause, &left, &told]);
        add("queries", &[&joined, &pause, &general(family), &pause, &specific(family), &pause]);
        add(
            "old-querier",
            &[&old(family), &joined, &pause, &old(family), &others_report(family), &pause, &left],
        );
        add(
            "sources",
            &[&joined, &[block | family, 3, 0], &told, &specific(family), &pause, &[send | family, 3]],
        );
    }
}

fn interception(seeds: &mut Vec<Seed>) {
    // Connection 1 and flow 1; `which` names them, and the last bytes their numbers.
    let (syn, reset, ack) = ([0, 1, 0], [2 << 3, 1, 1], [3 << 3, 1, 1]);
    let (datagram, poll, wait) = ([2, 1], [4, 0], [3, 0, 0xcf]);
    let [ignored, refused, unreachable, accepted] = [0, 1, 2, 3].map(|how: u8| [5 | how << 3, 0]);
    let [send, receive, reject, close] = [0, 2, 3, 6].map(|what: u8| [6 | what << 3, 0]);
    for ethernet in [0, 1] {
        let medium = ["ip", "ethernet"][usize::from(ethernet)];
        let mut add = |what: &str, steps: &[&[u8]]| {
            let bytes = [&[ethernet], &steps.concat()[..]].concat();
            seeds.push(("interception", format!("{what}-{medium}"), bytes));
        };
        add("accepted", &[&syn, &accepted, &ack, &send, &ack, &receive, &close, &wait]);
        add("refused", &[&syn, &refused, &syn, &unreachable, &syn, &ignored]);
        add("cancelled", &[&syn, &poll, &[0, 1, 1], &reset, &syn, &poll, &wait, &poll]);
        add("flow", &[&datagram, &poll, &datagram, &send, &receive, &reject, &wait, &datagram, &close]);
        let crowd: Vec<u8> = (0..12).flat_map(|number| [0, number << 2 | 1, 0, 2, number << 2 | 1]).collect();
        add("crowd", &[&crowd, &poll, &crowd, &[7, 0], &syn, &[7, 1], &syn]);
    }
}

fn vnet(seeds: &mut Vec<Seed>) {
    let (needs_checksum, valid) = (1, 2);
    let (tcp4, tcp6, udp) = (1, 4, 5);
    let headers: [(&str, [u8; 2], u16, u16, u16); 6] = [
        ("plain", [0, 0], 0, 0, 0),
        ("valid", [valid, 0], 0, 0, 0),
        ("partial", [needs_checksum, 0], 0, 34, 16),
        ("run-v4", [needs_checksum, tcp4], 500, 34, 16),
        ("run-v6", [needs_checksum, tcp6 | 0x80], 500, 54, 16),
        ("run-udp", [needs_checksum, udp], 100, 34, 6),
    ];
    for (name, [flags, kind], size, start, offset) in headers {
        let v6 = kind & 0x7f == tcp6;
        let builder = builder(v6);
        let segment = TcpSegment { flags: ACK, payload: vec![9; 1400], ..TcpSegment::new(40_000, 80) };
        let packet = if kind == udp { builder.udp(40_000, 50, &[9; 1000]) } else { builder.tcp(&segment) };
        let frame = ethernet(RawPeer::PEER_MAC, RawPeer::STACK_MAC, &packet);
        let mut output = Output::default();
        output.byte(flags).byte(kind);
        for field in [54, size, start, offset] {
            output.raw(&u16::to_ne_bytes(field));
        }
        output.counted_long(&frame).byte(0);
        seeds.push(("vnet", name.into(), output.bytes));
    }
}

fn impairment(seeds: &mut Vec<Seed>) {
    for (name, text) in [
        ("perfect", "seed=0"),
        (
            "everything",
            "loss=3%,burst=4,dup=1%,reorder=1%,delay=20ms,jitter=5ms,rate=100mbit,queue=625kB,seed=7",
        ),
        ("marks", "mark=50%,corrupt=0.1%,reorder=30%,reorder_by=5ms"),
        ("outage", "outage=200ms@5s,limit=10,rate=9600bit"),
        ("nonsense", "loss=300%,rate=0mbit,delay=-1s"),
        ("all-lost", "loss=1"),
    ] {
        let mut output = Output::default();
        output.counted(text.as_bytes());
        let packet = builder(false).udp(1, 2, b"hello");
        output.byte(20).counted(&packet).byte(0x44).byte(31).counted(&packet).byte(0xa8);
        seeds.push(("impairment", name.into(), output.bytes));
    }
}

fn bpf(seeds: &mut Vec<Seed>) {
    /// The fields of an instruction.
    type Fields = (u16, u8, u8, u32);
    const ANCILLARY: u32 = -0x1000_i32 as u32;
    const NETWORK: u32 = -0x10_0000_i32 as u32;
    let all_ancillary: Vec<Fields> =
        (0..16).map(|n| (0x20, 0, 0, ANCILLARY + 4 * n)).chain([(0x16, 0, 0, 0)]).collect();
    let programs: [(&str, &[Fields]); 7] = [
        // UDP port 53 over IPv4, without fragments.
        (
            "port",
            &[
                (0x28, 0, 0, 12),
                (0x15, 0, 8, 0x0800),
                (0x30, 0, 0, 23),
                (0x15, 0, 6, 17),
                (0x28, 0, 0, 20),
                (0x45, 4, 0, 0x1fff),
                (0xb1, 0, 0, 14),
                (0x48, 0, 0, 16),
                (0x15, 0, 1, 53),
                (0x06, 0, 0, 0x40000),
                (0x06, 0, 0, 0),
            ],
        ),
        ("memory", &[(0x80, 0, 0, 0), (0x02, 0, 0, 3), (0x61, 0, 0, 3), (0x87, 0, 0, 0), (0x16, 0, 0, 0)]),
        ("unwritten", &[(0x15, 1, 0, 0), (0x02, 0, 0, 3), (0x60, 0, 0, 3), (0x16, 0, 0, 0)]),
        ("division", &[(0x30, 0, 0, 0), (0x07, 0, 0, 0), (0x80, 0, 0, 0), (0x3c, 0, 0, 0), (0x16, 0, 0, 0)]),
        (
            "headers",
            &[(0x30, 0, 0, NETWORK + 9), (0x05, 0, 0, 1), (0x28, 0, 0, NETWORK - 5), (0x16, 0, 0, 0)],
        ),
        ("beyond", &[(0x05, 0, 0, u32::MAX), (0x06, 0, 0, 1)]),
        ("ancillary", &all_ancillary),
    ];
    let packet = ethernet(RawPeer::PEER_MAC, RawPeer::STACK_MAC, &builder(false).udp(9, 53, b"hello"));
    for (name, program) in programs {
        let mut output = Output::default();
        output.word(program.len() as u16);
        for &(code, jt, jf, k) in program {
            output.word(code).byte(jt).byte(jf).word((k >> 16) as u16).word(k as u16);
        }
        output.byte(0).byte(14).byte(1).word(0x0800).raw(&packet);
        seeds.push(("bpf", name.into(), output.bytes));
    }
}
