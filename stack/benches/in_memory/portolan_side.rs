//! Two stacks and the link between them.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portolan::{
    ChecksumState, Cidr, Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId,
    MacAddr, Medium, Offloads, SocketKind, SocketOption, Stack,
};

use super::{Copies, LINK_FRAMES, SOCKET_BUFFER};

/// A stack, its interface, and the received frames that wait for it.
struct Side {
    stack: Stack,
    iface: InterfaceId,
    inbox: VecDeque<Frame>,
    /// Memory for frames: as in a device, many of them share an allocation.
    frames: BytesMut,
}

const FRAMES_BYTES: usize = 256 << 10;
/// What the stack gets at once: the limits of the runtime (MAX_FRAMES and MAX_BYTES in its
/// `budget.rs`).
const BURST_FRAMES: usize = 32;
const BURST_BYTES: usize = 512 << 10;

pub(crate) struct Pair {
    client: Side,
    server: Side,
    now: Instant,
    /// Connections: the client's and the server's descriptor.
    connections: Vec<(Descriptor, Descriptor)>,
    /// The server's descriptors that the segments of a batch are for: one entry for each burst, in
    /// the order of their events. A program would find them by the name in an event, which differs
    /// in some commits that this benchmark is compared with.
    busy: VecDeque<Descriptor>,
    /// The connection that got the last segment of a batch.
    last: usize,
    is_no_delay: bool,
    /// A listener for short connections.
    listener: Descriptor,
    /// The client's and the server's datagram sockets, made when they are first used.
    datagrams: Option<(Descriptor, Descriptor)>,
    buf: Vec<u8>,
    lent: Bytes,
}

/// There are 28,000 ephemeral ports for connections to one address and port.
const CONNECTIONS_PER_PORT: usize = 20_000;

/// The server's address for short connections.
const CYCLE_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7);
/// The time that passes with each connection, such that 6,000 of them are in TIME-WAIT at once.
pub(crate) const CYCLE_TIME: Duration = Duration::from_millis(10);

const DATAGRAM_CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7000);
const DATAGRAM_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7);

/// In some commits that this benchmark is compared with, `recv_from` returns the peer itself.
#[allow(dead_code, reason = "used with such a commit only")]
trait HasPeer {
    fn peer(&self) -> SocketAddr;
}

impl HasPeer for SocketAddr {
    fn peer(&self) -> SocketAddr {
        *self
    }
}

impl Side {
    fn new(last: u8, now: Instant, offloads: Offloads) -> Self {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        config.memory_limit_bytes = 1 << 30;
        config.tcp.send_buffer_bytes = SOCKET_BUFFER;
        config.tcp.receive_buffer_bytes = SOCKET_BUFFER;
        config.tcp.auto_tune_buffers = false;
        let mut stack = Stack::new(config, [last; 32], now);
        let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, last]));
        let cidr = Cidr { addr: Ipv4Addr::new(10, 0, 0, last).into(), prefix_len: 24 };
        let config = InterfaceConfig::new(medium).address(cidr).offloads(offloads);
        let iface = stack.add_interface(now, config).unwrap();
        Side { stack, iface, inbox: VecDeque::new(), frames: BytesMut::new() }
    }

    /// The next frame that the stack sends, if there is one.
    fn transmit(&mut self, now: Instant) -> Option<Frame> {
        // The loopback is not drained: no host here sends to itself, and some commits that this
        // benchmark is compared with have no such call.
        let transmit = self.stack.poll_transmit(now)?;
        if self.frames.capacity() < transmit.len() {
            self.frames = BytesMut::with_capacity(FRAMES_BYTES);
        }
        transmit.append_to(&mut self.frames);
        // The frame as a device with virtio-net headers passes it to the other end.
        let checksum = transmit.checksum().map_or(ChecksumState::Unknown, ChecksumState::Partial);
        let bytes = self.frames.split().freeze();
        Some(Frame::new(bytes).with_checksum(checksum).with_segments(transmit.segments()))
    }

    /// Passes the next burst of waiting frames to the stack. Returns whether there were any.
    fn take_burst(&mut self, now: Instant) -> bool {
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            let has_room = bytes < BURST_BYTES;
            bytes += frame.bytes.len();
            has_room
        };
        let count = self.inbox.iter().take(BURST_FRAMES).take_while(fits).count();
        self.stack.handle_frames(now, self.inbox.drain(..count).map(|frame| (self.iface, frame)));
        count > 0
    }

    /// Passes all waiting frames to the stack, and sends the results after each burst.
    fn exchange(&mut self, now: Instant, peer: &mut VecDeque<Frame>) -> bool {
        let mut is_busy = false;
        loop {
            is_busy |= self.take_burst(now);
            while peer.len() < LINK_FRAMES
                && let Some(frame) = self.transmit(now)
            {
                peer.push_back(frame);
                is_busy = true;
            }
            if self.inbox.is_empty() {
                break;
            }
        }
        while self.stack.poll_event().is_some() {}
        is_busy
    }
}

