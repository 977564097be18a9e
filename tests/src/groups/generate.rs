//! Which call comes next.

use std::collections::BTreeSet;

use portolan::FilterMode;

use super::{Call, Group, Iface, To, Where};
use crate::soak::dice::Dice;

/// The most sockets in a sequence.
const SOCKETS: u64 = 6;

/// Draws calls. Most of them make sense, so that states are reached in which the others are
/// interesting.
pub(super) struct Generator {
    dice: Dice,
    sockets: u64,
    /// The family of each socket.
    families: Vec<bool>,
    /// Whether each was connected.
    connected: Vec<bool>,
    /// The sockets that have joined an IPv6 group on the second link, with the group.
    on_second: BTreeSet<(usize, u8)>,
    /// Calls that come first.
    first: Vec<Call>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Generator {
            dice: Dice::new(seed, "groups", 0),
            sockets: 0,
            families: Vec::new(),
            connected: Vec::new(),
            on_second: BTreeSet::new(),
            first: Vec::new(),
        }
    }

    /// A number below `count`.
    fn below(&mut self, count: u64) -> u64 {
        self.dice.within(0, count - 1)
    }

    fn socket(&mut self) -> usize {
        self.below(self.sockets) as usize
    }

    fn group(&mut self, socket: usize) -> Group {
        // An IPv6 socket may join groups of both families, an IPv4 socket may not.
        let is_v6 = self.families[socket] != self.dice.one_in(6);
        let number = if self.dice.one_in(30) { 0 } else { 1 + self.below(3) as u8 };
        Group { is_v6, number }
    }

    fn iface(&mut self, is_v6: bool) -> Iface {
        match self.below(12) {
            0..5 => Iface::Any,
            5..8 => Iface::Number(0),
            8..10 => Iface::Number(1),
            10 if !is_v6 => Iface::Address(self.below(4) as u8),
            10 => Iface::Number(1),
            _ => Iface::Number(if self.dice.one_in(3) { 9 } else { 0 }),
        }
    }

    fn source(&mut self) -> u8 {
        self.below(4) as u8
    }

    fn open(&mut self) -> Call {
        let is_v6 = self.dice.one_in(2);
        let name = self.sockets as usize;
        self.sockets += 1;
        self.families.push(is_v6);
        self.connected.push(false);
        let to = match self.below(8) {
            0..4 => Where::Any,
            4 => Where::Own(self.source()),
            5 if !is_v6 => Where::Broadcast,
            _ => Where::Group(Group { is_v6, number: 1 + self.below(3) as u8 }),
        };
        let port = u16::from(self.dice.one_in(4));
        if !self.dice.one_in(8) {
            self.first.push(Call::Bind(name, to, port));
        }
        if self.dice.one_in(3) {
            self.first.push(Call::All { socket: name, is_v6, on: false });
        }
        if self.dice.one_in(4) { Call::Raw { is_v6 } } else { Call::Socket { is_v6 } }
    }

    fn membership(&mut self) -> Call {
        let socket = self.socket();
        let group = self.group(socket);
        let (mut iface, source) = (self.iface(group.is_v6), self.source());
        let kind = self.below(16);
        let is_about_sources = (5..12).contains(&kind);
        // If no interface is named, the kernel changes the filter of the interface of the route to
        // the group, even if the membership is on another one (6.18).
        if is_about_sources && iface == Iface::Any && self.on_second.contains(&(socket, group.number)) {
            iface = Iface::Number(1);
        }
        if group.is_v6 && iface == Iface::Number(1) && (0..8).contains(&kind) && kind != 4 {
            self.on_second.insert((socket, group.number));
        }
        match kind {
            0..4 => Call::Join(socket, group, iface),
            4 => Call::Leave(socket, group, iface),
            5..8 => Call::JoinSource(socket, group, source, iface),
            8 => Call::LeaveSource(socket, group, source, iface),
            9..11 => Call::Block(socket, group, source, iface),
            11 => Call::Unblock(socket, group, source, iface),
            12..14 => {
                // Getting and setting a whole filter name the interface by its number.
                let mode = if self.dice.one_in(2) { FilterMode::Include } else { FilterMode::Exclude };
                let sources = (0..4).filter(|_| self.dice.one_in(2)).collect();
                Call::SetFilter(socket, group, numbered(iface), mode, sources)
            }
            _ => {
                // For IPv4, a call that reads a whole filter and names no interface is another one.
                let iface = if iface == Iface::Any && !group.is_v6 { Iface::Number(0) } else { iface };
                Call::Filter(socket, group, numbered(iface))
            }
        }
    }

    fn option(&mut self) -> Call {
        let socket = self.socket();
        let is_v6 = self.families[socket] != self.dice.one_in(6);
        let on = self.dice.one_in(2);
        match self.below(8) {
            0 | 1 => Call::All { socket, is_v6, on },
            2 => Call::Loop { socket, is_v6, on },
            3 => Call::Ttl { socket, is_v6, ttl: self.below(3) as u8 },
            4 | 5 => Call::SendThrough { socket, is_v6, iface: self.iface(is_v6) },
            6 => Call::Broadcast(socket, on),
            // Of two addresses of a link, the kernel sends from the first, even to the second.
            // The kernel keeps the source of the first `connect`, Portolan chooses again.
            _ if std::mem::replace(&mut self.connected[socket], true) => Call::Broadcast(socket, on),
            _ => Call::Connect(socket, self.below(2) as u8 * 2),
        }
    }

    fn send(&mut self) -> Call {
        let socket = self.socket();
        let port = u16::from(self.dice.one_in(6));
        let to = match self.below(10) {
            0 if !self.families[socket] => To::Broadcast(self.below(2) as u8),
            1 if !self.families[socket] => To::Everyone,
            _ => {
                let is_v6 = self.families[socket] != self.dice.one_in(8);
                To::Group(Group { is_v6, number: 1 + self.below(3) as u8 })
            }
        };
        Call::Send(socket, to, port)
    }
}

fn numbered(iface: Iface) -> Iface {
    match iface {
        Iface::Address(number) => Iface::Number(number / 2),
        iface => iface,
    }
}

impl Iterator for Generator {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        if let Some(call) = self.first.pop() {
            return Some(call);
        }
        if self.sockets == 0 || (self.sockets < SOCKETS && self.dice.one_in(5)) {
            return Some(self.open());
        }
        Some(match self.below(40) {
            0..16 => self.membership(),
            16..22 => self.option(),
            22 if self.dice.one_in(3) => Call::Close(self.socket()),
            _ => self.send(),
        })
    }
}
