//! A stack under test, and the checks after each input.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan::testing::{PacketBuilder, TcpSegment, describe};
use portolan::{Config, Domain, DropReason, Frame, Instant, Interception, InterfaceId, Medium, Stack, Stats};

use super::{Digest, trace};
use crate::check_frame;
use crate::raw_peer::{self, add_interface, resolution_answer, tcp_segment};

const MTU: usize = 1500;

/// The most timers that may fire at one time or while time passes.
const MAX_TIMERS: usize = 20_000;

/// How long a stack may hold memory after its program has closed everything: for the
/// retransmissions of orphans, and what it has learned about paths.
const AFTERMATH: Duration = Duration::from_secs(4 * 3600);

/// The bytes that the network layer may keep for neighbours and paths.
const LEARNED_BYTES: usize = 16 << 10;

/// Drops of packets other than the received one: waiting packets, answers that are not sent, and
/// our own output.
const OTHERS_DROPS: &[DropReason] = &[
    DropReason::ReassemblyTimeout,
    DropReason::ReassemblyLimit,
    DropReason::FragmentOverlap,
    DropReason::IcmpRateLimit,
    DropReason::NeighborUnreachable,
    DropReason::NeighborQueueFull,
    DropReason::NoRoute,
    DropReason::PacketTooBig,
    DropReason::TransmitQueueFull,
    DropReason::HandshakeTimeout,
    DropReason::MemoryLimit,
    // What was intercepted earlier.
    DropReason::PendingCancelled,
    DropReason::PendingTimeout,
    DropReason::PendingRejected,
    DropReason::FlowEnded,
    // A drop for every fragment of the packet.
    DropReason::BadFragment,
];

/// The most that one input may cause to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Bounds {
    /// For hosts without TCP data: a packet causes at most a few answers.
    pub(super) const SMALL: Bounds = Bounds { frames: 70, bytes: 100_000 };
    /// An acknowledgement may release queued data, in segments as small as a peer may ask for.
    pub(super) const STREAMS: Bounds = Bounds { frames: 10_000, bytes: 2_000_000 };
}

/// A stack with the addresses of [`RawPeer`], and a neighbour that answers for its own addresses.
pub(super) struct Host {
    pub(super) stack: Stack,
    pub(super) iface: InterfaceId,
    pub(super) now: Instant,
    pub(super) medium: Medium,
    /// The frames that the stack has sent since they were last taken.
    pub(super) sent: Vec<Vec<u8>>,
    /// Whether the neighbour answers ARP and neighbour solicitations.
    pub(super) has_neighbor: bool,
    bounds: Bounds,
    memory_limit_bytes: usize,
    memory_at_rest: usize,
    digest: u64,
}

/// The default configuration with limits that a short input can reach.
pub(super) fn small_config() -> Config {
    let mut config = Config::default();
    config.memory_limit_bytes = 1 << 20;
    config.neighbor.duplicate_address_probes = 0;
    config.neighbor.max_entries = 8;
    config.ip.reassembly_limit_bytes = 64 << 10;
    config.ip.max_reassemblies = 8;
    config.tcp.max_backlog = 8;
    config.tcp.max_time_wait = 8;
    config.tcp.max_orphans = 8;
    config
}

impl Host {
    pub(super) fn new(ethernet: bool, config: Config, bounds: Bounds) -> Host {
        Host::intercepting(ethernet, config, bounds, Interception::none())
    }

    /// A host that takes these packets for other hosts.
    pub(super) fn intercepting(
        ethernet: bool,
        config: Config,
        bounds: Bounds,
        interception: Interception,
    ) -> Host {
        let now = Instant::from_secs(1);
        let memory_limit_bytes = config.memory_limit_bytes;
        let mut stack = Stack::new(config, [7; 32], now);
        let (medium, iface) = add_interface(&mut stack, now, ethernet, interception);
        let mut host = Host {
            stack,
            iface,
            now,
            medium,
            sent: Vec::new(),
            has_neighbor: true,
            bounds,
            memory_limit_bytes,
            memory_at_rest: 0,
            digest: 0xcbf2_9ce4_8422_2325,
        };
        host.settle();
        host.sent.clear();
        host.memory_at_rest = host.stack.memory_bytes();
        host
    }

    pub(super) fn is_ethernet(&self) -> bool {
        self.medium != Medium::Ip
    }

    /// A builder for packets from the peer to the stack.
    pub(super) fn packet(&self, domain: Domain) -> PacketBuilder {
        crate::host::packet(domain)
    }

    /// A packet as a frame of this link.
    pub(super) fn frame(&self, packet: &[u8]) -> Vec<u8> {
        raw_peer::frame(self.medium, packet)
    }

    /// Handles a packet from the peer.
    pub(super) fn receive_packet(&mut self, packet: &[u8]) {
        let frame = self.frame(packet);
        self.receive(Frame::new(frame));
    }

    /// Handles a frame. It must be counted, answered or held; but ARP and NDP may confirm something
    /// without a trace.
    pub(super) fn receive(&mut self, frame: Frame) {
        let before = self.stack.stats().clone();
        let held = self.stack.memory_bytes();
        let is_resolution = self.is_resolution(&frame.bytes);
        self.stack.handle_frame(self.now, self.iface, frame);
        self.check_drops(&before, 1);
        let is_counted = counts_differ(&before, self.stack.stats()) || self.stack.memory_bytes() != held;
        let frames = self.settle();
        assert!(is_counted || is_resolution || frames > 0, "a frame left no trace");
    }

