//! ECN of whole connections (RFC 3168, RFC 9768). The tests of tables and counters are beside their
//! code.

use alloc::vec::Vec;
use core::time::Duration;

use super::bench::Host;
use super::peer::{IRS, ISS, Offer, Peer, Sent};
use crate::config::Ecn;
use crate::ip::ecn::IpEcn;
use crate::tcp::options::{AccEcnOption, AccEcnOrder};
use crate::tcp::{
    Connection, Flags, HandshakeStep, HandshakeTimeout, Header, Options, SeqNumber, State, SynReceived,
    Timestamps,
};

const ECN_SETUP: Flags = Flags::ECE.with(Flags::CWR);

fn ecn_flags(sent: &Sent) -> Flags {
    let other = Flags::SYN_ACK.with(Flags::PSH_ACK).with(Flags::RST).with(Flags::FIN);
    sent.header.flags.without(other)
}

/// The ACE field: the three ECN flags as a number.
fn ace(sent: &Sent) -> u8 {
    crate::tcp::accecn::ace(sent.header.flags)
}

fn syn_sent(policy: Ecn) -> Peer {
    Peer::syn_sent(|host, _| host.config.tcp.ecn = policy)
}

/// A connection in ESTABLISHED after a SYN with this policy and a SYN-ACK with these flags, and the
/// segment that we sent then.
fn open(policy: Ecn, answer: Flags, offer: &Offer) -> (Peer, Sent) {
    let mut peer = syn_sent(policy);
    peer.host.now += Duration::from_millis(10);
    let header = peer.syn(offer, Flags::SYN_ACK.with(answer));
    peer.seq = IRS + 1;
    let sent = peer.deliver(header, &[]);
    assert_eq!((sent.len(), peer.connection.state()), (1, State::Established));
    let first = sent.into_iter().next().unwrap();
    (peer, first)
}

/// A connection with RFC 3168 and segments of 1,000 bytes.
fn classic() -> Peer {
    open(Ecn::Request, Flags::ECE, &Offer::plain()).0
}

/// A connection with AccECN.
fn accurate() -> Peer {
    let (mut peer, first) = open(Ecn::RequestAccurate, Flags::CWR, &Offer::plain());
    assert_eq!(ace(&first), 0b010);
    assert!(first.header.options.accecn.is_some());
    // The first data carries a counter and an option.
    let sent = peer.send(&[0; 10]);
    assert!(sent[0].header.options.accecn.is_some());
    acknowledge(&mut peer, 10, 5, None);
    peer
}

/// The peer sends in-order data with this marking.
fn data(peer: &mut Peer, ecn: IpEcn, flags: Flags, len: usize) -> Vec<Sent> {
    let header = Header { ip_ecn: ecn, ..peer.header(Flags::PSH_ACK.with(flags)) };
    peer.seq += len as u32;
    peer.deliver(header, &alloc::vec![1; len])
}

/// The peer acknowledges this many bytes, with ECE.
fn ack_with_ece(peer: &mut Peer, bytes: u32) -> Vec<Sent> {
    peer.ack = ISS + 1 + bytes;
    let header = peer.header(Flags::ACK.with(Flags::ECE));
    peer.deliver(header, &[])
}

/// The peer acknowledges this many bytes, with this counter and option.
fn acknowledge(peer: &mut Peer, bytes: u32, counter: u8, option: Option<AccEcnOption>) -> Vec<Sent> {
    peer.ack = ISS + 1 + bytes;
    let mut header = peer.header(Flags::ACK.with(crate::tcp::accecn::ace_flags(counter)));
    header.options.accecn = option;
    peer.deliver(header, &[])
}

