//! Portolan and smoltcp in memory, in one run: no device, no system calls, one core.
//!
//! `cargo bench -p portolan --bench in_memory` prints
//!
//! - `bulk`: the time to move 16 MiB between two stacks over one link, with an MTU of 1,500 and no
//!   offloads: every checksum is computed and verified, and every frame is copied once, as a device
//!   would do. Both stacks have socket buffers of 256 KiB and a device that is full with 64 frames.
//!   Both get the waiting frames as their own drivers would pass them: Portolan in bursts of up to
//!   32 (`Stack::handle_frames`, as the runtime does), smoltcp in one `poll`. `copied`: the
//!   programs pass buffers to be read and filled; `lent`: they pass and take reference-counted
//!   data, without a copy. `offload`: the link acts like a TAP device with virtio-net headers: it
//!   takes runs of up to 64 KiB as they are, and no checksum is computed;
//! - `segment`: the time that a stack takes for one received segment of 100 bytes out of a burst of
//!   64 (handling it, passing its data to the program, sending the acknowledgements that are due)
//!   while some number of other sockets are open;
//! - `cycle`: the time that both ends together take to open a connection, send a byte over it and
//!   close it, while some number of others are open and 6,000 are in TIME-WAIT;
//! - `poller`: the time to ask a poller what is ready (`wait`), and to bring a datagram each to ten
//!   descriptors, ask the poller and read them (`round`), while some number are registered;
//! - `group`: the time to send a datagram to a multicast group and to read it from the only member
//!   on its port, while some number of sockets on other ports are members of the group, too.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

#[path = "groups.rs"]
mod groups;
#[allow(dead_code, reason = "not all of it is run from here")]
#[path = "pairs.rs"]
mod pairs;
#[path = "pollers.rs"]
mod pollers;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portolan::Offloads;

use groups::Members;
use pairs::{BATCH, BULK_BYTES, Copies, portolan_side, smoltcp_side};
use pollers::{Polled, READY};

/// A value that is made when it is first used: a filter on the command line excludes most of them.
struct Lazy<T, F> {
    made: Option<T>,
    make: F,
}

impl<T, F: FnMut() -> T> Lazy<T, F> {
    fn new(make: F) -> Self {
        Lazy { made: None, make }
    }

    fn get(&mut self) -> &mut T {
        self.made.get_or_insert_with(&mut self.make)
    }
}

/// Whether time is measured. If not, this is a test that the benchmarks work, which is run without
/// optimisation.
fn is_measured() -> bool {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    has("--bench") && !has("--test")
}

/// The sockets of the largest rows.
fn many() -> usize {
    if is_measured() { 100_000 } else { 2_000 }
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulk");
    group.throughput(Throughput::Bytes(BULK_BYTES as u64)).sample_size(20);
    let mut portolan = Lazy::new(|| portolan_side::Pair::new(1, Offloads::NONE));
    let mut offloading = Lazy::new(|| portolan_side::Pair::new(1, Offloads::ALL));
    let mut smoltcp = Lazy::new(|| smoltcp_side::Pair::new(1));
    for (name, copies) in [("copied", Copies::Both), ("lent", Copies::None)] {
        group.bench_function(BenchmarkId::new("portolan", name), |b| {
            let pair = portolan.get();
            b.iter(|| pair.transfer(BULK_BYTES, copies));
        });
        group.bench_function(BenchmarkId::new("portolan offload", name), |b| {
            let pair = offloading.get();
            b.iter(|| pair.transfer(BULK_BYTES, copies));
        });
        group.bench_function(BenchmarkId::new("smoltcp", name), |b| {
            let pair = smoltcp.get();
            b.iter(|| pair.transfer(BULK_BYTES, copies));
        });
    }
    group.finish();
}

fn segment(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    for sockets in [10, 1_000, many()] {
        let mut pair = Lazy::new(|| portolan_side::Pair::new(sockets, Offloads::NONE));
        for (name, all_busy) in [("portolan/one busy", false), ("portolan/all busy", true)] {
            group.bench_function(BenchmarkId::new(name, sockets), |b| {
                let pair = pair.get();
                b.iter_custom(|count| per_segment(count, || pair.receive_batch(BATCH, all_busy)));
            });
        }
    }
    // smoltcp scans all sockets: with 100,000 of them it would take minutes.
    for sockets in [10, 1_000] {
        let mut pair = Lazy::new(|| smoltcp_side::Pair::new(sockets));
        group.bench_function(BenchmarkId::new("smoltcp/one busy", sockets), |b| {
            let pair = pair.get();
            b.iter_custom(|count| per_segment(count, || pair.receive_batch(BATCH)));
        });
    }
    group.finish();
}

/// The number of connections that are opened and closed in one measurement.
const CYCLES: u64 = 100;

fn cycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    group.throughput(Throughput::Elements(CYCLES)).measurement_time(Duration::from_secs(3));
    for sockets in [10, many()] {
        let mut pair = Lazy::new(|| {
            let mut pair = portolan_side::Pair::new(sockets, Offloads::NONE);
            if is_measured() {
                // Runs until the remains of the handshakes are gone, and as many connections leave
                // TIME-WAIT as enter it.
                pair.warm_up();
            }
            pair
        });
        group.bench_function(BenchmarkId::new("portolan", sockets), |b| {
            let pair = pair.get();
            b.iter(|| pair.cycle(CYCLES, portolan_side::CYCLE_TIME));
        });
    }
    group.finish();
}

fn poller(c: &mut Criterion) {
    let mut group = c.benchmark_group("poller");
    group.throughput(Throughput::Elements(READY as u64)).measurement_time(Duration::from_secs(3));
    for registered in [10, 100_000] {
        let mut waiting = Lazy::new(|| {
            let mut polled = Polled::new(registered);
            polled.fill();
            polled
        });
        group.bench_function(BenchmarkId::new("wait", registered), |b| {
            let polled = waiting.get();
            b.iter(|| polled.wait());
        });
        let mut polled = Lazy::new(|| Polled::new(registered));
        group.bench_function(BenchmarkId::new("round", registered), |b| {
            let polled = polled.get();
            b.iter(|| polled.round());
        });
    }
    group.finish();
}

fn group(c: &mut Criterion) {
    let mut group = c.benchmark_group("group");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    for elsewhere in [1, 1_000] {
        let mut members = Lazy::new(|| Members::new(elsewhere));
        group.bench_function(BenchmarkId::new("portolan", elsewhere), |b| {
            let members = members.get();
            b.iter(|| members.round());
        });
    }
    group.finish();
}

/// Runs batches until `count` segments are done. Returns the time for exactly `count`.
fn per_segment(count: u64, mut batch: impl FnMut() -> Duration) -> Duration {
    let batches = count.div_ceil(BATCH as u64);
    let total: Duration = (0..batches).map(|_| batch()).sum();
    total.mul_f64(count as f64 / (batches * BATCH as u64) as f64)
}

criterion_group!(benches, bulk, segment, cycle, poller, group);
criterion_main!(benches);
