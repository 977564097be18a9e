//! Unix-domain sockets as programs see them.

use std::vec::Vec;
use std::{format, vec};

use crate::bpf::{Filter, Instruction};
use crate::{
    Config, Credentials, Descriptor, Domain, Error, Instant, Interest, OwnerId, PollerId, ReceivedFlags,
    RecvFlags, SendFlags, SendMeta, SockAddr, SocketId, SocketKind, SocketOption, Stack, UnixAddr, UnixSend,
};

const NOW: Instant = Instant::ZERO;

fn stack() -> Stack {
    Stack::new(Config::default(), [7; 32], NOW)
}

fn path(text: &str) -> UnixAddr {
    UnixAddr::path(text).unwrap()
}

fn pair(stack: &mut Stack, kind: SocketKind) -> [Descriptor; 2] {
    stack.socket_pair(Domain::Unix, kind).unwrap()
}

fn pass(stack: &mut Stack, d: Descriptor, rights: &[Descriptor]) -> Result<usize, Error> {
    stack.send_unix(NOW, d, b"x", &UnixSend::default().rights(rights))
}

/// Works off what is due.
fn settle(stack: &mut Stack) {
    while let Some(at) = stack.next_timeout_at() {
        stack.handle_timeout(at);
    }
}

#[test]
fn two_owners_talk_over_a_stream_with_a_path() {
    let mut stack = stack();
    let client = stack.add_owner();
    stack.set_credentials(OwnerId::FIRST, Credentials { pid: 1, uid: 2, gid: 3 }).unwrap();
    let theirs = Credentials { pid: 4, uid: 5, gid: 6 };
    stack.set_credentials(client, theirs).unwrap();
    let listener = stack.socket(Domain::Unix, SocketKind::Stream).unwrap();
    stack.bind(listener, path("/run/server")).unwrap();
    stack.listen(listener, 4).unwrap();
    let mut calls = stack.owner(client).unwrap();
    let near = calls.socket(Domain::Unix, SocketKind::Stream).unwrap();
    assert_eq!(calls.connect(NOW, near, path("/run/nobody")), Err(Error::NotFound));
    calls.connect(NOW, near, path("/run/server")).unwrap();
    assert_eq!(calls.peer_credentials(near), Ok(Some(Credentials { pid: 1, uid: 2, gid: 3 })));
    assert_eq!(calls.peer_name(near), Ok(path("/run/server").into()));
    assert_eq!(calls.send(NOW, near, b"hello"), Ok(5));
    let (far, from) = stack.accept(listener).unwrap();
    assert_eq!(from, SockAddr::from(UnixAddr::UNNAMED));
    assert_eq!(stack.peer_credentials(far), Ok(Some(theirs)));
    let mut buf = [0; 8];
    assert_eq!(stack.peek(far, &mut buf), Ok(5));
    assert_eq!((stack.recv(NOW, far, &mut buf), &buf[..5]), (Ok(5), &b"hello"[..]));
    assert_eq!(stack.recv(NOW, far, &mut buf), Err(Error::WouldBlock));
    stack.remove_owner(NOW, client).unwrap();
    assert_eq!(stack.recv(NOW, far, &mut buf), Ok(0));
    assert_eq!(stack.send(NOW, far, b"x"), Err(Error::BrokenPipe));
    // The path stays until it is unlinked.
    stack.close(NOW, listener).unwrap();
    let other = stack.socket(Domain::Unix, SocketKind::Stream).unwrap();
    assert_eq!(stack.bind(other, path("/run/server")), Err(Error::AddressInUse));
    assert_eq!(stack.connect(NOW, other, path("/run/server")), Err(Error::ConnectionRefused));
    stack.unlink(&path("/run/server")).unwrap();
    assert_eq!(stack.unlink(&path("/run/server")), Err(Error::NotFound));
    stack.bind(other, path("/run/server")).unwrap();
}

