//! The two ends of a connection as programs: what they send, how they read, how they end.

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::pattern::{Pattern, bits_per_second};
use super::program::{Next, OnHost, Program};
use crate::error::{CloseReason, Error};
use crate::socket::{Descriptor, Domain, Shutdown, SocketKind, SocketOption};
use crate::time::Instant;

/// How often a program that has sent everything checks whether the peer has acknowledged it.
const ACKNOWLEDGED_CHECK: Duration = Duration::from_millis(100);

/// What one end of a connection does.
#[derive(Clone, Debug)]
pub struct StreamScript {
    /// What it sends.
    pub send: Sending,
    /// How it reads, and which data it expects.
    pub read: Reading,
    /// How it ends the connection.
    pub ending: Ending,
    /// Socket options that it sets before it connects or listens.
    pub options: Vec<SocketOption>,
}

/// What is sent: a [`Pattern`].
#[derive(Clone, Debug)]
pub struct Sending {
    /// The seed of the pattern.
    pub seed: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The most bytes in one call.
    pub chunk: usize,
    /// The time between two calls.
    pub pause: Duration,
    /// What must be received before data are sent.
    pub gate: Gate,
}

/// What must be received before data are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// A client: it sends `request` bytes, and the next request when `response` bytes have arrived.
    Client {
        /// The length of a request in bytes.
        request: u64,
        /// The length of a response in bytes.
        response: u64,
    },
    /// A server: it sends `response` bytes for every `request` bytes. With 1 and 1, and the pattern
    /// that it reads, it is an echo server.
    Server {
        /// The length of a request in bytes.
        request: u64,
        /// The length of a response in bytes.
        response: u64,
    },
}

/// How data are read; each byte is compared with a [`Pattern`].
#[derive(Clone, Debug)]
pub struct Reading {
    /// The seed of the pattern.
    pub seed: u64,
    /// The most bytes in one call.
    pub chunk: usize,
    /// The time between two calls.
    pub pause: Duration,
    /// The positions at which it pauses reading, and for how long; in order.
    pub stalls: Vec<(u64, Duration)>,
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It shuts down its half when everything is sent. It closes the socket when the peer has shut
    /// down its half, too, and has acknowledged everything.
    Orderly,
    /// It closes the socket when everything is sent, whatever the peer sends.
    Close,
    /// It resets the connection after this many bytes were sent or received, or when there are no
    /// more.
    Abort {
        /// The number of bytes in both directions together.
        after: u64,
    },
    /// It does not end the connection.
    Stay,
}

impl StreamScript {
    /// Sends nothing, reads everything, and ends in order.
    pub fn receiver(seed: u64) -> StreamScript {
        StreamScript {
            send: Sending { seed, bytes: 0, chunk: 65_536, pause: Duration::ZERO, gate: Gate::Open },
            read: Reading { seed, chunk: 262_144, pause: Duration::ZERO, stalls: Vec::new() },
            ending: Ending::Orderly,
            options: Vec::new(),
        }
    }

    /// Sends this many bytes as fast as possible, and ends in order. Data from the peer must have
    /// the same pattern.
    pub fn sender(seed: u64, bytes: u64) -> StreamScript {
        let receiver = StreamScript::receiver(seed);
        StreamScript { send: Sending { bytes, ..receiver.send.clone() }, ..receiver }
    }

    /// Sends back what it receives, until the peer ends.
    pub fn echo(seed: u64) -> StreamScript {
        StreamScript::server(seed, seed, 1, 1)
    }

    /// Sends `request` bytes and waits for `response` bytes, `count` times.
    pub fn client(send_seed: u64, read_seed: u64, count: u64, request: u64, response: u64) -> StreamScript {
        let mut script = StreamScript::sender(send_seed, count * request);
        script.send.gate = Gate::Client { request, response };
        script.read.seed = read_seed;
        script
    }

