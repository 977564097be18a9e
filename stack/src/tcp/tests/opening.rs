//! Active opens: options, retries, refusals, simultaneous open.

use alloc::vec::Vec;
use core::time::Duration;

use super::peer::{IRS, ISS, Offer, Peer};
use crate::drop_reason::DropReason;
use crate::error::{CloseReason, Error};
use crate::tcp::{Flags, Header, Settings, State};

/// MUST-14, SHLD-5, MAY-3; the options are those of Linux.
#[test]
fn the_syn_offers_mss_sack_timestamps_and_scale() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let again = peer.wait_millis(1000);
    let options = &again[0].header.options;
    assert_eq!(options.mss, Some(1460));
    assert!(options.sack_permitted);
    assert_eq!(options.window_scale, Some(7));
    assert_eq!(options.timestamps.map(|timestamps| timestamps.echo), Some(0));
    assert_eq!(again[0].header.window, u16::MAX);
}

/// MUST-65: the MSS and the other options of a SYN are in no other segment.
#[test]
fn the_first_ack_opens_the_whole_window_and_has_no_syn_options() {
    let mut peer = Peer::established_with(Offer { scale: Some(3), ..Offer::all() }, |_, _| {});
    let sent = peer.send(b"x");
    let header = &sent[0].header;
    assert_eq!(header.options.mss, None);
    assert_eq!(header.options.window_scale, None);
    assert!(!header.options.sack_permitted);
    assert!(header.options.timestamps.is_some());
    assert_eq!(u32::from(header.window) << 7, 1 << 20);
}

#[test]
fn without_the_peers_options_none_are_used() {
    let mut peer = Peer::plain();
    let sent = peer.send(b"x");
    assert_eq!(sent[0].header.options, Default::default());
    // Not scaled: the largest 16-bit value.
    assert_eq!(sent[0].header.window, u16::MAX);
}

/// MUST-15, MUST-16: the peer's MSS, the path's, 536 without the option, and never less than the
/// minimum.
#[test]
fn segments_are_as_large_as_peer_and_path_take() {
    let full = |offer: Offer, path_mss: u16| {
        let mut peer = Peer::established_with(offer, |_, params| params.path_mss = path_mss);
        peer.send(&[0; 20_000])[0].data.len()
    };
    assert_eq!(full(Offer::plain(), 1460), 1000);
    assert_eq!(full(Offer::plain(), 700), 700);
    assert_eq!(full(Offer { mss: None, ..Offer::plain() }, 1460), 536);
    assert_eq!(full(Offer { mss: Some(1), ..Offer::plain() }, 1460), 48);
    assert_eq!(full(Offer::all(), 1460), 988, "timestamps take 12 bytes");
}

/// MUST-22, RFC 6298 §5.5: the delay doubles with each SYN, and the attempt ends.
#[test]
fn syns_are_repeated_with_back_off_and_given_up() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let start = peer.host.now;
    let syns = peer.wait(Duration::from_secs(200));
    let seconds: Vec<u64> = syns.iter().map(|sent| (sent.at - start).as_secs()).collect();
    // The first five at equal intervals, as on Linux.
    assert_eq!(seconds, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    assert!(syns.iter().all(|sent| sent.flags() == "SYN" && sent.header.seq == ISS));
    assert_eq!(peer.connection.state(), State::Closed);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
    assert_eq!(peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 4])).0, Err(Error::TimedOut));
    assert_eq!(peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 4])).0, Ok(0));
    assert_eq!(peer.host.stats.tcp.retrans_segs, 10);
    assert_eq!(peer.connection.poll_timeout(), None);
}

/// RFC 6298 §5.7, RFC 5681 §3.1.
#[test]
fn a_syn_lost_twice_makes_a_careful_start() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let _ = peer.wait_millis(3500);
    let header = peer.syn(&Offer::plain(), Flags::SYN_ACK);
    peer.seq = IRS + 1;
    let _ = peer.deliver(header, &[]);
    let sent = peer.send(&[0; 20_000]);
    assert_eq!(sent.len(), 1, "one segment, not ten");
    let again = peer.wait_millis(2999);
    assert!(again.is_empty(), "the RTO is 3 s");
    assert_eq!(peer.wait_millis(2).len(), 1);
}

