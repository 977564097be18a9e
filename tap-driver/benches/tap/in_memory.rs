//! The rows without a device: the pairs of stacks in memory of
//! `cargo bench -p portolan --bench in_memory`, run here so that one report has all rows.

#[path = "../../../stack/benches/in_memory/callgrind.rs"]
pub(crate) mod callgrind;
#[allow(dead_code, reason = "not all of it is run from here")]
#[path = "../../../stack/benches/in_memory/pairs.rs"]
mod pairs;

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use portolan::{Config, Offloads};
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

use crate::client::{Figures, Plan};
use crate::peers::Peer;
use crate::rows::Row;
use crate::{child, counting};
use pairs::{BATCH, BULK_BYTES, Copies, SEGMENT_BYTES, portolan_side, smoltcp_side};

const FEW_SOCKETS: usize = 10;
/// The connections from one stack to one port of another.
const PER_PORT: usize = 10_000;
/// The bytes that go through an idle connection in each direction before it is idle again.
const MESSAGE_BYTES: usize = 1000;
/// Creating this many takes less than a minute.
const MAX_TIME_WAITS: usize = 20_000;
/// How long the remains of handshakes may exist.
const SETTLE: Duration = Duration::from_secs(2);
/// The number of rests of the pair, which has its own clock; two seconds, too.
const RESTS: usize = 50;

/// Runs in its own process. No thread is started before, so that nothing else is counted.
pub(crate) fn run(plan: &Plan) -> io::Result<Figures> {
    match (plan.row, plan.peer) {
        (Row::InMemory, peer) => Ok(bulk(plan.time, transfer_of(peer))),
        (Row::Segment, _) => Ok(segment(plan)),
        (Row::Memory, _) => memory(plan.idle.last().copied().unwrap_or(PER_PORT)),
        (Row::Instructions, peer) => instructions(peer),
        (row, _) => Err(io::Error::other(format!("{} is not in memory", row.name()))),
    }
}

/// The rates in Gbit/s with and without copies, measured in turn.
fn bulk(time: Duration, mut transfer: impl FnMut(Copies)) -> Figures {
    let mut took = [(Copies::Both, "copied", Duration::ZERO), (Copies::None, "lent", Duration::ZERO)];
    // One transfer to fill the caches and to grow the congestion window.
    transfer(Copies::Both);
    let began_at = Instant::now();
    let mut transfers = 0;
    while transfers == 0 || began_at.elapsed() < time {
        for (copies, _, total) in &mut took {
            let start = Instant::now();
            transfer(*copies);
            *total += start.elapsed();
        }
        transfers += 1;
    }
    let gbits = |total: Duration| (transfers * BULK_BYTES * 8) as f64 / total.as_secs_f64() / 1e9;
    took.into_iter().map(|(_, part, total)| (part.to_owned(), gbits(total))).collect()
}

/// The nanoseconds that a stack takes for a received segment of one connection, with few and with
/// many sockets.
fn segment(plan: &Plan) -> Figures {
    let mut timed: Vec<(usize, Batch)> = Vec::new();
    if plan.peer == Peer::Smoltcp {
        // smoltcp scans all sockets for every packet: with many it would take minutes.
        let mut pair = smoltcp_side::Pair::new(FEW_SOCKETS);
        timed.push((FEW_SOCKETS, Box::new(move || pair.receive_batch(BATCH))));
    } else {
        for count in [FEW_SOCKETS].into_iter().chain(plan.idle.last().copied()) {
            let mut pair = portolan_side::Pair::new(count, Offloads::NONE);
            timed.push((count, Box::new(move || pair.receive_batch(BATCH, false))));
        }
    }
    // The batches run one after the other, so that each finds its own state in the caches.
    let time = plan.time / timed.len() as u32;
    let nanos = |batch: &mut Batch| {
        let (began_at, mut batches, mut total) = (Instant::now(), 0, Duration::ZERO);
        while batches == 0 || began_at.elapsed() < time {
            total += batch();
            batches += 1;
        }
        total.as_secs_f64() * 1e9 / (batches * BATCH) as f64
    };
    timed.iter_mut().map(|(count, batch)| (count.to_string(), nanos(batch))).collect()
}

/// A function that measures its own time.
type Batch = Box<dyn FnMut() -> Duration>;

