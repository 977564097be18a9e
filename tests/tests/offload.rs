//! Devices that cut runs, join segments and compute checksums: on the wire there is no difference,
//! and every byte arrives.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use portolan::testing::{LinkFaults, PacketBuilder, Pair, PairConfig, Recorded, Side, ethernet};
use portolan::{
    ChecksumState, Config, Descriptor, Domain, Ecn, Error, Frame, Instant, InterfaceConfig, InterfaceId,
    MacAddr, Medium, Offloads, SegmentKind, Shutdown, SocketKind, SocketOption, Stack,
};
use portolan_runtime::device::Impairable;
use portolan_tests::pattern::Pattern;
use portolan_tests::{by_family, check_frames, data};

const CHECKSUM: Offloads = Offloads::NONE.checksum(true);
const TCP4: Offloads = CHECKSUM.tcp4(true);
const TCP6: Offloads = CHECKSUM.tcp6(true);

/// The frames of one transfer from A to B.
fn wire(offloads: Offloads, domain: Domain, ethernet: bool, loss: f64) -> (Medium, Vec<Recorded>, u64) {
    let faults = LinkFaults { loss, ..LinkFaults::default() };
    let config = PairConfig { ethernet, offloads, faults, record: true, ..PairConfig::seeded(7) };
    let mut pair = Pair::new(config);
    let (a, b) = pair.connected_streams(domain);
    for size in [1, 1448, 1449, 2 * 1448, 14_481, 100_003, 400_000] {
        let sent = data(size as u64, size);
        let mut left = &sent[..];
        let mut received = Vec::new();
        let is_through = pair.drive(Duration::from_secs(600), |pair| {
            let now = pair.now();
            while let Ok(taken @ 1..) = pair.a.stack.send(now, a, left) {
                left = &left[taken..];
            }
            while let Ok(bytes) = pair.b.stack.recv_bytes(now, b, usize::MAX) {
                received.extend_from_slice(&bytes);
            }
            received.len() == size
        });
        assert!(is_through && received == sent, "{size} bytes over {domain:?}");
    }
    let now = pair.now();
    pair.a.stack.send(now, a, &data(9, 5001)).unwrap();
    pair.a.stack.shutdown(now, a, Shutdown::Write).unwrap();
    pair.run_for(Duration::from_secs(60));
    let frames_out = pair.a.stack.stats().link.frames_out;
    (pair.a.medium, pair.recorded(), frames_out)
}

#[test]
fn what_a_device_cuts_is_what_the_stack_would_have_cut() {
    for domain in [Domain::V4, Domain::V6] {
        for (ethernet, loss) in [(true, 0.0), (true, 0.03), (false, 0.0)] {
            let (medium, plain, frames) = wire(Offloads::NONE, domain, ethernet, loss);
            for offloads in [CHECKSUM, TCP4, TCP6, Offloads::ALL] {
                let (_, cut, cut_frames) = wire(offloads, domain, ethernet, loss);
                if let Err(error) = check_frames(medium, 1500, &cut) {
                    panic!("{error}");
                }
                let differs = plain.iter().zip(&cut).position(|(plain, cut)| plain != cut);
                assert_eq!(differs, None, "{domain:?}, {offloads:?}, loss {loss}");
                assert_eq!(plain.len(), cut.len());
                let kind = if domain == Domain::V4 { SegmentKind::TcpV4 } else { SegmentKind::TcpV6 };
                assert_eq!(2 * cut_frames < frames, offloads.cuts(kind), "{cut_frames} of {frames}");
            }
        }
    }
}

/// Two stacks joined as by a TAP device: work that one leaves to the device is not needed by the
/// other.
struct Joined {
    hosts: [(Stack, InterfaceId); 2],
    under_way: [VecDeque<(Instant, Frame)>; 2],
    now: Instant,
    loss_percent: u64,
    dice: u64,
    lost: usize,
    /// The side whose packets are sometimes marked, and kept in `sent`.
    ecn: Option<usize>,
    sent: Vec<Frame>,
    /// Whether frames that arrive together are handed in together.
    in_batches: bool,
    /// The MTU of a link on the way from 0, in front of which a router sends ICMP errors.
    narrow: Option<usize>,
}

const DELAY: Duration = Duration::from_micros(50);

fn addr(domain: Domain, number: u8) -> IpAddr {
    by_family(domain, IpAddr::from([10, 0, 0, number]), format!("fd00::{number}").parse().unwrap())
}

