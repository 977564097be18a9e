//! Tests of pollers: against a model, and case by case through the calls of a program.

use std::vec;

use proptest::prelude::*;

use super::*;
use crate::socket::{Domain, SocketKind};
use crate::stack::Stack;
use crate::time::Instant;

const NOW: Instant = Instant::ZERO;
const IN: Interest = Interest::READABLE;
const OUT: Interest = Interest::WRITABLE;
const EDGE: Interest = Interest::EDGE_TRIGGERED;

const SOCKETS: usize = 5;
const POLLERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Register(usize, u32, usize, Interest),
    Modify(usize, u32, usize, Interest),
    Deregister(usize, u32, usize),
    /// The socket's readiness is this now, and it is woken.
    Wake(usize, u8, Wakeup),
    Wait(usize, usize),
    /// The socket's last descriptor is closed.
    Forget(usize),
    /// The poller is removed, and another added.
    Renew(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let target = || (0..POLLERS, 0..3u32, 0..SOCKETS);
    let flags =
        [IN, OUT, Interest::URGENT, Interest::PEER_CLOSED, EDGE, Interest::ONE_SHOT, Interest::EXCLUSIVE];
    let interest = || {
        prop::sample::subsequence(flags.to_vec(), 0..4)
            .prop_map(|flags| flags.into_iter().fold(Interest::NONE, |all, flag| all | flag))
    };
    let wakeup = prop::sample::select(vec![Wakeup::ARRIVAL, Wakeup::ROOM, Wakeup::ERROR, Wakeup::STATE]);
    let step = prop_oneof![
        4 => (target(), interest()).prop_map(|((p, n, s), interest)| Step::Register(p, n, s, interest)),
        2 => (target(), interest()).prop_map(|((p, n, s), interest)| Step::Modify(p, n, s, interest)),
        1 => target().prop_map(|(p, n, s)| Step::Deregister(p, n, s)),
        6 => (0..SOCKETS, 0..=Readiness::ALL_BITS, wakeup).prop_map(|(s, bits, wakeup)| Step::Wake(s, bits, wakeup)),
        6 => (0..POLLERS, 0..4usize).prop_map(|(p, max)| Step::Wait(p, max)),
        1 => (0..SOCKETS).prop_map(Step::Forget),
        1 => (0..POLLERS).prop_map(Step::Renew),
    ];
    prop::collection::vec(step, 0..120)
}

/// The same with vectors that are searched.
#[derive(Default)]
struct Model {
    /// In the order in which an arrival looks at them.
    registrations: Vec<Modelled>,
    /// Of each poller: the tokens that are listed as ready, and whether it waits.
    pollers: [(Vec<u64>, bool); POLLERS],
}

struct Modelled {
    key: (usize, u32, usize),
    interest: Interest,
    wanted: u8,
    token: u64,
}

impl Model {
    fn list(&mut self, poller: usize, token: u64) {
        if !self.pollers[poller].0.contains(&token) {
            self.pollers[poller].0.push(token);
        }
    }

    fn find(&mut self, key: (usize, u32, usize)) -> Option<&mut Modelled> {
        self.registrations.iter_mut().find(|registration| registration.key == key)
    }

    fn remove(&mut self, is_gone: impl Fn(&Modelled) -> bool) {
        for gone in self.registrations.extract_if(.., |registration| is_gone(registration)) {
            self.pollers[gone.key.0].0.retain(|token| *token != gone.token);
        }
    }

    fn wake(&mut self, socket: usize, wakeup: Wakeup) {
        for at in 0..self.registrations.len() {
            let Modelled { key: (poller, _, own), interest, wanted, token } = self.registrations[at];
            if own != socket || wanted & wakeup.bits() == 0 {
                continue;
            }
            let was_waiting = mem::take(&mut self.pollers[poller].1);
            self.list(poller, token);
            let is_taker = match wakeup {
                Wakeup::ARRIVAL => interest.contains(IN),
                Wakeup::ROOM => interest.contains(OUT),
                Wakeup::ERROR => true,
                _ => false,
            };
            if interest.contains(Interest::EXCLUSIVE) && is_taker && was_waiting {
                return;
            }
        }
    }