#[test]
fn a_peer_that_closes_with_unread_data_resets() {
    for kind in [SocketKind::Stream, SocketKind::SeqPacket] {
        let mut stack = stack();
        let [near, far] = pair(&mut stack, kind);
        stack.send(NOW, near, b"unread").unwrap();
        assert!(stack.queued_bytes(near).unwrap().1 > 6);
        stack.close(NOW, far).unwrap();
        assert_eq!(stack.queued_bytes(near), Ok((0, 0)));
        let readiness = stack.readiness(near).unwrap();
        assert!(readiness.error && readiness.hung_up && readiness.peer_closed && readiness.readable);
        assert_eq!(stack.recv(NOW, near, &mut [0]), Err(Error::ConnectionReset), "{kind:?}");
        assert_eq!(stack.recv(NOW, near, &mut [0]), Ok(0), "{kind:?}");
    }
}

/// A listener that is closed with connections that nobody has accepted.
#[test]
fn connections_end_with_their_listener() {
    let mut stack = stack();
    let listener = stack.socket(Domain::Unix, SocketKind::Stream).unwrap();
    stack.bind(listener, UnixAddr::UNNAMED).unwrap();
    let name = stack.local_name(listener).unwrap();
    assert_eq!(name.unix().unwrap().as_abstract_name().unwrap().len(), 5);
    stack.listen(listener, 1).unwrap();
    let clients: Vec<Descriptor> =
        (0..3).map(|_| stack.socket(Domain::Unix, SocketKind::Stream).unwrap()).collect();
    let connected: Vec<_> = clients.iter().map(|d| stack.connect(NOW, *d, name.clone())).collect();
    assert_eq!(connected, [Ok(()), Ok(()), Err(Error::WouldBlock)]);
    let records = stack.sockets().count();
    stack.close(NOW, listener).unwrap();
    assert_eq!(stack.sockets().count(), records - 3);
    assert_eq!(stack.recv(NOW, clients[0], &mut [0]), Err(Error::ConnectionReset));
    assert_eq!(stack.connect(NOW, clients[2], name), Err(Error::ConnectionRefused));
}