impl Joined {
    fn new(offloads: [Offloads; 2], mtus: [usize; 2], loss_percent: u64) -> Joined {
        let now = Instant::from_secs(1);
        let hosts = [0, 1].map(|index| {
            let mut config = Config::default();
            config.neighbor.duplicate_address_probes = 0;
            config.tcp.ecn = Ecn::Request;
            let number = index as u8 + 1;
            let mut stack = Stack::new(config, [number; 32], now);
            let interface = InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, number])))
                .mtu(mtus[index])
                .offloads(offloads[index])
                .address(format!("10.0.0.{number}/24").parse().unwrap())
                .address(format!("fd00::{number}/64").parse().unwrap());
            let iface = stack.add_interface(now, interface).unwrap();
            (stack, iface)
        });
        Joined {
            hosts,
            under_way: Default::default(),
            now,
            loss_percent,
            dice: 1,
            lost: 0,
            ecn: None,
            sent: Vec::new(),
            in_batches: false,
            narrow: None,
        }
    }

    fn stack(&mut self, side: usize) -> &mut Stack {
        &mut self.hosts[side].0
    }

    fn is_lost(&mut self) -> bool {
        // Knuth's MMIX generator; only its upper half is random enough.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % 100 < self.loss_percent
    }

    /// Runs until `step` returns true.
    fn drive(&mut self, mut step: impl FnMut(&mut Joined) -> bool) {
        let end = self.now + Duration::from_secs(600);
        loop {
            let is_done = step(self);
            for side in [0, 1] {
                while let Some(transmit) = self.hosts[side].0.poll_transmit(self.now) {
                    if self.is_lost() {
                        self.lost += 1;
                        continue;
                    }
                    let arrives_at = self.now + DELAY;
                    let mut frame = transmit.to_frame();
                    if self.ecn == Some(side) {
                        let is_run = frame.segments.is_some();
                        if is_run && self.sent.iter().filter(|sent| sent.segments.is_some()).count() % 10 == 9
                        {
                            frame = frame.with_congestion_experienced().expect("data may be marked");
                        }
                        self.sent.push(frame.clone());
                    }
                    match self.narrow.filter(|&mtu| side == 0 && longest_packet(&frame) > mtu) {
                        Some(mtu) => {
                            self.under_way[0].push_back((arrives_at, Frame::new(too_big(&frame, mtu))))
                        }
                        None => self.under_way[1 - side].push_back((arrives_at, frame)),
                    }
                }
                while self.hosts[side].0.poll_event().is_some() {}
            }
            if is_done {
                return;
            }
            let arrivals = self.under_way.iter().filter_map(|queue| Some(queue.front()?.0));
            let timers = self.hosts.iter().filter_map(|(stack, _)| Some(stack.poll_timeout()?.at));
            let next = arrivals.chain(timers).min().expect("something is to happen");
            self.now = self.now.max(next);
            assert!(self.now < end, "{:?}", self.hosts[0].0.stats());
            for side in [0, 1] {
                let arrived = self.under_way[side].iter().take_while(|(at, _)| *at <= self.now).count();
                let (stack, iface) = &mut self.hosts[side];
                let frames = self.under_way[side].drain(..arrived).map(|(_, frame)| (*iface, frame));
                if self.in_batches {
                    stack.handle_frames(self.now, frames);
                } else {
                    frames.for_each(|(iface, frame)| stack.handle_frame(self.now, iface, frame));
                }
                self.hosts[side].0.handle_timeout(self.now);
            }
        }
    }

    /// Opens a connection from 0 to 1.
    fn connect(&mut self, domain: Domain) -> (Descriptor, Descriptor) {
        let now = self.now;
        let to = SocketAddr::new(addr(domain, 2), 80);
        let server = self.stack(1);
        let listener = server.socket(domain, SocketKind::Stream).unwrap();
        server.bind(listener, to).unwrap();
        server.listen(listener, 8).unwrap();
        let client = self.stack(0).socket(domain, SocketKind::Stream).unwrap();
        assert_eq!(self.stack(0).connect(now, client, to), Err(Error::InProgress));
        let mut accepted = None;
        self.drive(|joined| {
            accepted = accepted.or_else(|| Some(joined.stack(1).accept(listener).ok()?.0));
            accepted.is_some() && joined.stack(0).readiness(client).unwrap().writable
        });
        (client, accepted.unwrap())
    }

    /// Sends this many bytes from `from` to the other side, in writes of these sizes, and checks
    /// every byte.
    fn transfer(&mut self, from: usize, ends: (Descriptor, Descriptor), total: usize, sizes: &[usize]) {
        let (sender, receiver) = if from == 0 { ends } else { (ends.1, ends.0) };
        let (mut to_send, mut to_check) = (Pattern::new(total as u64), Pattern::new(total as u64));
        let (mut sent, mut received, mut turn) = (0, 0, 0);
        let mut waiting: Vec<u8> = Vec::new();
        self.drive(|joined| {
            let now = joined.now;
            loop {
                if waiting.is_empty() && sent < total {
                    waiting = to_send.take(sizes[turn % sizes.len()].min(total - sent));
                    sent += waiting.len();
                    turn += 1;
                }
                match joined.stack(from).send(now, sender, &waiting) {
                    Ok(taken @ 1..) => drop(waiting.drain(..taken)),
                    _ => break,
                }
            }
            while let Ok(bytes) = joined.stack(1 - from).recv_bytes(now, receiver, usize::MAX) {
                to_check.check(&bytes);
                received += bytes.len();
            }
            received == total
        });
    }
}

