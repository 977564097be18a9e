//! A server whose memory is used up by clients that never read continues to serve others.

mod common;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use common::{addr, addresses, config, start, within_time};
use portolan_runtime::device::MemoryPair;
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

const LIMIT_BYTES: usize = 1 << 20;
const CLIENTS: usize = 60;
const PAGE_BYTES: usize = 20_000;

/// Serves each connection in its own thread.
fn serve(server: &Runtime, port: u16, serve_one: fn(TcpStream)) {
    let listener = TcpListener::bind(server, addr(1, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || serve_one(stream));
        }
    });
}

#[test]
fn clients_that_never_read_do_not_lock_out_a_new_one() {
    within_time(|| {
        let mut small = config();
        small.memory_limit_bytes = LIMIT_BYTES;
        let (a, b) = MemoryPair::new().build().unwrap();
        let server = Builder::new().config(small).seed([1; 32]).interface(a, addresses(1)).start().unwrap();
        let client = start(2, b);
        serve(&server, 19, |mut stream| while stream.write_all(&[7; 4096]).is_ok() {});
        serve(&server, 80, |mut stream| {
            let mut request = [0; 3];
            if stream.read_exact(&mut request).is_ok() {
                // An error means that the client is gone, and that it needs no page.
                let _ = stream.write_all(&[8; PAGE_BYTES]);
            }
        });
        let crowd: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(&client, addr(1, 19)).unwrap()).collect();
        while server.handle().stats().memory.pressures == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        for load in 0..10 {
            let started = Instant::now();
            let mut stream = TcpStream::connect(&client, addr(1, 80)).unwrap();
            stream.write_all(b"GET").unwrap();
            let mut page = Vec::new();
            stream.read_to_end(&mut page).unwrap();
            assert_eq!(page.len(), PAGE_BYTES, "load {load}");
            assert!(started.elapsed() < Duration::from_secs(2), "load {load}: {:?}", started.elapsed());
        }
        drop(crowd);
    });
}