/// RFC 3168 §6.1.1, §6.1.1.1; RFC 9768 §3.1.1, §3.1.4.1: SYNs request ECN, and later ones do not if
/// there is no answer.
#[test]
fn syns_that_are_lost_ask_no_more() {
    let cases = [
        (Ecn::Off, [Flags::default(); 3]),
        (Ecn::Accept, [Flags::default(); 3]),
        (Ecn::AcceptRfc3168, [Flags::default(); 3]),
        (Ecn::AcceptAllRequestRfc3168, [ECN_SETUP, Flags::default(), Flags::default()]),
        (Ecn::Request, [ECN_SETUP, Flags::default(), Flags::default()]),
        (Ecn::RequestAccurate, [Flags::ECN, Flags::ECN, Flags::default()]),
    ];
    for (policy, expected) in cases {
        let mut host = Host::new();
        host.config.tcp.ecn = policy;
        let params = host.params(ISS.0);
        let mut connection = Connection::connect(&mut host.ctx(), params);
        for flags in expected {
            let header = connection.poll_transmit(&mut host.ctx()).unwrap().header().clone();
            assert_eq!(header.flags, Flags::SYN.with(flags), "{policy:?}");
            assert_eq!(header.ip_ecn, IpEcn::NotEct, "RFC 3168 §6.1.1: a SYN is never ECN-capable");
            host.now = connection.poll_timeout().unwrap().0;
            connection.handle_timeout(&mut host.ctx());
        }
    }
}

/// The answer to the SYN with ECN may arrive after a SYN without ECN was sent.
#[test]
fn a_late_answer_to_the_first_syn_counts() {
    let mut peer = syn_sent(Ecn::Request);
    let again = peer.wait(Duration::from_secs(1));
    assert_eq!(again[0].header.flags, Flags::SYN);
    let header = peer.syn(&Offer::plain(), Flags::SYN_ACK.with(Flags::ECE));
    peer.seq = IRS + 1;
    let _ = peer.deliver(header, &[]);
    assert_eq!(peer.send(&[0; 1000])[0].header.ip_ecn, IpEcn::Ect0);
}

/// RFC 3168 §6.1.2 to §6.1.6: new data is ECN-capable and nothing else is.
#[test]
fn only_new_data_is_ecn_capable() {
    let mut peer = classic();
    let sent = peer.send(&[0; 3000]);
    assert!(sent.len() == 3 && sent.iter().all(|sent| sent.header.ip_ecn == IpEcn::Ect0), "{sent:?}");
    let resent = peer.wait_for_segment();
    assert_eq!((Peer::offset(&resent), resent.header.ip_ecn), (0, IpEcn::NotEct));
    let sent = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    assert!(sent[0].is_pure_ack() && sent[0].header.ip_ecn == IpEcn::NotEct);
    let _ = peer.ack_bytes(3000);
    let fin = peer.shutdown();
    assert_eq!((fin[0].flags().as_str(), fin[0].header.ip_ecn), ("FIN,ACK", IpEcn::NotEct));
}

#[test]
fn window_probes_and_keepalives_are_not_ecn_capable() {
    let mut peer = classic();
    peer.window = 0;
    let _ = peer.ack_bytes(0);
    assert!(peer.send(&[0; 100]).is_empty());
    let probe = peer.wait_for_segment();
    assert_eq!((probe.data.len(), probe.header.ip_ecn), (1, IpEcn::NotEct));
    peer.window = 1000;
    let sent = peer.ack_bytes(0);
    assert_eq!((sent[0].data.len(), sent[0].header.ip_ecn), (100, IpEcn::Ect0));
}

/// Without negotiation nothing is ECN-capable, and ECE is ignored.
#[test]
fn a_peer_without_ecn_is_treated_as_of_old() {
    for (policy, answer) in
        [(Ecn::Accept, Flags::ECE), (Ecn::Request, Flags::default()), (Ecn::Request, ECN_SETUP)]
    {
        let (mut peer, _) = open(policy, answer, &Offer::plain());
        let sent = peer.send(&[0; 3000]);
        assert!(sent.iter().all(|sent| sent.header.ip_ecn == IpEcn::NotEct));
        let cwnd = peer.connection.congestion.cwnd();
        let _ = ack_with_ece(&mut peer, 1000);
        assert!(peer.connection.congestion.cwnd() >= cwnd);
        let sent = data(&mut peer, IpEcn::Ce, Flags::default(), 100);
        assert!(sent.iter().all(|sent| ecn_flags(sent) == Flags::default()));
        assert_eq!((peer.host.stats.ecn.connections, peer.host.stats.ecn.ce_received), (0, 0));
    }
}

