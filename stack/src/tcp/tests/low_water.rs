//! SO_RCVLOWAT, TCP_NOTSENT_LOWAT, TCP_QUICKACK.

use super::peer::{Offer, Peer};
use crate::error::Error;

#[test]
fn readable_means_the_low_water_mark_or_the_end() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.receive_low_water = 2500;
    });
    let _ = peer.data(&[1; 1000]);
    let _ = peer.data(&[1; 1000]);
    assert!(!peer.connection.readiness().readable);
    let _ = peer.data(&[1; 1000]);
    assert!(peer.connection.readiness().readable);
    assert_eq!(peer.recv(1000).len(), 1000);
    assert!(!peer.connection.readiness().readable);
    assert_eq!(peer.recv(10).len(), 10, "a call takes what there is");
    let _ = peer.fin();
    assert!(peer.connection.readiness().readable);
}

#[test]
fn a_window_that_is_used_up_is_readable_below_the_mark() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.receive_low_water = 5000;
        params.settings.receive_buffer_bytes = 4500;
    });
    for _ in 0..3 {
        let _ = peer.data(&[1; 1000]);
        assert!(!peer.connection.readiness().readable);
    }
    let _ = peer.data(&[1; 1000]);
    assert!(peer.connection.readiness().readable, "the peer cannot send much more");
}

#[test]
fn a_buffer_that_grows_makes_room_for_the_mark() {
    let mut peer = Peer::established_with(Offer { scale: Some(0), ..Offer::plain() }, |_, params| {
        params.settings.receive_buffer_bytes = 128 << 10;
        params.settings.auto_receive_buffer = true;
    });
    let mut settings = crate::tcp::Settings::clone(&peer.connection.settings);
    settings.receive_low_water = 1 << 20;
    let (_, sent) = peer.call(|connection, ctx| connection.set_settings(ctx, settings));
    assert_eq!(peer.connection.buffers().0, 2 << 20);
    assert!(u32::from(sent[0].header.window) << 7 > 1 << 20, "{sent:?}");
    // Half of the buffer is enough.
    for (low_water, buffer) in [(1 << 20, 2 << 20), ((1 << 20) + 1, (2 << 20) + 2)] {
        let mut settings = crate::tcp::Settings::clone(&peer.connection.settings);
        settings.receive_low_water = low_water;
        let _ = peer.call(|connection, ctx| connection.set_settings(ctx, settings));
        assert_eq!(peer.connection.buffers().0, buffer);
    }
}

#[test]
fn no_more_waits_unsent_than_the_program_wants() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.unsent_low_water = 4000;
    });
    // The initial window is ten segments: data in flight does not count.
    let mut taken = 0;
    while let (Ok(len), _) = peer.call(|connection, ctx| connection.send(ctx, &[7; 3000])) {
        taken += len;
    }
    assert_eq!(taken, 14_000);
    assert_eq!(peer.call(|connection, ctx| connection.send(ctx, b"x")).0, Err(Error::WouldBlock));
    assert!(!peer.connection.readiness().writable);
    let _ = peer.ack_bytes(1000);
    assert!(!peer.connection.readiness().writable, "two more are sent, half of it still waits");
    let _ = peer.ack_bytes(2000);
    assert!(peer.connection.readiness().writable);
}

#[test]
fn quick_acknowledgements_can_be_asked_for_and_ended() {
    let mut peer = Peer::plain();
    let _ = peer.data(b"x");
    peer.call(|connection, ctx| connection.set_quick_ack(ctx, false));
    assert!(!peer.connection.is_quick_ack());
    assert!(peer.data(b"x").is_empty());
    let ((), sent) = peer.call(|connection, ctx| connection.set_quick_ack(ctx, true));
    assert_eq!((sent.len(), sent[0].header.ack), (1, peer.seq), "the one that waited goes now");
    for _ in 0..16 {
        assert_eq!(peer.data(b"x").len(), 1);
    }
    assert!(peer.data(b"x").is_empty());
}
