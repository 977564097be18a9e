//! Every state against every kind of segment: the next state and the answer (RFC 9293 §3.10.7).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::peer::{IRS, ISS, Offer, Peer};
use crate::event::DeadlineKind;
use crate::tcp::{Flags, Header, SeqNumber, State};

/// A connection in this state, reached in the fewest steps.
fn in_state(state: State) -> Peer {
    let offer = Offer::plain();
    let mut peer = match state {
        State::SynSent | State::SynReceived | State::Closed => Peer::syn_sent(|_, _| {}),
        _ => Peer::plain(),
    };
    match state {
        State::Closed => {
            let _ = peer.call(|connection, ctx| connection.abort(ctx));
        }
        State::SynReceived => {
            let syn = peer.syn(&offer, Flags::SYN);
            let _ = peer.deliver(syn, &[]);
            peer.seq = IRS + 1;
        }
        State::FinWait1 => drop(peer.shutdown()),
        State::FinWait2 => {
            let _ = peer.shutdown();
            let _ = peer.ack_bytes(1);
        }
        State::CloseWait => drop(peer.fin()),
        State::Closing => {
            let _ = peer.shutdown();
            let _ = peer.fin();
        }
        State::LastAck => {
            let _ = peer.fin();
            let _ = peer.shutdown();
        }
        State::TimeWait => {
            let _ = peer.shutdown();
            let _ = peer.ack_bytes(1);
            let _ = peer.fin();
        }
        _ => {}
    }
    assert_eq!(peer.connection.state(), state);
    peer
}

/// The kinds of segments, built for the connection's current state.
fn segments(peer: &Peer) -> Vec<(&'static str, Header, &'static [u8])> {
    let state = peer.connection.state();
    // The number that acknowledges everything, our FIN included.
    let fin_sent = matches!(
        state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait
    );
    let all = if fin_sent { ISS + 2 } else { ISS + 1 };
    let acked = Header { ack: all, ..peer.header(Flags::ACK) };
    let with = |flags: Flags| Header { flags, ..acked.clone() };
    let at = |offset: u32, flags: Flags| Header { seq: peer.seq + offset, ..with(flags) };
    let fin_ack = Flags::FIN.with(Flags::ACK);
    Vec::from([
        ("SYN", Header { ack: SeqNumber(0), ..with(Flags::SYN) }, &b""[..]),
        ("SYN,ACK", with(Flags::SYN_ACK), b""),
        ("ACK of all", acked.clone(), b""),
        ("ACK of the unsent", Header { ack: all + 1, ..acked.clone() }, b""),
        ("ACK far too old", Header { ack: all - 70_000, ..acked.clone() }, b""),
        ("no ACK", Header { ack: SeqNumber(0), ..with(Flags::PSH) }, b"abc"),
        ("FIN", with(fin_ack), b""),
        ("data", with(Flags::PSH_ACK), b"abc"),
        ("data and FIN", with(fin_ack), b"abc"),
        ("old data", Header { seq: peer.seq - 3, ..acked.clone() }, b"abc"),
        ("old and new data", Header { seq: peer.seq - 2, ..acked.clone() }, b"abc"),
        ("data with a gap", at(1000, Flags::ACK), b"abc"),
        ("beyond the window", at(2_000_000, Flags::ACK), b"abc"),
        ("RST at RCV.NXT", with(Flags::RST), b""),
        ("RST,ACK", with(Flags::RST_ACK), b""),
        ("RST in the window", at(1000, Flags::RST), b""),
        ("RST beyond it", at(2_000_000, Flags::RST), b""),
    ])
}

fn row(state: State, kind: usize) -> String {
    let mut peer = in_state(state);
    // The rate limit of an earlier answer must not suppress this one.
    let _ = peer.wait_millis(501);
    let (name, header, data) = segments(&peer)[kind].clone();
    let sent = peer.deliver(header, data);
    let mut answers: Vec<String> = sent.iter().map(|sent| sent.flags()).collect();
    if let Some((at, kind)) = peer.connection.poll_timeout()
        && at <= peer.host.now + peer.host.config.tcp.delayed_ack
    {
        answers.push(if kind == DeadlineKind::Retransmit { "(SYN soon)" } else { "(ACK soon)" }.into());
    }
    let drops: Vec<String> =
        peer.host.stats.drop_counts().map(|(reason, _)| format!("dropped: {reason:?}")).collect();
    let next = peer.connection.state();
    let next = if next == state { "-" } else { next.name() };
    format!("{name:18} {next:12} {:10} {}", answers.join(" "), drops.join(" ")).trim_end().into()
}

#[test]
fn the_table() {
    let states = [
        State::Closed,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];
    let mut table = String::new();
    for state in states {
        table += &format!("{}\n", state.name());
        for kind in 0..segments(&in_state(state)).len() {
            table += &format!("  {}\n", row(state, kind));
        }
    }
    assert!(table == include_str!("states.txt"), "the table has changed:\n{table}");
}
