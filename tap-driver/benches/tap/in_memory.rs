//! Rows without a device: the pairs of stacks in memory of `cargo bench -p portolan --bench in_memory`, run from here so that
//! one report has them all.

#[path = "../../../stack/benches/in_memory/portolan_side.rs"]
mod portolan_side;
#[path = "../../../stack/benches/in_memory/smoltcp_side.rs"]
mod smoltcp_side;

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan::Config;
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

use crate::client::{Figures, Plan};
use crate::peers::Peer;
use crate::rows::Row;
use crate::{child, counting};

/// Whether the programs at both ends have their data copied.
#[derive(Clone, Copy, PartialEq)]
enum Copies {
    Both,
    None,
}

/// SO_SNDBUF and SO_RCVBUF of both.
const SOCKET_BUFFER: usize = 256 << 10;
/// Frames that wait in one direction of the link.
const LINK_FRAMES: usize = 64;

const BULK_BYTES: usize = 16 << 20;
/// Of a full segment with timestamps, at an MTU of 1,500.
const SEGMENT_BYTES: usize = 1448;
/// Segments that are timed as one.
const BATCH: usize = 64;
const FEW_SOCKETS: usize = 10;
/// Connections from one stack to one port of another.
const PER_PORT: usize = 10_000;
/// How long what handshakes leave behind may stay.
const SETTLE: Duration = Duration::from_secs(2);
/// Of the pair, which has a clock of its own: two seconds too.
const RESTS: usize = 50;
const VALGRIND: &str = "valgrind";

/// In a process of its own. No thread is started before, so that nothing else is counted.
pub(crate) fn run(plan: &Plan) -> io::Result<Figures> {
    match (plan.row, plan.peer) {
        (Row::InMemory, Peer::Smoltcp) => {
            let mut pair = smoltcp_side::Pair::new(1);
            Ok(bulk(plan.time, |copies| pair.transfer(BULK_BYTES, copies)))
        }
        (Row::InMemory, _) => {
            let mut pair = portolan_side::Pair::new(1);
            Ok(bulk(plan.time, |copies| pair.transfer(BULK_BYTES, copies)))
        }
        (Row::Segment, _) => Ok(segment(plan)),
        (Row::Memory, _) => memory(plan.idle.last().copied().unwrap_or(PER_PORT)),
        (Row::Instructions, peer) => instructions(peer),
        (row, _) => Err(io::Error::other(format!("{} is not in memory", row.name()))),
    }
}

