//! How connections end: orderly, half-closed, simultaneously, by reset. What calls return
//! afterwards, and memory.

use alloc::vec::Vec;
use core::time::Duration;

use super::bench::{End, Pair};
use super::peer::{ISS, Offer, Peer};
use crate::drop_reason::DropReason;
use crate::error::{CloseReason, Error};
use crate::event::{DeadlineKind, Readiness};
use crate::tcp::{Flags, Header, State};

fn recv(peer: &mut Peer) -> Result<usize, Error> {
    peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 64])).0
}

fn send(peer: &mut Peer) -> Result<usize, Error> {
    peer.call(|connection, ctx| connection.send(ctx, b"data")).0
}

/// RFC 9293 §3.6, figure 12.
#[test]
fn half_a_connection_goes_on() {
    let mut peer = Peer::plain();
    let sent = peer.shutdown();
    assert_eq!(sent[0].flags(), "FIN,ACK");
    assert_eq!(send(&mut peer), Err(Error::BrokenPipe));
    let _ = peer.ack_bytes(1);
    assert_eq!(peer.connection.state(), State::FinWait2);
    assert_eq!(peer.connection.poll_timeout(), None, "as long as the program holds it");
    let _ = peer.data(b"more from the peer");
    assert_eq!(recv(&mut peer), Ok(18));
    let sent = peer.fin();
    assert!(sent[0].is_pure_ack());
    assert_eq!(peer.connection.state(), State::TimeWait);
    assert_eq!(recv(&mut peer), Ok(0));
    assert_eq!(peer.connection.poll_timeout().map(|(_, kind)| kind), Some(DeadlineKind::TimeWait));
    let _ = peer.wait(Duration::from_secs(60));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Finished));
    // SYN-SENT, ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, CLOSED.
    assert_eq!(peer.host.stats.tcp.state_changes, 6);
}

#[test]
fn the_fin_follows_what_is_queued_and_rides_on_the_last_of_it() {
    let mut peer = Peer::plain();
    assert_eq!(peer.send(&[1; 12_500]).len(), 10);
    assert!(peer.shutdown().is_empty());
    assert_eq!(peer.connection.state(), State::FinWait1);
    let sent = peer.ack_bytes(10_000);
    let flags: Vec<_> = sent.iter().map(|sent| sent.flags()).collect();
    assert_eq!(flags, ["ACK", "ACK", "FIN,ACK"]);
    assert_eq!(sent[2].data.len(), 500);
    let _ = peer.ack_bytes(12_500);
    assert_eq!(peer.connection.state(), State::FinWait1, "the FIN is not acknowledged yet");
    let again = peer.wait_millis(1500);
    assert_eq!((again[0].flags().as_str(), again[0].data.len()), ("FIN,ACK", 0));
    let _ = peer.ack_bytes(12_501);
    assert_eq!(peer.connection.state(), State::FinWait2);
}

#[test]
fn the_peer_closes_first() {
    let mut peer = Peer::plain();
    let _ = peer.data(b"bye");
    let _ = peer.fin();
    assert_eq!(peer.connection.state(), State::CloseWait);
    assert_eq!(recv(&mut peer), Ok(3));
    assert_eq!(recv(&mut peer), Ok(0));
    assert_eq!(send(&mut peer), Ok(4), "our half is open");
    let _ = peer.ack_bytes(4);
    let _ = peer.close();
    assert_eq!(peer.connection.state(), State::LastAck);
    let _ = peer.ack_bytes(5);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Finished));
    assert_eq!(peer.connection.poll_timeout(), None);
}

/// RFC 9293 §3.6, figure 13.
#[test]
fn both_close_at_once() {
    let mut pair = Pair::established();
    for end in [End::Client, End::Server] {
        pair.at(end, |connection, ctx| connection.close(ctx));
    }
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.client.state(), State::TimeWait);
    assert_eq!(pair.server().state(), State::TimeWait);
    assert_eq!(pair.host.stats.tcp.retrans_segs, 0);
    pair.run_for(Duration::from_secs(61));
    assert_eq!(pair.client.close_reason(), Some(CloseReason::Finished));
    assert_eq!(pair.server().close_reason(), Some(CloseReason::Finished));
}

/// SHLD-3, RFC 2525 §2.17.
#[test]
fn closing_with_unread_data_resets() {
    let mut peer = Peer::plain();
    let _ = peer.data(b"nobody reads this");
    let sent = peer.close();
    assert_eq!(sent[0].flags(), "RST,ACK");
    assert_eq!((sent[0].header.seq, sent[0].header.ack), (ISS + 1, peer.seq));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Aborted));
    assert_eq!(peer.connection.queued(), (0, 0));
}

#[test]
fn data_after_close_resets() {
    for acked in [0, 1] {
        let mut peer = Peer::plain();
        let _ = peer.close();
        let _ = peer.ack_bytes(acked);
        let header = peer.header(Flags::ACK);
        let sent = peer.deliver_dropped(header, b"too late", DropReason::ReceiverClosed);
        assert_eq!(sent.last().map(|sent| sent.flags()).as_deref(), Some("RST"));
        // The reset has the number that the peer acknowledged.
        assert_eq!(sent.last().map(|sent| sent.header.seq), Some(ISS + 1 + acked));
        assert_eq!(peer.connection.close_reason(), Some(CloseReason::Aborted));
    }
}

