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

/// How often a program that has nothing more to do looks whether the peer has everything.
const ACKNOWLEDGED_CHECK: Duration = Duration::from_millis(100);

/// What one end of a connection does.
#[derive(Clone, Debug)]
pub struct Talk {
    /// What it sends.
    pub send: Sending,
    /// How it reads, and what it expects.
    pub read: Reading,
    /// How it ends.
    pub ending: Ending,
    /// Options that it sets before it connects or listens.
    pub options: Vec<SocketOption>,
}

/// What is sent: a [`Pattern`].
#[derive(Clone, Debug)]
pub struct Sending {
    /// Of the pattern.
    pub seed: u64,
    /// How much of it.
    pub bytes: u64,
    /// At most so much in one call.
    pub chunk: usize,
    /// Between two calls.
    pub pause: Duration,
    /// What must be received first.
    pub gate: Gate,
}

/// What must be received before something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// It is a client: `request` bytes, and when `response` bytes have come back, the next.
    Client {
        /// Bytes.
        request: u64,
        /// Bytes.
        response: u64,
    },
    /// It is a server: `response` bytes for every `request` bytes. With 1 and 1, and the pattern
    /// that it reads, it is an echo.
    Server {
        /// Bytes.
        request: u64,
        /// Bytes.
        response: u64,
    },
}

/// How data is read; each byte is compared with a [`Pattern`].
#[derive(Clone, Debug)]
pub struct Reading {
    /// Of the pattern.
    pub seed: u64,
    /// At most so much in one call.
    pub chunk: usize,
    /// Between two calls.
    pub pause: Duration,
    /// Where it stops to read for a while: at this byte, for so long. In order.
    pub stalls: Vec<(u64, Duration)>,
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// When all is sent its half is shut; when the peer's is too, and the peer has everything, it
    /// is closed.
    Orderly,
    /// It is closed when all is sent, whatever comes.
    Close,
    /// It is reset when so many bytes were sent or received, or there are no more.
    Abort {
        /// Bytes of both directions together.
        after: u64,
    },
    /// Never.
    Stay,
}

impl Talk {
    /// Sends nothing, reads all, and ends in order.
    pub fn receiver(seed: u64) -> Talk {
        Talk {
            send: Sending { seed, bytes: 0, chunk: 65_536, pause: Duration::ZERO, gate: Gate::Open },
            read: Reading { seed, chunk: 262_144, pause: Duration::ZERO, stalls: Vec::new() },
            ending: Ending::Orderly,
            options: Vec::new(),
        }
    }

    /// Sends so many bytes as fast as they are taken, and ends in order. What comes back must be
    /// the same pattern.
    pub fn sender(seed: u64, bytes: u64) -> Talk {
        let receiver = Talk::receiver(seed);
        Talk { send: Sending { bytes, ..receiver.send.clone() }, ..receiver }
    }

    /// Sends back what it gets, until the peer ends.
    pub fn echo(seed: u64) -> Talk {
        Talk::server(seed, seed, 1, 1)
    }

    /// Asks `count` times with `request` bytes and waits for `response` bytes.
    pub fn client(send_seed: u64, read_seed: u64, count: u64, request: u64, response: u64) -> Talk {
        let mut talk = Talk::sender(send_seed, count * request);
        talk.send.gate = Gate::Client { request, response };
        talk.read.seed = read_seed;
        talk
    }

    /// Answers `request` bytes with `response` bytes, until the peer ends.
    pub fn server(read_seed: u64, send_seed: u64, request: u64, response: u64) -> Talk {
        let mut talk = Talk::sender(send_seed, u64::MAX);
        talk.send.gate = Gate::Server { request, response };
        talk.read.seed = read_seed;
        talk
    }
}

/// Where a connection stands, as its program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPhase {
    /// It is being opened.
    Opening,
    /// Data can flow.
    Open,
    /// The program is done with it: both halves ended in order, or it closed or reset it as its
    /// [`Ending`] says.
    Ended,
    /// It broke.
    Failed(Error, Option<CloseReason>),
}

