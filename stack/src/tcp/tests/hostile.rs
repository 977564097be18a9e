//! Arbitrary segments arrive, and a program makes arbitrary calls: nothing panics, and the
//! invariants hold.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::peer::{IRS, Offer, Peer, Sent};
use crate::config::{Ecn, MtuProbing};
use crate::ip::ecn::IpEcn;
use crate::tcp::options::{AccEcnOption, AccEcnOrder};
use crate::tcp::{Flags, Header, SackBlocks, SeqNumber, State, Timestamps};

/// An action of the peer or the program, or a step of time.
#[derive(Clone, Debug)]
enum Action {
    Segment {
        flags: u16,
        /// The offset from RCV.NXT.
        seq: i32,
        /// The offset from SND.UNA.
        ack: i32,
        window: u16,
        len: usize,
        timestamp: Option<i32>,
        sack: Vec<(i32, i32)>,
    },
    /// The peer acknowledges everything.
    AckAll {
        window: u16,
    },
    Data(usize),
    Send(usize),
    Recv(usize),
    ShutdownWrite,
    ShutdownRead,
    Close,
    Abort,
    Unreachable(i32),
    PathMss(i32, u16),
    Buffer(usize),
    Wait(u64),
}

/// Mostly near zero, where the edge cases are.
fn offset() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -3i32..4, 2 => -3000i32..3000, 1 => -100_000i32..100_000, 1 => any::<i32>()]
}

fn flags() -> impl Strategy<Value = u16> {
    let usual = prop_oneof![Just(0x10u16), Just(0x18), Just(0x11), Just(0x02), Just(0x12), Just(0x04)];
    prop_oneof![6 => usual, 1 => 0u16..0x200]
}