    /// Answers `request` bytes with `response` bytes, until the peer ends.
    pub fn server(read_seed: u64, send_seed: u64, request: u64, response: u64) -> StreamScript {
        let mut script = StreamScript::sender(send_seed, u64::MAX);
        script.send.gate = Gate::Server { request, response };
        script.read.seed = read_seed;
        script
    }
}

/// The state of a connection as its program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPhase {
    /// The connection is being opened.
    Opening,
    /// Data can flow.
    Open,
    /// The program has finished: both halves ended in order, or the program closed or reset the
    /// connection as its [`Ending`] says.
    Ended,
    /// The connection failed.
    Failed(Error, Option<CloseReason>),
}

/// One end of a connection.
#[derive(Debug)]
pub struct TestStream {
    descriptor: Descriptor,
    script: StreamScript,
    outgoing: Pattern,
    incoming: Pattern,
    phase: StreamPhase,
    sent: u64,
    received: u64,
    first_at: Option<Instant>,
    last_at: Instant,
    is_shut: bool,
    has_ended: bool,
    send_again_at: Instant,
    read_again_at: Instant,
    next_stall: usize,
}

impl TestStream {
    /// A connection that is open or being opened.
    pub fn new(descriptor: Descriptor, script: StreamScript, phase: StreamPhase) -> TestStream {
        TestStream {
            descriptor,
            outgoing: Pattern::new(script.send.seed),
            incoming: Pattern::new(script.read.seed),
            script,
            phase,
            sent: 0,
            received: 0,
            first_at: None,
            last_at: Instant::ZERO,
            is_shut: false,
            has_ended: false,
            send_again_at: Instant::ZERO,
            read_again_at: Instant::ZERO,
            next_stall: 0,
        }
    }

    /// The descriptor; closed when the phase is [`StreamPhase::Ended`] or [`StreamPhase::Failed`].
    pub fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// The state of the connection.
    pub fn phase(&self) -> StreamPhase {
        self.phase
    }