#[test]
fn a_stream_takes_no_more_than_its_send_buffer() {
    let mut stack = stack();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    let data = vec![7; 16 << 10];
    let mut sent = 0;
    let error = loop {
        match stack.send(NOW, near, &data) {
            Ok(len) => sent += len,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::WouldBlock);
    assert!((200_000..230_000).contains(&sent), "{sent}");
    assert!(stack.memory_bytes() > sent);
    let (mut buf, mut received) = (vec![0; 4096], 0);
    while !stack.readiness(near).unwrap().writable {
        received += stack.recv(NOW, far, &mut buf).unwrap();
    }
    // unix_writable: a quarter may be in use.
    assert!(received > sent / 10 * 7 && received < sent / 10 * 8, "{received} of {sent}");
}

#[test]
fn datagrams_wait_for_room_and_know_their_senders() {
    let mut stack = stack();
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let client = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(client, path("client")).unwrap();
    stack.connect(NOW, client, path("server")).unwrap();
    for _ in 0..11 {
        stack.send(NOW, client, b"x").unwrap();
    }
    assert!(!stack.readiness(client).unwrap().writable);
    assert_eq!(stack.send(NOW, client, b"x"), Err(Error::WouldBlock));
    let message = stack.recv_unix(NOW, server, &mut [0; 4], 0).unwrap();
    assert_eq!((message.len, message.from), (1, path("client")));
    assert!(stack.readiness(client).unwrap().writable);
    assert_eq!(stack.send(NOW, client, &vec![0; 212_961]), Err(Error::MessageTooLong));
    stack.close(NOW, server).unwrap();
    assert_eq!(stack.send(NOW, client, b"x"), Err(Error::ConnectionRefused));
    assert_eq!(stack.send(NOW, client, b"x"), Err(Error::NotConnected));
}

#[test]
fn a_descriptor_is_passed_on_and_keeps_its_socket_open() {
    let mut stack = stack();
    let worker = stack.add_owner();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    let far = stack.duplicate_to(far, worker).unwrap();
    let [passed, other] = pair(&mut stack, SocketKind::Stream);
    stack.send(NOW, near, b"a").unwrap();
    pass(&mut stack, near, &[passed]).unwrap();
    stack.send(NOW, near, b"b").unwrap();
    stack.close(NOW, passed).unwrap();
    let mut calls = stack.owner(worker).unwrap();
    let message = calls.recv_unix(NOW, far, &mut [0; 8], 1).unwrap();
    // As on Linux: what was sent before comes with the descriptors, what was sent behind does not.
    assert_eq!((message.len, message.rights.len()), (2, 1));
    calls.send(NOW, message.rights[0], b"over").unwrap();
    assert_eq!(stack.recv(NOW, other, &mut [0; 8]), Ok(4));
    // Without room for it, it is closed.
    pass(&mut stack, near, &[near]).unwrap();
    let mut calls = stack.owner(worker).unwrap();
    calls.recv(NOW, far, &mut [0; 1]).unwrap();
    let message = calls.recv_unix(NOW, far, &mut [0; 8], 0).unwrap();
    assert!(message.is_control_truncated && message.rights.is_empty());
    settle(&mut stack);
    assert_eq!(pass(&mut stack, near, &[near; 254]), Err(Error::InvalidArgument));
    assert_eq!(pass(&mut stack, near, &[passed]), Err(Error::BadDescriptor));
}

#[test]
fn an_owner_has_a_limited_number_of_descriptors_in_flight() {
    let mut config = Config::default();
    config.unix.max_in_flight = 100;
    let mut stack = Stack::new(config, [7; 32], NOW);
    let [near, far] = pair(&mut stack, SocketKind::SeqPacket);
    assert_eq!(pass(&mut stack, near, &[near; 101]), Ok(1));
    assert_eq!(pass(&mut stack, near, &[near]), Err(Error::TooManyReferences));
    stack.recv(NOW, far, &mut [0]).unwrap();
    assert_eq!(pass(&mut stack, near, &[near]), Ok(1));
}

/// Ten thousand sockets, each of which is only held by a message to the next, and the last by a
/// message to the first.
#[test]
fn a_deep_circle_is_collected_in_batches() {
    let mut config = Config::default();
    config.unix.max_in_flight = 20_000;
    let mut stack = Stack::new(config, [7; 32], NOW);
    let before = stack.memory_bytes();
    let first = pair(&mut stack, SocketKind::Stream);
    let mut last = first;
    for _ in 0..10_000 {
        let next = pair(&mut stack, SocketKind::Stream);
        // The receiving end of `last` waits in the queue of the receiving end of `next`.
        pass(&mut stack, next[0], &[last[1]]).unwrap();
        if last != first {
            stack.close(NOW, last[0]).unwrap();
            stack.close(NOW, last[1]).unwrap();
        }
        last = next;
    }
    pass(&mut stack, first[0], &[last[1]]).unwrap();
    for d in [last[0], last[1], first[0]] {
        stack.close(NOW, d).unwrap();
    }
    settle(&mut stack);
    assert_eq!(stack.sockets().count(), 10_001, "the first one can receive them all");
    stack.close(NOW, first[1]).unwrap();
    assert!(stack.next_timeout_at().is_some(), "there is more than one call does");
    settle(&mut stack);
    assert_eq!((stack.sockets().count(), stack.memory_bytes()), (0, before));
}

#[test]
fn credentials_keep_the_data_of_two_senders_apart() {
    let mut stack = stack();
    let other = stack.add_owner();
    stack.set_credentials(other, Credentials { pid: 9, uid: 9, gid: 9 }).unwrap();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    let theirs = stack.duplicate_to(near, other).unwrap();
    for passes in [false, true] {
        stack.set_option(NOW, far, SocketOption::PassCredentials(passes)).unwrap();
        stack.send(NOW, near, b"ours").unwrap();
        stack.owner(other).unwrap().send(NOW, theirs, b"theirs").unwrap();
        let message = stack.recv_unix(NOW, far, &mut [0; 16], 0).unwrap();
        let expected = if passes { (4, Some(Credentials::default())) } else { (10, None) };
        assert_eq!((message.len, message.credentials), expected);
    }
    let message = stack.recv_unix(NOW, far, &mut [0; 16], 0).unwrap();
    assert_eq!(message.credentials.map(|credentials| credentials.pid), Some(9));
}

#[test]
fn slices_of_one_receive_are_told_from_those_of_the_next() {
    let mut stack = stack();
    let other = stack.add_owner();
    stack.set_credentials(other, Credentials { pid: 9, uid: 9, gid: 9 }).unwrap();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    let theirs = stack.duplicate_to(near, other).unwrap();
    let take = |stack: &mut Stack, d, max| {
        let len = stack.recv_bytes(NOW, d, max).unwrap().len();
        (len, stack.may_read_on(d).unwrap())
    };
    for passes in [false, true] {
        stack.set_option(NOW, far, SocketOption::PassCredentials(passes)).unwrap();
        pass(&mut stack, near, &[near]).unwrap();
        stack.send(NOW, near, b"ours").unwrap();
        assert!(!take(&mut stack, far, 16).1, "descriptors came with the data");
        assert_eq!(take(&mut stack, far, 1), (1, true));
        assert_eq!(take(&mut stack, far, 16), (3, true), "nothing is there yet");
        stack.owner(other).unwrap().send(NOW, theirs, b"theirs").unwrap();
        assert_eq!(stack.may_read_on(far), Ok(!passes));
        assert_eq!(take(&mut stack, far, 16), (6, true));
    }
    let [near, far] = pair(&mut stack, SocketKind::SeqPacket);
    stack.send(NOW, near, b"message").unwrap();
    assert_eq!(take(&mut stack, far, 16), (7, false));
}

#[test]
fn names_are_limited_and_kinds_are_kept_apart() {
    let mut config = Config::default();
    config.unix.max_names = 3;
    let mut stack = Stack::new(config, [7; 32], NOW);
    for number in 0..3 {
        let d = stack.socket(Domain::Unix, SocketKind::Stream).unwrap();
        stack.bind(d, path(&format!("{number}"))).unwrap();
    }
    let d = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    assert_eq!(stack.bind(d, path("3")), Err(Error::NoBufferSpace));
    assert_eq!(stack.connect(NOW, d, path("0")), Err(Error::WrongSocketType));
    assert_eq!(stack.socket(Domain::Unix, SocketKind::Echo), Err(Error::ProtocolNotSupported));
    assert_eq!(stack.socket(Domain::V4, SocketKind::SeqPacket), Err(Error::SocketTypeNotSupported));
    assert_eq!(stack.bind(d, ([127, 0, 0, 1], 7)), Err(Error::InvalidArgument));
    assert_eq!(stack.local_addr(d), Err(Error::NotSupported));
}

/// A socket is passed from one queue to another at every moment of a search.
#[test]
fn what_moves_during_a_search_is_not_collected() {
    for (carriers, moved_at) in
        [100, 130, 160, 200, 240, 270].into_iter().flat_map(|n| (0..6).map(move |at| (n, at)))
    {
        for holder in [1, carriers - 1] {
            let data = move_during_search(carriers, holder, moved_at);
            assert_eq!(data, Ok(4), "{carriers} carriers, of which {holder} holds it, moved at {moved_at}");
        }
    }
}

/// Many receiving ends wait in the queue of the first; in the queue of one of them waits a socket,
/// and in its queue data. That socket is moved before the search has made so many steps. Returns
/// what becomes of the data.
fn move_during_search(carriers: usize, holder: usize, moved_at: usize) -> Result<usize, Error> {
    let mut stack = stack();
    let carriers: Vec<_> = (0..carriers).map(|_| pair(&mut stack, SocketKind::Stream)).collect();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    let [passed, other] = pair(&mut stack, SocketKind::Stream);
    stack.send(NOW, other, b"kept")?;
    pass(&mut stack, carriers[holder][0], &[passed])?;
    stack.close(NOW, passed)?;
    for carrier in &carriers[1..] {
        pass(&mut stack, carriers[0][0], &[carrier[1]])?;
        stack.close(NOW, carrier[1])?;
    }
    let mut now = NOW;
    for step in 0.. {
        if step == moved_at {
            let mut ends = Vec::new();
            for _ in &carriers[1..] {
                ends.extend(stack.recv_unix(now, carriers[0][1], &mut [0; 4], 1)?.rights);
            }
            let taken = stack.recv_unix(now, ends[holder - 1], &mut [0; 4], 1)?.rights;
            pass(&mut stack, near, &taken)?;
            stack.close(now, taken[0])?;
        }
        match stack.next_timeout_at() {
            Some(at) => {
                now = at;
                stack.handle_timeout(now);
            }
            None if step >= moved_at => break,
            None => {}
        }
    }
    let received = stack.recv_unix(now, far, &mut [0; 4], 1)?.rights;
    stack.recv(now, received[0], &mut [0; 8])
}

/// A socket that nobody can reach goes, though many others of its kind are in use.
#[test]
fn a_small_circle_is_collected_after_a_delay() {
    let mut stack = stack();
    let [near, _far] = pair(&mut stack, SocketKind::Stream);
    for _ in 0..20 {
        let [passed, _] = pair(&mut stack, SocketKind::Stream);
        pass(&mut stack, near, &[passed]).unwrap();
        stack.close(NOW, passed).unwrap();
    }
    settle(&mut stack);
    let before = stack.sockets().count();
    let circle = pair(&mut stack, SocketKind::Stream);
    pass(&mut stack, circle[0], &[circle[1]]).unwrap();
    stack.close(NOW, circle[1]).unwrap();
    stack.close(NOW, circle[0]).unwrap();
    assert_eq!(stack.sockets().count(), before + 1);
    assert!(stack.next_timeout_at().unwrap() > NOW);
    settle(&mut stack);
    assert_eq!(stack.sockets().count(), before);
}

#[test]
fn every_sender_learns_that_a_receiver_is_full() {
    let mut stack = stack();
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let clients = [(); 3].map(|()| stack.socket(Domain::Unix, SocketKind::Datagram).unwrap());
    stack.connect(NOW, clients[0], path("server")).unwrap();
    stack.connect(NOW, clients[1], path("server")).unwrap();
    for _ in 0..11 {
        stack.send(NOW, clients[0], b"x").unwrap();
    }
    stack.connect(NOW, clients[2], path("server")).unwrap();
    let writable = |stack: &Stack| clients.map(|d| stack.readiness(d).unwrap().writable);
    assert_eq!(writable(&stack), [false; 3]);
    // As on Linux this does not concern the peer of the receiver.
    stack.bind(clients[1], path("client")).unwrap();
    stack.connect(NOW, server, path("client")).unwrap();
    assert_eq!(writable(&stack), [false, true, false]);
    stack.recv(NOW, server, &mut [0]).unwrap();
    assert_eq!(writable(&stack), [true; 3]);
    stack.send(NOW, clients[1], b"x").unwrap();
    assert_eq!(writable(&stack), [false, true, false]);
    stack.close(NOW, server).unwrap();
    assert_eq!(writable(&stack), [true; 3]);
}

/// Whether a poller reports each of these sockets as writable, and which of them have an event.
fn reported(stack: &mut Stack, poller: PollerId, clients: &[Descriptor]) -> (Vec<u64>, Vec<usize>) {
    let mut ready = Vec::new();
    stack.poller_wait(poller, &mut ready, 8).unwrap();
    let events: Vec<SocketId> =
        core::iter::from_fn(|| stack.poll_event()).map(|event| event.socket).collect();
    let has_event = |d: Descriptor| events.contains(&stack.socket_id(d).unwrap());
    let named = (0..clients.len()).filter(|client| has_event(clients[*client])).collect();
    (ready.iter().map(|ready| ready.token).collect(), named)
}

/// However many sockets are connected to a receiver, room in its queue is told to those that have
/// asked for it since the queue was full, once.
#[test]
fn room_wakes_only_senders_that_wait_for_it() {
    let mut stack = stack();
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let clients = [(); 4].map(|()| stack.socket(Domain::Unix, SocketKind::Datagram).unwrap());
    for d in clients {
        stack.connect(NOW, d, path("server")).unwrap();
    }
    let poller = stack.add_poller().unwrap();
    for _ in 0..11 {
        stack.send(NOW, clients[0], b"x").unwrap();
    }
    assert_eq!(stack.send(NOW, clients[1], b"x"), Err(Error::WouldBlock));
    stack.poller_add(poller, clients[2], Interest::WRITABLE, 2).unwrap();
    reported(&mut stack, poller, &clients);
    stack.recv(NOW, server, &mut [0]).unwrap();
    assert_eq!(reported(&mut stack, poller, &clients), (vec![2], vec![0, 1, 2]));
    // Another socket takes the room before the poller looks.
    stack.send(NOW, clients[3], b"x").unwrap();
    assert_eq!(reported(&mut stack, poller, &clients), (vec![], vec![]));
    stack.recv(NOW, server, &mut [0]).unwrap();
    assert_eq!(reported(&mut stack, poller, &clients), (vec![2], vec![2, 3]));
    let before = stack.memory_bytes();
    assert_eq!(stack.recv(NOW, server, &mut [0]), Ok(1));
    assert!(stack.memory_bytes() < before);
    assert_eq!(reported(&mut stack, poller, &clients).1, Vec::<usize>::new());
}

/// A socket that waits for room at many receivers leaves nothing in their lists.
#[test]
fn a_closed_sender_waits_no_more() {
    let mut stack = stack();
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let filler = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    for _ in 0..11 {
        stack.send_to(NOW, filler, b"x", path("server")).unwrap();
    }
    let before = stack.memory_bytes();
    for _ in 0..100 {
        let d = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
        assert_eq!(stack.send_to(NOW, d, b"x", path("server")), Err(Error::WouldBlock));
        stack.close(NOW, d).unwrap();
    }
    assert_eq!(stack.memory_bytes(), before);
}

/// An owner goes away with connections that nobody has accepted, with descriptors in flight in both
/// directions and in a circle, and while it waits for room.
#[test]
fn an_owner_that_goes_away_leaves_nothing_behind() {
    let mut stack = stack();
    let [ours, theirs] = pair(&mut stack, SocketKind::SeqPacket);
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let (sockets, before) = (stack.sockets().count(), stack.memory_bytes());
    for _ in 0..3 {
        let owner = stack.add_owner();
        let end = stack.duplicate_to(theirs, owner).unwrap();
        pass(&mut stack, ours, &[ours, server]).unwrap();
        let mut calls = stack.owner(owner).unwrap();
        let listener = calls.socket(Domain::Unix, SocketKind::Stream).unwrap();
        calls.bind(listener, UnixAddr::UNNAMED).unwrap();
        calls.listen(listener, 1).unwrap();
        let name = calls.local_name(listener).unwrap();
        let clients = [(); 3].map(|()| calls.socket(Domain::Unix, SocketKind::Stream).unwrap());
        let connected = clients.map(|d| calls.connect(NOW, d, name.clone()));
        assert_eq!(connected, [Ok(()), Ok(()), Err(Error::WouldBlock)]);
        let passed = [listener, clients[0], clients[1], end];
        calls.send_unix(NOW, clients[0], b"x", &UnixSend::default().rights(&passed)).unwrap();
        calls.send_unix(NOW, end, b"x", &UnixSend::default().rights(&passed)).unwrap();
        let sender = calls.socket(Domain::Unix, SocketKind::Datagram).unwrap();
        calls.connect(NOW, sender, path("server")).unwrap();
        while calls.send(NOW, sender, b"x").is_ok() {}
        stack.remove_owner(NOW, owner).unwrap();
        // What is in the queues of others is theirs.
        settle(&mut stack);
        for d in [ours, theirs] {
            while stack.recv(NOW, d, &mut [0]).is_ok() {}
        }
        while stack.recv(NOW, server, &mut [0]).is_ok() {}
        settle(&mut stack);
        assert_eq!((stack.sockets().count(), stack.memory_bytes()), (sockets, before));
    }
}

/// Measured on Linux 6.18.
#[test]
fn options_by_number_are_those_of_linux() {
    const SOCKET: i32 = 1;
    let nobody = [[0; 4], [0xff; 4], [0xff; 4]].concat();
    let mut stack = stack();
    stack.set_credentials(OwnerId::FIRST, Credentials { pid: 1, uid: 2, gid: 3 }).unwrap();
    let get = |stack: &mut Stack, d, level, number, len: usize| {
        let mut buf = [7; 64];
        stack.getsockopt(NOW, d, level, number, &mut buf[..len]).map(|len| buf[..len].to_vec())
    };
    for kind in [SocketKind::Stream, SocketKind::Datagram, SocketKind::SeqPacket] {
        let d = stack.socket(Domain::Unix, kind).unwrap();
        assert_eq!(get(&mut stack, d, SOCKET, 16, 64), Ok(vec![0; 4]));
        stack.setsockopt(NOW, d, SOCKET, 16, &[5, 0, 0, 0]).unwrap();
        assert_eq!(get(&mut stack, d, SOCKET, 16, 64), Ok(vec![1, 0, 0, 0]));
        assert_eq!(stack.setsockopt(NOW, d, SOCKET, 16, &[1]), Err(Error::InvalidArgument));
        assert_eq!(get(&mut stack, d, SOCKET, 17, 64), Ok(nobody.clone()));
        assert_eq!(get(&mut stack, d, SOCKET, 17, 4), Ok(vec![0; 4]));
        assert_eq!(stack.setsockopt(NOW, d, SOCKET, 15, &[1, 0, 0, 0]), Err(Error::NotSupported));
        for level in [0, 6, 17, 41, 77] {
            assert_eq!(get(&mut stack, d, level, 1, 4), Err(Error::NotSupported), "{level}");
            assert_eq!(
                stack.setsockopt(NOW, d, level, 1, &[1, 0, 0, 0]),
                Err(Error::NotSupported),
                "{level}"
            );
        }
        let [near, _] = pair(&mut stack, kind);
        let ours: Vec<u8> = [1_u32, 2, 3].into_iter().flat_map(u32::to_ne_bytes).collect();
        assert_eq!(get(&mut stack, near, SOCKET, 17, 64), Ok(ours));
    }
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(get(&mut stack, d, SOCKET, 16, 4), Err(Error::NotSupported));
    assert_eq!(stack.setsockopt(NOW, d, SOCKET, 16, &[1, 0, 0, 0]), Err(Error::NotSupported));
    assert_eq!(get(&mut stack, d, SOCKET, 17, 64), Ok(nobody));
}

/// Measured on Linux 6.18: a filter cuts or drops messages, but not the bytes of a stream, and the
/// sender does not learn of it.
#[test]
fn a_filter_sees_the_data_of_messages() {
    for (kind, expected) in [
        (SocketKind::Datagram, [Ok(3), Err(Error::WouldBlock), Ok(10)]),
        (SocketKind::SeqPacket, [Ok(3), Err(Error::WouldBlock), Ok(10)]),
        (SocketKind::Stream, [Ok(10); 3]),
    ] {
        let mut stack = stack();
        let [near, far] = pair(&mut stack, kind);
        for (kept, expected) in [3, 0, 100].into_iter().zip(expected) {
            let program = [Instruction::new(0x06, 0, 0, kept)];
            stack.attach_filter(far, Filter::new(&program).unwrap()).unwrap();
            assert_eq!(stack.send(NOW, near, b"0123456789"), Ok(10));
            assert_eq!(stack.recv(NOW, far, &mut [0; 16]), expected, "{kind:?}, {kept}");
        }
    }
}

#[test]
fn several_buffers_and_flags_are_filled_as_one() {
    for kind in [SocketKind::Stream, SocketKind::SeqPacket, SocketKind::Datagram] {
        let mut stack = stack();
        let [near, far] = pair(&mut stack, kind);
        stack
            .send_message(NOW, near, &[b"ab", b"", b"cdef"], &SendMeta::connected(), SendFlags::NONE)
            .unwrap();
        for flags in [RecvFlags::PEEK | RecvFlags::TRUNCATE, RecvFlags::TRUNCATE] {
            let (mut first, mut second) = ([0; 3], [0; 2]);
            let bufs: &mut [&mut [u8]] = &mut [&mut first, &mut [], &mut second];
            let received = stack.recv_message(NOW, far, bufs, flags).unwrap();
            let is_stream = kind == SocketKind::Stream;
            assert_eq!(received.len, if is_stream { 5 } else { 6 }, "{kind:?}");
            assert_eq!(received.flags.contains(ReceivedFlags::TRUNCATED), !is_stream, "{kind:?}");
            assert_eq!((&first, &second), (b"abc", b"de"), "{kind:?}");
        }
        let rest = stack.recv(NOW, far, &mut [0; 4]);
        assert_eq!(rest, if kind == SocketKind::Stream { Ok(1) } else { Err(Error::WouldBlock) });
        let urgent = stack.send_with(NOW, near, b"x", SendFlags::OOB);
        assert_eq!(urgent, if kind == SocketKind::Stream { Ok(1) } else { Err(Error::NotSupported) });
    }
}

/// As on Linux: a read ends before an urgent byte, and descriptors that came with that byte are
/// lost when it is received on its own.
#[test]
fn the_last_byte_that_is_sent_as_urgent_is_urgent() {
    let mut stack = stack();
    let [near, far] = pair(&mut stack, SocketKind::Stream);
    assert_eq!(stack.send_with(NOW, near, b"abU", SendFlags::OOB), Ok(3));
    assert_eq!(stack.send(NOW, near, b"cd"), Ok(2));
    assert!(stack.readiness(far).unwrap().urgent);
    let mut buf = [0; 9];
    assert_eq!(stack.recv_bytes(NOW, far, 9).unwrap(), &b"ab"[..]);
    assert_eq!((stack.at_mark(far), stack.may_read_on(far)), (Ok(true), Ok(false)));
    for flags in [RecvFlags::OOB | RecvFlags::PEEK, RecvFlags::OOB] {
        assert_eq!((stack.recv_with(NOW, far, &mut buf, flags), buf[0]), (Ok(1), b'U'));
    }
    assert_eq!(stack.recv_with(NOW, far, &mut buf, RecvFlags::OOB), Err(Error::InvalidArgument));
    assert_eq!((stack.at_mark(far), stack.unread_bytes(far)), (Ok(true), Ok(2)));
    assert_eq!(stack.recv_bytes(NOW, far, 9).unwrap(), &b"cd"[..]);
    // Inline it is read with the rest.
    stack.set_option(NOW, far, SocketOption::OobInline(true)).unwrap();
    stack.send_with(NOW, near, b"V", SendFlags::OOB).unwrap();
    stack.send(NOW, near, b"ef").unwrap();
    assert_eq!((stack.recv(NOW, far, &mut buf), &buf[..3]), (Ok(3), &b"Vef"[..]));
    // A byte that is passed over leaves nothing behind.
    stack.set_option(NOW, far, SocketOption::OobInline(false)).unwrap();
    let idle = stack.memory_bytes();
    stack.send_with(NOW, near, b"W", SendFlags::OOB).unwrap();
    assert_eq!(stack.recv(NOW, far, &mut buf), Err(Error::WouldBlock));
    assert!(!stack.readiness(far).unwrap().readable);
    assert_eq!((stack.unread_bytes(far), stack.memory_bytes()), (Ok(0), idle));
}

/// The name of a sender is the one that it has when its message is received, or had when it was
/// closed.
#[test]
fn messages_have_the_last_names_of_their_senders() {
    let mut stack = stack();
    let server = stack.socket(Domain::Unix, SocketKind::Datagram).unwrap();
    stack.bind(server, path("server")).unwrap();
    let clients = [(); 2].map(|()| stack.socket(Domain::Unix, SocketKind::Datagram).unwrap());
    for (d, name) in clients.into_iter().zip(["a", "b"]) {
        stack.send_to(NOW, d, b"x", path("server")).unwrap();
        stack.bind(d, path(name)).unwrap();
    }
    stack.close(NOW, clients[1]).unwrap();
    for name in ["a", "b"] {
        assert_eq!(stack.recv_unix(NOW, server, &mut [0], 0).unwrap().from, path(name));
    }
    let before = stack.memory_bytes();
    stack.connect(NOW, server, path("a")).unwrap();
    stack.close(NOW, clients[0]).unwrap();
    assert_eq!(stack.peer_name(server), Ok(path("a").into()));
    assert!(stack.memory_bytes() < before);
}
