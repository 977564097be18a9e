//! `TcpInfo`, field by field.

use alloc::format;
use alloc::vec;
use core::time::Duration;

use super::bench::Host;
use super::peer::{Offer, Peer};
use crate::config::CongestionControl;
use crate::tcp::{CongestionState, Settings, State, TcpInfo};

fn info(peer: &Peer) -> TcpInfo {
    peer.connection.info(peer.host.now, &peer.host.config, 40)
}

/// A peer with segments of 1,000 bytes, SACK and a scaled window of 1 MB.
fn peer() -> Peer {
    let offer = Offer { scale: Some(4), timestamps: false, ..Offer::all() };
    let mut peer = Peer::established_with(offer, |_, _| {});
    let _ = peer.ack_bytes(0);
    peer
}

#[test]
fn of_a_connection_that_has_done_nothing() {
    let mut peer = peer();
    let _ = peer.wait_millis(250);
    let info = info(&peer);
    assert_eq!((info.state.name(), info.ca_state), ("ESTABLISHED", CongestionState::Open));
    assert_eq!((info.retransmits, info.probes, info.backoff), (0, 0, 0));
    assert_eq!((info.timestamps, info.sack, info.ecn), (false, true, false));
    assert_eq!((info.snd_wscale, info.rcv_wscale), (Some(4), Some(7)));
    assert_eq!((info.snd_mss, info.rcv_mss, info.advmss, info.pmtu), (1000, 536, 1460, 1500));
    assert_eq!((info.unacked, info.sacked, info.lost, info.retrans, info.notsent_bytes), (0, 0, 0, 0, 0));
    assert_eq!(info.rtt, Duration::from_millis(10), "of the handshake");
    assert_eq!((info.rto, info.rttvar), (Duration::from_millis(210), Duration::from_millis(5)));
    assert_eq!((info.snd_cwnd, info.snd_cwnd_bytes, info.snd_ssthresh), (10, 10_000, u32::MAX));
    assert_eq!((info.snd_wnd, info.rcv_ssthresh), (65_535 << 4, 1 << 20));
    assert_eq!(info.last_ack_recv, Duration::from_millis(250));
    assert_eq!((info.segs_in, info.segs_out), (2, 2), "SYN, ACK");
    assert_eq!((info.data_segs_in, info.data_segs_out, info.bytes_sent, info.bytes_acked), (0, 0, 0, 0));
    assert_eq!((info.busy_time, info.delivery_rate, info.pacing_rate), (Duration::ZERO, 0, u64::MAX));
    assert_eq!(info.ato, Duration::from_millis(40));
    assert!(peer.connection.counters.flow.is_none(), "it costs nothing until there is data");
}

#[test]
fn of_a_sender() {
    let mut peer = peer();
    let _ = peer.send(&[1; 12_500]);
    let sent = info(&peer);
    assert_eq!((sent.unacked, sent.notsent_bytes), (10, 2500));
    assert_eq!((sent.data_segs_out, sent.bytes_sent, sent.segs_out), (10, 10_000, 12));
    let _ = peer.wait_millis(20);
    let _ = peer.ack_bytes(5000);
    let acked = info(&peer);
    assert_eq!((acked.bytes_acked, acked.delivered, acked.unacked), (5000, 5, 8));
    assert_eq!((acked.snd_cwnd, acked.notsent_bytes), (15, 0));
    assert_eq!(acked.min_rtt, Duration::from_millis(10), "the handshake's");
    assert_eq!(acked.delivery_rate, 5000 * 1000 / 20);
    assert!(!acked.delivery_rate_app_limited);
    let _ = peer.wait_millis(20);
    let _ = peer.ack_bytes(12_500);
    let all = info(&peer);
    assert_eq!((all.bytes_acked, all.delivered, all.unacked), (12_500, 13, 0));
    assert_eq!(all.busy_time, Duration::from_millis(40));
    let _ = peer.wait_millis(100);
    let idle = info(&peer);
    assert_eq!(idle.busy_time, Duration::from_millis(40), "now it is idle");
    assert_eq!(
        (idle.last_data_sent, idle.last_ack_recv),
        (Duration::from_millis(120), Duration::from_millis(100))
    );
}

