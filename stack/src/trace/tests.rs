use super::*;
use crate::network::{InterfaceConfig, Medium};
use crate::offload::Offloads;
use crate::testing::{Fault, PacketBuilder, Pair, PairConfig};
use crate::{Config, Domain, SocketKind, Stack};
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;
use std::vec;

const IFACE: InterfaceId = InterfaceId(0);
const NOW: Instant = Instant::ZERO;

/// A stack with the address 10.0.0.1 on a link without link headers, with a UDP socket on port 7
/// and a trace.
fn traced_stack() -> (Stack, crate::Descriptor) {
    let mut stack = Stack::new(Config::default(), [1; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(d, "0.0.0.0:7".parse::<SocketAddr>().unwrap()).unwrap();
    stack.set_trace(true);
    (stack, d)
}

fn builder(dst: &str) -> PacketBuilder {
    PacketBuilder::new("10.0.0.2".parse().unwrap(), dst.parse().unwrap())
}

fn drained(stack: &mut Stack) -> Vec<Traced> {
    std::iter::from_fn(|| stack.poll_trace()).collect()
}

/// The verdicts on the received frames.
fn verdicts(traced: &[Traced]) -> Vec<Verdict> {
    let of = |traced: &Traced| match traced.passage {
        Passage::Received { verdict, .. } => Some(verdict),
        Passage::Sent(_) | Passage::Unsent { .. } => None,
    };
    traced.iter().filter_map(of).collect()
}

#[test]
fn every_frame_in_comes_with_its_verdict_and_every_answer_behind_it() {
    let (mut stack, d) = traced_stack();
    let ours = builder("10.0.0.1");
    let (to_socket, to_nobody) = (ours.udp(1000, 7, b"x"), ours.udp(1000, 8, b"x"));
    let fragments = ours.fragments(17, &[0; 64], 32);
    let frames = [
        (to_socket, Verdict::Taken),
        (to_nobody, Verdict::Dropped(DropReason::NoUdpSocket)),
        (ours.echo_request(1, 1, b"x"), Verdict::Taken),
        (
            ours.clone().fault(Fault::IpChecksum).udp(1000, 7, b"x"),
            Verdict::Dropped(DropReason::BadIpChecksum),
        ),
        (builder("10.0.0.9").udp(1000, 7, b"x"), Verdict::Dropped(DropReason::NotForUs)),
        (fragments[0].clone(), Verdict::Taken),
        (fragments[0].clone(), Verdict::Dropped(DropReason::DuplicateFragment)),
    ];
    let frames = frames.map(|(frame, verdict)| (Bytes::from(frame), verdict));
    for (frame, _) in &frames {
        stack.handle_frame(NOW, IFACE, Frame::new(frame.clone()));
        while stack.poll_transmit(NOW).is_some() {}
    }
    let traced = drained(&mut stack);
    assert_eq!(verdicts(&traced), frames.each_ref().map(|&(_, verdict)| verdict));
    // "Port unreachable", and the echo reply.
    let is_sent = |traced: &Traced| matches!(traced.passage, Passage::Sent(_));
    let sent: Vec<bool> = traced.iter().map(is_sent).collect();
    assert_eq!(sent, [false, false, true, false, true, false, false, false, false]);
    assert!(traced.iter().all(|traced| (traced.at, traced.iface) == (NOW, IFACE)));
    // The program, the trace and the caller that handed the frame in share the same bytes.
    let Passage::Received { frame, .. } = &traced[0].passage else { panic!("{traced:?}") };
    let (received, _) = stack.recv_msg(NOW, d).unwrap();
    let offset = received.as_ptr() as usize - frames[0].0.as_ptr() as usize;
    assert_eq!((frame.bytes.as_ptr(), offset), (frames[0].0.as_ptr(), 28));
}

#[test]
fn the_loopback_is_an_interface_of_the_trace() {
    let (mut stack, d) = traced_stack();
    for port in [7, 8] {
        stack.send_to(NOW, d, b"to myself", ([127, 0, 0, 1], port)).unwrap();
        while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
    }
    let traced = drained(&mut stack);
    assert!(traced.iter().all(|traced| traced.iface == InterfaceId::LOOPBACK));
    // The last frame is the error about the second.
    let dropped = Verdict::Dropped(DropReason::NoUdpSocket);
    assert_eq!(
        verdicts(&traced),
        [Verdict::Taken, dropped, Verdict::Dropped(DropReason::UnmatchedIcmpError)]
    );
    assert_eq!(traced[0].len(), 20 + 8 + 9);
}

#[test]
fn frames_that_became_one_segment_share_its_verdict() {
    let mut pair = Pair::new(PairConfig::seeded(1));
    let (a, _b) = pair.connected_streams(Domain::V4);
    let now = pair.now();
    pair.a.stack.send(now, a, &[7; 4 * 1448]).unwrap();
    let frames: Vec<Frame> =
        std::iter::from_fn(|| pair.a.stack.poll_transmit(now)).map(|frame| frame.to_frame()).collect();
    let host = &mut pair.b;
    host.stack.set_trace(true);
    let arp = Frame::new(vec![0; 10]);
    let batch = |first: &[Frame], last: &[Frame]| -> Vec<(InterfaceId, Frame)> {
        first.iter().chain([&arp]).chain(last).map(|frame| (host.iface, frame.clone())).collect()
    };
    let (new, old) = (batch(&frames[..2], &frames[2..]), batch(&frames, &frames[..1]));
    host.stack.handle_frames(now, new);
    let runt = Verdict::Dropped(DropReason::RuntFrame);
    assert_eq!(host.stack.stats().tcp.joined_segs, 3);
    let taken = Verdict::Taken;
    assert_eq!(verdicts(&drained(&mut host.stack)), [taken, taken, runt, taken, taken]);
    // The same data again: the run is dropped when the next frame does not continue it.
    host.stack.handle_frames(now, old);
    let told = verdicts(&drained(&mut host.stack));
    assert!(matches!(told[0], Verdict::Dropped(reason) if host.stack.stats().drops(reason) > 0), "{told:?}");
    assert_eq!(told, [told[0], told[0], told[0], told[0], runt, told[0]]);
}

#[test]
fn what_a_device_cuts_is_one_frame_with_its_facts() {
    let mut config = PairConfig::seeded(1);
    config.offloads = Offloads::ALL;
    let mut pair = Pair::new(config);
    let (a, _b) = pair.connected_streams(Domain::V4);
    pair.a.stack.set_trace(true);
    pair.a.stack.send(pair.now(), a, &[7; 6 * 1448]).unwrap();
    pair.run_for(Duration::from_secs(1));
    let traced = drained(&mut pair.a.stack);
    let cut = traced.iter().find_map(|traced| match &traced.passage {
        Passage::Sent(transmit) => transmit.segments().map(|segments| (segments.len, transmit.len())),
        Passage::Received { .. } | Passage::Unsent { .. } => None,
    });
    let (segment_len, len) = cut.expect("a run");
    assert!(segment_len == 1448 && len > 2 * 1448, "{segment_len} {len}");
}

#[test]
fn a_trace_that_nobody_polls_is_bounded_and_says_what_is_missing() {
    let (mut stack, _) = traced_stack();
    let at_rest = stack.memory_bytes();
    let frame = Bytes::from(builder("10.0.0.9").udp(1000, 7, &[0; 1000]));
    let handed_in = 20_000;
    for _ in 0..handed_in {
        stack.handle_frame(NOW, IFACE, Frame::new(frame.clone()));
    }
    assert!(stack.memory_bytes() < 2 * MAX_BYTES);
    let kept = drained(&mut stack).len();
    assert_eq!(kept, MAX_FRAMES);
    assert_eq!(stack.stats().link.untraced_frames, (handed_in - kept) as u64);
    assert_eq!(stack.stats().drops(DropReason::NotForUs), handed_in as u64);
    stack.handle_frame(NOW, IFACE, Frame::new(frame.clone()));
    stack.set_trace(false);
    stack.handle_frame(NOW, IFACE, Frame::new(frame));
    stack.set_trace(true);
    assert!(stack.poll_trace().is_none());
    assert_eq!(stack.memory_bytes(), at_rest);
}

#[test]
fn a_trace_changes_nothing() {
    let run = |is_traced: bool| {
        let mut config = PairConfig::seeded(5);
        config.record = true;
        let mut pair = Pair::new(config);
        pair.a.stack.set_trace(is_traced);
        pair.b.stack.set_trace(is_traced);
        let (a, b) = pair.connected_streams(Domain::V6);
        pair.a.stack.send(pair.now(), a, &[1; 50_000]).unwrap();
        pair.run_for(Duration::from_secs(1));
        let peer: SocketAddr = pair.b.stack.peer_addr(b).unwrap();
        (pair.recorded(), peer)
    };
    assert_eq!(run(false), run(true));
}

/// The packets that were dropped on their way out: the last byte of the destination, and the
/// reason.
fn unsent(stack: &mut Stack) -> Vec<(u8, DropReason)> {
    let of = |traced: Traced| match traced.passage {
        Passage::Unsent {
            packet: Some(PacketAddresses { src, dst: IpAddr::V4(dst), protocol: _ }),
            reason,
        } => {
            assert_eq!((src, traced.len()), ("10.0.0.1".parse().unwrap(), 0));
            Some((dst.octets()[3], reason))
        }
        Passage::Unsent { packet, reason } => panic!("{packet:?}: {reason:?}"),
        Passage::Received { .. } | Passage::Sent(_) => None,
    };
    drained(stack).into_iter().filter_map(of).collect()
}

#[test]
fn what_is_dropped_on_its_way_out_is_seen_with_its_reason() {
    use DropReason::{NeighborQueueFull, NeighborUnreachable, NoRoute, TransmitQueueFull};
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config.neighbor.max_pending_packets = 2;
    let mut stack = Stack::new(config, [1; 32], NOW);
    let ethernet = Medium::Ethernet(crate::MacAddr([2, 0, 0, 0, 0, 1]));
    stack.add_interface(NOW, InterfaceConfig::new(ethernet).address("10.0.0.1/24".parse().unwrap())).unwrap();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let poll =
        |stack: &mut Stack, now| while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {};
    poll(&mut stack, NOW);
    stack.set_trace(true);
    for _ in 0..5 {
        stack.send_to(NOW, d, b"x", ([10, 0, 0, 9], 7)).unwrap();
    }
    poll(&mut stack, NOW);
    assert_eq!(unsent(&mut stack), [(9, NeighborQueueFull); 3]);
    while let Some(deadline) = stack.poll_timeout().filter(|deadline| deadline.at < Instant::from_secs(60)) {
        stack.handle_timeout(deadline.at);
        poll(&mut stack, deadline.at);
    }
    assert_eq!(unsent(&mut stack), [(9, NeighborUnreachable); 2]);
    // One drop is counted once, though no socket takes the error.
    assert_eq!(stack.stats().all_drops(), 3 + 2);

    let (now, far) = (Instant::from_secs(60), "99.0.0.0/8".parse().unwrap());
    stack.add_route(crate::Route::new(far, IFACE)).unwrap();
    stack.send_to(now, d, b"x", ([99, 0, 0, 3], 7)).unwrap();
    stack.remove_route(far, IFACE).unwrap();
    poll(&mut stack, now);
    assert_eq!(unsent(&mut stack), [(3, NoRoute)]);
    let counted = [NeighborQueueFull, NeighborUnreachable, NoRoute].map(|reason| stack.stats().drops(reason));
    assert_eq!(counted, [3, 2, 1]);

    // Answers that the device does not take, and ARP requests, which contain no IP packet.
    let mut config = Config::default();
    config.ip.max_queued_frames = 1;
    let mut stack = Stack::new(config, [1; 32], NOW);
    let bare = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(NOW, bare).unwrap();
    stack.set_trace(true);
    for sequence in 0..3 {
        stack.handle_frame(NOW, IFACE, Frame::new(builder("10.0.0.1").echo_request(1, sequence, b"x")));
    }
    assert_eq!(unsent(&mut stack), [(2, TransmitQueueFull); 2]);
}

#[test]
fn a_dropped_question_of_the_link_layer_is_seen_without_addresses() {
    let mut config = Config::default();
    config.ip.max_queued_frames = 0;
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], NOW);
    stack.set_trace(true);
    let ethernet = Medium::Ethernet(crate::MacAddr([2, 0, 0, 0, 0, 1]));
    stack.add_interface(NOW, InterfaceConfig::new(ethernet).address("10.0.0.1/24".parse().unwrap())).unwrap();
    let is_arp = |traced: &Traced| {
        let reason = DropReason::TransmitQueueFull;
        matches!(traced.passage, Passage::Unsent { packet: None, reason: of } if of == reason)
    };
    let dropped = drained(&mut stack).iter().filter(|traced| is_arp(traced)).count() as u64;
    assert!(dropped > 0 && dropped <= stack.stats().drops(DropReason::TransmitQueueFull));
}