/// RFC 3168 §6.1.3; the acknowledgement is not delayed, as on Linux.
#[test]
fn ce_is_echoed_at_once_and_until_cwr() {
    let mut peer = classic();
    for _ in 0..20 {
        let _ = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    }
    let _ = peer.wait_millis(50);
    assert!(data(&mut peer, IpEcn::Ect0, Flags::default(), 100).is_empty(), "delayed");
    let sent = data(&mut peer, IpEcn::Ce, Flags::default(), 100);
    assert_eq!(sent.iter().map(ecn_flags).collect::<Vec<_>>(), [Flags::ECE]);
    let sent = peer.send(&[0; 100]);
    assert_eq!(ecn_flags(&sent[0]), Flags::ECE, "data, too");
    let sent = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    assert!(sent.iter().all(|sent| ecn_flags(sent) == Flags::ECE));
    let sent = data(&mut peer, IpEcn::Ect0, Flags::CWR, 100);
    assert_eq!(sent.iter().map(ecn_flags).collect::<Vec<_>>(), [Flags::default()], "at once");
    assert_eq!(peer.host.stats.ecn.ce_received, 1);
}

/// RFC 3168 §6.1.2: a reduction as for a loss, once a round trip, without a retransmission; only
/// the next segment of new data carries CWR.
#[test]
fn ece_reduces_the_window_once_a_round_trip() {
    let mut peer = classic();
    let sent = peer.send(&[0; 30_000]);
    assert_eq!(sent.len(), 10);
    let mut sent = ack_with_ece(&mut peer, 1000);
    for acked in 2..=10 {
        sent.extend(ack_with_ece(&mut peer, acked * 1000));
    }
    assert_eq!(peer.host.stats.ecn.reductions, 1);
    let ssthresh = peer.connection.congestion.ssthresh();
    assert!((5000..=8000).contains(&ssthresh), "{ssthresh}");
    assert!(peer.connection.congestion.cwnd() <= ssthresh);
    let with_cwr: Vec<u32> =
        sent.iter().filter(|sent| sent.header.flags.contains(Flags::CWR)).map(Peer::offset).collect();
    assert_eq!(with_cwr, [10_000], "the first new data after the reduction");
    assert!(sent.iter().all(|sent| Peer::offset(sent) >= 10_000), "nothing is sent again");
    assert!(sent.len() >= 5, "and the rest goes on: {}", sent.len());
    // Data sent after the reduction is acknowledged, so the window is reduced again.
    let offset = Peer::offset(sent.last().unwrap());
    let _ = ack_with_ece(&mut peer, offset);
    let _ = ack_with_ece(&mut peer, offset + 1000);
    assert_eq!(peer.host.stats.ecn.reductions, 2);
    assert_eq!(peer.host.stats.tcp.retrans_segs, 0);
}

/// A peer that always sends ECE reduces the window to two segments a round trip, and not further.
#[test]
fn ece_for_ever_leaves_a_trickle() {
    let mut peer = classic();
    let _ = peer.send(&[0; 200_000]);
    for _ in 0..100 {
        peer.host.now += Duration::from_millis(10);
        let to = peer.connection.snd.max - (ISS + 1);
        if to == 200_000 {
            break;
        }
        let sent = ack_with_ece(&mut peer, to);
        let _ = peer.drain();
        assert!(!sent.is_empty(), "it goes on at {to}");
        assert!(peer.connection.congestion.cwnd() >= 1000);
    }
    assert_eq!(peer.connection.snd.max, ISS + 200_001);
    assert!(peer.connection.congestion.cwnd() <= 3000, "{}", peer.connection.congestion.cwnd());
    assert!(peer.host.stats.ecn.reductions > 20);
}

