//! The throughput of two runtimes on one wire in memory: bytes a second in bulk, and round trips of
//! one byte, beside those of `std::net` over the loopback of the host; the same bulk over two
//! packet channels, between which the program moves the packets; and of Unix-domain sockets, beside
//! those of the host. And the time in which a socket is opened and closed, while few or many others
//! are open, and in which many sockets are listed.
//!
//! `cargo bench -p portolan-runtime [-- bulk | round_trips | channel | unix | open | walk]`. The
//! benchmark sets no limits: its figures are for comparing two builds on one machine. With `--test`
//! it does a thousandth of the work, to see that it runs.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use portolan::{Config, Domain, Frame, Medium, SocketKind, SocketWalk, Stack};
use portolan_runtime::device::{Device, PacketChannel, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream, UnixStream};

const BULK_BYTES: usize = 1 << 30;
const ROUND_TRIPS: u32 = 55_000;
/// The round trips are made in so many rounds, of which the median counts.
const ROUNDS: usize = 11;
const OPENED: u32 = 1_000_000;
const OPEN_BESIDE: [usize; 2] = [0, 100_000];
const WALKED: usize = 100_000;
/// The steps of a walk while a runtime holds the lock of its stack: `WALK_STEPS` of the runtime.
const STEPS: usize = 256;

/// How much of the work is done: all of it, or a thousandth.
static DIVISOR: OnceLock<u32> = OnceLock::new();

fn divisor() -> u32 {
    *DIVISOR.get_or_init(|| if std::env::args().any(|arg| arg == "--test") { 1000 } else { 1 })
}

fn bulk_bytes() -> usize {
    BULK_BYTES / divisor() as usize / (256 << 10) * (256 << 10)
}

fn main() -> io::Result<()> {
    let (left, right) = memory_pair()?;
    let (server, client) = (host(1, left)?, host(2, right)?);
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    if is_wanted("bulk") {
        bulk("bulk", &server, &client)?;
    }
    if is_wanted("channel") {
        channel()?;
    }
    if is_wanted("round_trips") {
        round_trips(&server, &client)?;
    }
    if is_wanted("unix") {
        unix("unix", UnixStream::pair(&server)?)?;
        #[cfg(unix)]
        unix("unix, of the host", std::os::unix::net::UnixStream::pair()?)?;
    }
    if is_wanted("open") {
        for beside in OPEN_BESIDE {
            open(beside)?;
        }
    }
    if is_wanted("walk") {
        walk()?;
    }
    Ok(())
}

fn host(number: u8, device: impl Device + 'static) -> io::Result<Runtime> {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let address = format!("10.0.0.{number}/24").parse().map_err(io::Error::other)?;
    Builder::new().config(config).interface(device, [address]).start()
}

fn connection(server: &Runtime, client: &Runtime) -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(server, ([10, 0, 0, 1], 0))?;
    let near = TcpStream::connect(client, listener.local_addr()?)?;
    Ok((listener.accept()?.0, near))
}

/// Bulk as a VPN carries it: the program takes each packet from one stack and gives it to the
/// other.
fn channel() -> io::Result<()> {
    let (near, to_near, from_near) = PacketChannel::new(Medium::Ip).build();
    let (far, to_far, from_far) = PacketChannel::new(Medium::Ip).build();
    let (server, client) = (host(1, near)?, host(2, far)?);
    for (mut from, mut to) in [(from_near, to_far), (from_far, to_near)] {
        std::thread::spawn(move || {
            let (mut packets, mut frames) = (Vec::new(), VecDeque::new());
            while from.recv(&mut packets, 64) > 0 {
                frames.extend(packets.drain(..).map(Frame::from));
                if to.send(&mut frames).is_err() {
                    break;
                }
            }
        });
    }
    bulk("channel", &server, &client)
}

