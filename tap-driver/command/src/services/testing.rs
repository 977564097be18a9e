//! What the tests of the services share: a connection, and an executor.

use std::net::Ipv4Addr;

use portolan::Config;
use portolan_runtime::device::memory_pair;
use portolan_runtime::task::TcpStream;
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream as BlockingStream};

/// A connection over the loopback of a stack: the end of the service, and that of the client.
pub(super) fn connection() -> (Runtime, TcpStream, BlockingStream) {
    let (device, _) = memory_pair().expect("a wire");
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let builder = Builder::new().config(config).interface(device, []).addresses_later();
    let runtime = builder.start().expect("a stack");
    let listener = TcpListener::bind(&runtime, (Ipv4Addr::LOCALHOST, 1)).expect("a listener");
    let client = BlockingStream::connect(&runtime, (Ipv4Addr::LOCALHOST, 1)).expect("a connection");
    let (server, _) = listener.accept().expect("the connection");
    (runtime, TcpStream::from_blocking(server), client)
}

/// An executor. If it is paused, its clock jumps to the next deadline when nothing else is to do.
pub(super) fn executor(is_paused: bool) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(is_paused).build().expect("an executor")
}
