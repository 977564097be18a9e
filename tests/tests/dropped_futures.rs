//! Tasks drop futures, halves and streams at random points, and close sockets in the middle of
//! calls: nothing that was accepted is lost, no descriptor stays open, and nothing hangs.
//!
//! `DROPS_SECONDS=60 cargo test -p portolan-tests --test dropped_futures -- --nocapture` goes on
//! for a minute, with other seeds.

use std::env;
use std::time::{Duration, Instant};

use portolan::Config;
use portolan::Medium::Ip;
use portolan_runtime::device::MemoryPair;
use portolan_runtime::task::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream};
use portolan_runtime::{Builder, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections of a round, which are open at the same time.
const CONNECTIONS: u64 = 24;
/// A round that takes longer hangs.
const LONG: Duration = Duration::from_secs(60);

/// A generator of random numbers (xorshift64*), so that a seed repeats the decisions of each task.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// How long a future may run before it is dropped; often not at all.
    fn patience(&mut self) -> Duration {
        match self.below(3) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.below(2000)),
        }
    }
}

/// The byte of the stream at this offset.
fn pattern(offset: u64) -> u8 {
    (offset * 31 / 7) as u8
}

fn host(device: portolan_runtime::device::MemoryDevice, addr: &str) -> Runtime {
    let addr = addr.parse().expect("an address");
    Builder::new().config(Config::default()).interface(device, [addr]).start().expect("a runtime")
}

/// Writes the stream, and drops every other future before it is ready. A dropped `write` has
/// written nothing. Returns how many bytes were taken.
async fn write(mut half: OwnedWriteHalf, mut random: Random) -> u64 {
    let (total, mut sent) = (random.below(400_000), 0);
    while sent < total {
        let len = (1 + random.below(40_000)).min(total - sent);
        let piece: Vec<u8> = (sent..sent + len).map(pattern).collect();
        let taken = match random.below(4) {
            0 => timeout(random.patience(), half.writable()).await.map(|ready| ready.map(|()| 0)),
            1 => Ok(half.try_write(&piece).or_else(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => Ok(0),
                _ => Err(error),
            })),
            2 => timeout(random.patience(), half.send_bytes(piece.into())).await,
            _ => timeout(random.patience(), half.write(&piece)).await,
        };
        sent += taken.map_or(0, |taken| taken.expect("the peer reads to the end") as u64);
    }
    // Dropping the half ends the direction, and everything that was taken comes before the end.
    sent
}

/// Reads to the end. A dropped `read` has taken nothing. Returns how many bytes came.
async fn read(mut half: OwnedReadHalf, mut random: Random) -> u64 {
    let mut received = 0;
    let mut buf = vec![0; 30_000];
    loop {
        let len = 1 + random.below(buf.len() as u64) as usize;
        let bytes = match random.below(4) {
            0 => {
                let _ = timeout(random.patience(), half.readable()).await;
                continue;
            }
            1 => timeout(random.patience(), half.recv_bytes(len)).await,
            2 => match timeout(random.patience(), half.peek(&mut buf[..len])).await {
                Ok(peeked) => {
                    let len = peeked.expect("the peer ends in order");
                    assert!((received..).zip(&buf[..len]).all(|(at, &byte)| byte == pattern(at)));
                    continue;
                }
                Err(dropped) => Err(dropped),
            },
            _ => timeout(random.patience(), half.read(&mut buf[..len]))
                .await
                .map(|read| read.map(|len| bytes::Bytes::copy_from_slice(&buf[..len]))),
        };
        let Ok(bytes) = bytes else { continue };
        let bytes = bytes.expect("the peer ends in order");
        if bytes.is_empty() {
            return received;
        }
        assert!((received..).zip(&bytes).all(|(at, &byte)| byte == pattern(at)), "at {received}");
        received += bytes.len() as u64;
    }
}