#[test]
fn a_reset_refuses_only_if_it_acknowledges_the_syn() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let wrong = Header { ack: ISS + 2, ..peer.header(Flags::RST_ACK) };
    assert!(peer.deliver_dropped(wrong, &[], DropReason::BadAck).is_empty());
    let without_ack = peer.header(Flags::RST);
    assert!(peer.deliver_dropped(without_ack, &[], DropReason::UnexpectedSegment).is_empty());
    assert_eq!(peer.connection.state(), State::SynSent);
    let right = peer.header(Flags::RST_ACK);
    assert!(peer.deliver(right, &[]).is_empty());
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Refused));
    assert_eq!(peer.connection.take_error(), Some(Error::ConnectionRefused));
    assert_eq!(peer.connection.take_error(), None);
    assert_eq!(peer.host.stats.tcp.resets_received, 1);
}

/// RFC 9293 §3.5, figure 10: an old SYN-ACK is answered with a reset, and the attempt continues.
#[test]
fn a_bad_ack_of_the_syn_is_reset() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let header = Header { ack: ISS + 77, ..peer.syn(&Offer::plain(), Flags::SYN_ACK) };
    let sent = peer.deliver_dropped(header, &[], DropReason::BadAck);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].header.flags, sent[0].header.seq), (Flags::RST, ISS + 77));
    assert_eq!(peer.connection.state(), State::SynSent);
}

#[test]
fn data_and_fin_with_the_syn_ack_are_taken() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let mut header = peer.syn(&Offer::plain(), Flags::SYN_ACK);
    header.flags = header.flags.with(Flags::FIN);
    let sent = peer.deliver(header, b"hello");
    assert_eq!(peer.connection.state(), State::CloseWait);
    assert_eq!(sent[0].header.ack, IRS + 7);
    assert_eq!(peer.recv(10), b"hello");
}

/// MUST-10, MUST-11: RFC 9293 §3.5, figure 8, with the peer's SYN-ACK.
#[test]
fn both_ends_open_at_once() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let syn = peer.syn(&Offer { scale: Some(5), window: 100, ..Offer::all() }, Flags::SYN);
    let sent = peer.deliver(syn, &[]);
    assert_eq!(peer.connection.state(), State::SynReceived);
    assert_eq!(sent[0].flags(), "SYN,ACK");
    assert_eq!((sent[0].header.seq, sent[0].header.ack), (ISS, IRS + 1));
    // The peer has answered our SYN with a SYN-ACK, too.
    let syn_ack = peer.syn(&Offer { scale: Some(5), window: 100, ..Offer::all() }, Flags::SYN_ACK);
    let sent = peer.deliver(syn_ack, &[]);
    assert!(sent.len() == 1 && sent[0].is_pure_ack());
    assert_eq!(peer.connection.state(), State::Established);
    assert_eq!(peer.connection.poll_timeout(), None);
    peer.seq = IRS + 1;
    // The window of a SYN is not scaled.
    let sent = peer.send(&[1; 500]);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).sum::<usize>(), 100);
}

/// The same, but the SYN-ACK is lost and an ACK arrives.
#[test]
fn both_ends_open_at_once_and_the_answer_is_repeated() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let syn = peer.syn(&Offer::plain(), Flags::SYN);
    let _ = peer.deliver(syn.clone(), &[]);
    let repeated = peer.wait_millis(1000);
    assert_eq!(repeated[0].flags(), "SYN,ACK");
    // The peer's timer repeats its SYN.
    let again = peer.deliver(syn, &[]);
    assert_eq!(again[0].flags(), "SYN,ACK");
    peer.seq = IRS + 1;
    let ack = peer.header(Flags::ACK);
    assert!(peer.deliver(ack, &[]).is_empty());
    assert_eq!(peer.connection.state(), State::Established);
}

#[test]
fn a_reset_in_a_simultaneous_open_refuses() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let syn = peer.syn(&Offer::plain(), Flags::SYN);
    let _ = peer.deliver(syn, &[]);
    peer.seq = IRS + 1;
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Refused));
}

/// RFC 9293 §3.10.7.3.
#[test]
fn a_crossing_syn_brings_at_most_a_window_of_data() {
    let mut peer = Peer::syn_sent(|_, params| {
        let settings = Settings { receive_buffer_bytes: 100, ..Settings::clone(&params.settings) };
        params.settings = settings.into();
    });
    let syn = peer.syn(&Offer::plain(), Flags::SYN);
    let sent = peer.deliver(syn, &[7; 200]);
    assert_eq!((sent.len(), sent[0].flags().as_str(), sent[0].header.ack), (1, "SYN,ACK", IRS + 1));
    assert_eq!(peer.connection.queued().0, 0);
    peer.seq = IRS + 1;
    let ack = peer.header(Flags::ACK);
    let sent = peer.deliver(ack, &[]);
    assert_eq!((sent.len(), sent[0].header.ack, peer.connection.queued().0), (1, IRS + 101, 100));
}

