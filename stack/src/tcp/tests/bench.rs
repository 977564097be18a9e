//! The test bench: hosts without IP or sockets, and a network between two of them that loses,
//! reorders and delays segments, from a seed.

use alloc::vec::Vec;
use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::Ctx;
use crate::config::Config;
use crate::frame::{HeaderBuf, payload_len};
use crate::memory::Budget;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::tcp::FreeList;
use crate::tcp::{
    Connection, HandshakeStep, HandshakeTimeout, Header, OpenParams, SeqNumber, Settings, State, SynReceived,
};
use crate::time::Instant;

/// Everything that a connection needs from the stack.
pub(super) struct Host {
    pub(super) now: Instant,
    pub(super) config: Config,
    pub(super) stats: Stats,
    pub(super) rng: Rng,
    pub(super) memory: Budget,
    pub(super) free_list: FreeList,
}

impl Host {
    pub(super) fn new() -> Host {
        let mut config = Config::default();
        // Buffers of a fixed size, and a window scale of 7.
        config.tcp.receive_buffer_bytes = 1 << 20;
        config.tcp.send_buffer_bytes = 1 << 20;
        config.tcp.max_buffer_bytes = 6 << 20;
        config.tcp.auto_tune_buffers = false;
        Host {
            now: Instant::from_secs(100),
            config,
            stats: Stats::new(),
            rng: Rng::new([7; 32]),
            memory: Budget::UNLIMITED,
            free_list: FreeList::default(),
        }
    }

    pub(super) fn ctx(&mut self) -> Ctx<'_> {
        Ctx {
            now: self.now,
            received_at: self.now,
            config: &self.config,
            stats: &mut self.stats,
            rng: &mut self.rng,
            memory: self.memory,
            free_list: &mut self.free_list,
            subject: crate::subject::Subject::Stack,
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let tcp = &self.config.tcp;
        Settings {
            window_clamp: 0,
            thin_linear_timeouts: false,
            receive_buffer_bytes: tcp.receive_buffer_bytes,
            send_buffer_bytes: tcp.send_buffer_bytes,
            auto_receive_buffer: tcp.auto_tune_buffers,
            auto_send_buffer: tcp.auto_tune_buffers,
            receive_low_water: 1,
            unsent_low_water: usize::MAX,
            user_timeout: None,
            cork: false,
            oob_inline: false,
            nodelay: false,
            congestion: tcp.congestion,
            max_pacing_rate: None,
            keepalive: false,
            keepalive_idle: tcp.keepalive_idle,
            keepalive_interval: tcp.keepalive_interval,
            keepalive_probes: tcp.keepalive_probes,
            syn_retries: None,
            fin_wait_2: Some(self.config.tcp.fin_wait_2),
            reports_soft_errors: false,
        }
    }

    pub(super) fn params(&self, isn: u32) -> OpenParams {
        OpenParams {
            isn: SeqNumber(isn),
            timestamp_offset: isn.wrapping_mul(3),
            announced_mss: 1460,
            default_mss: 536,
            path_mss: 1460,
            settings: self.settings().into(),
        }
    }
}

/// A header as the other side receives it: emitted and parsed.
pub(super) fn over_the_wire(header: &Header) -> Header {
    let mut wire = HeaderBuf::new();
    header.emit(&mut wire);
    let (mut parsed, len) = Header::parse(wire.as_slice()).expect("a header that we emit parses");
    parsed.ip_ecn = header.ip_ecn;
    parsed.path_seed = header.path_seed;
    assert_eq!(len, wire.len());
    assert_eq!(&parsed, header, "a header loses nothing on the wire");
    parsed
}

/// The bytes of a payload in one piece.
pub(super) fn flatten(payload: &[Bytes]) -> Bytes {
    payload.concat().into()
}

/// The faults of the network; probabilities in percent.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) duplication: u64,
    /// Delayed further by up to four times the delay.
    pub(super) reordering: u64,
    pub(super) delay: Duration,
}

impl Faults {
    pub(super) fn none() -> Faults {
        Faults { loss: 0, duplication: 0, reordering: 0, delay: Duration::from_millis(5) }
    }
}

/// An end of a [`Pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Client,
    Server,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }
}

