//! Tests of descriptors and owners, as programs see them.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::{Pair, PairConfig, Side};
use crate::{Config, UnixAddr};

const NOW: Instant = Instant::ZERO;

fn stack() -> Stack {
    Stack::new(Config::default(), [5; 32], NOW)
}

/// The results of all calls on a descriptor. A macro, because a stack and a view for another owner
/// have different types.
macro_rules! results {
    ($caller:expr, $d:expr) => {{
        let (caller, d) = ($caller, $d);
        let (addr, mut buf, data) = (SocketAddr::from(([127, 0, 0, 1], 9)), [0; 4], Bytes::from_static(b"x"));
        let flags = SendFlags::default();
        [
            ("bind", caller.bind(d, addr).err()),
            ("listen", caller.listen(d, 1).err()),
            ("accept", caller.accept(d).err()),
            ("connect", caller.connect(NOW, d, addr).err()),
            ("connect_with_data", caller.connect_with_data(NOW, d, addr, b"x").err()),
            ("send", caller.send(NOW, d, b"x").err()),
            ("send_with", caller.send_with(NOW, d, b"x", flags).err()),
            ("send_bytes", caller.send_bytes(NOW, d, data.clone()).err()),
            ("send_bytes_with", caller.send_bytes_with(NOW, d, data.clone(), flags).err()),
            ("send_message", caller.send_message(NOW, d, &[b"x"], &SendMeta::connected(), flags).err()),
            ("send_to", caller.send_to(NOW, d, b"x", addr).err()),
            ("send_msg", caller.send_msg(NOW, d, data.clone(), &SendMeta::connected()).err()),
            ("recv", caller.recv(NOW, d, &mut buf).err()),
            ("recv_with", caller.recv_with(NOW, d, &mut buf, RecvFlags::NONE).err()),
            ("recv_message", caller.recv_message(NOW, d, &mut [], RecvFlags::NONE).err()),
            ("recv_error", caller.recv_error(d).err()),
            ("disconnect", caller.disconnect(NOW, d).err()),
            ("unread_bytes", caller.unread_bytes(d).err()),
            ("unacknowledged_bytes", caller.unacknowledged_bytes(d).err()),
            ("unsent_bytes", caller.unsent_bytes(d).err()),
            ("path_mtu", caller.path_mtu(NOW, d).err()),
            ("recv_bytes", caller.recv_bytes(NOW, d, 4).err()),
            ("recv_from", caller.recv_from(NOW, d, &mut buf).err()),
            ("recv_batch", caller.recv_batch(NOW, d, &mut Vec::new(), 2).err()),
            ("recv_msg", caller.recv_msg(NOW, d).err()),
            ("end_of_datagrams", caller.end_of_datagrams(NOW, d).err()),
            ("peek", caller.peek(d, &mut buf).err()),
            ("peek_from", caller.peek_from(d, &mut buf).err()),
            ("may_read_on", caller.may_read_on(d).err()),
            ("at_mark", caller.at_mark(d).err()),
            ("is_below_low_water", caller.is_below_low_water(d, 1).err()),
            ("shutdown", caller.shutdown(NOW, d, Shutdown::Both).err()),
            ("duplicate", caller.duplicate(d).err()),
            ("duplicate_to", caller.duplicate_to(d, OwnerId::FIRST).err()),
            ("socket_id", caller.socket_id(d).err()),
            ("local_addr", caller.local_addr(d).err()),
            ("peer_addr", caller.peer_addr(d).err()),
            ("local_name", caller.local_name(d).err()),
            ("peer_name", caller.peer_name(d).err()),
            ("set_option", caller.set_option(NOW, d, SocketOption::ReuseAddr(true)).err()),
            ("setsockopt", caller.setsockopt(NOW, d, 1, 2, &[0; 4]).err()),
            ("getsockopt", caller.getsockopt(NOW, d, 1, 2, &mut [0; 4]).err()),
            ("options", caller.options(d).err()),
            ("info", caller.info(NOW, d).err()),
            ("take_saved_syn", caller.take_saved_syn(d).err()),
            ("take_error", caller.take_error(d).err()),
            ("queued_bytes", caller.queued_bytes(d).err()),
            ("close_reason", caller.close_reason(d).err()),
            ("readiness", caller.readiness(d).err()),
            ("domain", caller.domain(d).err()),
            ("kind", caller.kind(d).err()),
            ("is_listening", caller.is_listening(d).err()),
            ("close", caller.close(NOW, d).err()),
        ]
    }};
}

