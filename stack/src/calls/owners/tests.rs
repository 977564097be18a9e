//! Tests of owners: credentials, forks, limits, and the end of an owner with many descriptors.

use std::vec::Vec;

use super::*;
use crate::config::Config;
use crate::error::Error;
use crate::event::DeadlineKind;
use crate::socket::{Domain, Interest, SocketKind, SocketOption};
use crate::testing::{Pair, PairConfig, Side};

#[test]
fn credentials_are_those_of_the_owner_and_a_socket_keeps_its_user() {
    let mut stack = Stack::new(Config::default(), [1; 32], Instant::ZERO);
    let first = Credentials { pid: 7, uid: 1000, gid: 100 };
    let owner = stack.add_owner_with(first);
    assert_eq!(stack.credentials(owner), Ok(first));
    assert_eq!(stack.credentials(OwnerId::FIRST), Ok(Credentials::default()));
    let d = stack.owner(owner).unwrap().socket(Domain::V4, SocketKind::Datagram).unwrap();

    let second = Credentials { uid: 1001, ..first };
    stack.set_credentials(owner, second).unwrap();
    assert_eq!(stack.credentials(owner), Ok(second));
    let user = |stack: &Stack| stack.sockets.common.socket(owner, d).unwrap().1.uid;
    assert_eq!(user(&stack), 1000);

    stack.remove_owner(Instant::ZERO, owner).unwrap();
    assert_eq!(stack.credentials(owner), Err(Error::InvalidArgument));
    assert_eq!(stack.set_credentials(owner, first), Err(Error::InvalidArgument));
}

#[test]
fn a_connection_is_of_the_user_who_accepts_it() {
    let mut pair = Pair::new(PairConfig::seeded(1));
    let listener = pair.listener(Domain::V4, 80);
    let of_other = Credentials { uid: 7, ..Credentials::default() };
    pair.b.stack.set_credentials(OwnerId::FIRST, of_other).unwrap();
    let (_, server) = pair.connect_to(Domain::V4, listener, 80);
    let user = |d| pair.b.stack.sockets.common.socket(OwnerId::FIRST, d).unwrap().1.uid;
    assert_eq!((user(listener), user(server)), (0, 7));
}

const NOW: Instant = Instant::ZERO;

fn limited(max_descriptors: usize, max_descriptors_in_all: usize) -> Stack {
    Stack::new(Config { max_descriptors, max_descriptors_in_all, ..Config::default() }, [5; 32], NOW)
}