#[test]
fn of_a_sender_with_losses() {
    let mut peer = peer();
    let _ = peer.send(&[1; 10_000]);
    let _ = peer.wait_millis(10);
    let _ = peer.sack_bytes(0, &[(1000, 2000)]);
    assert_eq!((info(&peer).ca_state, info(&peer).sacked), (CongestionState::Disorder, 1));
    let _ = peer.sack_bytes(0, &[(1000, 5000)]);
    let repaired = info(&peer);
    assert_eq!(repaired.ca_state, CongestionState::Recovery);
    assert_eq!((repaired.sacked, repaired.lost, repaired.retrans, repaired.total_retrans), (4, 1, 1, 1));
    assert_eq!((repaired.bytes_retrans, repaired.bytes_sent), (1000, 11_000));
    assert!(repaired.snd_ssthresh < 10 && repaired.reord_seen == 0);
    // The peer had received it.
    let _ = peer.sack_bytes(5000, &[(0, 1000)]);
    assert_eq!(info(&peer).dsack_dups, 1);
    // The rest is lost, and so are its retransmissions.
    let _ = peer.wait_millis(2000);
    let lost = info(&peer);
    assert_eq!(lost.ca_state, CongestionState::Loss);
    assert!(
        lost.retransmits > 1
            && lost.backoff == lost.retransmits
            && lost.total_rto == u32::from(lost.retransmits)
    );
    assert!(lost.rto > Duration::from_millis(800), "{lost:?}");
    assert!(lost.lost > 0 && lost.total_retrans > 2);
    assert_eq!(lost.snd_cwnd, 1);
}

#[test]
fn of_a_receiver() {
    let mut peer = peer();
    let _ = peer.data(&[1; 1000]);
    let _ = peer.data_at(1000, &[3; 1000]);
    let _ = peer.data(&[2; 500]);
    let _ = peer.wait_millis(70);
    let received = info(&peer);
    assert_eq!((received.data_segs_in, received.segs_in), (3, 5));
    assert_eq!((received.bytes_received, received.rcv_ooopack), (1500, 1));
    assert_eq!((received.rcv_mss, received.last_data_recv), (1000, Duration::from_millis(70)));
    assert_eq!(received.rcv_space, 14_600);
    assert!(received.rcv_wnd > 1_000_000);
    let _ = peer.data(&[2; 500]);
    assert_eq!(info(&peer).bytes_received, 3000, "the gap is filled");
    peer.seq += 1000;
    let _ = peer.fin();
    assert_eq!((info(&peer).bytes_received, info(&peer).state.name()), (3000, "CLOSE-WAIT"));
}

#[test]
fn of_who_waits_for_whom() {
    // The peer's window, 4,000 bytes, is less than the queued data.
    let mut peer = Peer::established_with(Offer { window: 4000, ..Offer::plain() }, |_, params| {
        params.settings.send_buffer_bytes = 20_000;
    });
    let _ = peer.send(&vec![1; 20_000]);
    let _ = peer.wait_millis(30);
    let narrow = info(&peer);
    assert_eq!(
        (narrow.busy_time, narrow.rwnd_limited),
        (Duration::from_millis(30), Duration::from_millis(30))
    );
    peer.window = 0;
    let _ = peer.ack_bytes(4000);
    let _ = peer.wait_millis(600);
    let closed = info(&peer);
    assert!(closed.probes > 0 && closed.rwnd_limited >= Duration::from_millis(600), "{closed:?}");
    // The program has filled its buffer, and the congestion window has room for more.
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.send_buffer_bytes = 8000;
    });
    let _ = peer.send(&[1; 8000]);
    let _ = peer.wait_millis(5);
    let full = info(&peer);
    assert_eq!((full.busy_time, full.sndbuf_limited), (Duration::from_millis(5), Duration::from_millis(5)));
    let _ = peer.ack_bytes(4000);
    let _ = peer.wait_millis(5);
    let half = info(&peer);
    assert_eq!((half.busy_time, half.sndbuf_limited), (Duration::from_millis(10), Duration::from_millis(5)));
    assert_eq!(half.rwnd_limited, Duration::ZERO);
}

