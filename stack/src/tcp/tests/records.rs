//! The small records: handshakes in a listener's SYN queue, and TIME-WAIT.

use alloc::vec::Vec;
use core::time::Duration;

use super::bench::Host;
use super::peer::Peer;
use crate::drop_reason::DropReason;
use crate::tcp::{
    Connection, Flags, HandshakeStep, HandshakeTimeout, Header, Options, SeqNumber, Settings, State,
    SynReceived, TimeWait, TimeWaitStep, Timestamps,
};

const IRS: SeqNumber = SeqNumber(u32::MAX);
const ISS: SeqNumber = SeqNumber(5000);

fn syn() -> Header {
    Header {
        seq: IRS,
        flags: Flags::SYN,
        window: 1000,
        options: Options {
            mss: Some(900),
            window_scale: Some(4),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 700, echo: 0 }),
            ..Options::default()
        },
        ..Header::default()
    }
}

fn bare_syn() -> Header {
    Header { options: Options::default(), ..syn() }
}

fn record(host: &mut Host, syn: &Header) -> SynReceived {
    let params = host.params(ISS.0);
    SynReceived::new(&mut host.ctx(), syn, &params)
}

/// The peer's next header.
fn next(flags: Flags, ack: SeqNumber) -> Header {
    let timestamps = Some(Timestamps { value: 701, echo: 0 });
    Header {
        seq: IRS + 1,
        ack,
        flags,
        window: 100,
        options: Options { timestamps, ..Options::default() },
        ..Header::default()
    }
}

fn without_timestamps(header: Header) -> Header {
    Header { options: Options::default(), ..header }
}

/// MUST-14, SHLD-5: and only what the SYN offered.
#[test]
fn the_syn_ack_answers_the_options_of_the_syn() {
    let mut host = Host::new();
    let answer = record(&mut host, &syn()).syn_ack(host.now);
    assert_eq!((answer.seq, answer.ack, answer.flags), (ISS, SeqNumber(0), Flags::SYN_ACK));
    assert_eq!(answer.window, u16::MAX);
    let options = answer.options;
    assert_eq!((options.mss, options.window_scale, options.sack_permitted), (Some(1460), Some(7), true));
    assert_eq!(options.timestamps.map(|timestamps| timestamps.echo), Some(700));
    let plain = record(&mut host, &bare_syn()).syn_ack(host.now);
    assert_eq!(plain.options, Options { mss: Some(1460), ..Options::default() });
}

#[test]
fn the_last_ack_makes_a_connection_with_what_was_agreed() {
    let mut host = Host::new();
    let mut handshake = record(&mut host, &syn());
    host.now += Duration::from_millis(30);
    let ack = Header { flags: Flags::PSH_ACK, ..next(Flags::ACK, ISS + 1) };
    assert!(matches!(handshake.handle_segment(&mut host.ctx(), &ack, 3), HandshakeStep::Complete));
    let settings = host.settings();
    let mut connection = handshake.into_connection(&mut host.ctx(), settings, 1460);
    connection.handle_segment(&mut host.ctx(), &ack, bytes::Bytes::from_static(b"GET"));
    assert_eq!(connection.state(), State::Established);
    assert_eq!(connection.queued().0, 3);
    let taken = connection.send(&mut host.ctx(), &[0; 20_000]);
    assert_eq!(taken, Ok(20_000));
    let run = connection.poll_transmit(&mut host.ctx()).expect("data");
    let [(header, payload)] = run.collect::<Vec<_>>().try_into().expect("one segment");
    // The peer's window of 100 is scaled by 4 and thus 1,600.
    assert_eq!(crate::frame::payload_len(&payload), 900 - 12);
    assert_eq!(header.ack, IRS + 4);
    assert_eq!(u32::from(header.window) << 7, (1 << 20) - 128, "three bytes wait in the buffer");
    assert_eq!(header.options.timestamps.map(|timestamps| timestamps.echo), Some(701));
    assert!(connection.poll_transmit(&mut host.ctx()).is_none(), "what is left of the window is silly");
    // The round trip of the handshake.
    let (at, _) = connection.poll_timeout().expect("a retransmission");
    assert_eq!(at - host.now, Duration::from_millis(230));
}