/// Both directions of one end, each in a task. Returns the bytes that were sent and received.
async fn both(stream: TcpStream, seed: u64) -> (u64, u64) {
    let (reading, writing) = stream.into_split();
    let writing = tokio::spawn(write(writing, Random::of(seed)));
    let received = read(reading, Random::of(seed + 1)).await;
    (writing.await.expect("the task that writes"), received)
}

/// Accepts, and drops `accept` at random points. Each dropped one has taken no connection.
async fn accept_all(listener: TcpListener, seed: u64) -> JoinSet<(u64, u64)> {
    let (mut random, mut served) = (Random::of(seed), JoinSet::new());
    while (served.len() as u64) < CONNECTIONS {
        if let Ok(accepted) = timeout(random.patience(), listener.accept()).await {
            let (stream, peer) = accepted.expect("a connection");
            served.spawn(both(stream, seed + 10 * u64::from(peer.port())));
        }
    }
    served
}

/// Connects, and drops whatever begins: the attempt, or the stream with calls under way. The
/// listener may see it as a connection that ends or is reset.
async fn abandon(client: &Runtime, port: u16, mut random: Random) {
    let connecting = TcpStream::connect(client, ([10, 0, 0, 1], port));
    let Ok(Ok(mut stream)) = timeout(random.patience(), connecting).await else { return };
    let _ = timeout(random.patience(), stream.write_all(&[7; 100_000])).await;
    if random.below(2) == 0 {
        let _ = stream.set_zero_linger();
    }
    let mut buf = [0; 8];
    let _ = timeout(random.patience(), stream.read(&mut buf)).await;
}

async fn round(server: &Runtime, client: &Runtime, seed: u64) {
    let listener = TcpListener::bind(server, ([10, 0, 0, 1], 0)).await.expect("a listener");
    let addr = listener.local_addr().expect("an address");
    // A listener that nobody serves: its connections are dropped with it.
    let ignored = TcpListener::bind(server, ([10, 0, 0, 1], 0)).await.expect("a listener");
    let ignored_port = ignored.local_addr().expect("an address").port();
    let accepting = tokio::spawn(accept_all(listener, seed));
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        abandon(client, ignored_port, Random::of(seed + number)).await;
        let stream = TcpStream::connect(client, addr).await.expect("a connection");
        clients.spawn(both(stream, seed + 1000 * number));
    }
    drop(ignored);
    let sums =
        |ends: Vec<(u64, u64)>| ends.into_iter().fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1));
    let (sent, received) = sums(clients.join_all().await);
    let served = accepting.await.expect("the task that accepts").join_all().await;
    assert_eq!((received, sent), sums(served), "bytes got lost with seed {seed}");
}

fn run(executor: &tokio::runtime::Runtime, seeds: impl Iterator<Item = u64>) {
    let (left, right) = MemoryPair::new().mediums(Ip, Ip).build().expect("a pair of devices");
    let (server, client) = (host(left, "10.0.0.1/24"), host(right, "10.0.0.2/24"));
    let give_up_at = Instant::now()
        + Duration::from_secs(
            env::var("DROPS_SECONDS").map_or(0, |seconds| seconds.parse().expect("a number")),
        );
    let mut rounds = 0;
    for seed in seeds {
        if rounds >= 2 && Instant::now() >= give_up_at {
            break;
        }
        let over = executor.block_on(async { timeout(LONG, round(&server, &client, seed)).await });
        over.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        rounds += 1;
        // What is closed may still deliver, but no descriptor is open.
        for host in [&server, &client] {
            let sockets = host.handle().sockets();
            let open = sockets.iter().filter(|socket| socket.descriptor.is_some()).count();
            assert_eq!(open, 0, "descriptors stay open with seed {seed}");
        }
    }
    println!("{rounds} rounds of {CONNECTIONS} connections");
}

#[test]
fn on_one_thread() {
    run(&tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), 1..);
}

#[test]
fn on_several_threads() {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    run(&executor.unwrap(), 1_000_001..);
}
