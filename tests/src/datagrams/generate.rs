//! Random sequences.

use portolan::{Domain, MtuDiscover, RecvFlags, SendFlags, Shutdown, SocketKind, SocketOption};

use super::{Place, SOCKETS, Sequence, Step};
use crate::soak::dice::Dice;

/// The steps in a sequence.
const STEPS: usize = 30;

/// The sequence of a seed.
pub fn generate(seed: u64) -> Sequence {
    let mut dice = Dice::new(seed, "datagrams", 0);
    let kind = if dice.one_in(3) { SocketKind::Echo } else { SocketKind::Datagram };
    let domain = dice.pick(&[Domain::V4, Domain::V6]);
    let is_mapped = kind == SocketKind::Datagram && domain == Domain::V6 && dice.one_in(2);
    let steps = (0..STEPS).map(|_| draw(&mut dice, kind, domain)).collect();
    Sequence { name: format!("seed {seed}"), sockets: [(kind, domain); SOCKETS], is_mapped, steps }
}

fn draw(dice: &mut Dice, kind: SocketKind, domain: Domain) -> Step {
    // Most steps are about the first socket.
    let d = usize::from(dice.one_in(4));
    // Linux's ping sockets have rules of their own for addresses of the host itself.
    let place = |dice: &mut Dice| match dice.within(0, 11) {
        0 | 3..6 if kind == SocketKind::Echo => Place::Peer,
        0 => Place::Any,
        1 => Place::Nowhere,
        2 => Place::OtherFamily,
        3..6 => Place::Host,
        _ => Place::Peer,
    };
    let port = |dice: &mut Dice| dice.pick(&[7000, 7001, 7001, 9, 9, 0]);
    match dice.within(0, 99) {
        0..6 => {
            Step::Bind(d, dice.pick(&[Place::Any, Place::Host, Place::Peer]), dice.pick(&[0, 7000, 7001]))
        }
        6..14 => Step::Connect(d, place(dice), port(dice)),
        14..17 => Step::Disconnect(d),
        17..27 => Step::Send(d, len(dice), send_flags(dice)),
        27..37 => {
            let front = dice.within(0, 20) as usize;
            Step::SendTo(d, [front, len(dice)], place(dice), port(dice), send_flags(dice))
        }
        37..55 => {
            let lens = [dice.within(0, 30) as usize, dice.pick(&[0, 0, 10])];
            Step::Recv(d, lens, recv_flags(dice))
        }
        55..58 => Step::Unread(d),
        58..60 => Step::PathMtu(d),
        60..64 => Step::TakeError(d),
        64..66 => Step::LocalAddr(d),
        66..68 => Step::PeerAddr(d),
        68..78 => Step::Set(d, option(dice, kind, domain)),
        78 => Step::Shutdown(d, dice.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both])),
        79..89 => Step::PeerSends(d, dice.pick(&[9, 9, 10]), dice.within(0, 40) as usize),
        _ => {
            let (kind, code, word) = dice.pick(&[
                (3, 3, 0),
                (3, 3, 0),
                (3, 1, 0),
                (3, 13, 0),
                (3, 4, 1400),
                (3, 4, 1300),
                (11, 0, 0),
                (12, 0, 20 << 24),
            ]);
            Step::PeerRefuses(kind, code, word)
        }
    }
}

fn len(dice: &mut Dice) -> usize {
    match dice.within(0, 9) {
        0 => 0,
        1 => dice.within(1200, 1500) as usize,
        2 => dice.within(2000, 5000) as usize,
        _ => dice.within(1, 40) as usize,
    }
}

fn send_flags(dice: &mut Dice) -> SendFlags {
    let mut flags = SendFlags::NONE;
    for (flag, one_in) in [
        (SendFlags::MORE, 8),
        (SendFlags::OOB, 20),
        (SendFlags::DONT_ROUTE, 12),
        (SendFlags::CONFIRM, 12),
        (SendFlags::END_OF_RECORD, 12),
        (SendFlags::DONT_WAIT, 8),
    ] {
        if dice.one_in(one_in) {
            flags = flags | flag;
        }
    }
    flags
}

fn recv_flags(dice: &mut Dice) -> RecvFlags {
    let mut flags = RecvFlags::NONE;
    for (flag, one_in) in [
        (RecvFlags::PEEK, 4),
        (RecvFlags::TRUNCATE, 4),
        (RecvFlags::OOB, 20),
        (RecvFlags::WAIT_ALL, 8),
        (RecvFlags::DONT_WAIT, 8),
        (RecvFlags::ERROR_QUEUE, 3),
    ] {
        if dice.one_in(one_in) {
            flags = flags | flag;
        }
    }
    flags
}

fn option(dice: &mut Dice, kind: SocketKind, domain: Domain) -> SocketOption {
    match dice.within(0, 9) {
        0..4 => SocketOption::ReceiveErrors(!dice.one_in(4)),
        4..6 => SocketOption::MtuDiscover(dice.pick(&[
            MtuDiscover::Dont,
            MtuDiscover::Want,
            MtuDiscover::Do,
            MtuDiscover::Probe,
            MtuDiscover::Interface,
            MtuDiscover::Omit,
        ])),
        6 if kind == SocketKind::Datagram => SocketOption::UdpCork(dice.one_in(2)),
        7 => SocketOption::Tos(dice.within(0, 255) as u8),
        8 if domain == Domain::V6 => SocketOption::DontFragment(dice.one_in(2)),
        _ => SocketOption::Ttl(dice.within(1, 255) as u8),
    }
}