fn syn(flags: u8, ip_ecn: IpEcn) -> Header {
    Header {
        seq: IRS,
        flags: Flags::SYN.with(crate::tcp::accecn::ace_flags(flags)),
        ip_ecn,
        window: 60_000,
        options: Options {
            mss: Some(1000),
            timestamps: Some(Timestamps { value: 1, echo: 0 }),
            ..Options::default()
        },
        ..Header::default()
    }
}

/// An ACK of our SYN-ACK with these flags.
fn last_ack(flags: u8) -> Header {
    let timestamps = Some(Timestamps { value: 2, echo: 0 });
    Header {
        seq: IRS + 1,
        ack: ISS + 1,
        flags: Flags::ACK.with(crate::tcp::accecn::ace_flags(flags)),
        window: 60_000,
        options: Options { timestamps, ..Options::default() },
        ..Header::default()
    }
}

/// The first segment of data that a server sends after this handshake.
fn served(host: &mut Host, record: SynReceived, ack: &Header) -> Header {
    let settings = host.settings();
    let mut connection = record.into_connection(&mut host.ctx(), settings, 1460);
    connection.handle_segment(&mut host.ctx(), ack, bytes::Bytes::new());
    assert_eq!(connection.state(), State::Established);
    assert_eq!(connection.send(&mut host.ctx(), &[0; 500]), Ok(500));
    connection.poll_transmit(&mut host.ctx()).expect("data").header().clone()
}

/// RFC 3168 §6.1.1; RFC 9768 §3.1, §3.2.3.2.1: a listener's answer, and the behaviour of its
/// connection.
#[test]
fn a_listener_agrees_to_what_is_asked() {
    let cases = [
        (0b000, 0b000, false, IpEcn::NotEct),
        (0b011, 0b001, false, IpEcn::Ect0),
        (0b111, 0b010, true, IpEcn::Ect0),
    ];
    for (asked, answered, has_option, ecn) in cases {
        let mut host = Host::new();
        let params = host.params(ISS.0);
        let record = SynReceived::new(&mut host.ctx(), &syn(asked, IpEcn::NotEct), &params);
        let answer = record.syn_ack(host.now);
        assert_eq!(answer.flags, Flags::SYN_ACK.with(crate::tcp::accecn::ace_flags(answered)));
        assert_eq!((answer.options.accecn.is_some(), answer.ip_ecn), (has_option, IpEcn::NotEct));
        let ack = last_ack(if asked == 0b111 { 0b010 } else { 0 });
        let data = served(&mut host, record, &ack);
        assert_eq!(data.ip_ecn, ecn, "{asked:#b}");
        let expected = if asked == 0b111 { 0b101 } else { 0b000 };
        assert_eq!(crate::tcp::accecn::ace(data.flags), expected, "{asked:#b}");
        let stats = &host.stats;
        assert_eq!(
            (stats.ecn.connections, stats.ecn.accecn_connections),
            match asked {
                0b011 => (1, 0),
                0b111 => (0, 1),
                _ => (0, 0),
            }
        );
    }
}

/// RFC 9768 §3.2.3.2.2, §3.1.5: the second SYN-ACK has no option, the third no ECN flags; the mode
/// stays.
#[test]
fn syn_acks_that_are_lost_promise_less() {
    let mut host = Host::new();
    let params = host.params(ISS.0);
    let mut record = SynReceived::new(&mut host.ctx(), &syn(0b111, IpEcn::Ce), &params);
    let mut answers = Vec::from([record.syn_ack(host.now)]);
    for _ in 0..2 {
        host.now = record.deadline();
        let HandshakeTimeout::Repeat(again) = record.handle_timeout(&mut host.ctx()) else { panic!() };
        answers.push(again);
    }
    let said: Vec<_> = answers
        .iter()
        .map(|answer| (crate::tcp::accecn::ace(answer.flags), answer.options.accecn.is_some()))
        .collect();
    assert_eq!(said, [(0b110, true), (0b110, false), (0b000, false)]);
    let data = served(&mut host, record, &last_ack(0b010));
    assert_eq!((data.ip_ecn, crate::tcp::accecn::ace(data.flags)), (IpEcn::NotEct, 0b101));
}