/// The longest of the IP packets that a frame is cut into.
fn longest_packet(frame: &Frame) -> usize {
    match (frame.segments, frame.checksum) {
        (Some(segments), ChecksumState::Partial(checksum)) => {
            let tcp = usize::from(checksum.start);
            tcp - 14 + usize::from(frame.bytes[tcp + 12] >> 4) * 4 + usize::from(segments.len)
        }
        _ => frame.bytes.len() - 14,
    }
}

/// RFC 1191 §4, RFC 4443 §3.2: a router's error about a frame from 0.
fn too_big(frame: &Frame, mtu: usize) -> Vec<u8> {
    let packet = &frame.bytes[14..];
    let is_v4 = packet[0] >> 4 == 4;
    let domain = if is_v4 { Domain::V4 } else { Domain::V6 };
    let router = PacketBuilder::new(addr(domain, 9), addr(domain, 1));
    let quoted = &packet[..60.min(packet.len())];
    let rest = [&(mtu as u32).to_be_bytes()[..], quoted].concat();
    let (kind, code) = if is_v4 { (3, 4) } else { (2, 0) };
    let [ours, theirs] = [1, 9].map(|number| MacAddr([2, 0, 0, 0, 0, number]));
    ethernet(theirs, ours, &router.icmp(kind, code, &rest))
}

/// RFC 9293 §3.7.1: the path MTU changes during a transfer.
#[test]
fn runs_are_cut_smaller_when_the_path_gets_narrower() {
    for domain in [Domain::V4, Domain::V6] {
        for offloads in [Offloads::NONE, Offloads::ALL] {
            let mut joined = Joined::new([offloads; 2], [9000, 9000], 0);
            let ends = joined.connect(domain);
            joined.transfer(0, ends, 1_000_000, &[100_000]);
            for mtu in [4000, 1500, 1280] {
                joined.narrow = Some(mtu);
                joined.transfer(0, ends, 500_000, &[65_535, 1]);
                let headers = if domain == Domain::V4 { 40 + 12 } else { 60 + 12 };
                let now = joined.now;
                let info = joined.stack(0).info(now, ends.0).unwrap();
                assert_eq!(info.snd_mss as usize, mtu - headers, "{domain:?} {offloads:?}");
            }
        }
    }
}

#[test]
fn every_byte_arrives_whatever_both_devices_do() {
    let all = [Offloads::NONE, CHECKSUM, TCP4, TCP6, Offloads::ALL];
    for domain in [Domain::V4, Domain::V6] {
        for (ours, theirs) in all.iter().flat_map(|&ours| all.map(|theirs| (ours, theirs))) {
            let mut joined = Joined::new([ours, theirs], [1500, 1500], 0);
            let ends = joined.connect(domain);
            for from in [0, 1] {
                joined.transfer(from, ends, 300_000, &[1, 1447, 1448, 1449, 65_535, 3]);
                joined.transfer(from, ends, 1_000_000, &[100_000]);
            }
            for side in [0, 1] {
                let stats = joined.stack(side).stats();
                assert_eq!(stats.tcp.retrans_segs, 0, "{domain:?} {ours:?} {theirs:?}");
            }
        }
    }
}

