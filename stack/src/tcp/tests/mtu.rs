//! The search for the path's MTU (RFC 4821) in a connection, and what is larger than the path
//! takes.

use alloc::vec::Vec;
use core::time::Duration;

use super::peer::{ISS, Offer, Peer, Sent};
use crate::config::MtuProbing;
use crate::tcp::congestion::Cause;

/// Where the search begins, unless the address family promises more.
const BASE: usize = 1024;

/// A peer that takes segments of 1,460 bytes, over a path of which less is known.
fn peer(probing: MtuProbing) -> Peer {
    let offer = Offer { mss: Some(1460), scale: Some(7), timestamps: false, ..Offer::all() };
    Peer::established_with(offer, |host, _| host.config.tcp.mtu_probing = probing)
}

fn lens(sent: &[Sent]) -> Vec<usize> {
    sent.iter().map(|sent| sent.data.len()).collect()
}

/// Acknowledges so much at a time until a segment of more than [`BASE`] bytes goes out.
fn wait_for_probe(peer: &mut Peer, step: u32) -> Sent {
    for _ in 0..100 {
        let acked = peer.connection.snd.una - (ISS + 1) + step;
        let sent = peer.ack_bytes(acked);
        let (in_flight, cwnd) = (peer.connection.in_flight(), peer.connection.congestion.cwnd());
        assert!(in_flight <= cwnd, "{in_flight} of {cwnd}");
        if let Some(probe) = sent.into_iter().find(|sent| sent.data.len() > BASE) {
            return probe;
        }
    }
    panic!("no probe");
}

/// RFC 4821 §7.7, RFC 8200 §5: after three time-outs, segments become as small as every path takes,
/// if they were larger.
#[test]
fn large_segments_that_vanish_become_small_ones() {
    for (least, len, again) in [
        (0, 2000, [1460, 1460, BASE]),
        (1220, 2000, [1460, 1460, 1220]),
        (1400, 2000, [1460, 1460, 1400]),
        (1460, 2000, [1460; 3]),
        (0, BASE, [BASE; 3]),
        (0, BASE + 1, [BASE + 1, BASE + 1, BASE]),
    ] {
        let mut peer = peer(MtuProbing::BlackHole);
        peer.connection.set_least_path_mss(least);
        let _ = peer.send(&alloc::vec![1; len]);
        let _loss_probe = peer.wait_for_segment();
        let sent = peer.wait(Duration::from_secs(5));
        let first: Vec<Sent> = sent.into_iter().filter(|sent| Peer::offset(sent) == 0).collect();
        assert_eq!(lens(&first)[..3], again, "{len} bytes, every path takes {least}");
        let black_holes = u64::from(again[2] < again[0]);
        assert_eq!(peer.host.stats.mtu.black_holes, black_holes, "{len} bytes, every path takes {least}");
    }
}

/// RFC 4821 §7.4 (RFC4821-7.4-b): a probe waits until the congestion window has room for all of it.
#[test]
fn a_probe_is_no_reason_to_exceed_the_window() {
    let mut peer = peer(MtuProbing::Always);
    // Ten segments fill the window, which is too small for a probe.
    let sent = peer.send(&[1; 100_000]);
    assert_eq!(lens(&sent), [BASE; 10]);
    // Congestion avoidance: the window does not grow by itself.
    peer.connection.congestion.on_congestion(Cause::Loss);
    peer.connection.congestion.on_recovery_done(None);
    peer.connection.congestion.set_cwnd(11 * BASE as u32);
    let probe = wait_for_probe(&mut peer, 300);
    assert_eq!(probe.data.len(), 1460);
}

/// RFC 4821 §7.5: a router that answers the probe says what is to be tried next; about any other
/// segment it says nothing new.
#[test]
fn a_router_that_refuses_a_probe_names_the_next() {
    for (is_about_probe, next) in [(true, 1300), (false, 1242)] {
        let mut peer = peer(MtuProbing::Always);
        let _ = peer.send(&[1; 30_000]);
        let probe = wait_for_probe(&mut peer, 2 * BASE as u32);
        let offset = Peer::offset(&probe);
        let about = if is_about_probe { probe.header.seq } else { probe.header.seq - BASE as u32 };
        let (_, sent) = peer.call(|connection, ctx| connection.on_path_mss(ctx, about, 1300));
        assert!(sent.is_empty(), "the segments are smaller than that anyway");
        // All but the probe arrives.
        let nxt = peer.connection.snd.nxt - (ISS + 1);
        let _ = peer.wait_millis(10);
        let again = peer.sack_bytes(offset, &[(offset + 1460, nxt)]);
        assert_eq!(lens(&again)[..2], [BASE, 1460 - BASE], "it is sent again in smaller ones");
        assert_eq!(peer.host.stats.mtu.probe_fail, 1);
        let mut sent = peer.ack_bytes(nxt);
        sent.extend(peer.send(&[1; 60_000]));
        let probe = sent.into_iter().find(|sent| sent.data.len() > BASE);
        let probe = probe.unwrap_or_else(|| wait_for_probe(&mut peer, 2 * BASE as u32));
        assert_eq!(probe.data.len(), next, "about the probe: {is_about_probe}");
    }
}
