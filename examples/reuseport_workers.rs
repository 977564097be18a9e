//! Workers that share a port: each has a listener of its own with SO_REUSEPORT, and the stack
//! gives each connection to one of them. No lock is shared, and a worker can be replaced while
//! clients connect.
//!
//! `cargo run -p portolan-examples --example reuseport_workers`

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::thread::{self, JoinHandle};

use portolan::SocketOption;
use portolan_examples::two_hosts;
use portolan_runtime::{Runtime, TcpListener, TcpStream};

const PORT: u16 = 80;

struct Worker {
    listener: TcpListener,
    thread: JoinHandle<usize>,
}

fn main() -> io::Result<()> {
    let (server, client) = two_hosts()?;
    let mut workers: Vec<Worker> = (1..=4).map(|number| start(&server, number)).collect::<Result<_, _>>()?;
    println!("served by: {:?}", connect(&client, 60)?);

    // The new worker listens before the old one stops, so no client is refused.
    workers.push(start(&server, 5)?);
    stop(workers.swap_remove(0))?;
    println!("served by: {:?}", connect(&client, 60)?);
    for worker in workers {
        stop(worker)?;
    }
    Ok(())
}

/// Starts a worker with this number.
fn start(server: &Runtime, number: usize) -> io::Result<Worker> {
    let options = [SocketOption::ReusePort(true)];
    let listener = TcpListener::bind_with(server, ([10, 0, 0, 1], PORT), 128, &options)?;
    let thread = thread::spawn({
        let listener = listener.try_clone()?;
        move || {
            let streams = listener.incoming().map_while(Result::ok);
            streams.filter_map(|mut stream| writeln!(stream, "{number}").ok()).count()
        }
    });
    Ok(Worker { listener, thread })
}

/// Stops a worker. Connections that it has not accepted yet would be reset, so a server with real
/// clients accepts what waits (`set_nonblocking`, then `accept` until `WouldBlock`) before this.
fn stop(worker: Worker) -> io::Result<()> {
    worker.listener.close()?;
    println!("a worker ends; it has served {}", worker.thread.join().expect("it does not panic"));
    Ok(())
}

/// Connects so many times, and counts the connections of each worker.
fn connect(client: &Runtime, count: usize) -> io::Result<BTreeMap<String, usize>> {
    let mut served = BTreeMap::new();
    for _ in 0..count {
        let mut worker = String::new();
        TcpStream::connect(client, ([10, 0, 0, 1], PORT))?.read_to_string(&mut worker)?;
        *served.entry(format!("worker {}", worker.trim_end())).or_insert(0) += 1;
    }
    Ok(served)
}