/// Segments of several connections, mixed, some lost: joining them in a batch changes neither the
/// bytes nor the counts of segments.
#[test]
fn what_comes_in_batches_is_joined() {
    for domain in [Domain::V4, Domain::V6] {
        for (loss, total) in [(0, 3_000_000), (1, 3_000_000), (10, 500_000)] {
            let mut joined = Joined::new([CHECKSUM, Offloads::NONE], [1500, 1500], loss);
            joined.in_batches = true;
            let ends = joined.connect(domain);
            joined.transfer(0, ends, total, &[100_000, 1, 1448, 1449, 20_000]);
            joined.transfer(1, ends, total, &[777, 65_536]);
            let now = joined.now;
            let info = joined.stack(1).info(now, ends.1).unwrap();
            let stats = joined.stack(1).stats();
            // A burst has at least two segments, and ends with PSH, which ends what is joined, here
            // and in Linux's tcp_gro_receive. In the small windows of many losses most bursts have
            // two: then no more than half of the segments are joined to another.
            let one_in = if loss < 10 { 2 } else { 3 };
            assert!(one_in * stats.tcp.joined_segs > info.data_segs_in.into(), "{domain:?} {loss} {stats:?}");
            if loss == 0 {
                // No segment is counted twice or omitted.
                let sent = joined.stack(0).info(now, ends.0).unwrap();
                assert_eq!(sent.data_segs_out, info.data_segs_in);
            }
        }
    }
}

#[test]
fn whole_runs_are_lost_and_come_again() {
    for domain in [Domain::V4, Domain::V6] {
        for (loss, total) in [(1, 4_000_000), (5, 1_000_000), (20, 200_000)] {
            let mut joined = Joined::new([Offloads::ALL; 2], [1500, 1500], loss);
            let ends = joined.connect(domain);
            joined.transfer(0, ends, total, &[65_535, 1, 20_000]);
            joined.transfer(1, ends, total, &[777]);
            assert!(joined.lost > 0);
        }
    }
}

/// The peer's MSS is smaller than ours, so runs are cut into smaller segments than the link allows.
#[test]
fn a_run_is_cut_as_the_peer_announced() {
    for (mtus, mss) in [([1500, 1280], 1228), ([9000, 1500], 1448), ([65_521, 65_521], 0)] {
        let mut joined = Joined::new([Offloads::ALL; 2], mtus, 0);
        let ends = joined.connect(Domain::V4);
        joined.transfer(0, ends, 500_000, &[500_000]);
        joined.transfer(1, ends, 500_000, &[500_000]);
        let now = joined.now;
        let info = joined.stack(0).info(now, ends.0).unwrap();
        if mss > 0 {
            assert_eq!(info.snd_mss, mss);
        }
        // Segments are counted, not frames.
        let least = 500_000 / info.snd_mss;
        assert!(info.data_segs_out >= least && info.data_segs_in >= least, "{info:?}");
    }
}

/// RFC 3168 §6.1.2: CWR is in one segment. A device would put it on the first of a run, so that
/// segment is sent alone.
#[test]
fn a_run_never_has_cwr() {
    let mut joined = Joined::new([Offloads::ALL; 2], [1500, 1500], 0);
    joined.ecn = Some(0);
    let ends = joined.connect(Domain::V4);
    joined.transfer(0, ends, 5_000_000, &[500_000]);
    let (cwr_frames, runs) = joined.sent.iter().fold((0, 0), |(cwr, runs), frame| {
        // ARP frames are shorter than this.
        let has_cwr = frame.bytes.get(14 + 20 + 13).is_some_and(|flags| flags & 0x80 != 0);
        assert!(!(has_cwr && frame.segments.is_some()), "a run with CWR");
        (cwr + u32::from(has_cwr), runs + u32::from(frame.segments.is_some()))
    });
    assert!(cwr_frames > 3 && runs > 20, "{cwr_frames} {runs}");
}

/// Sends `data` in one call of 0 with UDP_SEGMENT. Returns the datagrams that arrive at a socket of
/// 1, and the number of pieces in which they came.
fn send_run(
    joined: &mut Joined,
    domain: Domain,
    data: &[u8],
    segment: u16,
    gro: bool,
) -> (Vec<Vec<u8>>, usize) {
    let to = SocketAddr::new(addr(domain, 2), 4000);
    let now = joined.now;
    let receiver = joined.stack(1).socket(domain, SocketKind::Datagram).unwrap();
    joined.stack(1).bind(receiver, to).unwrap();
    joined.stack(1).set_option(now, receiver, SocketOption::UdpGro(gro)).unwrap();
    let sender = joined.stack(0).socket(domain, SocketKind::Datagram).unwrap();
    joined.stack(0).set_option(now, sender, SocketOption::UdpSegment(segment)).unwrap();
    assert_eq!(joined.stack(0).send_to(now, sender, data, to), Ok(data.len()));
    let (mut datagrams, mut pieces, mut total) = (Vec::new(), 0, 0);
    joined.drive(|joined| {
        let now = joined.now;
        while let Ok((run, meta)) = joined.stack(1).recv_msg(now, receiver) {
            datagrams.extend(run.chunks(meta.segment_len()).map(<[u8]>::to_vec));
            total += run.len();
            pieces += 1;
        }
        total == data.len()
    });
    let now = joined.now;
    joined.stack(0).close(now, sender).unwrap();
    joined.stack(1).close(now, receiver).unwrap();
    (datagrams, pieces)
}