/// RFC 9768 §3.1.5: after the flags of both kinds in one handshake, later flags would be ambiguous.
#[test]
fn syns_of_both_kinds_are_reset() {
    let mut host = Host::new();
    let params = host.params(ISS.0);
    let mut record = SynReceived::new(&mut host.ctx(), &syn(0b111, IpEcn::NotEct), &params);
    let step = record.handle_segment(&mut host.ctx(), &syn(0b011, IpEcn::NotEct), 0);
    let HandshakeStep::Reset(reset) = step else { panic!("{step:?}") };
    assert_eq!((reset.flags, reset.ack), (Flags::RST_ACK, IRS + 1));
}

/// With a SYN cookie, RFC 3168 is restored from the timestamp, and AccECN from the flags of the ACK
/// (RFC 9768 §5.1).
#[test]
fn syn_cookies_keep_ecn() {
    let cases =
        [(0b000, 0b000, EcnSeen::None), (0b011, 0b000, EcnSeen::Classic), (0b111, 0b010, EcnSeen::Accurate)];
    for (asked, on_ack, expected) in cases {
        let mut host = Host::new();
        let params = host.params(ISS.0);
        let answer = SynReceived::cookie_syn_ack(&mut host.ctx(), &syn(asked, IpEcn::NotEct), &params);
        let mut ack = last_ack(on_ack);
        let echo = answer.options.timestamps.unwrap().value;
        ack.options.timestamps = Some(Timestamps { value: 2, echo });
        let record = SynReceived::from_cookie(&mut host.ctx(), &ack, &params, 1000);
        let data = served(&mut host, record, &ack);
        let seen = match (data.ip_ecn, crate::tcp::accecn::ace(data.flags)) {
            (IpEcn::NotEct, 0) => EcnSeen::None,
            (IpEcn::Ect0, 0) => EcnSeen::Classic,
            (IpEcn::Ect0, 0b101) => EcnSeen::Accurate,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen, expected);
    }
    // Without timestamps it cannot be encoded.
    let mut host = Host::new();
    let params = host.params(ISS.0);
    let bare = Header { options: Options::default(), ..syn(0b011, IpEcn::NotEct) };
    assert_eq!(SynReceived::cookie_syn_ack(&mut host.ctx(), &bare, &params).flags, Flags::SYN_ACK);
}

#[derive(Debug, PartialEq, Eq)]
enum EcnSeen {
    None,
    Classic,
    Accurate,
}

/// RFC 9768 §3.2.2.1: the pure ACK of a SYN-ACK reports its marking, also if there is data to send
/// at once, and again for a repeated SYN-ACK.
#[test]
fn the_ack_of_the_syn_ack_goes_before_data() {
    let mut peer = syn_sent(Ecn::RequestAccurate);
    let header = Header { ip_ecn: IpEcn::Ce, ..peer.syn(&Offer::plain(), Flags::SYN_ACK.with(Flags::CWR)) };
    peer.seq = IRS + 1;
    let header = super::bench::over_the_wire(&header);
    peer.connection.handle_segment(&mut peer.host.ctx(), &header, bytes::Bytes::new());
    let sent = peer.send(&[0; 1000]);
    let said: Vec<_> = sent.iter().map(|sent| (ace(sent), sent.data.is_empty())).collect();
    assert_eq!(said, [(0b110, true), (6, false), (6, false)]);
    // A SYN-ACK with another number is ignored.
    let stray = Header { seq: IRS - 1, ip_ecn: IpEcn::Ect1, ..header.clone() };
    let sent = peer.deliver(stray, &[]);
    assert_eq!((sent.len(), ace(&sent[0])), (1, 6));
    peer.host.now += Duration::from_secs(1);
    let again = Header { ip_ecn: IpEcn::Ect1, ..header };
    let sent = peer.deliver(again, &[]);
    assert_eq!((sent.len(), ace(&sent[0])), (1, 0b011));
}