#[test]
fn what_the_syn_ack_offered_is_taken_though_the_buffer_became_smaller() {
    let mut host = Host::new();
    let handshake = record(&mut host, &syn());
    let settings = Settings { receive_buffer_bytes: 100, ..host.settings() };
    let mut connection = handshake.into_connection(&mut host.ctx(), settings, 1460);
    let data = bytes::Bytes::from_static(&[1; 1000]);
    connection.handle_segment(&mut host.ctx(), &next(Flags::PSH_ACK, ISS + 1), data);
    assert_eq!(connection.queued().0, 1000);
}

#[test]
fn syn_acks_are_repeated_with_back_off_and_given_up() {
    let mut host = Host::new();
    let mut handshake = record(&mut host, &syn());
    let start = host.now;
    let mut seconds = Vec::new();
    loop {
        host.now = handshake.deadline();
        seconds.push((host.now - start).as_secs());
        if matches!(handshake.handle_timeout(&mut host.ctx()), HandshakeTimeout::GiveUp) {
            break;
        }
    }
    assert_eq!(seconds, [1, 3, 7, 15, 31, 63]);
    assert_eq!(host.stats.tcp.retrans_segs, 5);
}

fn step(host: &mut Host, handshake: &mut SynReceived, header: &Header, len: usize) -> HandshakeStep {
    let drops = host.stats.all_drops();
    let step = handshake.handle_segment(&mut host.ctx(), header, len);
    let is_drop = !matches!(step, HandshakeStep::Complete | HandshakeStep::Aborted);
    assert_eq!(host.stats.all_drops(), drops + u64::from(is_drop), "every drop once: {step:?}");
    step
}

#[test]
fn the_syn_again_gets_the_syn_ack_again_at_a_bounded_rate() {
    let mut host = Host::new();
    let mut handshake = record(&mut host, &syn());
    let HandshakeStep::Reply(reply) = step(&mut host, &mut handshake, &syn(), 0) else { panic!() };
    assert_eq!(reply.flags, Flags::SYN_ACK);
    assert!(matches!(step(&mut host, &mut handshake, &syn(), 0), HandshakeStep::Ignored));
    host.now += Duration::from_millis(500);
    assert!(matches!(step(&mut host, &mut handshake, &syn(), 0), HandshakeStep::Reply(_)));
}