#[test]
fn one_call_sends_many_datagrams() {
    for domain in [Domain::V4, Domain::V6] {
        for offloads in [Offloads::NONE, CHECKSUM, Offloads::ALL] {
            let mut joined = Joined::new([offloads; 2], [1500, 1500], 0);
            for (len, segment) in
                [(1, 1000), (1000, 1000), (1001, 1000), (20_000, 1000), (60_000, 1452), (100, 1)]
            {
                let sent = data(len as u64, len);
                let expected: Vec<Vec<u8>> = sent.chunks(segment).map(<[u8]>::to_vec).collect();
                for gro in [false, true] {
                    let (received, pieces) = send_run(&mut joined, domain, &sent, segment as u16, gro);
                    assert_eq!(received, expected, "{domain:?} {offloads:?} {len} in {segment}");
                    let whole = gro && offloads == Offloads::ALL;
                    assert_eq!(pieces, if whole { 1 } else { expected.len() });
                }
            }
            let (sender, receiver) =
                (joined.stack(0).stats().udp.out_datagrams, joined.stack(1).stats().udp.in_datagrams);
            assert_eq!(sender, receiver);
        }
    }
}

/// The frames that A sends for calls with UDP_SEGMENT.
fn datagrams_on_the_wire(offloads: Offloads, segment: u16, calls: &[&[u8]]) -> Vec<Bytes> {
    let mut pair = Pair::new(PairConfig { offloads, record: true, ..PairConfig::seeded(5) });
    let mut frames = Vec::new();
    for domain in [Domain::V4, Domain::V6] {
        let now = pair.now();
        let to = SocketAddr::new(pair.b.addr(domain), 9);
        let sender = pair.a.stack.socket(domain, SocketKind::Datagram).unwrap();
        pair.a.stack.set_option(now, sender, SocketOption::UdpSegment(segment)).unwrap();
        // This resolves both neighbours.
        pair.a.stack.send_to(now, sender, b"first", to).unwrap();
        pair.run_for(Duration::from_secs(1));
        pair.recorded();
        for call in calls {
            pair.a.stack.send_to(pair.now(), sender, call, to).unwrap();
        }
        pair.run_for(Duration::from_millis(1));
        let recorded = pair.recorded();
        check_frames(pair.a.medium, 1500, &recorded).unwrap();
        // The other side sometimes answers "port unreachable".
        frames.extend(recorded.into_iter().filter(|frame| frame.from == Side::A).map(|frame| frame.frame));
    }
    frames
}

#[test]
fn runs_of_datagrams_are_on_the_wire_those_of_single_calls() {
    let sent = data(1, 10_100);
    let single: Vec<&[u8]> = sent.chunks(1000).collect();
    let expected = datagrams_on_the_wire(Offloads::NONE, 0, &single);
    assert_eq!(expected.len(), 2 * single.len());
    for offloads in [Offloads::NONE, CHECKSUM, Offloads::ALL] {
        let frames = datagrams_on_the_wire(offloads, 1000, &[&sent]);
        assert_eq!(frames.len(), expected.len(), "{offloads:?}");
        let differs = frames.iter().zip(&expected).position(|(frame, expected)| frame != expected);
        assert_eq!(differs, None, "{offloads:?}");
    }
}

#[test]
fn a_run_of_datagrams_that_cannot_go_as_such_is_refused() {
    let mut joined = Joined::new([Offloads::ALL; 2], [1500, 1500], 0);
    let to = SocketAddr::new(addr(Domain::V4, 2), 4000);
    let now = joined.now;
    let stack = joined.stack(0);
    let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for (segment, len, expected) in [
        // Each datagram would need fragmentation.
        (1473, 3000, Err(Error::MessageTooLong)),
        (1472, 3000, Ok(3000)),
        // So would a single one; without the option it is fragmented.
        (1473, 1473, Err(Error::MessageTooLong)),
        (0, 1473, Ok(1473)),
        // More than 128.
        (1, 129, Err(Error::InvalidArgument)),
        (1, 128, Ok(128)),
        (0, 3000, Ok(3000)),
    ] {
        stack.set_option(now, sender, SocketOption::UdpSegment(segment)).unwrap();
        let sent = stack.send_to(now, sender, &vec![1; len], to);
        assert_eq!(sent, expected, "{len} in {segment}");
    }
}
