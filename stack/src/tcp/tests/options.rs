//! TCP_CORK and TCP_USER_TIMEOUT.

use core::time::Duration;

use super::peer::{Offer, Peer};
use crate::error::CloseReason;
use crate::tcp::{Settings, State};

fn set(peer: &mut Peer, change: impl FnOnce(&mut Settings)) -> usize {
    let mut settings = Settings::clone(&peer.connection.settings);
    change(&mut settings);
    peer.call(|connection, ctx| connection.set_settings(ctx, settings)).1.len()
}

#[test]
fn a_cork_lets_only_full_segments_out() {
    let mut peer = Peer::plain();
    set(&mut peer, |settings| {
        settings.cork = true;
        settings.nodelay = true;
    });
    assert!(peer.send(&[1; 300]).is_empty());
    let sent = peer.send(&[2; 1800]);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<alloc::vec::Vec<_>>(), [1000, 1000]);
    assert!(peer.ack_bytes(2000).is_empty(), "100 bytes wait");
    assert_eq!(set(&mut peer, |settings| settings.cork = false), 1, "the cork is drawn");
}

#[test]
fn a_cork_ends_by_itself_and_with_the_stream() {
    let mut peer = Peer::plain();
    set(&mut peer, |settings| settings.cork = true);
    let start = peer.host.now;
    assert!(peer.send(b"short").is_empty());
    let sent = peer.wait_for_segment();
    assert_eq!(&sent.data[..], b"short");
    let waited = peer.host.now - start;
    assert!((Duration::from_millis(200)..Duration::from_millis(300)).contains(&waited), "{waited:?}");
    let _ = peer.ack_bytes(5);
    assert!(peer.send(b"last").is_empty());
    let sent = peer.shutdown();
    assert_eq!((&sent[0].data[..], sent[0].flags().as_str()), (&b"last"[..], "FIN,ACK"));
}

/// MUST-21.
#[test]
fn data_unacknowledged_for_the_user_timeout_ends_the_connection() {
    for seconds in [3, 40] {
        let mut peer = Peer::plain();
        let limit = Duration::from_secs(seconds);
        set(&mut peer, |settings| settings.user_timeout = Some(limit));
        let _ = peer.send(b"anybody there?");
        let first = peer.wait_for_segment();
        let _ = peer.wait(limit - Duration::from_millis(100));
        assert_eq!(peer.connection.state(), State::Established, "{seconds}");
        let _ = peer.wait(Duration::from_millis(200));
        assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut), "{seconds}: {:?}", first.at);
    }
}

#[test]
fn a_user_timeout_outlasts_the_number_of_retries() {
    let mut peer = Peer::established_with(Offer::plain(), |host, params| {
        host.config.tcp.retries = 2;
        params.settings.user_timeout = Some(Duration::from_secs(600));
    });
    let _ = peer.send(b"anybody there?");
    let _ = peer.wait(Duration::from_secs(590));
    assert_eq!(peer.connection.state(), State::Established);
    let _ = peer.ack_bytes(14);
    let _ = peer.send(b"again");
    let _ = peer.wait(Duration::from_secs(590));
    assert_eq!(peer.connection.state(), State::Established, "an answer begins it anew");
    // The RTO is still backed off, and the time counts from the first retransmission.
    let _ = peer.wait(Duration::from_secs(150));
    assert_eq!(peer.connection.state(), State::Closed);
}

#[test]
fn data_that_waits_before_a_closed_window_has_the_same_time() {
    let mut peer = Peer::plain();
    set(&mut peer, |settings| settings.user_timeout = Some(Duration::from_secs(10)));
    peer.window = 0;
    let header = peer.header(crate::tcp::Flags::ACK);
    let _ = peer.deliver(header, &[]);
    let _ = peer.send(b"when you can");
    let mut waited = Duration::ZERO;
    while peer.connection.state() == State::Established {
        let before = peer.host.now;
        let _ = peer.wait_millis(100);
        // The peer answers every probe, and its window stays closed.
        let header = peer.header(crate::tcp::Flags::ACK);
        let _ = peer.deliver(header, &[]);
        waited += peer.host.now - before;
    }
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
    assert!((Duration::from_secs(10)..Duration::from_millis(10_500)).contains(&waited), "{waited:?}");
}

#[test]
fn keepalives_are_given_up_when_the_user_timeout_is_over() {
    let mut peer = Peer::plain();
    set(&mut peer, |settings| {
        settings.keepalive = true;
        settings.keepalive_idle = Duration::from_secs(10);
        settings.keepalive_interval = Duration::from_secs(1);
        settings.keepalive_probes = 3;
        settings.user_timeout = Some(Duration::from_secs(20));
    });
    let _ = peer.wait(Duration::from_secs(19));
    assert_eq!(peer.connection.state(), State::Established, "nine probes, not three");
    let sent = peer.wait(Duration::from_secs(2));
    assert_eq!(sent.last().map(|sent| sent.flags()).as_deref(), Some("RST,ACK"));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}