/// RFC 9768 §3.2: every segment reports the number of marks, and the option the marked bytes.
#[test]
fn accurate_feedback_of_what_comes() {
    let mut peer = accurate();
    let sent = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    let option = |counters: &[u32]| Some(AccEcnOption::new(AccEcnOrder::Ect0First, counters));
    assert_eq!((ace(&sent[0]), &sent[0].header.options.accecn), (5, &option(&[101])));
    let sent = data(&mut peer, IpEcn::Ce, Flags::default(), 50);
    assert_eq!((ace(&sent[0]), &sent[0].header.options.accecn), (6, &option(&[101, 50])));
    // The counter also covers out-of-order segments, with SACK blocks or without.
    let header = Header { seq: peer.seq + 500, ip_ecn: IpEcn::Ce, ..peer.header(Flags::ACK) };
    let sent = peer.deliver(header, &[1; 10]);
    assert_eq!((ace(&sent[0]), &sent[0].header.options.accecn), (7, &option(&[101, 60])));
    assert_eq!(peer.host.stats.ecn.ce_received, 2);
}

/// RFC 9768 §3.2.2.2: a counter that has increased reduces the window, once a round trip; no CWR is
/// sent (§3.1.5).
#[test]
fn a_counter_that_moves_reduces_the_window() {
    let mut peer = accurate();
    let sent = peer.send(&[0; 30_000]);
    assert!(sent.iter().all(|sent| sent.header.ip_ecn == IpEcn::Ect0 && ace(sent) == 5), "all of a run");
    let mut later = acknowledge(&mut peer, 2010, 5, None);
    assert_eq!(peer.host.stats.ecn.reductions, 0);
    for (bytes, counter) in [(3010, 6), (4010, 7), (5010, 7), (6010, 0)] {
        later.extend(acknowledge(&mut peer, bytes, counter, None));
    }
    assert_eq!(peer.host.stats.ecn.reductions, 1);
    assert!(later.iter().all(|sent| ace(sent) == 5));
    assert_eq!(peer.host.stats.tcp.retrans_segs, 0);
    // An older acknowledgement is ignored.
    let ssthresh = peer.connection.congestion.ssthresh();
    let _ = acknowledge(&mut peer, 6010, 3, None);
    assert_eq!(peer.connection.congestion.ssthresh(), ssthresh);
}

/// A flood of CE, with data or without, costs at most an acknowledgement for every second packet
/// with data and for every third without (RFC 9768 §3.2.2.5.1).
#[test]
fn a_flood_of_marks_is_answered_within_bounds() {
    let mut peer = accurate();
    let mut acks = 0;
    for _ in 0..300 {
        let header = Header { ip_ecn: IpEcn::Ce, ..peer.header(Flags::ACK.with(Flags::AE).with(Flags::ECE)) };
        acks += peer.deliver(header, &[]).len();
    }
    assert_eq!(acks, 100);
    let mut classic = classic();
    let acks: usize = (0..300)
        .map(|_| {
            let header = Header { ip_ecn: IpEcn::Ce, ..classic.header(Flags::ACK) };
            classic.deliver(header, &[]).len()
        })
        .sum();
    assert_eq!(acks, 0);
}

/// A simultaneous open in which both ends request ECN.
#[test]
fn a_simultaneous_open_agrees() {
    for (policy, flags, expected) in [
        (Ecn::Accept, 0b111, 0b000),
        (Ecn::AcceptRfc3168, 0b011, 0b000),
        (Ecn::AcceptAllRequestRfc3168, 0b111, 0b001),
        (Ecn::Request, 0b011, 0b001),
        (Ecn::Request, 0b111, 0b001),
        (Ecn::RequestAccurate, 0b011, 0b001),
        (Ecn::RequestAccurate, 0b111, 0b010),
    ] {
        let mut peer = syn_sent(policy);
        let crossing = peer.syn(&Offer::plain(), Flags::SYN.with(crate::tcp::accecn::ace_flags(flags)));
        let sent = peer.deliver(Header { ack: SeqNumber(0), ..crossing }, &[]);
        assert_eq!((sent[0].flags().as_str(), ace(&sent[0])), ("SYN,ACK", expected), "{policy:?} {flags:#b}");
    }
}

