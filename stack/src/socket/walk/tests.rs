use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::ToString;
use std::vec::Vec;

use crate::event::DeadlineKind;
use crate::id::OwnerId;
use crate::socket::{
    Descriptor, Domain, LinkAddr, LinkHeader, SocketInfo, SocketKind, SocketOption, SocketState, SocketWalk,
    UnixAddr,
};
use crate::tcp::State;
use crate::testing::{LinkFaults, Pair, PairConfig, Side};
use crate::{Config, Credentials, Error, Instant, Shutdown, Stack};

const NOW: Instant = Instant::from_secs(1);

fn stack() -> Stack {
    Stack::new(Config::default(), [8; 32], NOW)
}

/// A listener for IPv6 and IPv4 on port 80.
fn dual_listener(stack: &mut Stack) -> Descriptor {
    let listener = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    stack.bind(listener, (Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    stack.listen(listener, 8).unwrap();
    listener
}

/// Each socket comes once, with all descriptors of all owners, and whether the walk is done in
/// steps or not.
#[test]
fn every_socket_comes_once_with_all_its_descriptors() {
    let mut stack = stack();
    let kinds = [SocketKind::Stream, SocketKind::Datagram, SocketKind::Echo, SocketKind::Raw(7)];
    let mut sockets: Vec<Descriptor> =
        (0..40).map(|n| stack.socket(Domain::V4, kinds[n % kinds.len()]).unwrap()).collect();
    for d in sockets.split_off(30) {
        stack.close(NOW, d).unwrap();
    }
    stack.duplicate(sockets[3]).unwrap();
    let child = stack.fork_owner(OwnerId::FIRST).unwrap();
    let other = stack.add_owner_with(Credentials { pid: 7, uid: 1000, gid: 1000 });
    stack.owner(other).unwrap().socket(Domain::V6, SocketKind::Stream).unwrap();
    stack.duplicate_to(sockets[5], other).unwrap();
    stack.close(NOW, sockets[8]).unwrap();
    // A closed socket of datagrams goes when its turn to send comes.
    assert!(stack.poll_transmit(NOW).is_none());

    let mut expected: BTreeMap<_, Vec<Descriptor>> = BTreeMap::new();
    for id in [OwnerId::FIRST, child, other] {
        let owner = stack.owner(id).unwrap();
        for d in (0..40).filter_map(|number| owner.descriptor(number).ok()) {
            expected.entry(owner.socket_id(d).unwrap()).or_default().push(d);
        }
    }
    assert_eq!((expected.len(), expected.values().map(Vec::len).max()), (31, Some(4)));
    for steps in [1, 7, 1000] {
        let (mut walk, mut found) = (SocketWalk::new(), Vec::new());
        while !walk.is_finished() {
            let before = found.len();
            stack.walk_sockets(&mut walk, steps, |info| found.push(info));
            assert!(found.len() - before <= steps);
        }
        let listed: Vec<_> =
            found.iter().map(|info| (info.id.unwrap(), info.descriptors().collect())).collect();
        assert_eq!(listed.len(), 31, "none comes twice");
        assert_eq!(listed.into_iter().collect::<BTreeMap<_, Vec<_>>>(), expected);
    }
    let of_other = stack.sockets().filter(|info| info.uid == 1000);
    assert_eq!(of_other.map(|info| info.domain).collect::<Vec<_>>(), [Domain::V6]);
    // What an owner that was removed had is listed until it is closed.
    stack.remove_owner(NOW, child).unwrap();
    assert_eq!(stack.sockets().count(), 30);
}

/// What is open during the whole walk comes once, whatever is opened and closed meanwhile.
#[test]
fn a_walk_goes_on_although_the_stack_changes() {
    let mut stack = stack();
    let open = |stack: &mut Stack| stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let mut steady = BTreeSet::new();
    let mut passing = Vec::new();
    for n in 0..300 {
        let d = open(&mut stack);
        if n % 3 == 0 { passing.push(d) } else { assert!(steady.insert(stack.socket_id(d).unwrap())) }
    }
    let (mut walk, mut found) = (SocketWalk::new(), Vec::new());
    let mut calls = 0;
    while !walk.is_finished() {
        stack.walk_sockets(&mut walk, 16, |info| found.push(info.id.unwrap()));
        // Another socket gets the place of the one that is closed, and two come behind.
        stack.close(NOW, passing.pop().unwrap()).unwrap();
        (0..3).for_each(|_| passing.push(open(&mut stack)));
        calls += 1;
    }
    let times = |id| found.iter().filter(|&&listed| listed == id).count();
    assert!(steady.iter().all(|&id| times(id) == 1));
    assert!(calls < 100, "the walk follows those who come in, {calls}");
}

/// What `ss` prints of a connection at each stage.
#[test]
fn a_connection_is_described_from_its_handshake_to_time_wait() {
    let mut pair = Pair::new(PairConfig::seeded(3));
    let listener = dual_listener(&mut pair.b.stack);
    let (client, server) = pair.connect_to(Domain::V4, listener, 80);
    let of = |stack: &Stack, d: Descriptor| stack.sockets().find(|info| info.descriptor == Some(d)).unwrap();
    let info = of(&pair.b.stack, listener);
    assert_eq!((info.state, info.domain, info.v6_only), (SocketState::Tcp(State::Listen), Domain::V6, false));
    let (ours, theirs) = (of(&pair.a.stack, client), of(&pair.b.stack, server));
    assert_eq!(ours.state, SocketState::Tcp(State::Established));
    let mapped = |info: &SocketInfo| info.peer.as_ref().and_then(|name| name.ip()).unwrap().is_ipv6();
    assert!(mapped(&theirs) && !mapped(&ours), "an IPv6 socket has mapped addresses");
    assert!(ours.receive_buffer > 0 && ours.send_buffer > 0 && ours.memory_bytes > 0);

    let now = pair.now();
    pair.a.stack.set_option(now, client, SocketOption::KeepAlive(true)).unwrap();
    let timers: Vec<_> = pair.a.stack.socket_timers(ours.id.unwrap()).map(|(_, kind)| kind).collect();
    assert_eq!(timers, [DeadlineKind::KeepAlive]);
    assert!(pair.a.stack.socket_tcp_info(now, ours.id.unwrap()).unwrap().snd_mss > 0);

    pair.a.stack.shutdown(now, client, Shutdown::Both).unwrap();
    pair.run_for(Duration::from_millis(50));
    let now = pair.now();
    pair.b.stack.close(now, server).unwrap();
    pair.run_for(Duration::from_millis(50));
    let listed = |pair: &Pair| -> Vec<_> {
        pair.a.stack.sockets().map(|info| (info.state.name(), info.descriptor, info.timer)).collect()
    };
    let [("TIME-WAIT", Some(_), _)] = listed(&pair)[..] else { panic!("{:?}", listed(&pair)) };
    let now = pair.now();
    pair.a.stack.close(now, client).unwrap();
    let [("TIME-WAIT", None, Some((at, DeadlineKind::TimeWait)))] = listed(&pair)[..] else {
        panic!("{:?}", listed(&pair))
    };
    assert!((50..=60).contains(&at.duration_since(pair.now()).as_secs()));
}

/// A handshake has the addresses as its listener shows them, and the time of its next SYN-ACK.
#[test]
fn a_handshake_is_listed_with_its_timer() {
    let mut pair = Pair::new(PairConfig { ethernet: false, ..PairConfig::seeded(3) });
    dual_listener(&mut pair.b.stack);
    let cut = LinkFaults { loss: 1.0, ..LinkFaults::default() };
    pair.set_faults_from(Side::B, cut);
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let (now, to) = (pair.now(), SocketAddr::new(pair.b.addr(Domain::V4), 80));
    assert_eq!(pair.a.stack.connect(now, client, to), Err(Error::InProgress));
    pair.run_for(Duration::from_millis(5));
    pair.set_faults(cut);
    pair.run_for(Duration::from_millis(1500));
    let info = pair.a.stack.sockets().next().unwrap();
    assert_eq!((info.state, info.peer), (SocketState::Tcp(State::SynSent), Some(to.into())));
    let info = pair.b.stack.sockets().find(|info| info.id.is_none()).unwrap();
    assert_eq!((info.state, info.retransmits), (SocketState::Tcp(State::SynReceived), 1));
    assert_eq!(info.local.unwrap().to_string(), format!("[::ffff:{}]:80", to.ip()));
    let Some((at, DeadlineKind::Handshake)) = info.timer else { panic!("{:?}", info.timer) };
    assert!(at > pair.now());
}

#[test]
fn the_ends_of_a_unix_connection_name_each_other() {
    let mut stack = stack();
    let listener = stack.socket(Domain::Unix, SocketKind::SeqPacket).unwrap();
    stack.bind(listener, UnixAddr::path("/run/log").unwrap()).unwrap();
    stack.listen(listener, 1).unwrap();
    let client = stack.socket(Domain::Unix, SocketKind::SeqPacket).unwrap();
    stack.connect(NOW, client, UnixAddr::path("/run/log").unwrap()).unwrap();
    let (server, _) = stack.accept(listener).unwrap();
    let of = |d: Descriptor| stack.sockets().find(|info| info.descriptor == Some(d)).unwrap();
    let (ours, theirs) = (of(client), of(server));
    assert_eq!((ours.peer_socket, theirs.peer_socket), (theirs.id, ours.id));
    assert_eq!((ours.local, ours.peer.map(|peer| peer.to_string())), (None, Some("/run/log".into())));
    assert_eq!(of(listener).state, SocketState::Tcp(State::Listen));
}

#[test]
fn a_packet_socket_is_named_by_interface_and_protocol() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Cooked)).unwrap();
    assert_eq!(stack.sockets().next().unwrap().state, SocketState::Unbound);
    let name = LinkAddr::new(None, LinkAddr::ETH_P_ARP);
    stack.bind(d, name).unwrap();
    let info = stack.sockets().next().unwrap();
    assert_eq!((info.state, info.local.and_then(|name| name.link())), (SocketState::Bound, Some(name)));
}
