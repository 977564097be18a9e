//! Every byte from the wire is hostile, and so are the calls of programs: the stack never panics,
//! keeps within its memory, counts what it drops, and continues.
//!
//! `inputs` generates the inputs; `blind`, `flood` and `strangers` are particular attacks and
//! frames; `peers` are attacks over a connection, in the `arena` with a regular peer.

mod arena;
mod blind;
mod flood;
mod inputs;
mod peers;
mod strangers;

use std::net::SocketAddr;
use std::time::Duration;

use inputs::{Call, Input, Sut, frames, input};
use portolan::{Config, Domain, SocketKind, Stats};
use portolan_tests::{RawPeer, by_family};
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];

/// So small that a run of a few hundred inputs reaches the limit.
const MEMORY_LIMIT_BYTES: usize = 300_000;

fn config() -> Config {
    let mut config = Config::default();
    config.memory_limit_bytes = MEMORY_LIMIT_BYTES;
    config.max_descriptors = 24;
    config
}

/// A stack with listeners, datagram sockets, an echo socket and a connection in each family.
fn busy_stack(ethernet: bool) -> Sut {
    let mut peer = RawPeer::new(ethernet, config(), 1);
    let mut descriptors = Vec::new();
    let mut connections = Vec::new();
    for domain in FAMILIES {
        let any: SocketAddr = by_family(domain, "0.0.0.0:80".parse().unwrap(), "[::]:81".parse().unwrap());
        let listener = peer.stack.socket(domain, SocketKind::Stream).unwrap();
        peer.stack.bind(listener, any).unwrap();
        peer.stack.listen(listener, 4).unwrap();
        connections.push(peer.open(domain, 5000, any.port()));
        let (connection, _) = peer.stack.accept(listener).expect("the handshake is done");
        let datagrams = peer.stack.socket(domain, SocketKind::Datagram).unwrap();
        // Ports 53 and 54, because one port would conflict on a dual-stack socket.
        peer.stack.bind(datagrams, SocketAddr::new(any.ip(), any.port() - 27)).unwrap();
        let echo = peer.stack.socket(domain, SocketKind::Echo).unwrap();
        descriptors.extend([listener, connection, datagrams, echo]);
    }
    Sut { peer, descriptors, connections }
}

/// A sum that changes when a frame has an effect other than a drop: all counters except those of
/// frames and bytes.
fn useful(stats: &Stats) -> u64 {
    let of_frames = ["link.frames_in", "link.bytes_in", "link.frames_out", "link.bytes_out"];
    stats.counters().filter(|counter| !of_frames.contains(&counter.name)).map(|counter| counter.value).sum()
}

proptest! {
    #![proptest_config(Cases { max_shrink_iters: 2_000, ..Cases::default() })]

    #[test]
    fn frames_calls_and_time_in_any_order(
        ethernet: bool,
        inputs in proptest::collection::vec(input(), 1..120),
    ) {
        let mut sut = busy_stack(ethernet);
        for input in &inputs {
            sut.apply(input);
        }
        // In the end every timer has fired.
        sut.peer.pass(Duration::from_secs(600));
        sut.apply(&Input::Call(Call::CloseAll));
        sut.peer.pass(Duration::from_secs(2_000));
        prop_assert_eq!(sut.peer.stack.sockets().count(), 0);
    }

    #[test]
    fn every_frame_is_of_use_or_counted_as_a_drop(
        ethernet: bool,
        inputs in proptest::collection::vec(frames(), 1..60),
    ) {
        let mut sut = busy_stack(ethernet);
        for input in &inputs {
            let before = sut.peer.stack.stats().clone();
            let frame = sut.frame(input);
            sut.peer.send_frame(&frame);
            let after = sut.peer.stack.stats();
            prop_assert!(after.link.frames_in > before.link.frames_in);
            let drops = after.all_drops() - before.all_drops();
            let of_use = useful(after) - useful(&before);
            prop_assert!(drops + of_use > 0, "nothing became of {input:?}\n{frame:02x?}");
        }
    }

    #[test]
    fn garbage(ethernet: bool, garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..50)) {
        let mut sut = busy_stack(ethernet);
        for frame in &garbage {
            let drops = sut.peer.stack.stats().all_drops();
            sut.peer.send_frame(frame);
            prop_assert!(sut.peer.stack.stats().all_drops() > drops);
        }
    }
}
