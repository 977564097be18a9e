//! Stored sequence numbers that stay unchanged while gigabytes are transferred. After 2 GiB such a
//! number seems to be in the future, and after 4 GiB it names data in flight.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::peer::{IRS, Offer, Peer, Sent};
use super::urgent::send_urgent;
use crate::config::{Ecn, TcpConfig};
use crate::tcp::{Flags, Header};

/// Large segments, so that 4 GiB are not too many of them.
const MSS: u32 = 65_000;
const GIB: u64 = 1 << 30;
/// 4 GiB modulo the segment size.
const SMALL: u32 = ((4 * GIB) % MSS as u64) as u32;

/// A connection that transfers gigabytes.
struct Long {
    peer: Peer,
    /// Bytes acknowledged; the sequence number is the low half.
    acked: u64,
}

impl Long {
    /// RFC 3168 on both sides, SACK or not, and no timestamps.
    fn new(sack: bool) -> Long {
        let offer = Offer { mss: Some(MSS as u16), scale: Some(14), sack, timestamps: false, window: 65_535 };
        let mut peer = Peer::syn_sent(|host, params| {
            host.config.tcp.ecn = Ecn::Request;
            host.config.tcp.send_buffer_bytes = 64 << 20;
            params.settings = host.settings().into();
            params.path_mss = MSS as u16;
            params.announced_mss = MSS as u16;
        });
        peer.host.now += Duration::from_millis(1);
        let header = peer.syn(&offer, Flags::SYN_ACK.with(Flags::ECE));
        peer.seq = IRS + 1;
        let _ = peer.deliver(header, &[]);
        let mut long = Long { peer, acked: 0 };
        long.widen();
        long
    }

    /// Sends until the congestion window has room for what a scene sends.
    fn widen(&mut self) {
        for _ in 0..5 {
            self.send_acked(20 * MSS);
        }
    }

    fn low(&self) -> u32 {
        self.acked as u32
    }

    /// The peer acknowledges everything.
    fn ack_all(&mut self) -> Vec<Sent> {
        self.peer.host.now += Duration::from_millis(1);
        self.acked += u64::from(self.peer.connection.snd.flight());
        let low = self.low();
        self.peer.ack_bytes(low)
    }

    fn send_acked(&mut self, len: u32) {
        let _ = self.peer.send(&alloc::vec![0; len as usize]);
        while self.peer.connection.snd.flight() > 0 {
            let _ = self.ack_all();
        }
    }

    /// Transfers `bytes`, half a window at a time, and one segment more, so that data is always in
    /// flight. Nothing is checked or copied.
    fn carry(&mut self, bytes: u64) {
        let chunk = Bytes::from(alloc::vec![0; 16 << 20]);
        let end = self.acked + bytes;
        while self.acked < end {
            let left = (end + u64::from(MSS)) - self.acked - self.peer.connection.snd.queue.len() as u64;
            let len = left.min(chunk.len() as u64) as usize;
            let Peer { host, connection, .. } = &mut self.peer;
            // The buffer may take less.
            let _ = connection.send_bytes(&mut host.ctx(), chunk.slice(..len));
            while connection.poll_transmit(&mut host.ctx()).is_some() {}
            let half = u64::from((connection.snd.flight() / MSS).div_ceil(2) * MSS).min(end - self.acked);
            self.acked += half;
            host.now += Duration::from_millis(1);
            let low = self.low();
            let _ = self.peer.ack_bytes(low);
        }
        assert_eq!(self.acked, end);
    }

    /// Sends this many full segments after everything in flight has arrived. Returns how many were
    /// sent.
    fn send_full(&mut self, count: u32) -> usize {
        self.peer.send(&alloc::vec![0; (count * MSS) as usize]).len()
    }

    fn sack(&mut self, blocks: &[(u32, u32)]) -> Vec<Sent> {
        self.peer.host.now += Duration::from_millis(1);
        let low = self.low();
        let blocks: Vec<(u32, u32)> = blocks
            .iter()
            .map(|&(from, to)| (low.wrapping_add(from * MSS), low.wrapping_add(to * MSS)))
            .collect();
        self.peer.sack_bytes(low, &blocks)
    }

    /// An acknowledgement that reports the segment before SND.UNA as a duplicate.
    fn dsack(&mut self) {
        let low = self.low();
        let _ = self.peer.sack_bytes(low, &[(low.wrapping_sub(MSS), low)]);
    }

    fn ack_with_ece(&mut self) {
        self.peer.host.now += Duration::from_millis(1);
        self.peer.ack = self.peer.connection.snd.nxt;
        self.acked += u64::from(self.peer.connection.snd.flight());
        let header = self.peer.header(Flags::ACK.with(Flags::ECE));
        let _ = self.peer.deliver(header, &[]);
    }
}

/// A scene that can be played repeatedly on one connection.
type Scene = fn(&mut Long);

/// Plays the scenes, and plays them again at a distance at which stored numbers seem to be in the
/// future, or are those of data in flight.
fn play_far_apart(sack: bool, scenes: &[Scene]) {
    for distance in [4 * GIB - 33_000 * u64::from(MSS), 4 * GIB] {
        let mut long = Long::new(sack);
        let from = long.acked;
        scenes.iter().for_each(|scene| scene(&mut long));
        let rest = distance - (long.acked - from);
        long.carry(rest);
        scenes.iter().for_each(|scene| scene(&mut long));
    }
}