/// The names of all public functions of `calls.rs` that take a descriptor.
fn names_of_calls() -> BTreeSet<&'static str> {
    let functions = include_str!("../calls.rs").split("\n    pub fn ").skip(1);
    let takes_descriptor =
        |text: &&str| text.split('{').next().is_some_and(|head| head.contains(" d: Descriptor"));
    functions.filter(takes_descriptor).filter_map(|text| text.split('(').next()).collect()
}

#[test]
fn every_call_refuses_a_descriptor_of_another_owner_and_one_that_is_closed() {
    for kind in [SocketKind::Stream, SocketKind::Datagram, SocketKind::Echo] {
        let mut stack = stack();
        let other = stack.add_owner();
        let own = stack.socket(Domain::V4, kind).unwrap();
        let foreign = stack.owner(other).unwrap().socket(Domain::V4, kind).unwrap();
        assert_eq!(own.number(), foreign.number());
        let refused = results!(&mut stack, foreign);
        assert!(refused.iter().all(|&(_, error)| error == Some(Error::BadDescriptor)), "{refused:?}");
        let refused = results!(&mut stack.owner(other).unwrap(), own);
        assert!(refused.iter().all(|&(_, error)| error == Some(Error::BadDescriptor)), "{refused:?}");
        // Both descriptors are still open.
        assert!(stack.readiness(own).is_ok());
        assert!(stack.owner(other).unwrap().readiness(foreign).is_ok());
        stack.close(NOW, own).unwrap();
        let again = stack.socket(Domain::V4, kind).unwrap();
        assert_eq!(again.number(), own.number());
        let refused = results!(&mut stack, own);
        assert!(refused.iter().all(|&(_, error)| error == Some(Error::BadDescriptor)), "{refused:?}");
        let tested: BTreeSet<&str> = refused.iter().map(|&(name, _)| name).collect();
        assert_eq!(tested, names_of_calls(), "a call is not tested");
        let answers = results!(&mut stack, again);
        assert!(answers.iter().all(|&(_, error)| error != Some(Error::BadDescriptor)), "{answers:?}");
    }
}

#[test]
fn duplicates_share_a_socket_that_goes_with_the_last_of_them() {
    let mut pair = Pair::new(PairConfig::seeded(3));
    let listener = pair.listener(Domain::V4, 80);
    let (client, server) = pair.connect_to(Domain::V4, listener, 80);
    let now = pair.now();
    let stack = &mut pair.a.stack;
    let other = stack.add_owner();
    let id = stack.socket_id(client).unwrap();
    let copy = stack.duplicate(client).unwrap();
    let passed = stack.duplicate_to(client, other).unwrap();
    assert_eq!((passed.number(), passed.owner(), copy.owner()), (0, other, OwnerId::FIRST));
    let gone = owner_that_is_gone(stack);
    assert_eq!(stack.duplicate_to(client, gone), Err(Error::InvalidArgument));
    stack.close(now, client).unwrap();
    assert_eq!(stack.socket_id(copy), Ok(id));
    pair.take_events(Side::A);
    let now = pair.now();
    pair.b.stack.send(now, server, b"to all").unwrap();
    assert!(
        pair.drive(core::time::Duration::from_secs(1), |pair| pair.a.stack.readiness(copy).unwrap().readable)
    );
    assert!(pair.take_events(Side::A).iter().any(|event| event.socket == id && event.readiness.readable));
    let now = pair.now();
    pair.a.stack.close(now, copy).unwrap();
    let mut buf = [0; 10];
    assert_eq!(pair.a.stack.owner(other).unwrap().recv(now, passed, &mut buf), Ok(6));
    // Nobody has closed the connection; the removal of the last owner does.
    pair.run_for(core::time::Duration::from_secs(1));
    assert!(!pair.b.stack.readiness(server).unwrap().peer_closed);
    let now = pair.now();
    pair.a.stack.remove_owner(now, other).unwrap();
    assert!(pair.a.stack.owner(other).is_none());
    assert!(pair.drive(core::time::Duration::from_secs(1), |pair| {
        pair.b.stack.readiness(server).unwrap().peer_closed
    }));
}

