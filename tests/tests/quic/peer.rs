//! [`Peer`]: a QUIC endpoint with one connection, driven by one thread that blocks in its socket.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use portolan::{DatagramMeta, SendMeta};
use portolan_runtime::UdpSocket;
use portolan_tests::pattern::Pattern;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, EcnCodepoint, Endpoint, EndpointConfig,
    Event, ReadError, ServerConfig, StreamEvent, StreamId, Transmit, VarInt, WriteError,
};

/// The longest run of datagrams that one call sends: what fits into an IP packet.
const MAX_RUN: usize = 44;
/// The most datagrams, or runs, that one call receives.
const MAX_BATCH: usize = 64;
/// How long a peer waits if no timer runs. That never happens while a connection is open.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The bytes of the stream that are made and written at a time.
const CHUNK: usize = 64 << 10;

/// What a peer has seen of its socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The datagrams of stream data and everything else: those that a sender has sent, and those
    /// that a receiver has received.
    pub(crate) datagrams: u64,
    /// The calls whose data was several datagrams, and the datagrams in them.
    pub(crate) runs: u64,
    pub(crate) run_datagrams: u64,
    /// The datagrams of the longest run.
    pub(crate) longest_run: u64,
    /// Received datagrams, by the value of their ECN field.
    pub(crate) ecn: [u64; 4],
}

impl Seen {
    fn count(&mut self, len: usize, segment_len: usize) {
        let datagrams = if segment_len == 0 { 1 } else { len.div_ceil(segment_len).max(1) as u64 };
        self.datagrams += datagrams;
        if datagrams > 1 {
            self.runs += 1;
            self.run_datagrams += datagrams;
        }
        self.longest_run = self.longest_run.max(datagrams);
    }
}

/// A QUIC endpoint with one connection.
pub(crate) struct Peer {
    socket: UdpSocket,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    /// Room for the datagrams that are received by one call.
    batch: Vec<(Bytes, DatagramMeta)>,
    /// Whether this end sends the stream.
    is_sender: bool,
    pub(crate) seen: Seen,
}