/// Gbit/s with and without copies, in turn.
fn bulk(time: Duration, mut transfer: impl FnMut(Copies)) -> Figures {
    let mut took = [(Copies::Both, "copied", Duration::ZERO), (Copies::None, "lent", Duration::ZERO)];
    // Once for the caches and the congestion window.
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

/// Nanoseconds that a stack takes for a received segment of one connection, with few sockets and with many.
fn segment(plan: &Plan) -> Figures {
    let mut timed: Vec<(usize, Batch, Duration)> = Vec::new();
    if plan.peer == Peer::Smoltcp {
        // It looks at every socket for every packet: with many it would take minutes.
        let mut pair = smoltcp_side::Pair::new(FEW_SOCKETS);
        timed.push((FEW_SOCKETS, Box::new(move || pair.receive_batch(BATCH)), Duration::ZERO));
    } else {
        for count in [FEW_SOCKETS].into_iter().chain(plan.idle.last().copied()) {
            let mut pair = portolan_side::Pair::new(count);
            timed.push((count, Box::new(move || pair.receive_batch(BATCH, false)), Duration::ZERO));
        }
    }
    let began_at = Instant::now();
    let mut batches = 0;
    while batches == 0 || began_at.elapsed() < plan.time {
        for (_, batch, total) in &mut timed {
            *total += batch();
        }
        batches += 1;
    }
    let nanos = |total: Duration| total.as_secs_f64() * 1e9 / (batches * BATCH) as f64;
    timed.iter().map(|(count, _, total)| (count.to_string(), nanos(*total))).collect()
}

/// Something that is timed by itself.
type Batch = Box<dyn FnMut() -> Duration>;

/// Bytes of one end of an idle connection, and of a TIME-WAIT.
fn memory(count: usize) -> io::Result<Figures> {
    counting::begin();
    let before = counting::live();
    let mut pair = portolan_side::Pair::new(count);
    // Each takes 42 ms of the pair's time: what the handshakes left behind goes.
    for _ in 0..RESTS {
        pair.receive_batch(0, false);
    }
    let stack = (counting::live() - before) as f64 / (2 * count) as f64;
    drop(pair);

    let (left, right) = memory_pair()?;
    let (server, client) = (host(1, left)?, host(2, right)?);
    let before = counting::live();
    let mut held: Vec<(TcpStream, TcpStream)> = Vec::with_capacity(count);
    for opened in (0..count).step_by(PER_PORT) {
        let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 0))?;
        for _ in opened..count.min(opened + PER_PORT) {
            let near = TcpStream::connect(&client, listener.local_addr()?)?;
            held.push((near, listener.accept()?.0));
        }
    }
    std::thread::sleep(SETTLE);
    let runtime = (counting::live() - before) as f64 / (2 * count) as f64;
    // The client closes first and keeps the TIME-WAIT. One connection after the other: the orphans of a close that is not
    // over are limited.
    for (near, mut far) in held {
        near.shutdown(Shutdown::Write)?;
        let _the_end = far.read(&mut [0])?;
    }
    std::thread::sleep(SETTLE);
    let ended = client.sockets().iter().filter(|socket| socket.state == "TIME-WAIT").count();
    if ended < count {
        return Err(io::Error::other(format!("{ended} of {count} are in TIME-WAIT: {:?}", client.stats())));
    }
    let time_wait = (counting::live() - before) as f64 / ended as f64;
    Ok(Figures::from([("stack".into(), stack), ("runtime".into(), runtime), ("time-wait".into(), time_wait)]))
}

fn host(number: u8, device: MemoryDevice) -> io::Result<Runtime> {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config.memory_limit_bytes = 1 << 30;
    config.tcp.max_time_wait = 1 << 20;
    let address = format!("10.0.0.{number}/24").parse().map_err(io::Error::other)?;
    Builder::new().config(config).interface(device, [address]).start()
}

/// Under callgrind, which counts what happens inside of `transfer`.
fn instructions(peer: Peer) -> io::Result<Figures> {
    let folder = std::env::temp_dir();
    let out = folder.join(format!("portolan-callgrind-{}", std::process::id()));
    let ours = child::command(&["transfer", peer.name()])?;
    let output = Command::new(VALGRIND)
        .args(["--tool=callgrind", "--toggle-collect=*Pair*transfer*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(ours.get_program())
        .args(ours.get_args())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            let hint = "callgrind comes with valgrind (on Debian or Ubuntu: sudo apt-get install valgrind)";
            io::Error::new(error.kind(), format!("cannot run {VALGRIND}: {error}; {hint}"))
        })?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    // There is nothing in it if it was not written.
    let _ = std::fs::remove_file(&out);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    match total {
        Some(total) if output.status.success() && total > 0.0 => {
            Ok(Figures::from([(String::new(), total / (BULK_BYTES / SEGMENT_BYTES) as f64)]))
        }
        _ => Err(io::Error::other(format!(
            "callgrind counted nothing:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// What callgrind counts: one transfer, copied.
pub(crate) fn transfer(peer: Peer) -> io::Result<()> {
    match peer {
        Peer::Smoltcp => smoltcp_side::Pair::new(1).transfer(BULK_BYTES, Copies::Both),
        _ => portolan_side::Pair::new(1).transfer(BULK_BYTES, Copies::Both),
    }
    Ok(())
}

/// Whether there is callgrind.
pub(crate) fn can_count_instructions() -> bool {
    Command::new(VALGRIND).arg("--version").stdin(Stdio::null()).output().is_ok()
}
