//! Which call comes next.

use portolan::{Interest, Shutdown, SocketKind};

use super::{Answer, Call, POLLERS};
use crate::soak::dice::Dice;

/// The most descriptors that are open at once.
const OPEN: usize = 12;

/// Draws calls, and remembers what the descriptors are.
pub(super) struct Generator {
    dice: Dice,
    /// Whether all sockets are UDP. Then a call wakes sockets in an order that both must have, and
    /// the order of reports is compared. A TCP segment and its answer wake sockets of both ends in
    /// an order that depends on when the loopback delivers.
    is_datagrams: bool,
    descriptors: Vec<Known>,
    sockets: Vec<KnownSocket>,
}

/// What is known of a socket, whatever its descriptors.
#[derive(Clone, Copy, Default)]
struct KnownSocket {
    /// Whether it was registered with EPOLLEXCLUSIVE.
    is_exclusive: bool,
}

/// What a descriptor is.
#[derive(Clone, Copy)]
struct Known {
    socket: usize,
    kind: SocketKind,
    stage: Stage,
    is_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Bound,
    Listening,
    /// Connected, or it was once.
    Connected,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "pollers", 0);
        let is_datagrams = dice.one_in(3);
        Generator { dice, is_datagrams, descriptors: Vec::new(), sockets: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Call {
        loop {
            if let Some(call) = self.draw() {
                return call;
            }
        }
    }

    fn draw(&mut self) -> Option<Call> {
        let open = self.descriptors.iter().filter(|known| known.is_open).count();
        let chance = self.dice.within(0, 99);
        if open < 2 || (chance < 8 && open < OPEN) {
            let is_stream = !self.is_datagrams && !self.dice.one_in(4);
            return Some(Call::Socket(if is_stream { SocketKind::Stream } else { SocketKind::Datagram }));
        }
        let poller = self.dice.within(0, POLLERS as u64 - 1) as usize;
        if chance < 40 {
            let max = if self.is_datagrams { self.dice.within(1, 4) as usize } else { 64 };
            return Some(Call::Wait(poller, max));
        }
        let last = self.descriptors.len() as u64 - 1;
        let d = self.dice.within(0, last) as usize;
        let Known { kind, stage, is_open, socket } = self.descriptors[d];
        // A closed descriptor has its turn, but not often.
        if !is_open && !self.dice.one_in(8) {
            return None;
        }
        let is_stream = kind == SocketKind::Stream;
        let len = self.dice.within(1, 50) as usize;
        Some(match chance {
            40..58 => self.draw_registration(poller, d, socket),
            58..60 => Call::Duplicate(d),
            60..64 => Call::Close(d),
            64..66 => Call::TakeError(d),
            _ => match (stage, self.dice.within(0, 9)) {
                // A stream that was never connected is not shut down: on Linux that fails, and has
                // its effect on a later connection nevertheless.
                (Stage::New | Stage::Bound, 0) if !is_stream => self.draw_shutdown(d),
                (Stage::New, _) if self.dice.one_in(2) => Call::Bind(d),
                (Stage::Bound, _) if is_stream => Call::Listen(d),
                (Stage::New, _) => self.draw_connection(d)?,
                (Stage::Bound, 0..5) => self.draw_connection(d)?,
                (Stage::Listening, _) => Call::Accept(d),
                (Stage::Connected, 0) => self.draw_shutdown(d),
                (Stage::Connected, 1) if is_stream => Call::SendUrgent(d),
                (Stage::Connected, 2..6) => Call::Send(d, len),
                _ => Call::Recv(d, len),
            },
        })
    }

    fn draw_shutdown(&mut self, d: usize) -> Call {
        Call::Shutdown(d, self.dice.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]))
    }

    /// A connection to a socket that has an address.
    fn draw_connection(&mut self, d: usize) -> Option<Call> {
        let others = 0..self.descriptors.len();
        let has_address = |other: &usize| {
            let known = self.descriptors[*other];
            known.is_open && known.socket != self.descriptors[d].socket && known.stage != Stage::New
        };
        let others: Vec<usize> = others.filter(has_address).collect();
        if others.is_empty() {
            return None;
        }
        Some(Call::Connect(d, self.dice.pick(&others)))
    }

    fn draw_registration(&mut self, poller: usize, d: usize, socket: usize) -> Call {
        let token = self.dice.within(0, 1 << 40);
        let mut interest = Interest::NONE;
        for (flag, one_in) in [
            (Interest::READABLE, 2),
            (Interest::WRITABLE, 2),
            (Interest::PEER_CLOSED, 4),
            (Interest::URGENT, 4),
            (Interest::EDGE_TRIGGERED, 2),
            (Interest::ONE_SHOT, 5),
            (Interest::EXCLUSIVE, 8),
        ] {
            // The kernel's program sleeps in no wait, so that an arrival wakes all exclusive
            // registrations of a socket. There is only one.
            if self.dice.one_in(one_in) && (flag != Interest::EXCLUSIVE || !self.sockets[socket].is_exclusive)
            {
                interest = interest | flag;
            }
        }
        match self.dice.within(0, 9) {
            0..5 => {
                self.sockets[socket].is_exclusive |= interest.contains(Interest::EXCLUSIVE);
                Call::Add(poller, d, interest, token)
            }
            5..9 => Call::Modify(poller, d, interest, token),
            _ => Call::Delete(poller, d),
        }
    }

    /// The answer in the order in which it is compared.
    pub(super) fn in_order(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Ready(mut ready) if !self.is_datagrams => {
                ready.sort_unstable();
                Answer::Ready(ready)
            }
            answer => answer,
        }
    }

    /// Remembers what the call has done.
    pub(super) fn learn(&mut self, call: Call, answer: &Answer) {
        let is_done = matches!(answer, Answer::Done(_));
        let is_begun = is_done || *answer == Answer::Failed(libc::EINPROGRESS);
        let mut stage_of = |d: usize, stage: Stage| {
            let socket = self.descriptors[d].socket;
            for known in self.descriptors.iter_mut().filter(|known| known.socket == socket) {
                known.stage = stage;
            }
        };
        match call {
            Call::Bind(d) if is_done => stage_of(d, Stage::Bound),
            Call::Listen(d) if is_done => stage_of(d, Stage::Listening),
            Call::Connect(d, _) if is_begun => stage_of(d, Stage::Connected),
            Call::Close(d) if is_done => self.descriptors[d].is_open = false,
            Call::Socket(kind) if *answer == Answer::Opened => self.open(kind, Stage::New),
            Call::Accept(_) if *answer == Answer::Opened => self.open(SocketKind::Stream, Stage::Connected),
            Call::Duplicate(d) if *answer == Answer::Opened => {
                self.descriptors.push(self.descriptors[d]);
            }
            _ => {}
        }
    }

    fn open(&mut self, kind: SocketKind, stage: Stage) {
        self.descriptors.push(Known { socket: self.sockets.len(), kind, stage, is_open: true });
        self.sockets.push(KnownSocket::default());
    }
}