#[test]
fn nobody_waits_for_ever_in_fin_wait_2() {
    let mut peer = Peer::plain();
    let _ = peer.shutdown();
    let _ = peer.ack_bytes(1);
    let _ = peer.wait(Duration::from_secs(3600));
    assert_eq!(peer.connection.state(), State::FinWait2);
    let _ = peer.close();
    assert_eq!(peer.connection.poll_timeout().map(|(_, kind)| kind), Some(DeadlineKind::Linger));
    let sent = peer.wait(Duration::from_secs(60));
    assert!(sent.is_empty());
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Finished));
}

#[test]
fn a_connection_that_nobody_holds_is_retried_less() {
    let mut peer = Peer::plain();
    let _ = peer.send(b"data");
    let _ = peer.close();
    let sent = peer.wait(Duration::from_secs(3600));
    assert_eq!(sent.len(), usize::from(peer.host.config.tcp.orphan_retries));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}

#[test]
fn a_window_closed_on_a_connection_that_nobody_holds_is_not_waited_for_for_ever() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    let _ = peer.send(&[0; 3000]);
    let _ = peer.close();
    peer.window = 0;
    let _ = peer.ack_bytes(1000);
    let start = peer.host.now;
    let mut last = peer.wait_for_segment();
    while peer.connection.state() != State::Closed {
        let _ = peer.ack_bytes(1000);
        last = peer.wait_for_segment();
    }
    assert_eq!(last.flags(), "RST,ACK");
    assert!(last.at - start > Duration::from_secs(100));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}

/// RFC 9293 §3.10.5.
#[test]
fn abort_resets_only_where_the_peer_has_a_connection() {
    let mut peer = Peer::syn_sent(|_, _| {});
    assert!(peer.call(|connection, ctx| connection.abort(ctx)).1.is_empty());
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::Aborted));

    let mut peer = Peer::plain();
    let _ = peer.send(b"in flight");
    let sent = peer.call(|connection, ctx| connection.abort(ctx)).1;
    assert_eq!((sent[0].flags().as_str(), sent[0].header.seq), ("RST,ACK", ISS + 10));

    let mut peer = Peer::plain();
    let _ = peer.fin();
    let _ = peer.shutdown();
    assert!(peer.call(|connection, ctx| connection.abort(ctx)).1.is_empty(), "LAST-ACK");
}

#[test]
fn after_a_reset_what_came_is_read_then_the_error_once_then_nothing() {
    let mut peer = Peer::plain();
    let _ = peer.data(b"last words");
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::PeerReset));
    assert_eq!(recv(&mut peer), Ok(10));
    assert_eq!(recv(&mut peer), Err(Error::ConnectionReset));
    assert_eq!(recv(&mut peer), Ok(0));
    assert_eq!(send(&mut peer), Err(Error::BrokenPipe));
    assert_eq!(peer.call(|connection, ctx| connection.shutdown_write(ctx)).0, Err(Error::NotConnected));
    assert_eq!(
        peer.connection.close_reason(),
        Some(CloseReason::PeerReset),
        "a dead connection keeps its reason"
    );
}

#[test]
fn sending_into_a_reset_gives_the_error_once_then_epipe() {
    let mut peer = Peer::plain();
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    assert_eq!(send(&mut peer), Err(Error::ConnectionReset));
    assert_eq!(send(&mut peer), Err(Error::BrokenPipe));
    // Linux's tcp_reset: a reset after the peer's FIN breaks only the sending half.
    let mut peer = Peer::plain();
    let _ = peer.fin();
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    assert_eq!(recv(&mut peer), Ok(0));
    assert_eq!(peer.connection.take_error(), Some(Error::BrokenPipe));
}

#[test]
fn before_it_is_open_nothing_is_sent_or_read() {
    let mut peer = Peer::syn_sent(|_, _| {});
    assert_eq!(send(&mut peer), Err(Error::WouldBlock));
    assert_eq!(recv(&mut peer), Err(Error::WouldBlock));
    assert_eq!(peer.connection.readiness(), Readiness::default());
    let (result, sent) = peer.call(|connection, ctx| connection.shutdown_write(ctx));
    assert_eq!(result, Ok(()));
    assert!(sent.is_empty());
    assert_eq!(peer.connection.state(), State::Closed);
    assert_eq!(peer.connection.take_error(), Some(Error::ConnectionReset));
}

#[test]
fn shutting_down_the_reading_half_ends_the_stream_after_what_is_queued() {
    let mut peer = Peer::plain();
    let _ = peer.data(b"queued");
    let (result, sent) = peer.call(|connection, ctx| connection.shutdown_read(ctx));
    assert_eq!((result, sent.len()), (Ok(()), 0));
    assert_eq!(recv(&mut peer), Ok(6));
    assert_eq!(recv(&mut peer), Ok(0));
    assert_eq!(peer.data(b"more").len(), 1, "the peer is not told");
}

