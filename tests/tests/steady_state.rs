//! In a steady state a bulk transfer allocates nothing: neither the stacks do, nor the memory that
//! frames are read into.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portolan::{
    ChecksumState, Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId, MacAddr,
    Medium, Offloads, SocketKind, Stack, Transmit,
};
use portolan_runtime::device::ReceiveBuffer;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator unchanged; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A host, and the memory that its device reads frames into.
struct Host {
    stack: Stack,
    iface: InterfaceId,
    buffer: ReceiveBuffer,
    frames: Vec<(InterfaceId, Frame)>,
}

impl Host {
    fn new(number: u8, offloads: Offloads, now: Instant) -> Host {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        // This lets the transfer reach a steady state: growing windows would mean growing records.
        config.tcp.auto_tune_buffers = false;
        config.tcp.receive_buffer_bytes = 1 << 20;
        config.tcp.send_buffer_bytes = 1 << 20;
        let mut stack = Stack::new(config, [number; 32], now);
        let interface = InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, number])))
            .offloads(offloads)
            .address(format!("10.0.0.{number}/24").parse().unwrap());
        let iface = stack.add_interface(now, interface).unwrap();
        let max_len = if offloads == Offloads::ALL { 65_600 } else { 1578 };
        Host { stack, iface, buffer: ReceiveBuffer::new(max_len), frames: Vec::with_capacity(64) }
    }

    /// Receives a frame from the other side, as a device does.
    fn read(&mut self, transmit: &Transmit) {
        let bytes = self.buffer.read_frame(|room| {
            let mut end = transmit.header().len();
            room[..end].copy_from_slice(transmit.header());
            for slice in transmit.payload() {
                room[end..end + slice.len()].copy_from_slice(slice);
                end += slice.len();
            }
            Ok(end)
        });
        let bytes = bytes.expect("nothing fails here").expect("a frame");
        let checksum = transmit.checksum().map_or(ChecksumState::Unknown, ChecksumState::Partial);
        let frame = Frame::new(bytes).with_checksum(checksum).with_segments(transmit.segments());
        self.frames.push((self.iface, frame));
    }

    fn handle(&mut self, now: Instant) {
        self.stack.handle_frames(now, self.frames.drain(..));
        self.stack.handle_timeout(now);
        while self.stack.poll_event().is_some() {}
    }
}

struct Pair {
    hosts: [Host; 2],
    now: Instant,
}

impl Pair {
    /// Exchanges up to 32 frames in each direction, and lets 20 µs pass.
    fn turn(&mut self) {
        self.now += Duration::from_micros(20);
        for from in [0, 1] {
            for _ in 0..32 {
                let Some(transmit) = self.hosts[from].stack.poll_transmit(self.now) else { break };
                self.hosts[1 - from].read(&transmit);
            }
        }
        let now = self.now;
        self.hosts.iter_mut().for_each(|host| host.handle(now));
    }

    fn connect(&mut self) -> (Descriptor, Descriptor) {
        let to = SocketAddr::from(([10, 0, 0, 2], 80));
        let [client, server] = &mut self.hosts;
        let listener = server.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        server.stack.bind(listener, to).unwrap();
        server.stack.listen(listener, 8).unwrap();
        let d = client.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        assert_eq!(client.stack.connect(self.now, d, to), Err(Error::InProgress));
        loop {
            self.turn();
            if let Ok((accepted, _)) = self.hosts[1].stack.accept(listener) {
                return (d, accepted);
            }
        }
    }

    /// Sends until this many bytes have been received.
    fn transfer(&mut self, ends: (Descriptor, Descriptor), block: &Bytes, copied: bool, total: usize) {
        let mut received = 0;
        while received < total {
            let now = self.now;
            let [client, server] = &mut self.hosts;
            loop {
                let sent = if copied {
                    client.stack.send(now, ends.0, block)
                } else {
                    client.stack.send_bytes(now, ends.0, block.clone())
                };
                if !matches!(sent, Ok(1..)) {
                    break;
                }
            }
            while let Ok(bytes) = server.stack.recv_bytes(now, ends.1, usize::MAX) {
                received += bytes.len();
            }
            self.turn();
        }
    }
}

/// The number of allocations for 64 MiB in a steady state.
fn allocations(offloads: Offloads, copied: bool) -> (usize, u64) {
    let now = Instant::from_secs(1);
    let hosts = [Host::new(1, offloads, now), Host::new(2, offloads, now)];
    let mut pair = Pair { hosts, now };
    let ends = pair.connect();
    let block = Bytes::from(vec![7; 64 << 10]);
    pair.transfer(ends, &block, copied, 64 << 20);
    let segments = pair.hosts[1].stack.stats().tcp.in_segs;
    let before = COUNT.load(Ordering::Relaxed);
    pair.transfer(ends, &block, copied, 64 << 20);
    let count = COUNT.load(Ordering::Relaxed) - before;
    (count, pair.hosts[1].stack.stats().tcp.in_segs - segments)
}

#[test]
fn no_segment_costs_an_allocation() {
    for offloads in [Offloads::NONE, Offloads::ALL] {
        let (count, segments) = allocations(offloads, false);
        println!("{offloads:?}: {count} allocations for {segments} segments that were lent");
        assert!(segments > 40_000);
        // Sometimes a list grows beyond its previous size.
        assert!(count as u64 * 1000 < segments, "{offloads:?}: {count} for {segments} segments");
        // Copied data takes one piece of memory for each call, not for each segment.
        let (count, segments) = allocations(offloads, true);
        println!("{offloads:?}: {count} allocations for {segments} segments that were copied");
        assert!(count as u64 * 10 < segments, "{offloads:?}: {count} for {segments} segments");
    }
}