impl Peer {
    /// A server, which accepts one connection.
    pub(crate) fn server(socket: UdpSocket, config: ServerConfig) -> Peer {
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(config)), true, None);
        Peer {
            socket,
            endpoint,
            connection: None,
            batch: Vec::new(),
            is_sender: false,
            seen: Seen::default(),
        }
    }

    /// A client, which connects to a server.
    pub(crate) fn client(socket: UdpSocket, config: ClientConfig, server: SocketAddr, name: &str) -> Peer {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let connection = endpoint.connect(Instant::now(), config, server, name).expect("a connection");
        let (connection, batch, seen) = (Some(connection), Vec::new(), Seen::default());
        Peer { socket, endpoint, connection, batch, is_sender: true, seen }
    }

    /// How often congestion control has reduced the window.
    pub(crate) fn congestion_events(&self) -> u64 {
        self.connection.as_ref().map_or(0, |(_, connection)| connection.stats().path.congestion_events)
    }

    /// Sends `len` bytes of the pattern as a stream, and closes the connection when the peer has
    /// acknowledged all of them.
    pub(crate) fn send_stream(&mut self, pattern: &mut Pattern, len: u64) {
        let mut stream = None;
        let (mut chunk, mut is_finished) = (Vec::new(), false);
        loop {
            for event in self.turn() {
                match event {
                    Event::Connected => stream = self.connection_mut().streams().open(Dir::Uni),
                    Event::Stream(StreamEvent::Finished { .. }) => {
                        self.connection_mut().close(Instant::now(), VarInt::from_u32(0), Bytes::new());
                        return self.transmit();
                    }
                    Event::ConnectionLost { reason } => panic!("the connection is lost: {reason}"),
                    _ => {}
                }
            }
            let Some(id) = stream.filter(|_| !is_finished) else { continue };
            is_finished = self.write(id, pattern, &mut chunk, len);
        }
    }

    /// Writes as much of the stream as the connection takes. `chunk` is what is to be written
    /// first. Returns whether the stream is finished.
    fn write(&mut self, id: StreamId, pattern: &mut Pattern, chunk: &mut Vec<u8>, len: u64) -> bool {
        let mut stream = self.connection_mut().send_stream(id);
        loop {
            if chunk.is_empty() {
                let left = (len - pattern.position()).min(CHUNK as u64);
                if left == 0 {
                    stream.finish().expect("a stream that is open");
                    return true;
                }
                *chunk = pattern.take(left as usize);
            }
            match stream.write(chunk) {
                Ok(written) => drop(chunk.drain(..written)),
                Err(WriteError::Blocked) => return false,
                Err(error) => panic!("the stream cannot be written: {error}"),
            }
        }
    }

    /// Receives a stream, compares it with the pattern, and returns when the peer has closed the
    /// connection.
    pub(crate) fn receive_stream(&mut self, pattern: &mut Pattern) {
        let mut is_finished = false;
        let mut is_open = false;
        loop {
            for event in self.turn() {
                match event {
                    Event::Stream(StreamEvent::Opened { dir }) => {
                        let id = self.connection_mut().streams().accept(dir).expect("a stream was opened");
                        assert!(!mem::replace(&mut is_open, true), "the peer opens one stream");
                        is_finished = self.read(id, pattern);
                    }
                    Event::Stream(StreamEvent::Readable { id }) if !is_finished => {
                        is_finished = self.read(id, pattern);
                    }
                    Event::ConnectionLost { reason } => {
                        assert!(is_finished, "the connection is lost: {reason}");
                        return;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Reads what there is of the stream. Returns whether it is finished.
    fn read(&mut self, id: StreamId, pattern: &mut Pattern) -> bool {
        let mut stream = self.connection_mut().recv_stream(id);
        let mut chunks = stream.read(true).expect("a stream that is open");
        let is_finished = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => pattern.check(&chunk.bytes),
                Ok(None) => break true,
                Err(ReadError::Blocked) => break false,
                Err(error) => panic!("the stream cannot be read: {error}"),
            }
        };
        // What this asks for is sent in the next turn in any case.
        let _ = chunks.finalize();
        is_finished
    }

    fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().expect("events come from a connection").1
    }

    /// Sends what is due, waits for datagrams or for the next timer, and returns what has happened.
    fn turn(&mut self) -> Vec<Event> {
        self.transmit();
        self.receive();
        let mut events = Vec::new();
        let Some((handle, connection)) = &mut self.connection else { return events };
        let now = Instant::now();
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            events.push(event);
        }
        events
    }

    /// Sends everything that the connection has to send now.
    fn transmit(&mut self) {
        let mut data = Vec::new();
        while let Some((_, connection)) = &mut self.connection
            && let Some(transmit) = connection.poll_transmit(Instant::now(), MAX_RUN, &mut data)
        {
            self.send(&transmit, mem::take(&mut data).into());
        }
    }

    fn send(&mut self, transmit: &Transmit, data: Bytes) {
        let segment_len = transmit.segment_size.unwrap_or(0);
        let mut meta = SendMeta::to(transmit.destination)
            .segment_len(segment_len as u16)
            .traffic_class(transmit.ecn.map_or(0, |ecn| ecn as u8));
        if let Some(source) = transmit.src_ip {
            meta = meta.source(source);
        }
        assert_eq!(self.socket.send_msg(data, &meta).expect("a datagram"), transmit.size);
        if self.is_sender {
            self.seen.count(transmit.size, segment_len);
        }
    }

    /// Waits for datagrams until the next timer is due, and handles them.
    fn receive(&mut self) {
        let timer = self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
        let wait = timer.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(Instant::now()));
        if wait.is_zero() {
            return;
        }
        self.socket.set_read_timeout(Some(wait)).expect("a time-out above zero");
        let mut batch = mem::take(&mut self.batch);
        match self.socket.recv_batch(&mut batch, MAX_BATCH) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("datagrams cannot be received: {error}"),
        }
        let now = Instant::now();
        for (mut data, meta) in batch.drain(..) {
            let segment_len = meta.segment_len().max(1);
            if !self.is_sender {
                self.seen.count(data.len(), segment_len);
            }
            while !data.is_empty() {
                self.seen.ecn[usize::from(meta.ecn())] += 1;
                let datagram = data.split_to(segment_len.min(data.len()));
                self.handle(now, &meta, datagram.into());
            }
        }
        self.batch = batch;
    }

    fn handle(&mut self, now: Instant, meta: &DatagramMeta, datagram: BytesMut) {
        let mut answer = Vec::new();
        let ecn = EcnCodepoint::from_bits(meta.ecn());
        let local = Some(meta.local().ip());
        match self.endpoint.handle(now, meta.peer(), local, ecn, datagram, &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                assert!(self.connection.is_none(), "there is one client");
                let accepted = self.endpoint.accept(incoming, now, &mut answer, None);
                self.connection = Some(accepted.map_err(|error| error.cause).expect("a connection"));
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.connection_mut().handle_event(event),
            Some(DatagramEvent::Response(transmit)) => self.send(&transmit, answer.into()),
            None => {}
        }
    }
}