    fn wait(&mut self, poller: usize, max: usize, readiness: &[u8]) -> Vec<(u64, u8)> {
        let mut reported = Vec::new();
        let listed = mem::take(&mut self.pollers[poller].0);
        let mut at = 0;
        let mut stay = Vec::new();
        while at < listed.len() && reported.len() < max {
            let token = listed[at];
            at += 1;
            let registration = self.registrations.iter_mut().find(|registration| registration.token == token);
            let registration = registration.unwrap();
            let bits = readiness[registration.key.2] & registration.wanted;
            if bits == 0 {
                continue;
            }
            reported.push((token, bits));
            if registration.interest.contains(Interest::ONE_SHOT) {
                registration.wanted = 0;
            } else if !registration.interest.contains(EDGE) {
                stay.push(token);
            }
        }
        self.pollers[poller].0 = [&listed[at..], &stay].concat();
        self.pollers[poller].1 = reported.is_empty();
        reported
    }
}

proptest! {
    #[test]
    fn pollers_do_what_vectors_that_are_searched_do(steps in steps()) {
        let config = Config { max_registrations: 8, ..Config::default() };
        let mut account = Account::new(&config);
        let mut pollers = Pollers::new(&config);
        let mut slab: Slab<SocketId, ()> = Slab::new();
        let sockets: Vec<SocketId> = (0..SOCKETS).map(|_| slab.insert(())).collect();
        let mut ids: Vec<PollerId> =
            (0..POLLERS).map(|_| pollers.add(&mut account, OwnerId::FIRST).unwrap()).collect();
        let (mut model, mut readiness) = (Model::default(), [0u8; SOCKETS]);
        for (token, step) in (0u64..).zip(steps) {
            let target = |p: usize, number: u32, s: usize| RegistrationKey { poller: ids[p], number, socket: sockets[s] };
            match step {
                Step::Register(p, n, s, interest) => {
                    let ready = Readiness::from_bits(readiness[s]);
                    let done = pollers.register(&mut account, target(p, n, s), interest, token, ready);
                    let is_exclusive = interest.contains(Interest::EXCLUSIVE);
                    let expected = if is_exclusive && !interest.may_be_exclusive() {
                        Err(Error::InvalidArgument)
                    } else if model.find((p, n, s)).is_some() {
                        Err(Error::AlreadyExists)
                    } else if model.registrations.len() >= 8 {
                        Err(Error::TooManyRegistrations)
                    } else {
                        Ok(())
                    };
                    prop_assert_eq!(done, expected);
                    if done.is_ok() {
                        let wanted = interest.readiness_bits();
                        let new = Modelled { key: (p, n, s), interest, wanted, token };
                        let at = if is_exclusive { model.registrations.len() } else { 0 };
                        model.registrations.insert(at, new);
                        if readiness[s] & wanted != 0 {
                            model.list(p, token);
                        }
                    }
                }
                Step::Modify(p, n, s, interest) => {
                    let ready = Readiness::from_bits(readiness[s]);
                    let done = pollers.modify(target(p, n, s), interest, token, ready);
                    let is_exclusive = interest.contains(Interest::EXCLUSIVE);
                    let Some(found) = model.find((p, n, s)) else {
                        let error = if is_exclusive { Error::InvalidArgument } else { Error::NotFound };
                        prop_assert_eq!(done, Err(error));
                        continue;
                    };
                    if is_exclusive || found.interest.contains(Interest::EXCLUSIVE) {
                        prop_assert_eq!(done, Err(Error::InvalidArgument));
                        continue;
                    }
                    prop_assert_eq!(done, Ok(()));
                    let old = mem::replace(&mut found.token, token);
                    (found.interest, found.wanted) = (interest, interest.readiness_bits());
                    let is_ready = readiness[s] & found.wanted != 0;
                    for listed in model.pollers[p].0.iter_mut().filter(|listed| **listed == old) {
                        *listed = token;
                    }
                    if is_ready {
                        model.list(p, token);
                    }
                }
                Step::Deregister(p, n, s) => {
                    let expected = model.find((p, n, s)).map(|_| ()).ok_or(Error::NotFound);
                    prop_assert_eq!(pollers.deregister(&mut account, target(p, n, s)), expected);
                    model.remove(|registration| registration.key == (p, n, s));
                }
                Step::Wake(s, bits, wakeup) => {
                    // What rose without a wake-up of its own is noted, as `note_readiness` does.
                    let risen = Wakeup::of_risen(bits & !readiness[s]) | wakeup;
                    readiness[s] = bits;
                    let wakeup = if risen == wakeup { wakeup } else { Wakeup::STATE };
                    pollers.wake(sockets[s], wakeup);
                    model.wake(s, wakeup);
                }
                Step::Wait(p, max) => {
                    let mut reported = Vec::new();
                    let index = |id: SocketId| sockets.iter().position(|other| *other == id).unwrap();
                    let now = |id| Readiness::from_bits(readiness[index(id)]);
                    let done = pollers.wait(ids[p], &mut reported, max, now);
                    if max == 0 {
                        prop_assert_eq!(done, Err(Error::InvalidArgument));
                        continue;
                    }
                    prop_assert_eq!(done, Ok(reported.len()));
                    let reported: Vec<_> =
                        reported.iter().map(|ready| (ready.token, ready.readiness.bits())).collect();
                    prop_assert_eq!(reported, model.wait(p, max, &readiness));
                }
                Step::Forget(s) => {
                    pollers.forget(&mut account, sockets[s]);
                    model.remove(|registration| registration.key.2 == s);
                }
                Step::Renew(p) => {
                    pollers.remove(&mut account, OwnerId::FIRST, ids[p]).unwrap();
                    prop_assert_eq!(pollers.check(OwnerId::FIRST, ids[p]), Err(Error::BadDescriptor));
                    ids[p] = pollers.add(&mut account, OwnerId::FIRST).unwrap();
                    model.remove(|registration| registration.key.0 == p);
                    model.pollers[p] = Default::default();
                }
            }
            prop_assert_eq!(pollers.registrations.len(), model.registrations.len());
            prop_assert_eq!(pollers.by_key.len(), model.registrations.len());
        }
        pollers.remove_owner(OwnerId::FIRST);
        while pollers.has_removed() {
            prop_assert!(pollers.close_removed(&mut account, 3) <= 3);
        }
        prop_assert_eq!((account.bytes(), pollers.registrations.len(), pollers.pollers.len()), (0, 0, 0));
        prop_assert!(pollers.by_owner.is_empty());
    }
}