/// An owner that was removed.
fn owner_that_is_gone(stack: &mut Stack) -> OwnerId {
    let gone = stack.add_owner();
    stack.remove_owner(NOW, gone).unwrap();
    gone
}

#[test]
fn the_first_owner_stays_and_no_owner_comes_twice() {
    let mut stack = stack();
    assert_eq!(stack.remove_owner(NOW, OwnerId::FIRST), Err(Error::InvalidArgument));
    let gone = owner_that_is_gone(&mut stack);
    assert_eq!(stack.remove_owner(NOW, gone), Err(Error::InvalidArgument));
    let next = stack.add_owner();
    assert!(next != gone && next != OwnerId::FIRST);
    assert!(stack.owner(gone).is_none() && stack.owner(next).is_some());
}

#[test]
fn each_owner_has_as_many_descriptors_as_the_configuration_says() {
    let config = Config { max_descriptors: 2, ..Config::default() };
    let mut stack = Stack::new(config, [5; 32], NOW);
    let other = stack.add_owner();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(stack.duplicate(d).map(Descriptor::number), Ok(1));
    assert_eq!(stack.duplicate(d), Err(Error::TooManyDescriptors));
    assert_eq!(stack.duplicate_to(d, other).map(Descriptor::number), Ok(0));
    assert_eq!(stack.duplicate_to(d, other).map(Descriptor::number), Ok(1));
    assert_eq!(stack.duplicate_to(d, other), Err(Error::TooManyDescriptors));
}

#[derive(Clone, Debug)]
enum Step {
    AddOwner,
    RemoveOwner(usize),
    Socket(usize, SocketKind),
    Duplicate(usize),
    DuplicateTo(usize, usize),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(SocketKind::Stream), Just(SocketKind::Datagram), Just(SocketKind::Echo)];
    prop_oneof![
        1 => Just(Step::AddOwner),
        1 => any::<usize>().prop_map(Step::RemoveOwner),
        4 => (any::<usize>(), kind).prop_map(|(owner, kind)| Step::Socket(owner, kind)),
        3 => any::<usize>().prop_map(Step::Duplicate),
        3 => any::<(usize, usize)>().prop_map(|(d, owner)| Step::DuplicateTo(d, owner)),
        4 => any::<usize>().prop_map(Step::Close),
    ]
}

/// The expected state: the descriptors of each owner, and their sockets.
struct Model {
    stack: Stack,
    tables: BTreeMap<OwnerId, BTreeMap<u32, (Descriptor, SocketId)>>,
    closed: Vec<Descriptor>,
    seen: BTreeSet<SocketId>,
}

impl Model {
    fn new() -> Model {
        let tables = BTreeMap::from([(OwnerId::FIRST, BTreeMap::new())]);
        Model { stack: stack(), tables, closed: Vec::new(), seen: BTreeSet::new() }
    }

    fn owner(&self, nth: usize) -> OwnerId {
        *self.tables.keys().nth(nth % self.tables.len()).unwrap()
    }

    fn open(&self) -> Vec<(Descriptor, SocketId)> {
        self.tables.values().flat_map(|table| table.values().copied()).collect()
    }

    fn nth(&self, nth: usize) -> Option<(Descriptor, SocketId)> {
        let open = self.open();
        open.get(nth % open.len().max(1)).copied()
    }