/// A stack that is 10.0.0.1 on an Ethernet, is traced, and has nothing to send.
fn traced_on_ethernet(config: Config) -> Stack {
    let mut config = config;
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], NOW);
    let ethernet = Medium::Ethernet(crate::MacAddr([2, 0, 0, 0, 0, 1]));
    stack.add_interface(NOW, InterfaceConfig::new(ethernet).address("10.0.0.1/24".parse().unwrap())).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    stack.set_trace(true);
    stack
}

#[test]
fn fragments_that_find_no_room_are_seen_as_their_packet() {
    let mut config = Config::default();
    config.ip.max_queued_frames = 8;
    let mut stack = traced_on_ethernet(config);
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.send_to(NOW, d, &[7; 60_000], ([10, 0, 0, 9], 7)).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    assert_eq!(unsent(&mut stack), [(9, DropReason::TransmitQueueFull)]);
    assert_eq!(stack.stats().all_drops(), 1);
}

#[test]
fn a_full_loopback_shows_what_it_drops() {
    let mut config = Config::default();
    config.ip.max_queued_frames = 0;
    let mut stack = traced_on_ethernet(config);
    let before = stack.stats().all_drops();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(d, ([10, 0, 0, 1], 7)).unwrap();
    stack.send_to(NOW, d, b"x", ([10, 0, 0, 1], 7)).unwrap();
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
    assert_eq!(unsent(&mut stack), [(1, DropReason::TransmitQueueFull)]);
    assert_eq!(stack.stats().all_drops(), before + 1);
}