fn stack() -> Stack {
    Stack::new(Config::default(), [5; 32], NOW)
}

/// A datagram socket on a port of the loopback.
fn bound(stack: &mut Stack, port: u16) -> crate::Descriptor {
    let socket = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(socket, ([127, 0, 0, 1], port)).unwrap();
    socket
}

fn send(stack: &mut Stack, from: crate::Descriptor, port: u16) {
    stack.send_to(NOW, from, b"x", ([127, 0, 0, 1], port)).unwrap();
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
}

fn wait(stack: &mut Stack, poller: PollerId, max: usize) -> Vec<u64> {
    let mut ready = Vec::new();
    let count = stack.poller_wait(poller, &mut ready, max).unwrap();
    assert_eq!(count, ready.len());
    ready.iter().map(|ready| ready.token).collect()
}

#[test]
fn an_edge_is_an_arrival_and_a_level_lasts() {
    let mut stack = stack();
    let (receiver, sender) = (bound(&mut stack, 7), bound(&mut stack, 8));
    let [edge, level] = [(); 2].map(|()| stack.add_poller().unwrap());
    stack.poller_add(edge, receiver, IN | EDGE, 1).unwrap();
    stack.poller_add(level, receiver, IN, 2).unwrap();
    for _ in 0..2 {
        send(&mut stack, sender, 7);
        assert_eq!(wait(&mut stack, edge, 9), [1], "data was there before, but this is new");
        assert_eq!(wait(&mut stack, edge, 9), []);
        assert_eq!((wait(&mut stack, level, 9), wait(&mut stack, level, 9)), (vec![2], vec![2]));
    }
    stack.recv(NOW, receiver, &mut [0]).unwrap();
    stack.recv(NOW, receiver, &mut [0]).unwrap();
    assert_eq!(wait(&mut stack, level, 9), []);
}

