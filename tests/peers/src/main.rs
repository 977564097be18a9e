//! Measures Portolan beside `ipstack` and `netstack-smoltcp` in what these are for: a program gets
//! IP packets, of 1,500 bytes and without offloads, and the TCP connections in them are to become
//! streams for its tasks.
//!
//! ```text
//! cargo run --release --manifest-path tests/peers/Cargo.toml
//! ```
//!
//! The client is the same in all rows: Portolan, behind a channel of packets. Everything runs in
//! this process, so that each figure is that of the client and the measured stack together.

mod peers;
mod report;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use portolan::Medium;
use portolan_runtime::Builder;
use portolan_runtime::device::PacketChannel;
use portolan_runtime::task::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use peers::Peer;
use report::Row;

/// Any address: the measured stack takes all of them.
const SERVER: ([u8; 4], u16) = ([203, 0, 113, 7], 443);
/// What one call reads or writes.
const CALL_BYTES: usize = 64 << 10;
/// A measurement that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// To the measured stack.
    Up,
    /// From the measured stack.
    Down,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Load {
    direction: Direction,
    flows: usize,
    /// The bytes of each flow.
    flow_bytes: usize,
}

/// Measures Portolan beside other stacks that make streams of IP packets.
#[derive(Parser)]
struct Arguments {
    /// MiB that all flows of a measurement carry together.
    #[arg(long, default_value_t = 128)]
    mebibytes: usize,
    /// How often each row is measured. The stacks take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Numbers of flows.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    flows: Vec<usize>,
}

fn main() -> io::Result<ExitCode> {
    let Arguments { mebibytes, rounds, flows } = Arguments::parse();
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let loads = flows.iter().flat_map(|&flows| {
        [Direction::Up, Direction::Down].map(|direction| {
            let flow_bytes = (mebibytes << 20) / flows.max(1);
            Load { direction, flows: flows.max(1), flow_bytes }
        })
    });
    let mut rows: Vec<Row> = loads.map(Row::new).collect();
    for _ in 0..rounds {
        for row in &mut rows {
            for peer in Peer::ALL {
                let measured = executor.block_on(async {
                    tokio::time::timeout(LIMIT, measure(peer, row.load)).await.unwrap_or_else(|_| {
                        Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more arrives"))
                    })
                });
                match measured {
                    Ok(time) => row.add(peer, time),
                    Err(error) => row.fail(peer, error),
                }
            }
        }
    }
    report::print(&rows);
    Ok(if rows.iter().any(Row::has_failures) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Carries a load through a peer. Returns the time from the first byte to the last.
async fn measure(peer: Peer, load: Load) -> io::Result<Duration> {
    let (device, to_client, from_client) = PacketChannel::new(Medium::Ip).capacity(1024).build();
    let client = Builder::new()
        .interface(device, ["10.0.0.2/24".parse().expect("an address")])
        .gateway("10.0.0.1".parse().expect("an address"))
        .start()?;
    let _serving = peer.serve(to_client, from_client, load)?;

    let mut streams = Vec::new();
    for _ in 0..load.flows {
        streams.push(TcpStream::connect(&client, SocketAddr::from(SERVER)).await?);
    }
    let begin = Instant::now();
    let mut flows = JoinSet::new();
    for stream in streams {
        flows.spawn(drive(stream, load));
    }
    while let Some(flow) = flows.join_next().await {
        flow.map_err(io::Error::other)??;
    }
    Ok(begin.elapsed())
}

/// The client's end of a flow.
async fn drive(mut stream: TcpStream, load: Load) -> io::Result<()> {
    match load.direction {
        Direction::Up => {
            // Some stacks accept with the first data only.
            write(&mut stream, load.flow_bytes).await?;
            stream.read_exact(&mut [0]).await?;
        }
        Direction::Down => {
            stream.write_all(&[1]).await?;
            read(&mut stream, load.flow_bytes).await?;
        }
    }
    Ok(())
}

/// The measured stack's end of a flow.
async fn answer(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    load: Load,
) -> io::Result<()> {
    match load.direction {
        Direction::Up => {
            read(&mut stream, load.flow_bytes).await?;
            stream.write_all(&[1]).await?;
            stream.flush().await?;
        }
        Direction::Down => {
            stream.read_exact(&mut [0]).await?;
            write(&mut stream, load.flow_bytes).await?;
            stream.flush().await?;
        }
    }
    // The stream stays open until the client has closed it.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}

async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), len: usize) -> io::Result<()> {
    let data = vec![7; CALL_BYTES];
    let mut left = len;
    while left > 0 {
        let count = stream.write(&data[..left.min(CALL_BYTES)]).await?;
        left -= count;
    }
    Ok(())
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin), len: usize) -> io::Result<()> {
    let mut data = vec![0; CALL_BYTES];
    let mut left = len;
    while left > 0 {
        match stream.read(&mut data[..left.min(CALL_BYTES)]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count,
        }
    }
    Ok(())
}