/// RFC 3168 §6.1.2 (RFC3168-6.1.2-d): after a reduction for any reason, the next new data carries
/// CWR, once.
#[test]
fn a_loss_is_told_with_cwr_too() {
    let cwr_at = |sent: &[Sent]| -> Vec<u32> {
        sent.iter().filter(|sent| sent.header.flags.contains(Flags::CWR)).map(Peer::offset).collect()
    };
    let offer = Offer { sack: true, ..Offer::plain() };
    let (mut peer, _) = open(Ecn::Request, Flags::ECE, &offer);
    let _ = peer.send(&[0; 30_000]);
    let mut sent = Vec::new();
    for sacked in 2..=9 {
        sent.extend(peer.sack_bytes(0, &[(1000, sacked * 1000)]));
    }
    sent.extend(peer.wait_millis(20));
    sent.extend(peer.ack_bytes(10_000));
    let resent: Vec<&Sent> = sent.iter().filter(|sent| Peer::offset(sent) == 0).collect();
    assert!(!resent.is_empty() && resent.iter().all(|sent| !sent.header.flags.contains(Flags::CWR)));
    assert_eq!(cwr_at(&sent), [10_000]);
    // A loss in the same window of data does not reduce the window again (RFC3168-6.1.2-e).
    assert_eq!(peer.host.stats.ecn.reductions, 0);

    let mut peer = classic();
    let _ = peer.send(&[0; 30_000]);
    let resent = peer.wait_for_segment();
    assert_eq!((Peer::offset(&resent), resent.header.ip_ecn), (0, IpEcn::NotEct));
    let mut sent = peer.ack_bytes(10_000);
    sent.extend(peer.ack_bytes(11_000));
    assert_eq!(cwr_at(&sent), [10_000]);
}

/// RFC 3168 §6.1.2 (RFC3168-6.1.2-e): a loss and ECE in one window of data reduce it once.
#[test]
fn a_loss_and_ece_in_one_window_reduce_it_once() {
    let offer = Offer { sack: true, ..Offer::plain() };
    let (mut peer, _) = open(Ecn::Request, Flags::ECE, &offer);
    let _ = peer.send(&[0; 30_000]);
    let _ = ack_with_ece(&mut peer, 1000);
    let ssthresh = peer.connection.congestion.ssthresh();
    for sacked in 3..=9 {
        let _ = peer.sack_bytes(1000, &[(2000, sacked * 1000)]);
    }
    let _ = peer.wait_millis(20);
    assert_eq!(peer.connection.congestion.ssthresh(), ssthresh);
    assert_eq!((peer.host.stats.ecn.reductions, peer.host.stats.recovery.recoveries), (1, 1));
}

/// RFC 3168 §6.1.5: an attacker who guesses addresses and ports cannot make us send ECE; nor can
/// duplicates.
#[test]
fn marks_outside_the_window_are_ignored() {
    let mut peer = classic();
    let _ = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    for seq in [peer.seq + 10_000_000, peer.seq - 100, peer.seq - 100_000] {
        peer.host.now += Duration::from_secs(1);
        let header = Header { seq, ip_ecn: IpEcn::Ce, ..peer.header(Flags::ACK) };
        let sent = peer.deliver(header, &[0; 100]);
        assert!(sent.iter().all(|sent| ecn_flags(sent) == Flags::default()), "{seq:?}");
    }
    assert_eq!(peer.host.stats.ecn.ce_received, 0);
}

