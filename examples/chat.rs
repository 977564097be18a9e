//! A chat room: one server, and a task for each client. A line that one of them sends goes to all
//! others. A client that does not read is put out, and what waits for it takes little memory.
//!
//! `cargo run -p portolan-examples --example chat`

use std::io;
use std::time::Duration;

use portolan::SocketOption;
use portolan_examples::two_hosts;
use portolan_runtime::Runtime;
use portolan_runtime::task::{TcpListener, TcpSocket, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::broadcast;
use tokio::time::timeout;

const PORT: u16 = 6667;
/// How long a client may take to read a line.
const PATIENCE: Duration = Duration::from_millis(300);
const MAX_LINE_BYTES: usize = 4096;
/// The lines that are kept for clients that have not got them yet.
const MAX_LINES: usize = 64;

/// The number of the client that sent a line, and the line.
type Line = (u32, String);

fn main() -> io::Result<()> {
    let (left, right) = two_hosts()?;
    tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(run(&left, &right))
}

async fn run(left: &Runtime, right: &Runtime) -> io::Result<()> {
    let listener = TcpListener::bind(left, ([10, 0, 0, 1], PORT)).await?;
    tokio::spawn(serve(listener));
    let [mut deaf, mut talker, mut reader] = [join(right).await?, join(right).await?, join(right).await?];
    talker.write_all(b"hello\n").await?;
    println!("client 3 reads: {}", next_line(&mut reader).await?);
    // Clients 2 and 3 take turns, and nobody reads what the room sends to client 1.
    for _ in 0..100_000 {
        talker.write_all(format!("{}\n", "blah ".repeat(200)).as_bytes()).await?;
        let heard = next_line(&mut reader).await?;
        if heard.starts_with("1:") {
            println!("client 3 reads: {heard}");
            break;
        }
    }
    println!("client 1: {:?}", deaf.read_to_end(&mut Vec::new()).await.map_err(|error| error.kind()));
    Ok(())
}

/// Enters the room. The small receive buffer shows sooner what happens to a client that does not
/// read.
async fn join(runtime: &Runtime) -> io::Result<BufReader<TcpStream>> {
    let socket = TcpSocket::new_v4(runtime)?;
    socket.set_recv_buffer_size(16 * 1024)?;
    socket.set_nodelay(true)?;
    let mut stream = BufReader::new(socket.connect(([10, 0, 0, 1], PORT)).await?);
    println!("{}", next_line(&mut stream).await?);
    Ok(stream)
}

async fn next_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let (room, _) = broadcast::channel(MAX_LINES);
    for number in 1.. {
        let (stream, _) = listener.accept().await?;
        let (room, lines) = (room.clone(), room.subscribe());
        tokio::spawn(async move {
            let why = match attend(number, stream, &room, lines).await {
                Ok(()) => "leaves".to_owned(),
                Err(error) => format!("put out: {error}"),
            };
            // This fails if nobody else is there.
            let _ = room.send((number, format!("({why})\n")));
        });
    }
    Ok(())
}

/// Serves one client, until it leaves or is too slow.
async fn attend(
    number: u32,
    mut stream: TcpStream,
    room: &broadcast::Sender<Line>,
    mut lines: broadcast::Receiver<Line>,
) -> io::Result<()> {
    stream.set_option(SocketOption::SendBuffer(16 * 1024))?;
    stream.set_nodelay(true)?;
    // However this ends, the stack does not keep unsent data.
    stream.set_zero_linger()?;
    let (read, mut write) = stream.split();
    write.write_all(format!("you are client {number}\n").as_bytes()).await?;
    let (mut read, mut said) = (BufReader::new(read), Vec::new());
    loop {
        let mut limited = (&mut read).take((MAX_LINE_BYTES - said.len()) as u64);
        tokio::select! {
            // What was read of a line stays in `said` when the other branch comes first.
            end = limited.read_until(b'\n', &mut said) => match end? {
                0 => return Ok(()),
                _ if said.ends_with(b"\n") => {
                    let _ = room.send((number, String::from_utf8_lossy(&said).into_owned()));
                    said.clear();
                }
                _ => return Err(io::Error::other("the line is too long")),
            },
            line = lines.recv() => {
                let (from, line) = line.map_err(io::Error::other)?;
                if from != number {
                    timeout(PATIENCE, write.write_all(format!("{from}: {line}").as_bytes())).await??;
                }
            }
        }
    }
}