impl Pair {
    pub(crate) fn new(count: usize, offloads: Offloads) -> Self {
        let now = Instant::from_secs(1);
        let (client, mut server) = (Side::new(1, now, offloads), Side::new(2, now, offloads));
        let (buf, lent) = (vec![0; 64 << 10], Bytes::from(vec![0; 64 << 10]));
        let listener = server.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        server.stack.bind(listener, CYCLE_ADDR).unwrap();
        server.stack.listen(listener, 16).unwrap();
        let mut pair = Pair {
            client,
            server,
            now,
            connections: Vec::new(),
            busy: VecDeque::new(),
            last: 0,
            is_no_delay: false,
            listener,
            datagrams: None,
            buf,
            lent,
        };
        for port in 80.. {
            let missing = count - pair.connections.len();
            if missing == 0 {
                break;
            }
            pair.connect(port, missing.min(CONNECTIONS_PER_PORT));
        }
        pair
    }

    /// Opens this many connections to one port.
    fn connect(&mut self, port: u16, count: usize) {
        let server = &mut self.server.stack;
        let listener = server.socket(Domain::V4, SocketKind::Stream).unwrap();
        server.bind(listener, SocketAddr::from(([0, 0, 0, 0], port))).unwrap();
        server.listen(listener, 16).unwrap();
        for _ in 0..count {
            let client = self.client.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
            let addr = SocketAddr::from(([10, 0, 0, 2], port));
            assert_eq!(self.client.stack.connect(self.now, client, addr), Err(Error::InProgress));
            self.settle();
            let (accepted, _) = self.server.stack.accept(listener).expect("the handshake took no time");
            self.connections.push((client, accepted));
        }
    }

    /// Sets TCP_NODELAY. This is done just before the first segment is sent, because options that
    /// differ from the default take memory, and the memory of idle connections is measured, too.
    fn set_no_delay(&mut self) {
        if !mem::replace(&mut self.is_no_delay, true) {
            for &(client, _) in &self.connections {
                self.client.stack.set_option(self.now, client, SocketOption::NoDelay(true)).unwrap();
            }
        }
    }

    /// Exchanges frames until neither side sends any.
    fn settle(&mut self) {
        while self.client.exchange(self.now, &mut self.server.inbox)
            | self.server.exchange(self.now, &mut self.client.inbox)
        {}
    }