#[test]
fn those_that_are_ready_take_turns() {
    let mut stack = stack();
    let poller = stack.add_poller().unwrap();
    for token in 0..5 {
        let socket = bound(&mut stack, 10 + token as u16);
        stack.poller_add(poller, socket, OUT, token).unwrap();
    }
    let turns = [(); 4].map(|()| wait(&mut stack, poller, 2));
    assert_eq!(turns, [[0, 1], [2, 3], [4, 0], [1, 2]]);
}

#[test]
fn a_registration_lives_as_long_as_the_socket_and_not_as_the_descriptor() {
    let mut stack = stack();
    let poller = stack.add_poller().unwrap();
    let first = bound(&mut stack, 7);
    let second = stack.duplicate(first).unwrap();
    stack.poller_add(poller, first, OUT, 1).unwrap();
    stack.poller_add(poller, second, OUT, 2).unwrap();
    stack.close(NOW, first).unwrap();
    assert_eq!(wait(&mut stack, poller, 9), [1, 2]);
    assert_eq!(stack.poller_delete(poller, first), Err(Error::BadDescriptor));
    // The number leads to another socket, and then to the same again.
    let other = bound(&mut stack, 8);
    assert_eq!(other.number(), first.number());
    assert_eq!(stack.poller_delete(poller, other), Err(Error::NotFound));
    stack.close(NOW, other).unwrap();
    let again = stack.duplicate(second).unwrap();
    assert_eq!(stack.poller_add(poller, again, OUT, 3), Err(Error::AlreadyExists));
    stack.close(NOW, again).unwrap();
    stack.close(NOW, second).unwrap();
    assert_eq!(wait(&mut stack, poller, 9), []);
}

#[test]
fn an_arrival_wakes_one_exclusive_poller_that_waits() {
    let mut stack = stack();
    let (receiver, sender) = (bound(&mut stack, 7), bound(&mut stack, 8));
    let pollers = [(); 3].map(|()| stack.add_poller().unwrap());
    for poller in pollers {
        stack.poller_add(poller, receiver, IN | Interest::EXCLUSIVE, 1).unwrap();
        assert_eq!(wait(&mut stack, poller, 9), []);
    }
    send(&mut stack, sender, 7);
    assert_eq!(
        pollers.map(|poller| stack.sockets.common.pollers.pollers.get(poller).unwrap().ready_len),
        [1, 0, 0]
    );
    send(&mut stack, sender, 7);
    assert_eq!(
        pollers.map(|poller| stack.sockets.common.pollers.pollers.get(poller).unwrap().ready_len),
        [1, 1, 0]
    );
}

#[test]
fn a_poller_is_its_owners_and_goes_with_it() {
    let mut stack = stack();
    let owner = stack.add_owner();
    let socket = bound(&mut stack, 7);
    let with_socket = stack.memory_bytes();
    let passed = stack.duplicate_to(socket, owner).unwrap();
    let poller = stack.owner(owner).unwrap().add_poller().unwrap();
    stack.owner(owner).unwrap().poller_add(poller, passed, OUT, 1).unwrap();
    assert_eq!(stack.poller_add(poller, socket, OUT, 1), Err(Error::BadDescriptor));
    assert_eq!(stack.poller_wait(poller, &mut Vec::new(), 1), Err(Error::BadDescriptor));
    assert_eq!(stack.remove_poller(poller), Err(Error::BadDescriptor));
    assert!(stack.memory_bytes() > with_socket);
    stack.remove_owner(NOW, owner).unwrap();
    assert_eq!(stack.memory_bytes(), with_socket);
}

