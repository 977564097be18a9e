//! What an idle established connection costs in memory, everything counted: descriptors, tables, records, queues.
//!
//! `CONNECTIONS=100000 cargo test --release -p portolan-tests --test idle_memory -- --nocapture` prints the figure for
//! 100,000 connections; without, the test opens 10,000.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan::testing::{Pair, PairConfig};
use portolan::{Domain, Error, SocketKind};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; only a counter is kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One address and port has 28,232 ephemeral ports to connect from.
const PER_PORT: usize = 10_000;
const LIMIT: usize = 1536;

#[test]
fn an_idle_connection_takes_at_most_a_kibibyte_and_a_half() {
    let count = std::env::var("CONNECTIONS").map_or(PER_PORT, |text| text.parse().expect("a number"));
    let mut config = PairConfig::seeded(1);
    config.a.memory_limit_bytes = 1 << 30;
    config.b.memory_limit_bytes = 1 << 30;
    let mut pair = Pair::new(config);
    let mut held = Vec::with_capacity(2 * count);
    let before = LIVE.load(Ordering::Relaxed);
    for index in 0..count.div_ceil(PER_PORT) {
        let port = 80 + index as u16;
        let listener = pair.listener(Domain::V4, port);
        let to = SocketAddr::new(pair.b.addr(Domain::V4), port);
        for _ in 0..PER_PORT / 100 {
            for _ in 0..100 {
                let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
                assert_eq!(pair.a.stack.connect(pair.now(), client, to), Err(Error::InProgress));
                held.push(client);
            }
            let mut accepted = 0;
            let all_are_open = pair.drive(Duration::from_secs(10), |pair| {
                while let Ok((server, _)) = pair.b.stack.accept(listener) {
                    held.push(server);
                    accepted += 1;
                }
                accepted == 100
            });
            assert!(all_are_open, "{:?}", pair.b.stack.stats());
        }
    }
    // What the handshakes left behind goes.
    pair.run_for(Duration::from_secs(5));
    pair.take_events(portolan::testing::Side::A);
    pair.take_events(portolan::testing::Side::B);
    let ends = held.len();
    let each = (LIVE.load(Ordering::Relaxed) - before) / ends;
    println!("an idle established connection takes {each} bytes, everything counted ({ends} ends)");
    assert!(ends >= 2 * count);
    assert!(each <= LIMIT, "{each} bytes, more than {LIMIT}");
}