    /// Moves this many bytes over the first connection.
    pub(crate) fn transfer(&mut self, bytes: usize, copies: Copies) {
        let (client, server) = self.connections[0];
        self.set_no_delay();
        let (mut sent, mut received) = (0, 0);
        while received < bytes {
            self.now += Duration::from_micros(50);
            while sent < bytes {
                let chunk = self.buf.len().min(bytes - sent);
                let taken = match copies {
                    Copies::Both => self.client.stack.send(self.now, client, &self.buf[..chunk]),
                    Copies::None => self.client.stack.send_bytes(self.now, client, self.lent.slice(..chunk)),
                };
                match taken {
                    Ok(count) => sent += count,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            self.client.exchange(self.now, &mut self.server.inbox);
            self.server.exchange(self.now, &mut self.client.inbox);
            while let Ok(count) = match copies {
                Copies::Both => self.server.stack.recv(self.now, server, &mut self.buf),
                Copies::None => {
                    let bytes = self.server.stack.recv_bytes(self.now, server, usize::MAX);
                    bytes.map(|bytes| bytes.len())
                }
            } {
                received += count;
            }
            self.server.exchange(self.now, &mut self.client.inbox);
            for side in [&mut self.client, &mut self.server] {
                if side.stack.next_timeout_at().is_some_and(|at| at <= self.now) {
                    side.stack.handle_timeout(self.now);
                }
            }
        }
        self.settle();
    }

    /// Lets the client send `count` segments, either all over one connection, or each over another
    /// connection until all have been used. Returns the time that the server takes for them.
    pub(crate) fn receive_batch(&mut self, count: usize, all_busy: bool) -> Duration {
        self.now += Duration::from_millis(1);
        if count > 0 {
            self.set_no_delay();
        }
        let mut burst = 0;
        let mut used = BTreeSet::new();
        for index in 0..count {
            if all_busy {
                // A large prime step: neighbours in memory do not follow each other.
                self.last = (self.last + 7_919) % self.connections.len();
            }
            used.insert(self.last);
            let (client, server) = self.connections[self.last];
            self.client.stack.send(self.now, client, &self.buf[..100]).unwrap();
            while let Some(frame) = self.client.transmit(self.now) {
                self.server.inbox.push_back(frame);
            }
            if index % BURST_FRAMES == 0 {
                burst = self.busy.len();
            }
            if !self.busy.range(burst..).any(|&busy| busy == server) {
                self.busy.push_back(server);
            }
        }
        assert_eq!(self.server.inbox.len(), count);
        let busy = if all_busy { self.connections.len() } else { 1 };
        assert_eq!(used.len(), busy.min(count), "so many connections are busy");
        let start = std::time::Instant::now();
        self.serve();
        let time = start.elapsed();
        assert!(self.busy.is_empty(), "each of them had an event in its burst");
        // Delayed acknowledgements become due.
        self.now += Duration::from_millis(41);
        self.server.stack.handle_timeout(self.now);
        self.settle();
        time
    }

    /// The timed part of a batch: the server handles the waiting frames, answers, and reads.
    /// Callgrind finds this function by its name, so it must stay a function.
    #[inline(never)]
    fn serve(&mut self) {
        while self.server.take_burst(self.now) {
            while let Some(frame) = self.server.transmit(self.now) {
                self.client.inbox.push_back(frame);
            }
            while let Some(event) = self.server.stack.poll_event() {
                if !event.readiness.readable {
                    continue;
                }
                let descriptor =
                    self.busy.pop_front().expect("only a socket with new data has such an event");
                let received = self.server.stack.recv(self.now, descriptor, &mut self.buf);
                std::hint::black_box(received.unwrap_or(0));
            }
        }
    }

    /// Lets the client send datagrams of 64 bytes in batches, and the server send each of them
    /// back.
    pub(crate) fn echo_datagrams(&mut self, count: usize) {
        let (client, server) = *self.datagrams.get_or_insert_with(|| {
            let socket = |side: &mut Side, addr: SocketAddr| {
                let socket = side.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
                side.stack.bind(socket, addr).unwrap();
                socket
            };
            (socket(&mut self.client, DATAGRAM_CLIENT), socket(&mut self.server, DATAGRAM_SERVER))
        });
        self.now += Duration::from_millis(1);
        for _ in 0..count {
            let sent = self.client.stack.send_to(self.now, client, &self.buf[..64], DATAGRAM_SERVER);
            assert_eq!(sent, Ok(64));
        }
        self.settle();
        for _ in 0..count {
            let (len, meta) = self.server.stack.recv_from(self.now, server, &mut self.buf).unwrap();
            assert_eq!(self.server.stack.send_to(self.now, server, &self.buf[..len], meta.peer()), Ok(len));
        }
        self.settle();
        for _ in 0..count {
            let (len, _) = self.client.stack.recv_from(self.now, client, &mut self.buf).unwrap();
            assert_eq!(len, 64);
        }
    }

    /// Sends one byte back and forth over the first connection, this many times.
    pub(crate) fn ping_pong(&mut self, count: usize) {
        let (client, server) = self.connections[0];
        self.set_no_delay();
        for _ in 0..count {
            self.now += Duration::from_micros(50);
            assert_eq!(self.client.stack.send(self.now, client, &[7]), Ok(1));
            self.settle();
            assert_eq!(self.server.stack.recv(self.now, server, &mut self.buf), Ok(1));
            assert_eq!(self.server.stack.send(self.now, server, &[8]), Ok(1));
            self.settle();
            assert_eq!(self.client.stack.recv(self.now, client, &mut self.buf), Ok(1));
        }
    }

    /// Runs until the number of connections in TIME-WAIT is constant.
    pub(crate) fn warm_up(&mut self) {
        self.cycle(7_000, CYCLE_TIME);
    }

    /// Opens connections, one after the other, each of which carries a byte and is closed by both
    /// ends, first by the client. This much time passes with each.
    pub(crate) fn cycle(&mut self, count: u64, time: Duration) {
        for _ in 0..count {
            self.now += time;
            let client = self.client.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
            let opened = self.client.stack.connect(self.now, client, CYCLE_ADDR);
            assert_eq!(opened, Err(Error::InProgress));
            self.settle();
            let (server, _) = self.server.stack.accept(self.listener).expect("the handshake took no time");
            assert_eq!(self.client.stack.send(self.now, client, &[7]), Ok(1));
            self.settle();
            assert_eq!(self.server.stack.recv(self.now, server, &mut self.buf), Ok(1));
            self.client.stack.close(self.now, client).unwrap();
            self.settle();
            self.server.stack.close(self.now, server).unwrap();
            self.settle();
            for side in [&mut self.client, &mut self.server] {
                if side.stack.next_timeout_at().is_some_and(|at| at <= self.now) {
                    side.stack.handle_timeout(self.now);
                }
            }
        }
    }
}