#[test]
fn readiness_is_that_of_epoll() {
    let idle = Readiness { writable: true, ..Readiness::default() };
    let mut peer = Peer::plain();
    assert_eq!(peer.connection.readiness(), idle);
    let _ = peer.data(b"x");
    assert_eq!(peer.connection.readiness(), Readiness { readable: true, ..idle });
    let _ = recv(&mut peer);
    assert_eq!(peer.connection.readiness(), idle);
    let _ = peer.fin();
    let half = Readiness { readable: true, peer_closed: true, ..idle };
    assert_eq!(peer.connection.readiness(), half);
    let _ = peer.shutdown();
    assert_eq!(peer.connection.readiness(), Readiness { hung_up: true, ..half });

    let mut peer = Peer::plain();
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    let all = Readiness {
        readable: true,
        writable: true,
        peer_closed: true,
        hung_up: true,
        error: true,
        urgent: false,
    };
    assert_eq!(peer.connection.readiness(), all);
    let _ = peer.connection.take_error();
    assert_eq!(peer.connection.readiness(), Readiness { error: false, ..all });
}

#[test]
fn a_full_send_buffer_would_block_and_a_third_of_it_wakes() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.send_buffer_bytes = 9000;
    });
    let (taken, _) = peer.call(|connection, ctx| connection.send(ctx, &[0; 20_000]));
    assert_eq!(taken, Ok(9000));
    assert_eq!(send(&mut peer), Err(Error::WouldBlock));
    let bytes = bytes::Bytes::from_static(&[0; 100]);
    assert_eq!(peer.call(|connection, ctx| connection.send_bytes(ctx, bytes)).0, Err(Error::WouldBlock));
    assert!(!peer.connection.readiness().writable);
    let _ = peer.ack_bytes(2000);
    assert!(!peer.connection.readiness().writable);
    let _ = peer.ack_bytes(3000);
    assert!(peer.connection.readiness().writable);
    assert_eq!(send(&mut peer), Ok(4));
}

#[test]
fn in_time_wait_the_fin_is_acknowledged_again_and_the_time_starts_anew() {
    let mut peer = Peer::plain();
    let _ = peer.shutdown();
    let _ = peer.ack_bytes(1);
    let fin = peer.header(Flags::FIN.with(Flags::ACK));
    let _ = peer.fin();
    let _ = peer.wait(Duration::from_secs(30));
    assert!(peer.deliver(fin, &[])[0].is_pure_ack());
    let _ = peer.wait(Duration::from_secs(59));
    assert_eq!(peer.connection.state(), State::TimeWait);
    let _ = peer.wait(Duration::from_secs(2));
    assert_eq!(peer.connection.state(), State::Closed);
}

#[test]
fn a_reset_with_the_number_of_the_fin_is_believed_after_it() {
    let mut peer = Peer::plain();
    let _ = peer.fin();
    let reset = Header { seq: peer.seq - 1, ..peer.header(Flags::RST) };
    let _ = peer.deliver(reset, &[]);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::PeerReset));
}

#[test]
fn an_idle_connection_is_small_and_holds_no_buffers() {
    assert!(size_of::<crate::tcp::Connection>() <= 1152, "{}", size_of::<crate::tcp::Connection>());
    assert!(size_of::<crate::tcp::SynReceived>() <= 128, "{}", size_of::<crate::tcp::SynReceived>());
    assert!(size_of::<crate::tcp::TimeWait>() <= 24, "{}", size_of::<crate::tcp::TimeWait>());
    let mut pair = Pair::established();
    assert_eq!(pair.client.memory_bytes(), 0);
    let data = alloc::vec![3; 100_000];
    assert_eq!(pair.send(End::Client, &data), 100_000);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.recv(End::Server).len(), 100_000);
    pair.run_for(Duration::from_secs(1));
    assert!(pair.client.memory_bytes() < 512, "{}", pair.client.memory_bytes());
    assert!(pair.server().memory_bytes() < 512, "{}", pair.server().memory_bytes());
    assert_eq!(pair.client.poll_timeout(), None);
    assert_eq!(pair.server().poll_timeout(), None);
}

/// As on Linux, whose delay depends on the time between data segments: a FIN from a peer that has
/// sent no data is acknowledged sooner, whatever we have sent.
#[test]
fn a_fin_without_any_data_is_acknowledged_sooner() {
    for (sends, receives, millis) in
        [(false, false, 4), (true, false, 4), (false, true, 40), (true, true, 40)]
    {
        let mut peer = Peer::plain();
        if sends {
            let _ = peer.send(&[1; 100]);
            let _ = peer.ack_bytes(100);
        }
        if receives {
            let _ = peer.data(b"x");
        }
        let now = peer.host.now;
        assert!(peer.fin().is_empty(), "{sends} {receives}");
        let ack = peer.wait_for_segment();
        assert_eq!(ack.at - now, Duration::from_millis(millis), "{sends} {receives}");
    }
}