fn bulk(name: &str, server: &Runtime, client: &Runtime) -> io::Result<()> {
    let (mut far, mut near) = connection(server, client)?;
    let start = Instant::now();
    let writing = std::thread::spawn(move || -> io::Result<()> {
        let chunk = vec![0x5a; 256 << 10];
        for _ in 0..bulk_bytes() / chunk.len() {
            near.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut buf = vec![0; 256 << 10];
    let (mut received, mut reads) = (0, 0u64);
    while received < bulk_bytes() {
        received += far.read(&mut buf)?;
        reads += 1;
    }
    let elapsed = start.elapsed();
    writing.join().expect("the writer does not panic")?;
    let gbit = received as f64 * 8.0 / elapsed.as_secs_f64() / 1e9;
    println!(
        "{name}: {} MiB in {elapsed:.2?}: {gbit:.2} Gbit/s; {} bytes a read",
        received >> 20,
        received as u64 / reads
    );
    println!("sender: {:?}\nreceiver: {:?}", client.handle().stats(), server.handle().stats());
    Ok(())
}

/// One thread writes 16 KiB at a time, another reads as much.
fn unix<S: Read + Write + Send + 'static>(name: &str, (mut near, mut far): (S, S)) -> io::Result<()> {
    let start = Instant::now();
    let writing = std::thread::spawn(move || -> io::Result<()> {
        let chunk = vec![0x5a; 16 << 10];
        for _ in 0..bulk_bytes() / chunk.len() {
            near.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut buf = vec![0; 16 << 10];
    let mut received = 0;
    while received < bulk_bytes() {
        received += far.read(&mut buf)?;
    }
    let elapsed = start.elapsed();
    writing.join().expect("the writer does not panic")?;
    let gbit = received as f64 * 8.0 / elapsed.as_secs_f64() / 1e9;
    println!("{name}: {} MiB in {elapsed:.2?}: {gbit:.2} Gbit/s", received >> 20);
    Ok(())
}

/// Opens and closes sockets in one thread, while so many others are open.
fn open(beside: usize) -> io::Result<()> {
    let now = portolan::Instant::ZERO;
    let mut stack = Stack::new(Config::default(), [1; 32], now);
    for _ in 0..beside {
        stack.socket(Domain::V4, SocketKind::Datagram)?;
    }
    for (name, domain, kind) in [
        ("TCP", Domain::V4, SocketKind::Stream),
        ("UDP", Domain::V4, SocketKind::Datagram),
        ("Unix stream", Domain::Unix, SocketKind::Stream),
    ] {
        let count = OPENED / divisor();
        let start = Instant::now();
        for _ in 0..count {
            let d = stack.socket(domain, kind)?;
            stack.close(now, d)?;
            // A datagram socket is removed in its turn to send.
            stack.poll_transmit(now);
        }
        println!("open: {name} beside {beside}: {:.0?} each", start.elapsed() / count);
    }
    Ok(())
}

/// Lists both ends of connections that a stack has with itself: without and with timers and
/// TCP_INFO.
fn walk() -> io::Result<()> {
    let now = portolan::Instant::ZERO;
    let mut config = Config::default();
    config.memory_limit_bytes = 1 << 30;
    let mut stack = Stack::new(config, [1; 32], now);
    let mut listener = None;
    for number in 0..WALKED / 2 / divisor() as usize {
        // Connections from one address to one port need ports of their own; there are enough for so
        // many.
        let port = 1000 + (number / 10_000) as u16;
        if number.is_multiple_of(10_000) {
            let made = stack.socket(Domain::V4, SocketKind::Stream)?;
            stack.bind(made, ([127, 0, 0, 1], port))?;
            stack.listen(made, 1)?;
            listener = Some(made);
        }
        let client = stack.socket(Domain::V4, SocketKind::Stream)?;
        let started = stack.connect(now, client, ([127, 0, 0, 1], port));
        assert!(matches!(started, Ok(()) | Err(portolan::Error::InProgress)), "{started:?}");
        while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
        while stack.poll_event().is_some() {}
        stack.accept(listener.expect("it was just made"))?;
    }
    for (name, with_tcp) in [("sockets", false), ("sockets with timers and TCP_INFO", true)] {
        let mut times = Vec::new();
        let (mut walk, mut count) = (SocketWalk::new(), 0);
        while !walk.is_finished() {
            let start = Instant::now();
            stack.walk_sockets(&mut walk, STEPS, |info| {
                count += 1;
                if let Some(id) = info.id.filter(|_| with_tcp) {
                    black_box(stack.socket_timers(id).collect::<Vec<_>>());
                    black_box(stack.socket_tcp_info(now, id));
                }
                black_box(info);
            });
            times.push(start.elapsed());
        }
        let sum: Duration = times.iter().sum();
        times.sort();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("walk: {count} {name} in {sum:.2?}; {STEPS} steps {median:.2?}, the slowest {slowest:.2?}");
    }
    Ok(())
}

/// Round trips of one byte over the wire in memory and over the loopback of the host, in turns.
fn round_trips(server: &Runtime, client: &Runtime) -> io::Result<()> {
    let (far, mut near) = connection(server, client)?;
    std::thread::spawn(move || io::copy(&mut &far, &mut &far));
    near.set_nodelay(true)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut near_of_host = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (far_of_host, _) = listener.accept()?;
    std::thread::spawn(move || io::copy(&mut &far_of_host, &mut &far_of_host));
    near_of_host.set_nodelay(true)?;

    let (mut ours, mut of_host) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(round(&mut near)?);
        of_host.push(round(&mut near_of_host)?);
    }
    for times in [&mut ours, &mut of_host] {
        times.sort_unstable();
    }
    let (median, host_median) = (ours[ROUNDS / 2], of_host[ROUNDS / 2]);
    println!("round trips: {median:.2?} each; the least {:.2?}, the most {:.2?}", ours[0], ours[ROUNDS - 1]);
    println!(
        "round trips, std::net over loopback: {host_median:.2?} each; the least {:.2?}, the most {:.2?}",
        of_host[0],
        of_host[ROUNDS - 1]
    );
    println!("round trips: {:.2} of the time of std::net", median.as_secs_f64() / host_median.as_secs_f64());
    Ok(())
}

/// The time of a round trip, in the mean of one round.
fn round(near: &mut (impl Read + Write)) -> io::Result<Duration> {
    let count = (ROUND_TRIPS / divisor() / ROUNDS as u32).max(1);
    let start = Instant::now();
    for _ in 0..count {
        near.write_all(&[1])?;
        near.read_exact(&mut [0])?;
    }
    Ok(start.elapsed() / count)
}