/// The bytes of one end of an idle connection, and of a TIME-WAIT record.
fn memory(count: usize) -> io::Result<Figures> {
    counting::begin();
    let before = counting::live();
    let mut pair = portolan_side::Pair::new(count, Offloads::NONE);
    // Each rest takes 42 ms of the pair's time: the remains of the handshakes expire.
    for _ in 0..RESTS {
        pair.receive_batch(0, false);
    }
    let stack = (counting::live() - before) as f64 / (2 * count) as f64;
    drop(pair);
    let (unused, used) = of_idle(count)?;
    let time_waits = count.min(MAX_TIME_WAITS);
    // Closed connections leave room that is reused, with TIME-WAIT records and without.
    let time_wait = (of_closed(time_waits, time_waits)? - of_closed(time_waits, 0)?) / time_waits as f64;
    Ok(Figures::from([
        ("stack".into(), stack),
        ("unused".into(), unused),
        ("used".into(), used),
        ("time-wait".into(), time_wait),
    ]))
}

/// The bytes of one end of an idle connection between two runtimes: of one that was never used, and
/// of one that was.
fn of_idle(count: usize) -> io::Result<(f64, f64)> {
    let (server, client) = hosts(0)?;
    let before = counting::live();
    let held = connections(&server, &client, count)?;
    let each = || {
        std::thread::sleep(SETTLE);
        (counting::live() - before) as f64 / (2 * held.len()) as f64
    };
    let unused = each();
    let mut message = [0; MESSAGE_BYTES];
    for (mut near, mut far) in held.iter().map(|(near, far)| (near, far)) {
        near.write_all(&message)?;
        far.read_exact(&mut message)?;
        far.write_all(&message)?;
        near.read_exact(&mut message)?;
    }
    Ok((unused, each()))
}

/// The bytes that two runtimes hold when all connections between them are closed, and at most this
/// many are in TIME-WAIT.
fn of_closed(count: usize, max_time_wait: usize) -> io::Result<f64> {
    let (server, client) = hosts(max_time_wait)?;
    let before = counting::live();
    // The client closes first and keeps the TIME-WAIT record. The connections are closed one after
    // the other, because the number of orphans is limited.
    for (near, mut far) in connections(&server, &client, count)? {
        near.shutdown(Shutdown::Write)?;
        let _the_end = far.read(&mut [0])?;
    }
    std::thread::sleep(SETTLE);
    let ended =
        client.handle().sockets().iter().filter(|socket| socket.state.to_string() == "TIME-WAIT").count();
    if ended < max_time_wait {
        let stats = client.handle().stats();
        return Err(io::Error::other(format!("{ended} of {max_time_wait} are in TIME-WAIT: {stats:?}")));
    }
    Ok((counting::live() - before) as f64)
}

fn connections(server: &Runtime, client: &Runtime, count: usize) -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let listener = TcpListener::bind(server, ([10, 0, 0, 1], 0))?;
        for _ in 0..PER_PORT.min(count - held.len()) {
            let near = TcpStream::connect(client, listener.local_addr()?)?;
            held.push((near, listener.accept()?.0));
        }
    }
    Ok(held)
}

fn hosts(max_time_wait: usize) -> io::Result<(Runtime, Runtime)> {
    let (left, right) = memory_pair()?;
    Ok((host(1, left, max_time_wait)?, host(2, right, max_time_wait)?))
}

fn host(number: u8, device: MemoryDevice, max_time_wait: usize) -> io::Result<Runtime> {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config.memory_limit_bytes = 1 << 30;
    config.tcp.max_time_wait = max_time_wait;
    let address = format!("10.0.0.{number}/24").parse().map_err(io::Error::other)?;
    Builder::new().config(config).interface(device, [address]).start()
}

/// Runs under callgrind, which counts the instructions of [`counted`].
fn instructions(peer: Peer) -> io::Result<Figures> {
    let total = callgrind::count(&child::command(&["transfer", peer.name()])?, "*in_memory::counted*")?;
    Ok(Figures::from([(String::new(), total as f64 / (BULK_BYTES / SEGMENT_BYTES) as f64)]))
}

/// The work that callgrind counts: one transfer with copies.
pub(crate) fn transfer(peer: Peer) {
    counted(&mut *transfer_of(peer));
}

/// Callgrind finds this function by its name, so it must stay a function.
#[inline(never)]
fn counted(transfer: &mut dyn FnMut(Copies)) {
    transfer(Copies::Both);
    // The call must not be the last statement: otherwise it becomes a tail call, and callgrind does
    // not see its return.
    std::hint::black_box(());
}

/// A transfer over a new pair.
fn transfer_of(peer: Peer) -> Box<dyn FnMut(Copies)> {
    if peer == Peer::Smoltcp {
        let mut pair = smoltcp_side::Pair::new(1);
        return Box::new(move |copies| pair.transfer(BULK_BYTES, copies));
    }
    let mut pair = portolan_side::Pair::new(1, if peer.is_plain() { Offloads::NONE } else { Offloads::ALL });
    Box::new(move |copies| pair.transfer(BULK_BYTES, copies))
}