    fn view(&mut self, owner: OwnerId) -> Owner<'_> {
        self.stack.owner(owner).unwrap()
    }

    /// Records that the stack has opened this descriptor.
    fn enter(&mut self, owner: OwnerId, d: Descriptor, id: SocketId) {
        let table = self.tables.get_mut(&owner).unwrap();
        let lowest = (0..).find(|number| !table.contains_key(number)).unwrap();
        assert_eq!((d.owner(), d.number()), (owner, lowest));
        table.insert(lowest, (d, id));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::AddOwner => {
                let owner = self.stack.add_owner();
                assert!(self.tables.insert(owner, BTreeMap::new()).is_none());
            }
            Step::RemoveOwner(nth) => {
                let owner = self.owner(nth);
                if owner != OwnerId::FIRST {
                    self.stack.remove_owner(NOW, owner).unwrap();
                    self.closed.extend(self.tables.remove(&owner).unwrap().values().map(|(d, _)| *d));
                }
            }
            Step::Socket(nth, kind) => {
                let owner = self.owner(nth);
                let d = self.view(owner).socket(Domain::V6, kind).unwrap();
                let id = self.view(owner).socket_id(d).unwrap();
                assert!(self.seen.insert(id), "{id:?} comes again");
                self.enter(owner, d, id);
            }
            Step::Duplicate(nth) => {
                let Some((d, id)) = self.nth(nth) else { return };
                let copy = self.view(d.owner()).duplicate(d).unwrap();
                self.enter(d.owner(), copy, id);
            }
            Step::DuplicateTo(nth, to) => {
                let Some((d, id)) = self.nth(nth) else { return };
                let to = self.owner(to);
                let copy = self.view(d.owner()).duplicate_to(d, to).unwrap();
                self.enter(to, copy, id);
            }
            Step::Close(nth) => {
                let Some((d, _)) = self.nth(nth) else { return };
                self.view(d.owner()).close(NOW, d).unwrap();
                self.tables.get_mut(&d.owner()).unwrap().remove(&d.number());
                self.closed.push(d);
            }
        }
        self.check();
    }

    fn check(&mut self) {
        while self.stack.poll_transmit(NOW).is_some() {}
        let open = self.open();
        for &(d, id) in &open {
            assert_eq!(self.view(d.owner()).socket_id(d), Ok(id));
        }
        for d in self.closed.clone() {
            let found = self.stack.owner(d.owner()).map(|owner| owner.readiness(d));
            assert!(found.is_none_or(|result| result == Err(Error::BadDescriptor)), "{d:?} is closed");
        }
        let held: BTreeSet<SocketId> = open.iter().map(|&(_, id)| id).collect();
        let infos: Vec<_> = self.stack.sockets().collect();
        assert_eq!(infos.iter().filter_map(|info| info.id).collect::<BTreeSet<_>>(), held);
        for info in infos {
            let leads_here =
                |(d, id): &(Descriptor, SocketId)| Some(*id) == info.id && Some(*d) == info.descriptor;
            assert!(open.iter().any(leads_here), "{info:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn descriptors_lead_where_a_model_says(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
        }
        // When everything is closed, nothing is left.
        for (d, _) in model.open() {
            model.view(d.owner()).close(NOW, d).unwrap();
        }
        while model.stack.poll_transmit(NOW).is_some() {}
        prop_assert!(model.stack.sockets().next().is_none());
        prop_assert_eq!(model.stack.sockets.common.memory_bytes(), 0);
    }
}

/// Names are those of the addresses, and an address of a family that is not the socket's is
/// refused.
#[test]
fn calls_take_and_return_addresses_of_any_family() {
    let mut stack = stack();
    let path = UnixAddr::path("/run/server").unwrap();
    for kind in [SocketKind::Stream, SocketKind::Datagram, SocketKind::Echo] {
        let d = stack.socket(Domain::V4, kind).unwrap();
        let refused = Err(Error::AddressFamilyNotSupported);
        assert_eq!(stack.bind(d, path.clone()), refused, "{kind:?}");
        assert_eq!(stack.connect(NOW, d, path.clone()), refused, "{kind:?}");
        assert_eq!(stack.send_to(NOW, d, b"x", path.clone()).map(|_| ()), refused, "{kind:?}");
        assert_eq!(stack.peer_name(d), Err(Error::NotConnected), "{kind:?}");
        stack.bind(d, ([127, 0, 0, 1], 7)).unwrap();
        assert_eq!(stack.local_name(d), Ok(([127, 0, 0, 1], 7).into()), "{kind:?}");
        assert_eq!(stack.local_name(d).ok().and_then(|name| name.ip()), stack.local_addr(d).ok());
    }
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.connect(NOW, d, ([127, 0, 0, 1], 9)).unwrap();
    assert_eq!(stack.peer_name(d).unwrap(), stack.peer_addr(d).unwrap());
}
