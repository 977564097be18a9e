//! Which call comes next.

use std::time::Duration;

use portolan::{SendFlags, Shutdown, SocketOption};

use super::{Address, Call, PORTS};
use crate::soak::dice::Dice;

/// The calls in a sequence.
const CALLS: usize = 30;
/// The most sockets that are open at once.
const OPEN: usize = 6;

/// What the generator thinks that a socket is. It supposes that calls succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Bound(usize),
    Listening(usize),
    /// `connect` was called, and nobody was there, or the connection may be over.
    Tried,
    Connected,
    Closed,
}

struct Generator {
    dice: Dice,
    sockets: Vec<Stage>,
    /// Connections that wait to be accepted, by port.
    waiting: [usize; PORTS],
}

/// The calls of a seed.
pub(super) fn generate(seed: u64) -> Vec<Call> {
    let dice = Dice::new(seed, "streams", 0);
    let mut generator = Generator { dice, sockets: Vec::new(), waiting: [0; PORTS] };
    (0..CALLS).map(|_| generator.next()).collect()
}

impl Generator {
    fn next(&mut self) -> Call {
        let open = self.sockets.iter().filter(|&&stage| stage != Stage::Closed).count();
        if open < 2 || (open < OPEN && self.dice.one_in(8)) {
            self.sockets.push(Stage::New);
            return Call::Socket;
        }
        let d = loop {
            let d = self.dice.within(0, self.sockets.len() as u64 - 1) as usize;
            // A closed socket has its turn, but not often.
            if self.sockets[d] != Stage::Closed || self.dice.one_in(10) {
                break d;
            }
        };
        match self.dice.within(0, 19) {
            0 => Call::TakeError(d),
            1 => [Call::LocalAddr(d), Call::PeerAddr(d), Call::Unread(d)][self.dice.within(0, 2) as usize],
            2 => Call::Set(d, self.option()),
            3 => self.any_call(d),
            _ => self.fitting_call(d),
        }
    }

    /// A call that fits the stage of the socket.
    fn fitting_call(&mut self, d: usize) -> Call {
        match self.sockets[d] {
            Stage::New if self.dice.one_in(2) => self.bind(d),
            Stage::Bound(port) if !self.dice.one_in(4) => {
                self.sockets[d] = Stage::Listening(port);
                Call::Listen(d)
            }
            Stage::New | Stage::Bound(_) => self.connect(d),
            Stage::Tried if self.dice.one_in(2) => self.connect(d),
            Stage::Tried => {
                [Call::TakeError(d), Call::Recv(d, 1), self.send(d)][self.dice.within(0, 2) as usize]
            }
            Stage::Listening(port) if self.waiting[port] > 0 => {
                self.waiting[port] -= 1;
                self.sockets.push(Stage::Connected);
                Call::Accept(d)
            }
            Stage::Listening(_) if self.dice.one_in(2) => Call::Accept(d),
            Stage::Listening(_) | Stage::Closed => self.any_call(d),
            Stage::Connected => match self.dice.within(0, 9) {
                0 => Call::Shutdown(d, self.how()),
                1 if self.dice.one_in(2) => self.close(d),
                1..6 => self.send(d),
                _ => Call::Recv(d, self.len()),
            },
        }
    }

    /// Any call, but seldom one that a rule explains in most cases: the sequence would end there.
    fn any_call(&mut self, d: usize) -> Call {
        let is_used = matches!(self.sockets[d], Stage::Tried | Stage::Connected);
        match self.dice.within(0, 9) {
            0 | 3 if is_used && !self.dice.one_in(10) => Call::Recv(d, self.len()),
            7 if self.sockets[d] != Stage::Connected && !self.dice.one_in(10) => self.send(d),
            0 => self.bind(d),
            1 => Call::Listen(d),
            2 => Call::Accept(d),
            3 => self.connect(d),
            4 => {
                self.sockets[d] = if self.sockets[d] == Stage::Closed { Stage::Closed } else { Stage::New };
                Call::Disconnect(d)
            }
            5 => self.send(d),
            6 => Call::Recv(d, self.len()),
            7 => Call::Shutdown(d, self.how()),
            _ => self.close(d),
        }
    }

    fn bind(&mut self, d: usize) -> Call {
        let port = (!self.dice.one_in(8)).then(|| self.port());
        if self.sockets[d] == Stage::New {
            self.sockets[d] = Stage::Bound(port.unwrap_or(0));
        }
        Call::Bind(d, self.dice.pick(&[Address::Any, Address::Loopback]), port)
    }

    fn connect(&mut self, d: usize) -> Call {
        // Most go to a listener.
        let listening = self.sockets.iter().find_map(|stage| match stage {
            Stage::Listening(port) => Some(*port),
            _ => None,
        });
        let port = listening.filter(|_| !self.dice.one_in(5)).unwrap_or_else(|| self.port());
        let is_fresh = matches!(self.sockets[d], Stage::New | Stage::Bound(_) | Stage::Tried);
        if listening == Some(port) && is_fresh {
            self.waiting[port] += 1;
            self.sockets[d] = Stage::Connected;
        } else if is_fresh {
            self.sockets[d] = Stage::Tried;
        }
        Call::Connect(d, port)
    }

    fn close(&mut self, d: usize) -> Call {
        self.sockets[d] = Stage::Closed;
        Call::Close(d)
    }

    fn send(&mut self, d: usize) -> Call {
        let flags = if self.dice.one_in(10) { SendFlags::OOB } else { SendFlags::NONE };
        Call::Send(d, self.len(), flags)
    }

    fn port(&mut self) -> usize {
        self.dice.within(0, PORTS as u64 - 1) as usize
    }

    fn len(&mut self) -> usize {
        self.dice.scaled(1, 3000) as usize
    }

    fn how(&mut self) -> Shutdown {
        self.dice.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both])
    }

    fn option(&mut self) -> SocketOption {
        self.dice.pick(&[
            SocketOption::ReuseAddr(true),
            SocketOption::ReuseAddr(false),
            SocketOption::ReusePort(true),
            SocketOption::Linger(Some(Duration::ZERO)),
            SocketOption::Linger(None),
            SocketOption::NoDelay(true),
            SocketOption::OobInline(true),
            SocketOption::KeepAlive(true),
        ])
    }
}