#[test]
fn closed_while_both_open_it_closes_once_open() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let syn = peer.syn(&Offer::plain(), Flags::SYN);
    let _ = peer.deliver(syn, &[]);
    assert!(peer.shutdown().is_empty());
    assert_eq!(peer.connection.state(), State::SynReceived);
    peer.seq = IRS + 1;
    let ack = peer.header(Flags::ACK);
    let sent = peer.deliver(ack, &[]);
    assert_eq!(peer.connection.state(), State::FinWait1);
    assert_eq!(sent[0].flags(), "FIN,ACK");
}

/// MUST-56, SHLD-25, MUST-47; RFC 5461.
#[test]
fn unreachable_ends_an_attempt_and_is_remembered_later() {
    let unreachable = Error::HostUnreachable;
    let mut peer = Peer::syn_sent(|_, _| {});
    let _ = peer.call(|connection, ctx| connection.on_unreachable(ctx, ISS + 1, unreachable));
    assert_eq!(peer.connection.state(), State::SynSent, "not about something in flight");
    let _ = peer.call(|connection, ctx| connection.on_unreachable(ctx, ISS, unreachable));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Unreachable(unreachable)));
    assert_eq!(peer.connection.take_error(), Some(unreachable));

    let mut peer = Peer::plain();
    let _ = peer.send(b"lost");
    let _ = peer.call(|connection, ctx| connection.on_unreachable(ctx, ISS + 1, unreachable));
    assert_eq!(peer.connection.state(), State::Established);
    assert!(!peer.connection.readiness().error, "it goes on");
    let _ = peer.wait(Duration::from_secs(3600));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Unreachable(unreachable)));
}

/// Linux: SO_ERROR returns the stored error (sk_err_soft), which is then no longer the reason.
#[test]
fn what_is_remembered_can_be_asked_for_once() {
    let unreachable = Error::HostUnreachable;
    let mut peer = Peer::plain();
    let _ = peer.send(b"lost");
    let _ = peer.call(|connection, ctx| connection.on_unreachable(ctx, ISS + 1, unreachable));
    assert_eq!(peer.connection.take_error(), Some(unreachable));
    assert_eq!(peer.connection.take_error(), None);
    let _ = peer.wait(Duration::from_secs(3600));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}

#[test]
fn refused_by_icmp_is_refused() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let _ = peer.call(|connection, ctx| connection.on_unreachable(ctx, ISS, Error::ConnectionRefused));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Refused));
}

/// SHLD-14.
#[test]
fn a_buffer_made_smaller_before_it_is_open_keeps_what_the_syn_offered() {
    let mut peer = Peer::syn_sent(|_, _| {});
    let mut settings = peer.host.settings();
    settings.receive_buffer_bytes = 100;
    let (_, sent) = peer.call(|connection, ctx| connection.set_settings(ctx, settings));
    assert!(sent.is_empty(), "nothing is acknowledged in SYN-SENT");
    let header = peer.syn(&Offer::plain(), Flags::SYN_ACK);
    peer.seq = IRS + 1;
    let sent = peer.deliver(header, &[]);
    assert_eq!(sent[0].header.window, u16::MAX);
}

/// RFC 7413 §4.1.2: a cookie is valid for two lifetimes of its key at most.
#[test]
fn fast_open_keys_change_with_time() {
    let mut host = super::bench::Host::new();
    let lifetime = Duration::from_secs(100);
    host.config.tcp.fast_open_key_lifetime = lifetime;
    let mut keys = crate::tcp::FastOpenKeys::new(&mut host.rng, None);
    let first = keys.current(&mut host.ctx());
    assert_eq!(first.backup, None);
    host.now += lifetime - Duration::from_nanos(1);
    assert_eq!(keys.current(&mut host.ctx()), first);
    host.now += Duration::from_nanos(1);
    let second = keys.current(&mut host.ctx());
    assert_eq!(second.backup, Some(first.primary));
    assert_ne!(second.primary, first.primary);
    assert_eq!(keys.current(&mut host.ctx()), second);
    // No cookie was requested for a while: the previous key is good for one lifetime.
    host.now += 2 * lifetime - Duration::from_nanos(1);
    let third = keys.current(&mut host.ctx());
    assert_eq!(third.backup, Some(second.primary));
    host.now += 2 * lifetime;
    let fourth = keys.current(&mut host.ctx());
    assert_eq!(fourth.backup, None);
    assert_ne!(fourth.primary, third.primary);
}