#[test]
fn the_memory_limit_shows_what_it_drops() {
    // The least that `Config::check` allows: packets that wait for neighbours have a sixteenth.
    let config = Config { memory_limit_bytes: 256 << 10, ..Config::default() };
    let mut stack = traced_on_ethernet(config);
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for _ in 0..20 {
        stack.send_to(NOW, d, &[7; 1400], ([10, 0, 0, 9], 7)).unwrap();
        while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
    }
    let dropped = unsent(&mut stack);
    assert!(!dropped.is_empty() && dropped.len() < 20, "{dropped:?}");
    assert!(dropped.iter().all(|&drop| drop == (9, DropReason::MemoryLimit)), "{dropped:?}");
    assert_eq!(stack.stats().drops(DropReason::MemoryLimit), dropped.len() as u64);
    assert_eq!(stack.stats().all_drops(), dropped.len() as u64);
}

#[test]
fn an_answer_to_a_group_that_no_address_can_give_is_seen() {
    let mut stack = Stack::new(Config::default(), [1; 32], NOW);
    stack.add_interface(NOW, InterfaceConfig::new(Medium::Ip)).unwrap();
    stack.set_trace(true);
    let asker = "fd00::2".parse().unwrap();
    let request = PacketBuilder::new(asker, "ff02::1".parse().unwrap()).echo_request(1, 1, b"x");
    stack.handle_frame(NOW, IFACE, Frame::new(request));
    let traced = drained(&mut stack);
    let answers: Vec<(IpAddr, DropReason)> = traced
        .iter()
        .filter_map(|traced| match traced.passage {
            Passage::Unsent { packet, reason } => Some((packet?.dst, reason)),
            Passage::Received { .. } | Passage::Sent(_) => None,
        })
        .collect();
    assert_eq!(answers, [(asker, DropReason::NoRoute)]);
    assert_eq!(verdicts(&traced), [Verdict::Dropped(DropReason::NoRoute)]);
    assert_eq!(stack.stats().all_drops(), 1);
}