/// A client, and a server that passes from a handshake record to a connection.
pub(super) struct Pair {
    pub(super) client: Connection,
    pub(super) handshake: Option<SynReceived>,
    pub(super) server: Option<Connection>,
    /// The server's window scale and other options come from here, too.
    pub(super) host: Host,
    pub(super) faults: Faults,
    pub(super) server_settings: Settings,
    network: BTreeMap<(Instant, u64), (End, Header, Bytes)>,
    sent: u64,
    dice: Rng,
    /// Every segment that was sent: time, sender, header, length of the payload.
    pub(super) log: Vec<(Instant, End, Header, usize)>,
}

pub(super) const CLIENT_ISN: u32 = 0xffff_f000;
pub(super) const SERVER_ISN: u32 = 0x7fff_fff0;

impl Pair {
    pub(super) fn new(seed: u8, faults: Faults) -> Pair {
        let host = Host::new();
        let settings = host.settings();
        Pair::with_settings(host, seed, faults, settings.clone(), settings)
    }

    pub(super) fn with_settings(
        mut host: Host,
        seed: u8,
        faults: Faults,
        client_settings: Settings,
        server_settings: Settings,
    ) -> Pair {
        let params = OpenParams { settings: client_settings.into(), ..host.params(CLIENT_ISN) };
        let client = Connection::connect(&mut host.ctx(), params);
        Pair {
            client,
            handshake: None,
            server: None,
            host,
            faults,
            server_settings,
            network: BTreeMap::new(),
            sent: 0,
            dice: Rng::new([seed; 32]),
            log: Vec::new(),
        }
    }

    /// A pair whose handshake is over.
    pub(super) fn established() -> Pair {
        let mut pair = Pair::new(1, Faults::none());
        pair.run_until(|pair| pair.server.is_some());
        assert_eq!(pair.client.state(), State::Established);
        assert_eq!(pair.server().state(), State::Established);
        pair
    }

    pub(super) fn server(&mut self) -> &mut Connection {
        self.server.as_mut().expect("the handshake is over")
    }

