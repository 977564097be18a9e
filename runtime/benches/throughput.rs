//! The throughput of two runtimes on one wire in memory: bytes a second in bulk, and round trips of
//! one byte; and of Unix-domain sockets, beside those of the host.
//!
//! `cargo bench -p portolan-runtime [-- bulk | round_trips | unix]`. The benchmark sets no limits: its
//! figures are for comparing two builds on one machine.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use portolan::Config;
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream, UnixStream};

const BULK_BYTES: usize = 1 << 30;
const ROUND_TRIPS: u32 = 50_000;

fn main() -> io::Result<()> {
    let (left, right) = memory_pair()?;
    let (server, client) = (host(1, left)?, host(2, right)?);
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    if is_wanted("bulk") {
        bulk(&server, &client)?;
    }
    if is_wanted("round_trips") {
        round_trips(&server, &client)?;
    }
    if is_wanted("unix") {
        unix("unix", UnixStream::pair(&server)?)?;
        #[cfg(unix)]
        unix("unix, of the host", std::os::unix::net::UnixStream::pair()?)?;
    }
    Ok(())
}

fn host(number: u8, device: MemoryDevice) -> io::Result<Runtime> {
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

fn bulk(server: &Runtime, client: &Runtime) -> io::Result<()> {
    let (mut far, mut near) = connection(server, client)?;
    let start = Instant::now();
    let writing = std::thread::spawn(move || -> io::Result<()> {
        let chunk = vec![0x5a; 256 << 10];
        for _ in 0..BULK_BYTES / chunk.len() {
            near.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut buf = vec![0; 256 << 10];
    let (mut received, mut reads) = (0, 0u64);
    while received < BULK_BYTES {
        received += far.read(&mut buf)?;
        reads += 1;
    }
    let elapsed = start.elapsed();
    writing.join().expect("the writer does not panic")?;
    let gbit = received as f64 * 8.0 / elapsed.as_secs_f64() / 1e9;
    println!(
        "bulk: {} MiB in {elapsed:.2?}: {gbit:.2} Gbit/s; {} bytes a read",
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
        for _ in 0..BULK_BYTES / chunk.len() {
            near.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut buf = vec![0; 16 << 10];
    let mut received = 0;
    while received < BULK_BYTES {
        received += far.read(&mut buf)?;
    }
    let elapsed = start.elapsed();
    writing.join().expect("the writer does not panic")?;
    let gbit = received as f64 * 8.0 / elapsed.as_secs_f64() / 1e9;
    println!("{name}: {} MiB in {elapsed:.2?}: {gbit:.2} Gbit/s", received >> 20);
    Ok(())
}

fn round_trips(server: &Runtime, client: &Runtime) -> io::Result<()> {
    let (far, mut near) = connection(server, client)?;
    std::thread::spawn(move || io::copy(&mut &far, &mut &far));
    near.set_nodelay(true)?;
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    for _ in 0..ROUND_TRIPS {
        let sent_at = Instant::now();
        near.write_all(&[1])?;
        near.read_exact(&mut [0])?;
        slowest = slowest.max(sent_at.elapsed());
    }
    let each = start.elapsed() / ROUND_TRIPS;
    println!("round trips: {each:.2?} each, the slowest {slowest:.2?}");
    Ok(())
}
