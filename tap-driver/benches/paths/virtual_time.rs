//! Portolan to Portolan over the same path in virtual time, for rates that a machine cannot reach
//! in real time, and for results that other activity on the machine does not affect.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use portolan::{
    Cidr, Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId, Medium,
    SocketKind, Stack,
};
use portolan_runtime::device::ImpairQueue;

use crate::cases::Case;
use crate::emulator::PathCounts;
use crate::flow::{CHUNK_BYTES, Diary, Stall};
use crate::hosts::{Kind, Place};
use crate::run::Outcome;

const PORT: u16 = 5000;
/// Longer than any handshake takes.
const START_TIMEOUT: Duration = Duration::from_secs(60);

struct Side {
    stack: Stack,
    iface: InterfaceId,
    /// The frames from this side that are in flight.
    path: ImpairQueue<Frame>,
}

impl Side {
    fn new(side: u8, path: ImpairQueue<Frame>) -> Result<Side, Error> {
        let place = Place { side, kind: Kind::Portolan };
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let mut stack = Stack::new(config, [side; 32], Instant::ZERO);
        let interface = InterfaceConfig::new(Medium::Ethernet(place.mac()))
            .address(Cidr { addr: place.addr().into(), prefix_len: 24 });
        let iface = stack.add_interface(Instant::ZERO, interface)?;
        Ok(Side { stack, iface, path })
    }

    /// Sends the frames that the stack has, and discards its events, because the programs poll.
    fn transmit(&mut self, now: Instant) {
        loop {
            while let Some(transmit) = self.stack.poll_transmit(now) {
                self.path.push(now, transmit.to_frame());
            }
            if !self.stack.handle_loopback(now) {
                break;
            }
        }
        while self.stack.poll_event().is_some() {}
    }

    /// Passes arrived frames to the other side.
    fn pass_on(&mut self, now: Instant, other: &mut Side) {
        while let Some(frame) = self.path.pop(now) {
            other.stack.handle_frame(now, other.iface, frame);
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let timer = self.stack.poll_timeout().map(|deadline| deadline.at);
        [timer, self.path.next_at()].into_iter().flatten().min()
    }
}

/// The program that reads.
struct Reader {
    listener: Descriptor,
    stream: Option<Descriptor>,
    stall: Option<Stall>,
    diary: Diary,
    first_at: Option<Instant>,
}

impl Reader {
    fn listen(stack: &mut Stack, stall: Option<Stall>) -> Result<Reader, Error> {
        let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
        stack.bind(listener, Place { side: 1, kind: Kind::Portolan }.socket_addr(PORT))?;
        stack.listen(listener, 1)?;
        Ok(Reader { listener, stream: None, stall, diary: Diary::default(), first_at: None })
    }

    /// Reads everything that is there, unless it is stalled. `epoch` is the beginning of virtual
    /// time as an instant of std.
    fn turn(&mut self, now: Instant, stack: &mut Stack, epoch: std::time::Instant) -> Result<(), Error> {
        if self.stream.is_none() {
            self.stream = stack.accept(self.listener).ok().map(|(stream, _)| stream);
        }
        let Some(stream) = self.stream else { return Ok(()) };
        if Stall::is_now(self.stall, self.first_at.map(|at| now - at)) {
            return Ok(());
        }
        loop {
            match stack.recv_bytes(now, stream, usize::MAX) {
                Ok(bytes) => {
                    self.first_at.get_or_insert(now);
                    self.diary.note(epoch + (now - Instant::ZERO), bytes.len());
                }
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// When it continues to read.
    fn next_at(&self, now: Instant) -> Option<Instant> {
        let stall = self.stall?;
        Some(self.first_at? + stall.begins_after + stall.lasts).filter(|&at| at > now)
    }
}

/// A run of one flow.
pub(crate) fn run(case: &Case, seed: u64) -> io::Result<Outcome> {
    simulate(case, seed).map_err(|error| io::Error::other(error.to_string()))
}

fn simulate(case: &Case, seed: u64) -> Result<Outcome, Error> {
    let mut impairment = case.impairment;
    impairment.seed = seed;
    let path = |direction| ImpairQueue::new(impairment, direction, Instant::ZERO);
    let mut sides = [Side::new(0, path(0))?, Side::new(1, path(1))?];
    let mut reader = Reader::listen(&mut sides[1].stack, case.stall)?;
    let epoch = std::time::Instant::now();
    let mut now = Instant::ZERO;

    let writer = sides[0].stack.socket(Domain::V4, SocketKind::Stream)?;
    let to = Place { side: 1, kind: Kind::Portolan }.socket_addr(PORT);
    match sides[0].stack.connect(now, writer, to) {
        Ok(()) | Err(Error::InProgress) => {}
        Err(error) => return Err(error),
    }
    let chunk = Bytes::from(vec![0x5a; CHUNK_BYTES]);
    while now < reader.first_at.map_or(Instant::ZERO + START_TIMEOUT, |at| at + case.to) {
        loop {
            match sides[0].stack.send_bytes(now, writer, chunk.clone()) {
                Ok(_) => {}
                Err(Error::WouldBlock | Error::NotConnected) => break,
                Err(error) => return Err(error),
            }
        }
        reader.turn(now, &mut sides[1].stack, epoch)?;
        for side in &mut sides {
            side.transmit(now);
        }
        let next_at = sides.iter().filter_map(Side::next_at).chain(reader.next_at(now)).min();
        now = now.max(next_at.ok_or(Error::TimedOut)?);
        let [a, b] = &mut sides;
        a.pass_on(now, b);
        b.pass_on(now, a);
        for side in &mut sides {
            side.stack.handle_timeout(now);
        }
    }
    let first_at = reader.first_at.ok_or(Error::TimedOut)?;
    let started_at = epoch + (first_at - Instant::ZERO);
    let mut path = PathCounts::default();
    path.directions = [sides[0].path.counts(), sides[1].path.counts()];
    let stats = sides[0].stack.stats();
    let note = format!(
        "{} segments out, {} repeated, {} time-outs",
        stats.tcp.segs_sent, stats.tcp.retrans_segs, stats.recovery.timeouts
    );
    Ok(Outcome::of(case, &[reader.diary], started_at, vec![note], path))
}