#[test]
fn a_poller_has_news_once_for_what_became_ready() {
    let mut stack = stack();
    let [sender, socket] = [8, 7].map(|port| bound(&mut stack, port));
    let poller = stack.add_poller().unwrap();
    stack.poller_add(poller, socket, IN, 1).unwrap();
    assert_eq!(stack.poll_ready_poller(), None);
    for _ in 0..2 {
        send(&mut stack, sender, 7);
        send(&mut stack, sender, 7);
        assert_eq!(stack.may_poller_report(poller), Ok(true));
        assert_eq!([(); 2].map(|()| stack.poll_ready_poller()), [Some(poller), None]);
        // What stays ready is reported again, but is no news.
        assert_eq!(stack.poller_wait(poller, &mut Vec::new(), 1), Ok(1));
        assert_eq!(stack.poll_ready_poller(), None);
    }
    // What is ready when it is registered, or when its registration is changed, is news.
    stack.poller_modify(poller, socket, IN, 1).unwrap();
    assert_eq!([(); 2].map(|()| stack.poll_ready_poller()), [Some(poller), None]);
    stack.poller_add(poller, sender, OUT, 2).unwrap();
    stack.remove_poller(poller).unwrap();
    assert_eq!(stack.poll_ready_poller(), None);
    assert_eq!(stack.may_poller_report(poller), Err(Error::BadDescriptor));
    assert_eq!(stack.set_poller_waiting(poller, true), Err(Error::BadDescriptor));
}

/// A program that gives up takes no arrival away from others.
#[test]
fn an_exclusive_arrival_goes_to_a_poller_that_waits() {
    let mut stack = stack();
    let [sender, socket] = [8, 7].map(|port| bound(&mut stack, port));
    let pollers = [(); 2].map(|()| {
        let poller = stack.add_poller().unwrap();
        stack.poller_add(poller, socket, IN | Interest::EXCLUSIVE, 1).unwrap();
        assert_eq!(stack.poller_wait(poller, &mut Vec::new(), 1), Ok(0));
        poller
    });
    stack.set_poller_waiting(pollers[0], false).unwrap();
    send(&mut stack, sender, 7);
    assert_eq!(stack.may_poller_report(pollers[1]), Ok(true));
}

#[test]
fn bits_are_those_of_linux() {
    for bit in [0x1, 0x2, 0x4, 0x8, 0x10, 0x2000] {
        assert_eq!(Ready::from_bits(7, bit | 1 << 31).bits(), bit);
    }
}

/// A poller whose owner was removed takes no arrival away from others.
#[test]
fn an_exclusive_arrival_is_not_for_an_owner_that_is_gone() {
    let mut account = Account::new(&Config::default());
    let mut pollers = Pollers::new(&Config::default());
    let (mut owners, mut sockets) = (Slab::<OwnerId, ()>::new(), Slab::<SocketId, ()>::new());
    let (owners, socket) = ([(); 2].map(|()| owners.insert(())), sockets.insert(()));
    let ids = owners.map(|owner| {
        let poller = pollers.add(&mut account, owner).unwrap();
        let target = RegistrationKey { poller, number: 0, socket };
        pollers.register(&mut account, target, IN | Interest::EXCLUSIVE, 1, Readiness::default()).unwrap();
        assert_eq!(pollers.wait(poller, &mut Vec::new(), 1, |_| Readiness::default()), Ok(0));
        poller
    });
    pollers.remove_owner(owners[0]);
    pollers.wake(socket, Wakeup::ARRIVAL);
    assert!(pollers.may_have_ready(ids[1]));
}