#[test]
fn a_fork_has_the_same_numbers_for_the_same_sockets() {
    let mut stack = limited(100, 100);
    let credentials = Credentials { pid: 7, uid: 1000, gid: 100 };
    let parent = stack.add_owner_with(credentials);
    let mut calls = stack.owner(parent).unwrap();
    let all: Vec<_> = (0..4).map(|_| calls.socket(Domain::V4, SocketKind::Datagram).unwrap()).collect();
    calls.close(NOW, all[1]).unwrap();
    let ids: Vec<_> = [0, 2, 3].map(|at| calls.socket_id(all[at]).unwrap()).into();
    let child = stack.fork_owner(parent).unwrap();
    assert_eq!(stack.credentials(child), Ok(credentials));
    assert_eq!(stack.owner(child).unwrap().local_addr(all[0]), Err(Error::BadDescriptor));

    // Each has a table of its own from now on.
    stack.remove_owner(NOW, parent).unwrap();
    let mut calls = stack.owner(child).unwrap();
    let copies: Vec<_> = [0, 2, 3].map(|number| calls.descriptor(number).unwrap()).into();
    assert!(copies.iter().all(|copy| copy.owner() == child));
    assert_eq!(copies.iter().map(|copy| calls.socket_id(*copy).unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!([1, 4].map(|number| calls.descriptor(number)), [Err(Error::BadDescriptor); 2]);
    assert_eq!(calls.socket(Domain::V4, SocketKind::Datagram).unwrap().number(), 1);
    copies.iter().for_each(|copy| calls.close(NOW, *copy).unwrap());
    assert!(stack.poll_transmit(NOW).is_none());
    assert!(ids.iter().all(|id| stack.socket_readiness(*id).is_none()), "the last descriptor is closed");
    assert_eq!(stack.fork_owner(parent), Err(Error::InvalidArgument));
}

#[test]
fn all_owners_together_have_as_many_descriptors_as_the_configuration_says() {
    let mut stack = limited(3, 5);
    let other = stack.add_owner();
    let open = |stack: &mut Stack, owner| {
        let opened = stack.owner(owner).unwrap().socket(Domain::V4, SocketKind::Datagram);
        opened.map(|d| (d, d.number()))
    };
    let (first, _) = open(&mut stack, OwnerId::FIRST).unwrap();
    for number in 0..3 {
        assert_eq!(open(&mut stack, other).unwrap().1, number);
    }
    assert_eq!(open(&mut stack, other), Err(Error::TooManyDescriptors));
    assert_eq!(stack.fork_owner(other), Err(Error::TooManyDescriptorsInAll));
    let fork = stack.fork_owner(OwnerId::FIRST).unwrap();
    for owner in [fork, OwnerId::FIRST] {
        assert_eq!(open(&mut stack, owner), Err(Error::TooManyDescriptorsInAll));
    }
    assert_eq!(stack.duplicate(first), Err(Error::TooManyDescriptorsInAll));
    assert_eq!(stack.duplicate_to(first, other), Err(Error::TooManyDescriptors));
    stack.close(NOW, first).unwrap();
    let (again, _) = open(&mut stack, OwnerId::FIRST).unwrap();
    assert_eq!(stack.duplicate(again), Err(Error::TooManyDescriptorsInAll));
    stack.remove_owner(NOW, other).unwrap();
    assert!(stack.duplicate(again).is_ok());
}

/// Each call closes a part, and says that there is more to do.
#[test]
fn an_owner_with_many_descriptors_is_closed_in_parts() {
    const SOCKETS: usize = 100_000;
    let mut stack = Stack::new(Config::default(), [5; 32], NOW);
    let before = stack.memory_bytes();
    let owner = stack.add_owner();
    let mut calls = stack.owner(owner).unwrap();
    let poller = calls.add_poller().unwrap();
    for number in 0..SOCKETS {
        let d = calls.socket(Domain::V4, SocketKind::Datagram).unwrap();
        // Closed ones are work, too.
        if number % 4 == 0 {
            calls.close(NOW, d).unwrap();
            calls.socket(Domain::V4, SocketKind::Datagram).unwrap();
        }
        calls.poller_add(poller, d, Interest::READABLE, 0).err();
    }
    let idle = stack.next_timeout_at();
    assert!(stack.poll_transmit(NOW).is_none());
    assert_eq!(stack.sockets().count(), SOCKETS);
    stack.remove_owner(NOW, owner).unwrap();
    assert!(stack.owner(owner).is_none());
    let mut calls = 1;
    while stack.sockets.has_removed() {
        let due = stack.poll_timeout().unwrap();
        assert_eq!((due.at, due.kind), (NOW, DeadlineKind::Closing));
        stack.handle_timeout(NOW);
        assert!(stack.poll_transmit(NOW).is_none());
        calls += 1;
        if calls % 100 == 0 {
            let closed = SOCKETS - stack.sockets().count();
            let steps = (calls * 256_usize).saturating_sub(SOCKETS * 3 / 4 + 1);
            assert_eq!(closed, steps, "after {calls} calls");
        }
    }
    assert!(stack.sockets().next().is_none());
    // The registrations, the poller and the descriptors.
    assert_eq!(calls, (SOCKETS * 3 / 4 + 1 + SOCKETS) / 256 + 1);
    assert_eq!((stack.memory_bytes(), stack.next_timeout_at()), (before, idle));
}

/// Two owners share a port, and each gets its part of the connections and of the datagrams.
#[test]
fn two_owners_share_a_port_by_hash() {
    let mut pair = Pair::new(PairConfig::seeded(7));
    let of_other = Credentials { uid: 1001, ..Credentials::default() };
    let stack = &mut pair.b.stack;
    let owners = [OwnerId::FIRST, stack.add_owner(), stack.add_owner_with(of_other)];
    let addr = core::net::SocketAddr::from((core::net::Ipv4Addr::UNSPECIFIED, 80));
    let kinds = [SocketKind::Stream, SocketKind::Datagram];
    let sockets = owners.map(|owner| {
        kinds.map(|kind| {
            let mut calls = stack.owner(owner).unwrap();
            let d = calls.socket(Domain::V4, kind).unwrap();
            calls.set_option(NOW, d, SocketOption::ReusePort(true)).unwrap();
            (d, calls.bind(d, addr))
        })
    });
    assert_eq!(
        sockets.map(|of| of.map(|(_, bound)| bound)),
        [[Ok(()); 2], [Ok(()); 2], [Err(Error::AddressInUse); 2]]
    );
    for (owner, [(listener, _), _]) in owners.into_iter().zip(sockets).take(2) {
        stack.owner(owner).unwrap().listen(listener, 100).unwrap();
    }
    let server = pair.b.addr(Domain::V4);
    for _ in 0..100 {
        let now = pair.now();
        let client = &mut pair.a.stack;
        let stream = client.socket(Domain::V4, SocketKind::Stream).unwrap();
        assert_eq!(client.connect(now, stream, (server, 80)), Err(Error::InProgress));
        let datagram = client.socket(Domain::V4, SocketKind::Datagram).unwrap();
        client.send_to(now, datagram, b"x", (server, 80)).unwrap();
        pair.run_for(core::time::Duration::from_millis(10));
    }
    let now = pair.now();
    let counts = [0, 1].map(|at| {
        let [(listener, _), (socket, _)] = sockets[at];
        let mut calls = pair.host(Side::B).stack.owner(owners[at]).unwrap();
        let connections = core::iter::from_fn(|| calls.accept(listener).ok()).count();
        let datagrams = core::iter::from_fn(|| calls.recv(now, socket, &mut [0]).ok()).count();
        [connections, datagrams]
    });
    for kind in 0..2 {
        assert_eq!(counts[0][kind] + counts[1][kind], 100);
        assert!(counts.iter().all(|count| count[kind] >= 30), "{counts:?}");
    }
}
