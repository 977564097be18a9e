//! A runtime with nothing to do wakes no thread. This test is alone in its process, because it
//! counts the wake-ups of threads.

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::{addr, addresses, config, within_time};
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

/// How often each thread of this process except the caller's was run, and for how many nanoseconds,
/// by its name.
fn threads() -> Vec<(String, u64, u64)> {
    let mine = std::fs::read_link("/proc/thread-self").unwrap();
    let mut threads = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if path.file_name() == mine.file_name() {
            continue;
        }
        // The thread may have ended meanwhile.
        let Ok(schedstat) = std::fs::read_to_string(path.join("schedstat")) else { continue };
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        let figures: Vec<u64> = schedstat.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        threads.push((name.trim().to_owned(), figures[2], figures[0]));
    }
    threads
}

/// Soon there is half a second in which no thread runs: the stack's own timers, such as that of a
/// neighbour that is probed again, are few. A thread that checks regularly whether there is
/// something to do would run in each half second.
fn assert_silent(what: &str) {
    let mut before = threads();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        let after = threads();
        if after == before {
            return;
        }
        before = after;
    }
    panic!("somebody runs again and again while {what}: {before:?}");
}

fn host(host: u8, device: MemoryDevice, busy_poll: Duration) -> Runtime {
    let builder = Builder::new().config(config()).busy_poll(busy_poll).interface(device, addresses(host));
    builder.start().unwrap()
}

#[test]
fn an_idle_runtime_makes_no_wake_ups() {
    within_time(|| {
        for busy_poll in [Duration::ZERO, Duration::from_micros(100)] {
            let (a, b) = memory_pair().unwrap();
            let (server, client) = (host(1, a, busy_poll), host(2, b, busy_poll));
            assert_silent("nobody waits");

            let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
            let accepting = std::thread::spawn(move || listener.accept().unwrap().0);
            assert_silent("a thread waits in accept");

            let mut near = TcpStream::connect(&client, addr(1, 7)).unwrap();
            let mut far = accepting.join().unwrap();
            let echo = std::thread::spawn(move || {
                let mut byte = [0];
                while far.read(&mut byte).unwrap() > 0 {
                    far.write_all(&byte).unwrap();
                }
            });
            for _ in 0..1000 {
                near.write_all(&[1]).unwrap();
                near.read_exact(&mut [0]).unwrap();
            }
            assert_silent("a thread waits for a connection that rests after a talk");

            let mut reader = near.try_clone().unwrap();
            let reading = std::thread::spawn(move || reader.read(&mut [0]).unwrap());
            assert_silent("threads wait at both ends");
            near.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(reading.join().unwrap(), 0);
            echo.join().unwrap();
        }
    });
}