/// A mark counts however long ago the last one was.
fn congestion_is_experienced(long: &mut Long) {
    long.widen();
    let before = long.peer.host.stats.ecn.reductions;
    assert_eq!(long.send_full(2), 2);
    long.ack_with_ece();
    assert_eq!(long.peer.host.stats.ecn.reductions, before + 1);
    // The next one is more than a round trip later.
    long.send_acked(MSS);
    long.send_acked(MSS);
}

/// A duplicate widens the reordering window however long ago the last one did.
fn a_repetition_was_needless(long: &mut Long) {
    long.widen();
    assert_eq!(long.send_full(5), 5);
    let mut sent = long.sack(&[(1, 5)]);
    sent.extend(long.peer.wait_millis(3));
    assert_eq!(sent.len(), 1, "{sent:?}");
    let _ = long.ack_all();
    let config = TcpConfig::default();
    let before = long.peer.connection.reordering_window(&config);
    long.dsack();
    let widened = long.peer.connection.reordering_window(&config);
    assert!(widened > before, "{before:?} -> {widened:?}");
}

/// A SACK block is new although a block with the same numbers arrived 4 GiB ago. Data stays in
/// flight.
fn something_is_sacked(long: &mut Long) {
    assert_eq!(long.send_full(3), 3);
    let _ = long.sack(&[(1, 2)]);
    assert_eq!(long.peer.connection.flight.scoreboard.sacked(), MSS);
    long.peer.host.now += Duration::from_millis(1);
    long.acked += u64::from(2 * MSS);
    let low = long.low();
    let _ = long.peer.ack_bytes(low);
}

/// A small segment does not wait for one that was acknowledged long ago. 4 GiB later the end of
/// `SMALL` is in the middle of the data in flight.
fn a_small_segment_goes_out(long: &mut Long) {
    assert_eq!(long.send_full(8), 8);
    assert_eq!(long.peer.send(&alloc::vec![0; SMALL as usize]).len(), 1);
    assert_eq!(long.peer.send(&[0; 10]).len(), 0, "Nagle");
    assert_eq!(long.peer.send(&alloc::vec![0; (MSS - 10) as usize]).len(), 1, "filled up");
    let _ = long.ack_all();
}

/// SND.WL1 is a number of the peer, SND.WL2 one of ours: they move independently.
fn the_window_is_updated(long: &mut Long) {
    let low = long.low();
    for window in [0, 65_535] {
        long.peer.window = window;
        let _ = long.peer.ack_bytes(low);
        assert_eq!(long.peer.connection.snd.wnd, u32::from(window) << 14);
    }
}

/// Segments after the urgent data have no urgent pointer.
fn something_is_urgent(long: &mut Long) {
    assert!(!long.peer.connection.is_urgent());
    let (_, sent) =
        long.peer.call(|connection, ctx| send_urgent(connection, ctx, &alloc::vec![1; MSS as usize]));
    assert!(sent[0].header.flags.contains(Flags::URG));
    let _ = long.ack_all();
    let sent = long.peer.send(&alloc::vec![0; 2 * MSS as usize]);
    assert!(sent.iter().all(|sent| !sent.header.flags.contains(Flags::URG)), "{sent:?}");
    let _ = long.ack_all();
}

/// Without SACK: three duplicates begin a recovery however long ago the last one was.
fn a_segment_is_lost(long: &mut Long) {
    long.widen();
    let before = long.peer.host.stats.recovery.fast_retrans;
    assert_eq!(long.send_full(4), 4);
    let low = long.low();
    for _ in 0..3 {
        let _ = long.peer.ack_bytes(low);
    }
    assert_eq!(long.peer.host.stats.recovery.fast_retrans, before + 1);
    let _ = long.ack_all();
    long.send_acked(MSS);
}

#[test]
fn what_happened_gigabytes_ago_changes_nothing() {
    play_far_apart(
        true,
        &[
            a_small_segment_goes_out,
            the_window_is_updated,
            something_is_urgent,
            congestion_is_experienced,
            a_repetition_was_needless,
        ],
    );
}

#[test]
fn what_happened_gigabytes_ago_changes_nothing_without_sack() {
    play_far_apart(false, &[a_segment_is_lost, the_window_is_updated, congestion_is_experienced]);
}

#[test]
fn what_was_sacked_gigabytes_ago_changes_nothing() {
    play_far_apart(true, &[something_is_sacked]);
}

/// The same for data from the peer: only SND.WL1 and RCV.NXT move.
#[test]
fn the_peers_numbers_may_go_round_too() {
    let mut long = Long::new(true);
    let data = Bytes::from(alloc::vec![0; 60_000]);
    let mut carried = 0;
    while carried < 4 * GIB + GIB / 2 {
        let Peer { host, connection, .. } = &mut long.peer;
        let header = Header {
            flags: Flags::ACK,
            ack: connection.snd.una,
            seq: connection.rcv.nxt,
            window: 65_535,
            ..Header::default()
        };
        connection.handle_segment(&mut host.ctx(), &header, data.clone());
        while connection.poll_transmit(&mut host.ctx()).is_some() {}
        while connection.recv_bytes(&mut host.ctx(), usize::MAX).is_ok_and(|read| !read.is_empty()) {}
        host.now += Duration::from_micros(100);
        carried += data.len() as u64;
    }
    assert_eq!(long.peer.host.stats.all_drops(), 0);
    long.peer.seq = long.peer.connection.rcv.nxt;
    long.peer.window = 100;
    let low = long.low();
    let _ = long.peer.ack_bytes(low);
    assert_eq!(long.peer.connection.snd.wnd, 100 << 14);
}
