//! Two programs that send each other data over one connection, each at its own pace, and compare
//! what arrives.

use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig, Side};
use portolan::{Descriptor, Domain, Error, Shutdown};

use crate::{check_frames, keep_pcap};

/// `len` bytes that differ from position to position and from seed to seed.
pub fn data(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A transfer in both directions at once, with a half-close at the end of each.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The seed for the stacks, the link and the data.
    pub seed: u64,
    /// The family.
    pub domain: Domain,
    /// Whether the link is an Ethernet; otherwise it carries bare IP packets.
    pub ethernet: bool,
    /// The size of the largest IP packet.
    pub mtu: usize,
    /// The faults of the link.
    pub faults: LinkFaults,
    /// Bytes from A to B.
    pub a_to_b: usize,
    /// Bytes from B to A.
    pub b_to_a: usize,
}

impl Transfer {
    /// Runs the transfer. The error contains the reason, the seed, and the file with the frames.
    pub fn run(&self) -> Result<(), String> {
        let config = PairConfig {
            faults: self.faults,
            ethernet: self.ethernet,
            mtu: self.mtu,
            record: true,
            ..PairConfig::seeded(self.seed)
        };
        let mut pair = Pair::new(config);
        let (a, b) = pair.connected_streams(self.domain);
        let mut programs = [
            Program::new(Side::A, a, data(self.seed, self.a_to_b), data(!self.seed, self.b_to_a)),
            Program::new(Side::B, b, data(!self.seed, self.b_to_a), data(self.seed, self.a_to_b)),
        ];
        let mut failure = None;
        let done = pair.drive(Duration::from_secs(3600), |pair| {
            for program in &mut programs {
                if let Err(error) = program.step(pair) {
                    failure.get_or_insert(error);
                }
            }
            failure.is_some() || programs.iter().all(Program::is_done)
        });
        let medium = pair.a.medium;
        let transcript = pair.transcript();
        let frames = pair.recorded();
        let result = match failure {
            Some(failure) => Err(failure),
            None if !done => Err(format!("not done after an hour: {programs:?}")),
            None => check_frames(medium, self.mtu, &frames),
        };
        result.map_err(|error| {
            let pcap = keep_pcap(&format!("transfer-{}", self.seed), medium, &frames);
            let last: Vec<_> = transcript.lines().rev().take(30).collect();
            let last: String = last.into_iter().rev().map(|line| format!("  {line}\n")).collect();
            format!(
                "{error}\n{self:?}\n{}\nA: {:?}\nB: {:?}\n{last}",
                pcap.display(),
                pair.a.stack.stats(),
                pair.b.stack.stats()
            )
        })
    }
}

/// One end: sends all its data, then shuts down its half; reads until the other end has done so.
struct Program {
    side: Side,
    descriptor: Descriptor,
    to_send: Vec<u8>,
    sent: usize,
    expected: Vec<u8>,
    received: usize,
    half_closed: bool,
    finished: bool,
    /// Alternates between the ways to send and receive.
    turn: usize,
}

impl Program {
    fn new(side: Side, descriptor: Descriptor, to_send: Vec<u8>, expected: Vec<u8>) -> Program {
        Program {
            side,
            descriptor,
            to_send,
            sent: 0,
            expected,
            received: 0,
            half_closed: false,
            finished: false,
            turn: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.half_closed && self.finished
    }

    fn step(&mut self, pair: &mut Pair) -> Result<(), String> {
        self.send(pair).map_err(|error| format!("{:?} cannot send: {error}", self.side))?;
        self.receive(pair)
    }

    fn send(&mut self, pair: &mut Pair) -> portolan::Result<()> {
        let now = pair.now();
        let stack = &mut pair.host(self.side).stack;
        while self.sent < self.to_send.len() {
            self.turn += 1;
            let size = [1, 100, 1448, 5000, 70_000][self.turn % 5];
            let upto = self.to_send.len().min(self.sent + size);
            let chunk = &self.to_send[self.sent..upto];
            let sent = if self.turn.is_multiple_of(2) {
                stack.send(now, self.descriptor, chunk)
            } else {
                stack.send_bytes(now, self.descriptor, bytes::Bytes::copy_from_slice(chunk))
            };
            match sent {
                Ok(count) => self.sent += count,
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.half_closed {
            stack.shutdown(now, self.descriptor, Shutdown::Write)?;
            self.half_closed = true;
        }
        Ok(())
    }

    fn receive(&mut self, pair: &mut Pair) -> Result<(), String> {
        let now = pair.now();
        let stack = &mut pair.host(self.side).stack;
        while !self.finished {
            self.turn += 1;
            let mut buf = vec![0; [1, 1000, 4096, 100_000][self.turn % 4]];
            let received = if self.turn.is_multiple_of(3) {
                stack.recv_bytes(now, self.descriptor, buf.len()).map(|bytes| bytes.to_vec())
            } else {
                stack.recv(now, self.descriptor, &mut buf).map(|count| buf[..count].to_vec())
            };
            match received {
                Ok(bytes) if bytes.is_empty() => self.finished = true,
                Ok(bytes) => self.compare(&bytes)?,
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(format!("{:?} cannot receive: {error}", self.side)),
            }
        }
        if self.received != self.expected.len() {
            return Err(format!("{:?} got {} of {} bytes", self.side, self.received, self.expected.len()));
        }
        Ok(())
    }

    fn compare(&mut self, bytes: &[u8]) -> Result<(), String> {
        let expected = self.expected.get(self.received..self.received + bytes.len());
        if expected != Some(bytes) {
            return Err(format!("{:?} got other bytes than were sent, near {}", self.side, self.received));
        }
        self.received += bytes.len();
        Ok(())
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Program { side, sent, received, half_closed, finished, .. } = self;
        write!(
            f,
            "{side:?}: sent {sent} of {}, received {received} of {}, half-closed {half_closed}, finished {finished}",
            self.to_send.len(),
            self.expected.len()
        )
    }
}