/// One end of a connection.
#[derive(Debug)]
pub struct TestStream {
    descriptor: Descriptor,
    talk: Talk,
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
    /// A connection that is open, or being opened.
    pub fn new(descriptor: Descriptor, talk: Talk, phase: StreamPhase) -> TestStream {
        TestStream {
            descriptor,
            outgoing: Pattern::new(talk.send.seed),
            incoming: Pattern::new(talk.read.seed),
            talk,
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

    /// The socket; closed when the phase is [`StreamPhase::Ended`] or [`StreamPhase::Failed`].
    pub fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// Where it stands.
    pub fn phase(&self) -> StreamPhase {
        self.phase
    }

    /// Whether the program is done with it.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, StreamPhase::Ended | StreamPhase::Failed(..))
    }

    /// Bytes that the stack took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that were read, each of them right.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end of the peer's stream was read.
    pub fn has_peer_ended(&self) -> bool {
        self.has_ended
    }

    /// The moments at which the first and the last byte were read.
    pub fn received_between(&self) -> Option<(Instant, Instant)> {
        self.first_at.map(|first| (first, self.last_at))
    }

    /// Bits a second that were read, from the first to the last.
    pub fn goodput(&self) -> f64 {
        self.first_at.map_or(0.0, |first| bits_per_second(self.received, first, self.last_at))
    }

    /// Does what can be done.
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
        let all_sent = self.sent == self.may_send() && (self.sent == self.talk.send.bytes || self.has_ended);
        match self.talk.ending {
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
            // Closed sooner, it would be nobody's, and given up sooner. No event tells when all is
            // acknowledged.
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
        matches!(self.talk.ending, Ending::Abort { after } if self.sent.saturating_add(self.received) >= after)
    }

    /// How much may have been sent by now.
    fn may_send(&self) -> u64 {
        let gated = match self.talk.send.gate {
            Gate::Open => u64::MAX,
            Gate::Client { request, response } => {
                (self.received / response.max(1) + 1).saturating_mul(request)
            }
            Gate::Server { request, response } => (self.received / request.max(1)).saturating_mul(response),
        };
        gated.min(self.talk.send.bytes)
    }

    fn send(&mut self, host: &mut OnHost<'_>) -> Result<(), Error> {
        while self.sent < self.may_send() && self.send_again_at <= host.now && !self.must_abort() {
            let left = usize::try_from(self.may_send() - self.sent).unwrap_or(usize::MAX);
            let data = self.outgoing.slice(self.sent, left.min(self.talk.send.chunk));
            match host.stack.send_bytes(host.now, self.descriptor, data) {
                Ok(count) => {
                    self.sent += count as u64;
                    self.send_again_at = host.now + self.talk.send.pause;
                }
                Err(Error::WouldBlock) => return Ok(()),
                // No event tells when there is memory again.
                Err(Error::NoBufferSpace) => self.send_again_at = host.now + Duration::from_millis(10),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, host: &mut OnHost<'_>) -> Result<(), Error> {
        while !self.has_ended && self.read_again_at <= host.now && !self.must_abort() {
            let data = match host.stack.recv_bytes(host.now, self.descriptor, self.talk.read.chunk) {
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
            self.read_again_at = host.now + self.talk.read.pause;
            while let Some(&(at, duration)) = self.talk.read.stalls.get(self.next_stall)
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
    talk: Talk,
    stream: Option<TestStream>,
    refused: Option<Error>,
}

impl Client {
    /// It connects at once.
    pub fn new(to: SocketAddr, talk: Talk) -> Client {
        Client { to, talk, stream: None, refused: None }
    }

    /// Its connection, once it has begun.
    pub fn stream(&self) -> Option<&TestStream> {
        self.stream.as_ref()
    }

    /// Why there is no connection, if it could not even begin.
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
        match connect(host, descriptor, &self.talk.options, self.to) {
            Ok(()) | Err(Error::InProgress) => {
                Ok(TestStream::new(descriptor, self.talk.clone(), StreamPhase::Opening))
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

/// A program that listens, and talks to all who come.
#[derive(Debug)]
pub struct Server {
    port: u16,
    domain: Domain,
    backlog: usize,
    talk: Talk,
    listener: Option<Descriptor>,
    streams: Vec<TestStream>,
}

impl Server {
    /// It listens on a port of all addresses of a family.
    pub fn new(domain: Domain, port: u16, talk: Talk) -> Server {
        Server { port, domain, backlog: 128, talk, listener: None, streams: Vec::new() }
    }

    /// Its connections, in the order in which they were accepted.
    pub fn streams(&self) -> &[TestStream] {
        &self.streams
    }

    /// The listener, once it is there.
    pub fn listener(&self) -> Option<Descriptor> {
        self.listener
    }

    fn listen(&self, host: &mut OnHost<'_>) -> Result<Descriptor, Error> {
        let any: IpAddr = match self.domain {
            Domain::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Domain::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let listener = host.stack.socket(self.domain, SocketKind::Stream)?;
        for &option in &self.talk.options {
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
                self.streams.push(TestStream::new(descriptor, self.talk.clone(), StreamPhase::Open));
            }
        }
        let nexts = self.streams.iter_mut().map(|stream| stream.step(host));
        nexts.fold(Next::Event, Next::or)
    }
}
