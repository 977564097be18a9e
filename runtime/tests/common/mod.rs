//! Two runtimes on one wire in memory.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod hooked;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use portolan::{Cidr, Config};
use portolan_runtime::device::{self, Device, Impair, MemoryPair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config
}

pub(crate) fn addresses(host: u8) -> [Cidr; 2] {
    [format!("10.0.0.{host}/24"), format!("fd00::{host}/64")].map(|cidr| cidr.parse().unwrap())
}

pub(crate) fn start(host: u8, device: impl Device + 'static) -> Runtime {
    Builder::new().config(config()).seed([host; 32]).interface(device, addresses(host)).start().unwrap()
}

/// Two hosts: one with 10.0.0.1 and fd00::1, one with 10.0.0.2 and fd00::2.
pub(crate) fn pair() -> (Runtime, Runtime) {
    let (a, b) = MemoryPair::new().build().unwrap();
    (start(1, a), start(2, b))
}

/// The same two hosts with a bad network between them.
pub(crate) fn impaired_pair(impairment: &str) -> (Runtime, Runtime) {
    let (a, b) = MemoryPair::new().build().unwrap();
    (start(1, a), start(2, Impair::new(impairment.parse().unwrap(), b)))
}

pub(crate) fn addr(host: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, host], port).into()
}

/// A connection from the second host to the first: the accepted and the connected end.
pub(crate) fn connection(server: &Runtime, client: &Runtime) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(server, addr(1, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let near = TcpStream::connect(client, addr(1, port)).unwrap();
    let (far, _) = listener.accept().unwrap();
    (far, near)
}

/// Bytes that differ from position to position, and from one `salt` to another.
pub(crate) fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|index| (index as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ salt).collect()
}

/// Runs `work` in another thread and fails if it takes longer than half a minute: a lost wake-up is
/// then a failure with a name, not a test that hangs.
pub(crate) fn within_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(Duration::from_secs(30)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it takes too long: somebody was not woken"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("a thread that ended in order has sent its result"),
        },
    }
}
