//! Which call comes next.

use portolan::{Shutdown, SocketKind};

use super::{Answer, Call, NAMES, Name};
use crate::soak::dice::Dice;

/// The most descriptors that are open at once.
const OPEN: usize = 14;

/// Draws calls, and remembers which descriptors are open.
pub(super) struct Generator {
    dice: Dice,
    /// The kind that most sockets have.
    kind: SocketKind,
    open: Vec<bool>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "unix sockets", 0);
        let kind = kind(&mut dice);
        Generator { dice, kind, open: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Call {
        let open = self.open.iter().filter(|is_open| **is_open).count();
        if self.open.len() < 3 || open < OPEN && self.dice.one_in(8) {
            let kind = if self.dice.one_in(4) { kind(&mut self.dice) } else { self.kind };
            return if self.dice.one_in(2) { Call::Pair(kind) } else { Call::Socket(kind) };
        }
        let (d, name) = (self.descriptor(), self.name());
        match self.dice.within(0, 30) {
            0 | 1 => Call::Bind(d, Some(name)),
            2 => Call::Bind(d, None),
            3 if open >= OPEN => Call::Close(d),
            3 => Call::Unlink(self.dice.within(0, NAMES as u64 - 1) as usize),
            4 | 5 => Call::Listen(d, self.dice.within(0, 2) as usize),
            6..=8 => Call::Connect(d, Some(name)),
            9 => Call::Connect(d, None),
            10..=12 if open < OPEN => Call::Accept(d),
            10..=16 => Call::Send(d, self.len(), self.dice.one_in(4).then(|| self.descriptor())),
            17 => Call::SendTo(d, self.len(), name),
            18..=21 => Call::Recv(d, self.len(), self.dice.within(0, 1) as usize),
            22 => Call::Peek(d, self.len()),
            23 => Call::Shutdown(
                d,
                match self.dice.within(0, 2) {
                    0 => Shutdown::Read,
                    1 => Shutdown::Write,
                    _ => Shutdown::Both,
                },
            ),
            24 | 25 => Call::Close(d),
            26 => Call::TakeError(d),
            27 => Call::LocalName(d),
            28 => Call::PeerName(d),
            29 if open < OPEN => Call::Duplicate(d),
            _ => Call::Queued(d),
        }
    }

    /// One that is open, mostly.
    fn descriptor(&mut self) -> usize {
        for _ in 0..4 {
            let name = self.dice.within(0, self.open.len() as u64 - 1) as usize;
            if self.open[name] {
                return name;
            }
        }
        self.dice.within(0, self.open.len() as u64 - 1) as usize
    }

    fn name(&mut self) -> Name {
        let number = self.dice.within(0, NAMES as u64 - 1) as usize;
        if self.dice.one_in(2) { Name::Path(number) } else { Name::Abstract(number) }
    }

    fn len(&mut self) -> usize {
        match self.dice.within(0, 3) {
            0 => self.dice.within(0, 2) as usize,
            1..3 => self.dice.within(0, 99) as usize,
            _ => self.dice.within(0, 1499) as usize,
        }
    }

    pub(super) fn learn(&mut self, call: Call, answer: &Answer) {
        match *answer {
            Answer::Opened(count) | Answer::Received(_, _, count, _) => {
                self.open.extend(std::iter::repeat_n(true, count));
            }
            _ => {}
        }
        if let Call::Close(d) = call {
            self.open[d] = false;
        }
    }
}

fn kind(dice: &mut Dice) -> SocketKind {
    match dice.within(0, 2) {
        0 => SocketKind::Stream,
        1 => SocketKind::Datagram,
        _ => SocketKind::SeqPacket,
    }
}