/// RFC 9293 §3.10.7.4, with RFC 5961 and RFC 7323.
#[test]
fn what_does_not_fit_is_answered_and_changes_nothing() {
    let cases: Vec<(&str, Header, &str, DropReason)> = Vec::from([
        ("a bad ACK", next(Flags::ACK, ISS + 2), "RST", DropReason::BadAck),
        ("no ACK", next(Flags::PSH, SeqNumber(0)), "", DropReason::UnexpectedSegment),
        ("another SYN", next(Flags::SYN, SeqNumber(0)), "ACK", DropReason::ChallengeAck),
        (
            "beyond the window",
            Header { seq: IRS + 70_000, ..next(Flags::ACK, ISS + 1) },
            "ACK",
            DropReason::OutOfWindow,
        ),
        (
            "RST in the window",
            Header { seq: IRS + 2, ..next(Flags::RST, SeqNumber(0)) },
            "ACK",
            DropReason::ChallengeAck,
        ),
        (
            "RST beyond it",
            Header { seq: IRS + 70_000, ..next(Flags::RST, SeqNumber(0)) },
            "",
            DropReason::OutOfWindow,
        ),
        (
            "no ACK, outside",
            Header { seq: IRS + 70_000, ..without_timestamps(next(Flags::PSH, ISS + 1)) },
            "ACK",
            DropReason::OutOfWindow,
        ),
        (
            "an old timestamp",
            Header {
                options: Options { timestamps: Some(Timestamps { value: 1, echo: 0 }), ..Options::default() },
                ..next(Flags::ACK, ISS + 1)
            },
            "ACK",
            DropReason::Paws,
        ),
    ]);
    for (name, header, expected, reason) in cases {
        let mut host = Host::new();
        let mut handshake = record(&mut host, &syn());
        let answer = match step(&mut host, &mut handshake, &header, 0) {
            HandshakeStep::Ignored => "",
            HandshakeStep::Reply(reply) => {
                assert_eq!((reply.seq, reply.ack, reply.flags), (ISS + 1, IRS + 1, Flags::ACK), "{name}");
                "ACK"
            }
            HandshakeStep::Reset(reset) => {
                assert_eq!((reset.seq, reset.flags), (header.ack, Flags::RST), "{name}");
                "RST"
            }
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(answer, expected, "{name}");
        assert_eq!(host.stats.drops(reason), 1, "{name}: {:?}", host.stats);
        let good = step(&mut host, &mut handshake, &next(Flags::ACK, ISS + 1), 0);
        assert!(matches!(good, HandshakeStep::Complete), "{name}");
    }
}

/// RFC 4987 §3.6: nothing of the SYN is stored, but the connection has the options of the SYN.
#[test]
fn a_cookie_brings_the_options_back_through_the_timestamp() {
    let mut host = Host::new();
    let params = host.params(ISS.0);
    let syn_ack = SynReceived::cookie_syn_ack(&mut host.ctx(), &syn(), &params);
    assert_eq!((syn_ack.seq, syn_ack.ack, syn_ack.flags), (ISS, IRS + 1, Flags::SYN_ACK));
    let options = syn_ack.options;
    assert_eq!((options.mss, options.window_scale, options.sack_permitted), (Some(1460), Some(7), true));
    let sent = options.timestamps.expect("the SYN had them");
    assert_eq!(sent.echo, 700);

    host.now += Duration::from_millis(30);
    let mut ack = next(Flags::PSH_ACK, ISS + 1);
    ack.options.timestamps = Some(Timestamps { value: 701, echo: sent.value });
    let record = SynReceived::from_cookie(&mut host.ctx(), &ack, &params, 900);
    let mut connection = record.into_connection(&mut host.ctx(), params.settings.clone(), 1460);
    connection.handle_segment(&mut host.ctx(), &ack, bytes::Bytes::from_static(b"GET"));
    assert_eq!((connection.state(), connection.queued().0), (State::Established, 3));
    let taken = connection.send(&mut host.ctx(), &[0; 20_000]);
    assert_eq!(taken, Ok(20_000));
    let run = connection.poll_transmit(&mut host.ctx()).expect("data");
    let [(header, payload)] = run.collect::<Vec<_>>().try_into().expect("one segment");
    // The peer's window of 100 is scaled by 4 and thus 1,600.
    assert_eq!(crate::frame::payload_len(&payload), 900 - 12);
    assert_eq!((header.seq, header.ack), (ISS + 1, IRS + 4));
    let clock = header.options.timestamps.expect("negotiated").value;
    assert!(clock.wrapping_sub(sent.value) < 30 + 128, "the clock does not go back");
    // There is no measurement: the echoed timestamp has options in its low bits.
    let (at, _) = connection.poll_timeout().expect("a retransmission");
    assert_eq!(at - host.now, Duration::from_secs(1));
}

/// Linux's cookie_timestamp_decode: without timestamps only the MSS is offered, because nothing
/// else can be encoded.
#[test]
fn a_cookie_without_timestamps_carries_the_mss_alone() {
    let mut host = Host::new();
    let params = host.params(ISS.0);
    let syn = Header { options: Options { timestamps: None, ..syn().options }, ..syn() };
    let syn_ack = SynReceived::cookie_syn_ack(&mut host.ctx(), &syn, &params);
    assert_eq!(syn_ack.options, Options { mss: Some(1460), ..Options::default() });
    let ack = without_timestamps(next(Flags::ACK, ISS + 1));
    let record = SynReceived::from_cookie(&mut host.ctx(), &ack, &params, 536);
    let mut connection = record.into_connection(&mut host.ctx(), params.settings.clone(), 1460);
    connection.handle_segment(&mut host.ctx(), &ack, bytes::Bytes::new());
    assert_eq!(connection.send(&mut host.ctx(), &[0; 20_000]), Ok(20_000));
    let run = connection.poll_transmit(&mut host.ctx()).expect("data");
    let lens: Vec<usize> = run.map(|(_, payload)| crate::frame::payload_len(&payload)).collect();
    assert_eq!(lens, [100], "the window is not scaled");
}

/// MUST-11: a reset returns to LISTEN.
#[test]
fn a_reset_in_place_ends_the_handshake() {
    let mut host = Host::new();
    let mut handshake = record(&mut host, &syn());
    let reset = without_timestamps(next(Flags::RST, SeqNumber(0)));
    assert!(matches!(step(&mut host, &mut handshake, &reset, 0), HandshakeStep::Aborted));
}

/// A TIME-WAIT record after an orderly close, with its peer.
fn time_wait(with_timestamps: bool) -> (Peer, TimeWait) {
    let mut peer = if with_timestamps { Peer::established() } else { Peer::plain() };
    let _ = peer.wait_millis(50);
    let _ = peer.shutdown();
    let _ = peer.ack_bytes(1);
    let _ = peer.fin();
    let record = Connection::time_wait(&peer.connection, &mut peer.host.ctx());
    (peer, record)
}

fn time_wait_step(peer: &mut Peer, record: &mut TimeWait, header: &Header, len: usize) -> TimeWaitStep {
    let drops = peer.host.stats.all_drops();
    let step = record.handle_segment(&mut peer.host.ctx(), header, len, peer.connection.timestamps.offset);
    let is_drop = !matches!(step, TimeWaitStep::Reopen { .. });
    assert_eq!(peer.host.stats.all_drops(), drops + u64::from(is_drop));
    step
}

#[test]
fn time_wait_acknowledges_the_fin_again_and_starts_anew() {
    let (mut peer, mut record) = time_wait(true);
    let expires_at = record.expires_at(peer.host.now);
    assert_eq!(expires_at, peer.host.now + Duration::from_secs(60));
    peer.host.now += Duration::from_secs(20);
    let fin = Header { seq: peer.seq - 1, ..peer.header(Flags::FIN.with(Flags::ACK)) };
    for _ in 0..3 {
        let TimeWaitStep::Reply(reply) = time_wait_step(&mut peer, &mut record, &fin, 0) else { panic!() };
        assert_eq!((reply.seq, reply.ack, reply.flags), (peer.ack, peer.seq, Flags::ACK));
        assert!(reply.options.timestamps.is_some());
    }
    // When its time is over, the record waits again.
    assert_eq!(record.expires_at(peer.host.now), expires_at);
    peer.host.now = expires_at;
    assert!(record.take_prolonged(&peer.host.ctx()));
    assert_eq!(record.expires_at(peer.host.now), expires_at + Duration::from_secs(60));
    assert!(!record.take_prolonged(&peer.host.ctx()));
}

/// RFC 1337.
#[test]
fn time_wait_ignores_resets_and_answers_others_at_a_bounded_rate() {
    let (mut peer, mut record) = time_wait(false);
    let expires_at = record.expires_at(peer.host.now);
    let reset = peer.header(Flags::RST);
    assert!(matches!(time_wait_step(&mut peer, &mut record, &reset, 0), TimeWaitStep::Ignored));
    let ack = peer.header(Flags::ACK);
    assert!(matches!(time_wait_step(&mut peer, &mut record, &ack, 0), TimeWaitStep::Ignored));
    let stale = Header { seq: peer.seq - 100, ..ack };
    assert!(matches!(time_wait_step(&mut peer, &mut record, &stale, 0), TimeWaitStep::Reply(_)));
    assert!(matches!(time_wait_step(&mut peer, &mut record, &stale, 0), TimeWaitStep::Ignored));
    peer.host.now += Duration::from_millis(500);
    assert!(matches!(time_wait_step(&mut peer, &mut record, &stale, 0), TimeWaitStep::Reply(_)));
    assert_eq!(record.expires_at(peer.host.now), expires_at);
    assert!(!record.is_prolonged());
    // Data, new or old, is always answered, and so is a FIN; a SYN is not.
    let text = Header { seq: peer.seq - 100, ..peer.header(Flags::ACK) };
    let fin = Header { flags: Flags::FIN.with(Flags::ACK), ..text.clone() };
    for _ in 0..3 {
        assert!(matches!(time_wait_step(&mut peer, &mut record, &text, 10), TimeWaitStep::Reply(_)));
        assert!(matches!(time_wait_step(&mut peer, &mut record, &fin, 0), TimeWaitStep::Reply(_)));
    }
    let next = peer.header(Flags::ACK);
    assert!(matches!(time_wait_step(&mut peer, &mut record, &next, 10), TimeWaitStep::Reply(_)));
    let syn = Header { flags: Flags::SYN.with(Flags::ACK), ..text };
    assert!(matches!(time_wait_step(&mut peer, &mut record, &syn, 10), TimeWaitStep::Ignored));
}

/// MAY-2, SHLD-4, RFC 6191.
#[test]
fn a_later_syn_reopens_and_an_earlier_one_does_not() {
    let reopens = |timestamps_before: bool, seq_offset: i32, clock_offset: Option<i32>| {
        let (mut peer, mut record) = time_wait(timestamps_before);
        let mut syn = peer.header(Flags::SYN);
        syn.seq = SeqNumber(peer.seq.0.wrapping_add_signed(seq_offset));
        syn.options.timestamps = clock_offset
            .map(|offset| Timestamps { value: peer.clock().wrapping_add_signed(offset), echo: 0 });
        match time_wait_step(&mut peer, &mut record, &syn, 0) {
            TimeWaitStep::Reopen { isn_after } => {
                assert!(isn_after.after(peer.ack + 65_535), "beyond what the old one could send");
                true
            }
            _ => false,
        }
    };
    assert!(reopens(false, 1, None), "a later number");
    assert!(!reopens(false, -1, None));
    assert!(reopens(true, -1000, Some(1)), "a later timestamp");
    assert!(reopens(true, 1, Some(0)), "the same timestamp and a later number");
    assert!(!reopens(true, -1, Some(0)));
    assert!(!reopens(true, 1, Some(-1)), "an earlier timestamp");
    assert!(reopens(true, 1, None), "the new one has no timestamps");
}

/// TCP_DEFER_ACCEPT: a peer that has acknowledged is waited for in silence, and asked once more at
/// the end, be that later than the last repetition (Linux's syn_ack_recalc).
#[test]
fn a_deferred_handshake_is_silent_until_its_time_is_over() {
    let steps = |is_acked: bool, max_retries: u8, delay: u64| {
        let mut host = Host::new();
        let mut params = host.params(ISS.0);
        params.settings.syn_retries = Some(max_retries);
        let mut handshake = SynReceived::new(&mut host.ctx(), &syn(), &params);
        handshake.defer(&host.ctx(), Duration::from_secs(delay));
        if is_acked {
            let ack = next(Flags::ACK, ISS + 1);
            assert!(matches!(step(&mut host, &mut handshake, &ack, 0), HandshakeStep::Ignored));
            assert_eq!(host.stats.drops(DropReason::AcceptDeferred), 1);
        }
        let mut steps = Vec::new();
        while steps.last() != Some(&"give up") {
            host.now = handshake.deadline();
            steps.push(match handshake.handle_timeout(&mut host.ctx()) {
                HandshakeTimeout::Wait => "wait",
                HandshakeTimeout::Repeat(_) => "repeat",
                HandshakeTimeout::GiveUp => "give up",
            });
        }
        steps
    };
    // Seven seconds are the time-outs of 1, 2 and 4 seconds.
    assert_eq!(steps(true, 1, 7), ["wait", "wait", "repeat", "give up"]);
    assert_eq!(steps(true, 5, 7), ["wait", "wait", "repeat", "repeat", "repeat", "give up"]);
    assert_eq!(steps(true, 3, 7), ["wait", "wait", "repeat", "give up"]);
    assert_eq!(steps(false, 1, 7), ["repeat", "give up"]);
    assert_eq!(steps(false, 5, 7), ["repeat", "repeat", "repeat", "repeat", "repeat", "give up"]);
}

/// RFC 9293 §3.10.7.4, eighth step: the time begins anew with a FIN that comes again, and with
/// nothing else.
#[test]
fn only_the_peers_fin_prolongs_time_wait() {
    let fin = Flags::FIN.with(Flags::ACK);
    for (before, flags, len, is_prolonged) in [
        (1, fin, 0, true),
        (11, fin, 10, true),
        (0, fin, 0, false),
        (2, fin, 0, false),
        (5, fin, 10, false),
        (10, Flags::ACK, 10, false),
        (10, Flags::PSH_ACK, 10, false),
        (1, Flags::ACK, 0, false),
    ] {
        let (mut peer, mut record) = time_wait(false);
        let header = Header { seq: peer.seq - before, ..peer.header(flags) };
        let _ = time_wait_step(&mut peer, &mut record, &header, len);
        assert_eq!(record.is_prolonged(), is_prolonged, "{flags:?} with {len} bytes, {before} before");
    }
}

/// RFC 5961 §7: the rate of answers to what makes no sense is that of the connection, also when it
/// becomes a record, and when a new connection takes its place.
#[test]
fn time_wait_goes_on_with_the_rate_of_its_connection() {
    let mut peer = Peer::plain();
    let _ = peer.shutdown();
    let _ = peer.ack_bytes(1);
    let _ = peer.fin();
    let stale = Header { seq: peer.seq - 100, ..peer.header(Flags::ACK) };
    let record = Connection::time_wait(&peer.connection, &mut peer.host.ctx());
    assert_eq!(record.next_reply_at(peer.host.now), peer.host.now, "nothing was answered yet");
    assert_eq!(peer.deliver(stale.clone(), &[]).len(), 1);
    let due = peer.host.now + peer.host.config.tcp.challenge_interval;
    let mut record = Connection::time_wait(&peer.connection, &mut peer.host.ctx());
    assert_eq!(record.next_reply_at(peer.host.now), due);
    assert!(matches!(time_wait_step(&mut peer, &mut record, &stale, 0), TimeWaitStep::Ignored));
    peer.host.now = due;
    assert!(matches!(time_wait_step(&mut peer, &mut record, &stale, 0), TimeWaitStep::Reply(_)));
}

/// RFC 9293 §3.10.7.4, fourth step: a SYN that finds no listener is answered, within the rate.
#[test]
fn a_syn_that_finds_no_listener_is_answered_at_a_bounded_rate() {
    let (mut peer, mut record) = time_wait(true);
    let offset = peer.connection.timestamps.offset;
    let answer = record.answer_syn(&peer.host.ctx(), offset).expect("the first one");
    assert_eq!((answer.seq, answer.ack, answer.flags), (peer.ack, peer.seq, Flags::ACK));
    assert!(record.answer_syn(&peer.host.ctx(), offset).is_none());
    peer.host.now += Duration::from_millis(500);
    assert!(record.answer_syn(&peer.host.ctx(), offset).is_some());
}