/// RFC 9768 §3.2.3.2.2: a path may drop segments with an unknown option.
#[test]
fn options_that_seem_to_be_dropped_are_sent_no_more() {
    let (mut peer, first) = open(Ecn::RequestAccurate, Flags::CWR, &Offer::plain());
    assert!(first.header.options.accecn.is_some());
    assert!(peer.send(&[0; 100])[0].header.options.accecn.is_some());
    let again = peer.wait_for_segment();
    assert_eq!((again.header.options.accecn, again.header.ip_ecn), (None, IpEcn::NotEct));
    // Later a time-out does not switch options off.
    let mut peer = accurate();
    let _ = peer.send(&[0; 100]);
    let _ = peer.wait_for_segment();
    let sent = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
    assert!(sent[0].header.options.accecn.is_some());
}

/// RFC 9768 §5.3 (RFC9768-5.3): a host with SACK and accurate ECN reports duplicates, and processes
/// such reports.
#[test]
fn whoever_has_accurate_ecn_reports_duplicates() {
    let (mut peer, _) = open(Ecn::RequestAccurate, Flags::CWR, &Offer { timestamps: false, ..Offer::all() });
    let sent = peer.send(&[0; 100]);
    assert!(sent[0].header.options.accecn.is_some());
    let _ = data(&mut peer, IpEcn::Ect0, Flags::default(), 50);
    peer.seq += 0u32.wrapping_sub(50);
    let sent = data(&mut peer, IpEcn::Ect0, Flags::default(), 50);
    let duplicate = (IRS + 1, IRS + 51);
    assert_eq!(sent[0].header.options.sack[..], [duplicate]);
    assert!(sent[0].header.options.accecn.is_some(), "beside its counters");
    let header = peer.header(Flags::ACK.with(crate::tcp::accecn::ace_flags(5)));
    let mut header = Header { ack: ISS + 101, ..header };
    header.options.sack = [(ISS + 1, ISS + 101)].into_iter().collect();
    let _ = peer.deliver(header, &[]);
    assert_eq!(peer.host.stats.recovery.dsacks_received, 1);
}

/// TCPI_OPT_ECN_SEEN, with both kinds of ECN.
#[test]
fn it_is_known_whether_the_peer_sends_ecn_capable_packets() {
    for mut peer in [classic(), accurate()] {
        let seen = |peer: &Peer| peer.connection.info(peer.host.now, &peer.host.config, 40).ecn_seen;
        let _ = data(&mut peer, IpEcn::NotEct, Flags::default(), 100);
        assert!(!seen(&peer));
        let _ = data(&mut peer, IpEcn::Ect0, Flags::default(), 100);
        assert!(seen(&peer));
        let _ = data(&mut peer, IpEcn::NotEct, Flags::default(), 100);
        assert!(seen(&peer));
    }
}

/// RFC 4015 §3.2: a reduction that was a mistake is not announced either.
#[test]
fn a_spurious_reduction_is_withdrawn_with_its_cwr() {
    for is_spurious in [false, true] {
        let (mut peer, _) = open(Ecn::Request, Flags::ECE, &Offer::all());
        let _ = peer.ack_bytes(0);
        let original = peer.send(&[7; 9880]).remove(0).header.options.timestamps;
        let _ = peer.wait_millis(5);
        let again = peer.sack_bytes(0, &[(988, 9880)]).remove(0);
        assert_eq!(Peer::offset(&again), 0);
        let _ = peer.wait_millis(5);
        peer.ack = ISS + 1 + 9880;
        let mut header = peer.header(Flags::ACK);
        let answered = if is_spurious { original } else { again.header.options.timestamps };
        let echo = answered.expect("negotiated").value;
        header.options.timestamps = Some(Timestamps { value: peer.clock(), echo });
        let _ = peer.deliver(header, &[]);
        assert_eq!(peer.host.stats.recovery.spurious_recoveries, u64::from(is_spurious));
        let next = peer.send(&[7; 988]).remove(0);
        assert_eq!(next.header.flags.contains(Flags::CWR), !is_spurious);
    }
}