fn segment() -> impl Strategy<Value = Action> {
    let sack = proptest::collection::vec((offset(), offset()), 0..4);
    let timestamp =
        prop_oneof![3 => (-5i32..5).prop_map(Some), 1 => any::<i32>().prop_map(Some), 1 => Just(None)];
    (flags(), offset(), offset(), any::<u16>(), 0usize..2000, timestamp, sack).prop_map(
        |(flags, seq, ack, window, len, timestamp, sack)| {
            let len = if len < 1000 { 0 } else { len };
            Action::Segment { flags, seq, ack, window, len, timestamp, sack }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => segment(),
        5 => prop_oneof![Just(0u16), Just(1), 0u16..5000, any::<u16>()]
            .prop_map(|window| Action::AckAll { window }),
        4 => (1usize..5000).prop_map(Action::Data),
        6 => (1usize..100_000).prop_map(Action::Send),
        6 => (1usize..100_000).prop_map(Action::Recv),
        1 => Just(Action::ShutdownWrite),
        1 => Just(Action::ShutdownRead),
        1 => Just(Action::Close),
        1 => Just(Action::Abort),
        1 => offset().prop_map(Action::Unreachable),
        1 => (offset(), any::<u16>()).prop_map(|(seq, mss)| Action::PathMss(seq, mss)),
        1 => (0usize..3_000_000).prop_map(Action::Buffer),
        6 => prop_oneof![0u64..50, 0u64..5000, 0u64..200_000].prop_map(Action::Wait),
    ]
}

fn shift(seq: SeqNumber, offset: i32) -> SeqNumber {
    SeqNumber(seq.0.wrapping_add_signed(offset))
}

/// Does the action, and returns what the connection sends.
fn act(peer: &mut Peer, what: Action) -> Vec<Sent> {
    let (una, nxt) = (peer.connection.snd.una, peer.connection.rcv.nxt);
    match what {
        Action::Segment { flags, seq, ack, window, len, timestamp, sack } => {
            let mut header = Header {
                seq: shift(nxt, seq),
                ack: shift(una, ack),
                flags: Flags(flags),
                window,
                ..peer.header(Flags::ACK)
            };
            let clock = peer.clock();
            header.options.timestamps = timestamp.map(|offset| Timestamps {
                value: clock.wrapping_add_signed(offset),
                echo: clock.wrapping_add_signed(ack),
            });
            let room = if header.options.timestamps.is_some() { 3 } else { 4 };
            header.options.sack = sack
                .iter()
                .take(room)
                .map(|&(left, right)| (shift(una, left), shift(una, right)))
                .collect::<SackBlocks>();
            header.ip_ecn = IpEcn::of_traffic_class(window as u8);
            if len % 3 == 0 && header.options.room() >= 12 {
                let counters = [u32::from(window), ack as u32 & 0xff_ffff, seq as u32 & 0xff_ffff];
                header.options.accecn = Some(AccEcnOption::new(AccEcnOrder::Ect0First, &counters));
            }
            peer.deliver(header, &alloc::vec![1; len])
        }
        Action::AckAll { window } => {
            let header = Header { seq: nxt, ack: peer.connection.snd.max, window, ..peer.header(Flags::ACK) };
            peer.deliver(header, &[])
        }
        Action::Data(len) => {
            let header = Header { seq: nxt, ack: una, ..peer.header(Flags::ACK) };
            peer.deliver(header, &alloc::vec![2; len])
        }
        Action::Send(len) => {
            let data = alloc::vec![3; len];
            peer.call(|connection, ctx| connection.send(ctx, &data)).1
        }
        Action::Recv(len) => {
            let mut buf = alloc::vec![0; len];
            peer.call(|connection, ctx| connection.recv(ctx, &mut buf)).1
        }
        Action::ShutdownWrite => peer.call(|connection, ctx| connection.shutdown_write(ctx)).1,
        Action::ShutdownRead => peer.call(|connection, ctx| connection.shutdown_read(ctx)).1,
        Action::Close => peer.close(),
        Action::Abort => peer.call(|connection, ctx| connection.abort(ctx)).1,
        Action::Unreachable(seq) => {
            let error = crate::error::Error::HostUnreachable;
            peer.call(|connection, ctx| connection.on_unreachable(ctx, shift(una, seq), error)).1
        }
        Action::PathMss(seq, mss) => {
            peer.call(|connection, ctx| connection.on_path_mss(ctx, shift(una, seq), mss)).1
        }
        Action::Buffer(bytes) => {
            let mut settings = peer.host.settings();
            settings.receive_buffer_bytes = bytes;
            settings.send_buffer_bytes = bytes;
            settings.keepalive = bytes % 2 == 0;
            peer.call(|connection, ctx| connection.set_settings(ctx, settings)).1
        }
        Action::Wait(millis) => peer.wait(Duration::from_millis(millis)),
    }
}

/// Checks the invariants, when nothing is left to send.
fn check(peer: &Peer, sent: &[Sent], right_edge: &mut SeqNumber) -> Result<(), TestCaseError> {
    let connection = &peer.connection;
    let snd = &connection.snd;
    prop_assert!(snd.una.before_eq(snd.nxt) && snd.nxt.before_eq(snd.max));
    let (received, queued) = connection.queued();
    let limit = connection.settings.receive_buffer_bytes.max(2_000_000);
    prop_assert!(received <= limit + limit / 4, "{} bytes received", received);
    if connection.state().is_synchronized() {
        connection.flight.scoreboard.assert_covers(snd.una, snd.nxt);
        // SYN and FIN take a number each; everything else that is sent is in the queue.
        prop_assert!(snd.outstanding() as usize <= queued + 1);
    }
    let waits = connection.state().may_have_unsent() && (snd.flight() > 0 || snd.has_unsent());
    if waits {
        let kind = connection.poll_timeout();
        prop_assert!(kind.is_some(), "nothing will ever happen: {:?}", connection);
    }
    if connection.state() == State::Closed {
        prop_assert!(connection.poll_timeout().is_none());
        prop_assert!(connection.close_reason().is_some());
    }
    for sent in sent {
        let header = &sent.header;
        if !header.flags.contains(Flags::ACK) || header.flags.contains(Flags::RST) {
            continue;
        }
        let scale = if header.flags.contains(Flags::SYN) { 0 } else { connection.rcv.wnd.scale.shift() };
        let edge = header.ack + (u32::from(header.window) << scale);
        // A unit of slack: see Receiver::advertise.
        prop_assert!((edge + (1 << scale)).after(*right_edge), "{:?} then {:?}", right_edge, sent);
        *right_edge = right_edge.max(edge);
        prop_assert!(sent.data.len() <= 1460);
        prop_assert!(header.ack.before_eq(connection.rcv.nxt));
    }
    Ok(())
}

fn torture(mut peer: Peer, actions: Vec<Action>) -> Result<(), TestCaseError> {
    let mut right_edge = peer.connection.rcv.nxt;
    for what in actions {
        let was_synchronized = peer.connection.state().is_synchronized();
        let max = peer.connection.snd.max;
        let sent = act(&mut peer, what);
        if !was_synchronized {
            right_edge = peer.connection.rcv.nxt;
        }
        prop_assert!(peer.connection.snd.una.before_eq(peer.connection.snd.max.max(max)));
        check(&peer, &sent, &mut right_edge)?;
    }
    // Without further actions it becomes idle: no timer fires for ever, unless the peer must be
    // probed.
    let _ = peer.wait(Duration::from_secs(10));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_established_connection_survives_anything(
        actions in proptest::collection::vec(action(), 1..80),
        plain: bool,
    ) {
        let offer = if plain { Offer::plain() } else { Offer::all() };
        torture(Peer::established_with(offer, |_, _| {}), actions)?;
    }

    /// With either kind of ECN, false marks and counters, and path MTU probes.
    #[test]
    fn a_connection_with_ecn_survives_anything(
        actions in proptest::collection::vec(action(), 1..80),
        is_accurate: bool,
        is_probing: bool,
        how_the_syn_came in 0u8..4,
    ) {
        let mut peer = Peer::syn_sent(|host, _| {
            host.config.tcp.ecn = if is_accurate { Ecn::RequestAccurate } else { Ecn::Request };
            if is_probing {
                host.config.tcp.mtu_probing = MtuProbing::Always;
            }
        });
        let answer = if is_accurate { Flags::CWR } else { Flags::ECE };
        let offer = Offer { mss: Some(1400), ..Offer::all() };
        let mut syn_ack = peer.syn(&offer, Flags::SYN_ACK.with(answer));
        syn_ack.ip_ecn = IpEcn::of_traffic_class(how_the_syn_came);
        peer.seq = IRS + 1;
        let _ = peer.deliver(syn_ack, &[]);
        torture(peer, actions)?;
    }

    #[test]
    fn an_opening_connection_survives_anything(
        actions in proptest::collection::vec(action(), 1..40),
    ) {
        torture(Peer::syn_sent(|_, _| {}), actions)?;
    }

    /// With buffers of a few bytes, and a peer with unusual ones.
    #[test]
    fn tiny_buffers_and_segments_survive_anything(
        actions in proptest::collection::vec(action(), 1..60),
        receive in 0usize..3000,
        send in 0usize..3000,
        mss: Option<u16>,
        scale in 0u8..20,
    ) {
        let offer = Offer { mss: mss.filter(|&mss| mss > 0), scale: Some(scale.min(14)), ..Offer::all() };
        let peer = Peer::established_with(offer, |_, params| {
            params.settings.receive_buffer_bytes = receive;
            params.settings.send_buffer_bytes = send;
        });
        torture(peer, actions)?;
    }
}