    /// Whether the program has finished.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, StreamPhase::Ended | StreamPhase::Failed(..))
    }

    /// Bytes that the stack accepted.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that were read. All of them were right.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end of the peer's stream was read.
    pub fn has_peer_ended(&self) -> bool {
        self.has_ended
    }

    /// The times at which the first and the last byte were read.
    pub fn received_between(&self) -> Option<(Instant, Instant)> {
        self.first_at.map(|first| (first, self.last_at))
    }

    /// The rate in bits a second at which data were read, from the first byte to the last.
    pub fn goodput(&self) -> f64 {
        self.first_at.map_or(0.0, |first| bits_per_second(self.received, first, self.last_at))
    }

    /// Does what is possible now.
    pub fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        if self.phase == StreamPhase::Opening {
            match host.stack.readiness(self.descriptor) {
                Ok(readiness) if readiness.error || readiness.hung_up => {
                    let error = host.stack.take_error(self.descriptor).ok().flatten();
                    return self.break_off(host, error.unwrap_or(Error::ConnectionAborted));
                }
                Ok(readiness) if !readiness.writable => return Next::Event,
                Ok(_) => self.phase = StreamPhase::Open,
                Err(error) => return self.break_off(host, error),
            }
        }
        if self.is_done() {
            return Next::Done;
        }
        match self.talk_on(host) {
            Ok(next) => next,
            Err(error) => self.break_off(host, error),
        }
    }

    fn talk_on(&mut self, host: &mut OnHost<'_>) -> Result<Next, Error> {
        loop {
            let before = (self.sent, self.received, self.has_ended);
            self.read(host)?;
            self.send(host)?;
            if self.must_abort() {
                return Ok(self.abort(host));
            }
            if before == (self.sent, self.received, self.has_ended) {
                break;
            }
        }
        let all_sent =
            self.sent == self.may_send() && (self.sent == self.script.send.bytes || self.has_ended);
        match self.script.ending {
            Ending::Orderly if all_sent && !self.is_shut => {
                host.stack.shutdown(host.now, self.descriptor, Shutdown::Write)?;
                self.is_shut = true;
            }
            Ending::Close if all_sent => return Ok(self.close(host)),
            Ending::Abort { .. } if self.has_ended || (all_sent && self.sent > 0) => {
                return Ok(self.abort(host));
            }
            _ => {}
        }
        if self.is_shut && self.has_ended {
            // Closed earlier, the connection would be an orphan, and given up earlier. No event
            // tells when everything is acknowledged.
            let (_, unacknowledged) = host.stack.queued_bytes(self.descriptor)?;
            let reason = host.stack.close_reason(self.descriptor)?;
            return match reason.and_then(CloseReason::error) {
                Some(error) => Err(error),
                None if unacknowledged == 0 || reason.is_some() => Ok(self.close(host)),
                None => Ok(Next::At(host.now + ACKNOWLEDGED_CHECK)),
            };
        }
        let later = [self.send_again_at, self.read_again_at];
        let waits = later.into_iter().filter(|&at| at > host.now).map(Next::At);
        Ok(waits.fold(Next::Event, Next::or))
    }

    fn must_abort(&self) -> bool {
        matches!(self.script.ending, Ending::Abort { after } if self.sent.saturating_add(self.received) >= after)
    }

    /// How many bytes may have been sent by now.
    fn may_send(&self) -> u64 {
        let gated = match self.script.send.gate {
            Gate::Open => u64::MAX,
            Gate::Client { request, response } => {
                (self.received / response.max(1) + 1).saturating_mul(request)
            }
            Gate::Server { request, response } => (self.received / request.max(1)).saturating_mul(response),
        };
        gated.min(self.script.send.bytes)
    }

    fn send(&mut self, host: &mut OnHost<'_>) -> Result<(), Error> {
        while self.sent < self.may_send() && self.send_again_at <= host.now && !self.must_abort() {
            let left = usize::try_from(self.may_send() - self.sent).unwrap_or(usize::MAX);
            let data = self.outgoing.slice(self.sent, left.min(self.script.send.chunk));
            match host.stack.send_bytes(host.now, self.descriptor, data) {
                Ok(count) => {
                    self.sent += count as u64;
                    self.send_again_at = host.now + self.script.send.pause;
                }
                Err(Error::WouldBlock) => return Ok(()),
                // No event tells when memory is available again.
                Err(Error::NoBufferSpace) => self.send_again_at = host.now + Duration::from_millis(10),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, host: &mut OnHost<'_>) -> Result<(), Error> {
        while !self.has_ended && self.read_again_at <= host.now && !self.must_abort() {
            let data = match host.stack.recv_bytes(host.now, self.descriptor, self.script.read.chunk) {
                Ok(data) => data,
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            };
            if data.is_empty() {
                self.has_ended = true;
                return Ok(());
            }
            if let Some(place) = self.incoming.mismatch(self.received, &data) {
                host.fail(format!("{:?} got another byte than was sent at {place}", self.descriptor));
            }
            self.first_at.get_or_insert(host.now);
            self.last_at = host.now;
            self.received += data.len() as u64;
            self.read_again_at = host.now + self.script.read.pause;
            while let Some(&(at, duration)) = self.script.read.stalls.get(self.next_stall)
                && self.received >= at
            {
                self.next_stall += 1;
                self.read_again_at = host.now + duration;
            }
        }
        Ok(())
    }

    fn abort(&mut self, host: &mut OnHost<'_>) -> Next {
        let linger = SocketOption::Linger(Some(Duration::ZERO));
        let _ = host.stack.set_option(host.now, self.descriptor, linger);
        self.close(host)
    }

    fn close(&mut self, host: &mut OnHost<'_>) -> Next {
        self.phase = StreamPhase::Ended;
        let _ = host.stack.close(host.now, self.descriptor);
        Next::Done
    }

    fn break_off(&mut self, host: &mut OnHost<'_>, error: Error) -> Next {
        let reason = host.stack.close_reason(self.descriptor).ok().flatten();
        self.phase = StreamPhase::Failed(error, reason);
        let _ = host.stack.close(host.now, self.descriptor);
        Next::Done
    }
}

/// A program that opens a connection.
#[derive(Debug)]
pub struct Client {
    to: SocketAddr,
    script: StreamScript,
    stream: Option<TestStream>,
    refused: Option<Error>,
}

impl Client {
    /// A client that connects at once.
    pub fn new(to: SocketAddr, script: StreamScript) -> Client {
        Client { to, script, stream: None, refused: None }
    }

    /// Its connection, once `connect` was called.
    pub fn stream(&self) -> Option<&TestStream> {
        self.stream.as_ref()
    }

    /// The error of `connect`, if it failed at once.
    pub fn refused(&self) -> Option<Error> {
        self.refused
    }

    /// Whether it has nothing more to do.
    pub fn is_done(&self) -> bool {
        self.refused.is_some() || self.stream.as_ref().is_some_and(TestStream::is_done)
    }

    fn open(&mut self, host: &mut OnHost<'_>) -> Result<TestStream, Error> {
        let domain = if self.to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let descriptor = host.stack.socket(domain, SocketKind::Stream)?;
        match connect(host, descriptor, &self.script.options, self.to) {
            Ok(()) | Err(Error::InProgress) => {
                Ok(TestStream::new(descriptor, self.script.clone(), StreamPhase::Opening))
            }
            Err(error) => {
                host.stack.close(host.now, descriptor)?;
                Err(error)
            }
        }
    }
}

fn connect(
    host: &mut OnHost<'_>,
    descriptor: Descriptor,
    options: &[SocketOption],
    to: SocketAddr,
) -> Result<(), Error> {
    for &option in options {
        host.stack.set_option(host.now, descriptor, option)?;
    }
    host.stack.connect(host.now, descriptor, to)
}

impl Program for Client {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        if self.stream.is_none() {
            match self.open(host) {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => {
                    self.refused = Some(error);
                    return Next::Done;
                }
            }
        }
        self.stream.as_mut().map_or(Next::Done, |stream| stream.step(host))
    }
}