    /// Whether the frame is ARP, or perhaps NDP.
    fn is_resolution(&self, frame: &[u8]) -> bool {
        const NDP: std::ops::RangeInclusive<u8> = 133..=137;
        let is_arp = frame.get(12..14) == Some(&[8, 6]);
        let is_ndp = frame.get(14) == Some(&0x60) && frame.get(54).is_some_and(|kind| NDP.contains(kind));
        self.is_ethernet() && (is_arp || is_ndp)
    }

    /// Handles frames as one batch.
    pub(super) fn receive_batch(&mut self, frames: Vec<Vec<u8>>) {
        let before = self.stack.stats().clone();
        let count = frames.len() as u64;
        let iface = self.iface;
        self.stack.handle_frames(self.now, frames.into_iter().map(|frame| (iface, Frame::new(frame))));
        self.check_drops(&before, count);
        self.settle();
    }

    /// Checks that one packet is dropped for one reason.
    fn check_drops(&self, before: &Stats, frames: u64) {
        let after = self.stack.stats();
        assert_eq!(after.link.frames_in, before.link.frames_in + frames);
        let dropped = |reason: DropReason| after.drops(reason) - before.drops(reason);
        let own: u64 = DropReason::ALL
            .iter()
            .filter(|reason| !OTHERS_DROPS.contains(reason))
            .map(|&reason| dropped(reason))
            .sum();
        if own > frames {
            let reasons: BTreeMap<_, _> =
                DropReason::ALL.iter().map(|&reason| (reason, dropped(reason))).collect();
            let reasons: Vec<_> = reasons.into_iter().filter(|&(_, count)| count > 0).collect();
            panic!("{frames} frames were dropped {own} times: {reasons:?}");
        }
    }

    /// Lets time pass, from timer to timer.
    pub(super) fn pass(&mut self, duration: Duration) {
        let settle = |host: &mut Host| {
            host.settle();
        };
        raw_peer::pass(self, duration, MAX_TIMERS, |host| (&mut host.stack, &mut host.now), settle);
    }

    /// Takes and checks the frames that the stack sends. Returns their number.
    pub(super) fn settle(&mut self) -> usize {
        let (mut frames, mut bytes, mut looped) = (0, 0, 0);
        loop {
            let Some(transmit) = self.stack.poll_transmit(self.now) else {
                looped += 1;
                assert!(looped <= 10_000, "the stack talks to itself without end");
                if self.stack.handle_loopback(self.now) {
                    continue;
                }
                break;
            };
            assert_eq!(transmit.len(), transmit.to_vec().len());
            let frame = transmit.to_vec();
            frames += 1;
            bytes += frame.len();
            let Bounds { frames: max_frames, bytes: max_bytes } = self.bounds;
            assert!(
                frames <= max_frames && bytes <= max_bytes,
                "{frames} frames, {bytes} bytes for one input"
            );
            if let Err(why) = check_frame(self.medium, MTU, &frame) {
                panic!("the stack sent a bad frame: {why}: {frame:02x?}");
            }
            trace(format_args!("{} sends {}", self.now, describe(self.medium, &frame)));
            self.digest_bytes(&frame);
            if self.has_neighbor
                && self.is_ethernet()
                && let Some(answer) = resolution_answer(&frame)
            {
                self.stack.handle_frame(self.now, self.iface, Frame::new(answer));
            }
            self.sent.push(frame);
        }
        let mut events = 0;
        while self.stack.poll_event().is_some() {
            events += 1;
            assert!(events < 10_000, "events without end");
        }
        let memory = self.stack.memory_bytes();
        assert!(memory <= self.memory_limit_bytes, "{memory} bytes of {}", self.memory_limit_bytes);
        assert_eq!(self.stack.next_timeout_at(), self.stack.poll_timeout().map(|deadline| deadline.at));
        frames
    }

    /// Takes the TCP segments among the sent frames; the others are discarded.
    pub(super) fn take_segments(&mut self) -> Vec<TcpSegment> {
        let medium = self.medium;
        self.sent.drain(..).filter_map(|frame| tcp_segment(medium, &frame)).collect()
    }

    fn digest_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// A digest of what it sent and counted.
    pub(super) fn digest(mut self) -> Digest {
        let stats = format!("{:?} {:?}", self.stack.stats(), self.now);
        self.digest_bytes(stats.as_bytes());
        Digest(self.digest)
    }

    /// Checks, after its program has closed everything, that the stack comes to rest and holds as
    /// much as at first.
    pub(super) fn check_rest(&mut self) {
        self.pass(AFTERMATH);
        let sockets: Vec<_> = self.stack.sockets().collect();
        assert!(sockets.is_empty(), "without a program: {sockets:?}");
        let memory = self.stack.memory_bytes();
        let allowed = self.memory_at_rest + LEARNED_BYTES;
        assert!(memory <= allowed, "{memory} bytes at rest, {} at first", self.memory_at_rest);
    }
}

/// Whether any counter except that of received frames changed.
fn counts_differ(before: &Stats, after: &Stats) -> bool {
    let is_arrival = |name: &str| matches!(name, "link.frames_in" | "link.bytes_in");
    before.iter().zip(after.iter()).any(|((name, old), (_, new))| !is_arrival(name) && old != new)
}