    /// Calls a function with the connection at one end and its `Ctx`.
    pub(super) fn at<T>(&mut self, end: End, call: impl FnOnce(&mut Connection, &mut Ctx<'_>) -> T) -> T {
        let ctx = &mut Ctx {
            now: self.host.now,
            received_at: self.host.now,
            config: &self.host.config,
            stats: &mut self.host.stats,
            rng: &mut self.host.rng,
            memory: self.host.memory,
            free_list: &mut self.host.free_list,
            subject: crate::subject::Subject::Stack,
        };
        match end {
            End::Client => call(&mut self.client, ctx),
            End::Server => call(self.server.as_mut().expect("the handshake is over"), ctx),
        }
    }

    fn roll(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn put_on_the_wire(&mut self, from: End, header: Header, payload: Bytes) {
        let header = over_the_wire(&header);
        self.log.push((self.host.now, from, header.clone(), payload.len()));
        let copies = if self.roll(self.faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.roll(self.faults.loss) {
                continue;
            }
            let mut at = self.host.now + self.faults.delay;
            if self.roll(self.faults.reordering) {
                let extra = self.dice.below(4 * self.faults.delay.as_nanos() as u64 + 1);
                at += Duration::from_nanos(extra);
            }
            self.sent += 1;
            self.network.insert((at, self.sent), (from.other(), header.clone(), payload.clone()));
        }
    }

    /// Sends everything that both ends have to send.
    pub(super) fn flush(&mut self) {
        for end in [End::Client, End::Server] {
            while end == End::Client || self.server.is_some() {
                let Some(run) = self.at(end, |connection, ctx| connection.poll_transmit(ctx)) else { break };
                for (header, payload) in run {
                    assert!(payload_len(&payload) <= 1460);
                    self.put_on_the_wire(end, header, flatten(&payload));
                }
            }
        }
    }

    fn deliver(&mut self, to: End, header: Header, payload: Bytes) {
        if to == End::Client || self.server.is_some() {
            self.at(to, |connection, ctx| connection.handle_segment(ctx, &header, payload));
            return;
        }
        let Some(mut record) = self.handshake.take() else {
            let params =
                OpenParams { settings: self.server_settings.clone().into(), ..self.host.params(SERVER_ISN) };
            let record = SynReceived::new(&mut self.host.ctx(), &header, &params);
            let syn_ack = record.syn_ack(self.host.now);
            self.handshake = Some(record);
            self.put_on_the_wire(End::Server, syn_ack, Bytes::new());
            return;
        };
        match record.handle_segment(&mut self.host.ctx(), &header, payload.len()) {
            HandshakeStep::Ignored => self.handshake = Some(record),
            HandshakeStep::Reply(reply) | HandshakeStep::Reset(reply) => {
                self.put_on_the_wire(End::Server, reply, Bytes::new());
                self.handshake = Some(record);
            }
            HandshakeStep::Complete => {
                let settings = self.server_settings.clone();
                let mut connection = record.into_connection(&mut self.host.ctx(), settings, 1460);
                connection.handle_segment(&mut self.host.ctx(), &header, payload);
                self.server = Some(connection);
            }
            HandshakeStep::Aborted => {}
        }
    }

    /// Advances to the next event: a segment arrives or a timer fires. Returns false if there is
    /// none.
    pub(super) fn step(&mut self) -> bool {
        self.flush();
        let arrival = self.network.first_key_value().map(|(&(at, _), _)| at);
        let timers = [
            self.client.poll_timeout().map(|(at, _)| at),
            self.server.as_ref().and_then(|server| server.poll_timeout()).map(|(at, _)| at),
            self.handshake.as_ref().map(SynReceived::deadline),
        ];
        let timer = timers.into_iter().flatten().min();
        match (arrival, timer) {
            (None, None) => return false,
            (Some(arrival), timer) if timer.is_none_or(|timer| arrival <= timer) => {
                self.host.now = arrival;
                let (_, (to, header, payload)) = self.network.pop_first().expect("just seen");
                self.deliver(to, header, payload);
            }
            (_, timer) => {
                self.host.now = self.host.now.max(timer.expect("or there was an arrival"));
                self.fire_timers();
            }
        }
        self.flush();
        true
    }

    fn fire_timers(&mut self) {
        self.at(End::Client, |connection, ctx| connection.handle_timeout(ctx));
        if self.server.is_some() {
            self.at(End::Server, |connection, ctx| connection.handle_timeout(ctx));
        }
        if let Some(record) = &mut self.handshake
            && record.deadline() <= self.host.now
        {
            let ctx = &mut Ctx {
                now: self.host.now,
                received_at: self.host.now,
                config: &self.host.config,
                stats: &mut self.host.stats,
                rng: &mut self.host.rng,
                memory: self.host.memory,
                free_list: &mut self.host.free_list,
                subject: crate::subject::Subject::Stack,
            };
            match record.handle_timeout(ctx) {
                HandshakeTimeout::Repeat(syn_ack) => self.put_on_the_wire(End::Server, syn_ack, Bytes::new()),
                HandshakeTimeout::Wait => {}
                HandshakeTimeout::GiveUp => self.handshake = None,
            }
        }
    }

    pub(super) fn run_until(&mut self, mut done: impl FnMut(&mut Pair) -> bool) {
        self.flush();
        for _ in 0..2_000_000 {
            if done(self) {
                return;
            }
            assert!(self.step(), "nothing happens any more: {:?} / {:?}", self.client, self.server);
        }
        panic!("no end at {}: {:?} / {:?}", self.host.now, self.client, self.server);
    }

    /// Runs all events of this time.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.host.now + duration;
        self.flush();
        loop {
            let arrival = self.network.first_key_value().map(|(&(at, _), _)| at);
            let client = self.client.poll_timeout().map(|(at, _)| at);
            let server = self.server.as_ref().and_then(|server| server.poll_timeout()).map(|(at, _)| at);
            let handshake = self.handshake.as_ref().map(SynReceived::deadline);
            let next = [arrival, client, server, handshake].into_iter().flatten().min();
            match next {
                Some(next) if next <= end => self.step(),
                _ => break,
            };
        }
        self.host.now = end;
    }

    pub(super) fn send(&mut self, end: End, data: &[u8]) -> usize {
        let sent = self.at(end, |connection, ctx| connection.send(ctx, data));
        self.flush();
        sent.expect("there is room")
    }

    /// Reads all available data.
    pub(super) fn recv(&mut self, end: End) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        while let Ok(len @ 1..) = self.at(end, |connection, ctx| connection.recv(ctx, &mut buf)) {
            all.extend_from_slice(&buf[..len]);
        }
        self.flush();
        all
    }
}