/// A program that listens, and serves all connections.
#[derive(Debug)]
pub struct Server {
    port: u16,
    domain: Domain,
    backlog: usize,
    script: StreamScript,
    listener: Option<Descriptor>,
    streams: Vec<TestStream>,
}

impl Server {
    /// A server that listens on a port of all addresses of a family.
    pub fn new(domain: Domain, port: u16, script: StreamScript) -> Server {
        Server { port, domain, backlog: 128, script, listener: None, streams: Vec::new() }
    }

    /// Its connections, in the order in which they were accepted.
    pub fn streams(&self) -> &[TestStream] {
        &self.streams
    }

    /// The listener, once it exists.
    pub fn listener(&self) -> Option<Descriptor> {
        self.listener
    }

    fn listen(&self, host: &mut OnHost<'_>) -> Result<Descriptor, Error> {
        let any: IpAddr = match self.domain {
            Domain::V4 | Domain::Unix => Ipv4Addr::UNSPECIFIED.into(),
            Domain::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let listener = host.stack.socket(self.domain, SocketKind::Stream)?;
        for &option in &self.script.options {
            host.stack.set_option(host.now, listener, option)?;
        }
        host.stack.bind(listener, SocketAddr::new(any, self.port))?;
        host.stack.listen(listener, self.backlog)?;
        Ok(listener)
    }
}

impl Program for Server {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        if self.listener.is_none() {
            match self.listen(host) {
                Ok(listener) => self.listener = Some(listener),
                Err(error) => {
                    host.fail(format!("cannot listen on port {}: {error}", self.port));
                    return Next::Done;
                }
            }
        }
        if let Some(listener) = self.listener {
            while let Ok((descriptor, _)) = host.stack.accept(listener) {
                self.streams.push(TestStream::new(descriptor, self.script.clone(), StreamPhase::Open));
            }
        }
        let nexts = self.streams.iter_mut().map(|stream| stream.step(host));
        nexts.fold(Next::Event, Next::or)
    }
}