/// The fields that Linux's tcp_get_info fills in for a listener; all others have their defaults.
#[test]
fn of_a_listener() {
    let host = Host::new();
    let mut config = host.config.clone();
    config.tcp.initial_window_segs = 4;
    let congestion = CongestionControl::Reno;
    let settings = Settings { congestion, max_pacing_rate: Some(9000), ..host.settings() };
    let info = TcpInfo::of_listener(&settings, &config, 3, 7);
    let expected = TcpInfo {
        state: State::Listen,
        congestion,
        unacked: 3,
        sacked: 7,
        snd_cwnd: 4,
        pacing_rate: 9000,
        ..TcpInfo::default()
    };
    assert_eq!(format!("{info:?}"), format!("{expected:?}"));
    let unpaced = TcpInfo::of_listener(&host.settings(), &config, 0, 0);
    assert_eq!((unpaced.unacked, unpaced.sacked, unpaced.pacing_rate), (0, 0, u64::MAX));
}

/// A sample is limited by the program if what was sent before it left room in the window and
/// nothing to send.
#[test]
fn of_a_sender_with_little_to_send() {
    for (first, is_limited) in [(500, true), (9000, true), (10_000, false), (60_000, false)] {
        let mut peer = peer();
        let _ = peer.send(&vec![1; first]);
        let _ = peer.wait_millis(10);
        let _ = peer.ack_bytes(first.min(10_000) as u32 - 100);
        assert!(!info(&peer).delivery_rate_app_limited, "{first}: the first of all");
        let _ = peer.send(&[1; 12_000]);
        let _ = peer.wait_millis(10);
        let all = peer.connection.snd.nxt - (super::peer::ISS + 1);
        let _ = peer.ack_bytes(all);
        assert_eq!(info(&peer).delivery_rate_app_limited, is_limited, "{first}");
    }
}

/// RFC 7323 §2.2: windows are scaled in both directions or in none, and not before that is known.
#[test]
fn of_windows_that_are_not_scaled() {
    for peer in [Peer::plain(), Peer::syn_sent(|_, _| {})] {
        let info = info(&peer);
        assert_eq!((info.snd_wscale, info.rcv_wscale), (None, None));
    }
}

#[test]
fn of_the_path_for_a_list() {
    let mut peer = Peer::syn_sent(|_, _| {});
    assert_eq!(peer.connection.path(), (None, None));
    peer = self::peer();
    assert_eq!(peer.connection.path(), (Some(Duration::from_millis(10)), Some(10_000)));
    let _ = peer.call(|connection, ctx| connection.abort(ctx));
    assert_eq!(peer.connection.path(), (Some(Duration::from_millis(10)), None));
}

/// Linux's tcp_update_pacing_rate: two windows a round trip in slow start and 1.2 later, and not
/// more than SO_MAX_PACING_RATE.
#[test]
fn of_the_pace() {
    let rate = |pacing: bool, limit: Option<u64>, is_slow_start: bool| {
        let mut peer = Peer::established_with(Offer::plain(), |host, params| {
            host.config.tcp.pacing = pacing;
            params.settings.max_pacing_rate = limit;
        });
        if !is_slow_start {
            peer.connection.congestion.on_congestion(crate::tcp::congestion::Cause::Loss);
            peer.connection.congestion.on_recovery_done(None);
            peer.connection.congestion.set_cwnd(10_000);
        }
        info(&peer).pacing_rate
    };
    // 10,000 bytes in 10 ms.
    assert_eq!(rate(true, None, true), 2_000_000);
    assert_eq!(rate(true, None, false), 1_200_000);
    assert_eq!(rate(false, None, true), u64::MAX);
    assert_eq!(rate(false, Some(3_000_000), true), 2_000_000);
    assert_eq!(rate(true, Some(1_500_000), true), 1_500_000);
    assert_eq!(rate(true, Some(1_500_000), false), 1_200_000);
}
