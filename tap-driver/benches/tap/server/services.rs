//! The services of every server, whatever its TCP: a blocking thread for each connection.

use std::io::{self, Read, Write};
use std::thread;

/// How much one call reads or writes in bulk.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;
/// The first of the ports for idle connections, each of which takes as many as one client can have.
pub(crate) const FIRST_IDLE_PORT: u16 = 9000;
/// Connections to one port: a client has 64,511 ports, and a process may have fewer descriptors.
const IDLE_PER_PORT: usize = 20_000;
/// Descriptors that a process needs beside those of its idle connections.
const SPARE_DESCRIPTORS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Reads everything and discards it.
    Discard,
    /// Writes for ever.
    Chargen,
    /// Sends back what it reads.
    Echo,
    /// An echo service for short connections: they are served one after the other, without a thread
    /// for each.
    Brief,
    /// Sends datagrams back.
    Datagrams,
}

const ALL: [Service; 5] =
    [Service::Discard, Service::Chargen, Service::Echo, Service::Brief, Service::Datagrams];

impl Service {
    pub(crate) fn port(self) -> u16 {
        match self {
            Service::Discard => 9,
            Service::Chargen => 19,
            Service::Echo => 7,
            Service::Brief => 70,
            // The only service over UDP.
            Service::Datagrams => 71,
        }
    }

    pub(crate) fn of_port(port: u16) -> Option<Service> {
        ALL.into_iter().find(|service| service.port() == port)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Discard => "discard",
            Service::Chargen => "chargen",
            Service::Echo => "echo",
            Service::Brief => "brief",
            Service::Datagrams => "datagrams",
        }
    }

    pub(crate) fn parse(name: &str) -> io::Result<Service> {
        ALL.into_iter()
            .find(|service| service.name() == name)
            .ok_or_else(|| io::Error::other(format!("there is no service {name}")))
    }

    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, Service::Discard | Service::Chargen)
    }

    pub(crate) fn echoes(self) -> bool {
        matches!(self, Service::Echo | Service::Brief)
    }
}

/// Accepts for ever, and serves each connection in its own thread.
pub(super) fn serve_each<S: Send + 'static>(
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    serve: impl Fn(S) -> io::Result<()> + Clone + Send + 'static,
) {
    thread::spawn(move || {
        loop {
            let stream = accept().unwrap_or_else(|error| end("accept", &error));
            let serve = serve.clone();
            // An error means that the client has left.
            thread::spawn(move || drop(serve(stream)));
        }
    });
}

/// Accepts for ever, and serves one connection after the other.
pub(super) fn serve_in_turn<S>(
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    serve: impl Fn(S) -> io::Result<()> + Send + 'static,
) {
    thread::spawn(move || {
        loop {
            let stream = accept().unwrap_or_else(|error| end("accept", &error));
            drop(serve(stream));
        }
    });
}

/// Accepts for ever, and keeps all connections open.
pub(super) fn keep_all<S>(accept: impl Fn() -> io::Result<S> + Send + 'static)
where
    S: Send + 'static,
{
    thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            kept.push(accept().unwrap_or_else(|error| end("accept", &error)));
        }
    });
}

/// Ends the process, because without a service there is nothing to measure.
pub(super) fn end(doing: &str, error: &io::Error) -> ! {
    eprintln!("{doing}: {error}");
    std::process::exit(1)
}

pub(super) fn discard(mut stream: impl Read) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

pub(super) fn chargen(mut stream: impl Write) -> io::Result<()> {
    let buffer = vec![b'x'; CHUNK_BYTES];
    loop {
        stream.write_all(&buffer)?;
    }
}

pub(super) fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}

/// The numbers of idle connections for each of the idle ports: as many as a process can hold.
pub(crate) fn idle_shares(count: usize) -> io::Result<Vec<usize>> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let share = limit.saturating_sub(SPARE_DESCRIPTORS).clamp(1, IDLE_PER_PORT as u64) as usize;
    let shares = count.div_ceil(share);
    Ok((0..shares).map(|index| share.min(count - index * share)).collect())
}
