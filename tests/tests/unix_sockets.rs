//! Unix-domain sockets do what Linux's do (`portolan_tests::unix_sockets`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin unix_sockets -- --seeds 10000`.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use portolan::{Domain, Shutdown, SocketKind};
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::peek_offset;
use portolan_tests::unix_sockets::{Call, Name, compare_calls};

/// Held by each test: a process that another test starts has copies of all descriptors for a
/// moment, so that closing one has no effect until then.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn two_hundred_random_sequences_of_calls_find_no_difference() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_unix_sockets")).args(["--seeds", "200"]).output();
    let output = output.expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("200 the same, 0 different"), "{text}");
}

/// SO_PEEK_OFF, of TCP and UDP, too.
#[test]
fn peeks_at_an_offset_return_what_linux_returns() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (domain, kind) in peek_offset::KINDS {
        for seed in 0..300 {
            if let Some(difference) =
                peek_offset::find_difference(domain, kind, false, seed).expect("sockets")
            {
                panic!("{domain:?} {kind:?}, seed {seed}:\n{difference}");
            }
        }
    }
}

/// MSG_OOB, SO_OOBINLINE and SIOCATMARK, also with MSG_PEEK and SO_PEEK_OFF.
#[test]
fn urgent_data_of_a_stream_is_what_it_is_on_linux() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for seed in 0..1000 {
        let found = peek_offset::find_difference(Domain::Unix, SocketKind::Stream, true, seed);
        if let Some(difference) = found.expect("sockets") {
            panic!("seed {seed}:\n{difference}");
        }
    }
}

fn check(name: &str, calls: &[Call]) {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(difference) = compare_calls(name, calls).expect("a directory") {
        panic!("{name}:\n{difference}");
    }
}

/// Fourteen datagrams fill a queue. One sender is connected before, one when it is full, and one
/// is the peer of the receiver.
#[test]
fn the_senders_of_a_full_receiver() {
    const SERVER: Name = Name::Path(0);
    const CLIENT: Name = Name::Abstract(0);
    let send = |d| Call::Send(d, 1, None);
    let mut calls = vec![Call::Socket(SocketKind::Datagram); 4];
    calls.extend([
        Call::Bind(0, Some(SERVER)),
        Call::Connect(1, Some(SERVER)),
        Call::Connect(2, Some(SERVER)),
    ]);
    calls.extend([send(1); 14]);
    calls.extend([send(2), Call::SendTo(3, 1, SERVER), Call::Connect(3, Some(SERVER)), send(3)]);
    calls.extend([Call::Bind(2, Some(CLIENT)), Call::Connect(0, Some(CLIENT)), send(2), send(1)]);
    calls.extend([Call::Recv(0, 9, 0); 3]);
    calls.extend([send(1), send(2), send(3), Call::Connect(0, None), send(1), send(3)]);
    calls.extend([send(2); 12]);
    calls.extend([Call::Close(0), send(1), send(1), Call::PeerName(2), send(2), Call::PeerName(2)]);
    check("full", &calls);
}

/// Connections that wait to be accepted, and what becomes of them.
#[test]
fn the_backlog_of_a_listener() {
    const SERVER: Name = Name::Path(0);
    for kind in [SocketKind::Stream, SocketKind::SeqPacket] {
        let mut calls = vec![Call::Socket(kind); 6];
        calls.extend([Call::Bind(0, Some(SERVER)), Call::Listen(0, 1)]);
        calls.extend((1..5).map(|d| Call::Connect(d, Some(SERVER))));
        calls.extend([Call::Send(1, 5, None), Call::Send(2, 5, Some(3)), Call::Listen(0, 3)]);
        calls.extend([Call::Connect(3, Some(SERVER)), Call::Accept(0), Call::Recv(6, 9, 1)]);
        calls.extend([Call::Shutdown(0, Shutdown::Read), Call::Connect(4, Some(SERVER)), Call::Accept(0)]);
        calls.extend([Call::Recv(7, 9, 1), Call::Duplicate(0), Call::Close(0), Call::PeerName(3)]);
        calls.extend([Call::Accept(9), Call::Close(9), Call::Recv(3, 9, 0), Call::Recv(3, 9, 0)]);
        check("backlog", &calls);
    }
}

/// A receiver that asks for fewer descriptors than there are, and less data than there is.
#[test]
fn descriptors_on_a_stream() {
    let mut calls = vec![Call::Pair(SocketKind::Stream), Call::Pair(SocketKind::Datagram)];
    calls.extend([Call::Send(0, 5, None), Call::Send(0, 5, Some(2)), Call::Send(0, 5, None)]);
    calls.extend([Call::Queued(1), Call::Peek(1, 99), Call::Recv(1, 7, 1), Call::Recv(1, 99, 1)]);
    calls.extend([
        Call::Send(0, 0, Some(2)),
        Call::Send(0, 5, Some(3)),
        Call::Close(3),
        Call::Recv(1, 99, 0),
    ]);
    calls.extend([Call::Send(2, 1, None), Call::Recv(1, 99, 0), Call::Close(0), Call::Recv(1, 99, 1)]);
    check("descriptors", &calls);
}
