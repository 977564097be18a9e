//! Thousands of connections of the kernel to the echo service, all open at once.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::parent_id;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use portolan_tests::namespace::beside_portolan;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};

const ECHO: u16 = 7;
/// How many connections, if CONNECTIONS does not say otherwise.
const CONNECTIONS: usize = 5_000;
/// What each may cost the process of the stack, with everything counted.
const LIMIT: usize = 2 << 10;
/// The descriptors that a process needs besides.
const OTHER_DESCRIPTORS: u64 = 100;

/// The memory is that of the whole process: stack, runtime, tasks, and what the allocator wastes.
/// `CONNECTIONS=100000 cargo test --release -p portolan-tests --test kernel_peer crowd -- --nocapture`
/// prints the figures for 100,000.
#[test]
fn each_of_a_crowd_is_answered_and_costs_2_kib() {
    // The kernel looks for a free port the longer, the more it has to one address.
    let more = "--services echo --addr 10.0.0.3/24 --addr 10.0.0.4/24 --addr fd00::3/64 --addr fd00::4/64";
    let up_args: Vec<&str> = more.split(' ').collect();
    beside_portolan("crowd::each_of_a_crowd_is_answered_and_costs_2_kib", &up_args, || {
        let count = std::env::var("CONNECTIONS").map_or(CONNECTIONS, |text| text.parse().expect("a number"));
        let per_thread = raise_descriptor_limit().saturating_sub(OTHER_DESCRIPTORS) as usize;
        let threads = count.div_ceil(per_thread);
        let barrier = Barrier::new(threads + 1);
        // What one connection needs and all others share is there already.
        exchange(&mut [connect(0), connect(1)]);
        let before = anonymous_bytes();
        let started = Instant::now();
        thread::scope(|scope| {
            for thread in 0..threads {
                let part = thread * per_thread..count.min((thread + 1) * per_thread);
                let barrier = &barrier;
                scope.spawn(move || {
                    // The limit of descriptors is for each table of them.
                    // SAFETY: no descriptor is used by two threads.
                    #[allow(unsafe_code, reason = "a descriptor table of its own")]
                    unsafe { unshare_unsafe(UnshareFlags::FILES) }.expect("a table of descriptors");
                    let mut crowd: Vec<TcpStream> = part.map(connect).collect();
                    barrier.wait();
                    barrier.wait();
                    exchange(&mut crowd);
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let opened = started.elapsed();
            let fresh = anonymous_bytes();
            let started = Instant::now();
            barrier.wait();
            barrier.wait();
            let answered = started.elapsed();
            // Delayed acknowledgements have come then.
            thread::sleep(Duration::from_secs(1));
            let used = anonymous_bytes();
            barrier.wait();
            println!(
                "{count} connections are open after {opened:.1?}, and all are answered after {answered:.1?}; the process \
                 had {} KiB before, then {} KiB, and {} KiB after use",
                before >> 10,
                fresh >> 10,
                used >> 10
            );
            let [fresh, used] = [fresh, used].map(|now| now.saturating_sub(before) / count);
            println!("each takes {fresh} bytes, and {used} after use");
            assert!(fresh <= LIMIT && used <= LIMIT, "{fresh} and {used} bytes, more than {LIMIT}");
        });
    });
}

/// Connects to one of the addresses of the stack.
fn connect(index: usize) -> TcpStream {
    let addrs = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::2", "fd00::3", "fd00::4"];
    let addr = SocketAddr::new(addrs[index % addrs.len()].parse().expect("an address"), ECHO);
    TcpStream::connect(addr).unwrap_or_else(|error| panic!("connection {index} to {addr}: {error}"))
}

/// Sends something different on each connection, and reads it back, a hundred at a time.
fn exchange(crowd: &mut [TcpStream]) {
    for (round, some) in crowd.chunks_mut(100).enumerate() {
        let message = |index: usize| [round, index].map(usize::to_be_bytes);
        for (index, connection) in some.iter_mut().enumerate() {
            connection.write_all(message(index).as_flattened()).expect("written");
        }
        for (index, connection) in some.iter_mut().enumerate() {
            let mut answer = [[0; size_of::<usize>()]; 2];
            let read = connection.read_exact(answer.as_flattened_mut());
            read.unwrap_or_else(|error| panic!("connection {index} of round {round}: {error}"));
            assert_eq!(answer, message(index));
        }
    }
}

/// The memory of `portolan up`, which has started this process: resident, and of no file.
fn anonymous_bytes() -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", parent_id())).expect("our parent");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux has it");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}

/// Raises the limit of open descriptors as far as it may rise, and returns it.
fn raise_descriptor_limit() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may rise");
    maximum.unwrap_or(u64::MAX)
}
