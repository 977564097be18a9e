//! Auto-tuned buffers, and fixed ones.

use core::time::Duration;

use super::bench::{End, Faults, Host, Pair};
use crate::tcp::{Settings, State};
use crate::time::Instant;

/// The bandwidth-delay product of 1 Gbit/s and 100 ms.
const LONG_FAT_BYTES: usize = 12_500_000;
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A pair with the default buffers, 100 ms apart, on a network without a rate limit.
fn pair(change: impl FnOnce(&mut Settings)) -> Pair {
    let mut host = Host::new();
    host.config = crate::Config::default();
    let mut settings = host.settings();
    change(&mut settings);
    let faults = Faults { delay: ROUND_TRIP / 2, ..Faults::none() };
    let mut pair = Pair::with_settings(host, 1, faults, settings.clone(), settings);
    pair.run_until(|pair| pair.server.is_some());
    assert_eq!(pair.client.state(), State::Established);
    pair
}

/// The client's program keeps its send buffer full, and the server's reads at most `read` bytes
/// after each event. Returns how many bytes the server's program read.
fn transfer(pair: &mut Pair, duration: Duration, read: usize) -> usize {
    let end = pair.host.now + duration;
    let data = bytes::Bytes::from(alloc::vec![7; 1 << 20]);
    let mut taken = 0;
    pair.run_until(|pair| {
        if pair.client.readiness().writable {
            while pair.at(End::Client, |client, ctx| client.send_bytes(ctx, data.clone())).is_ok() {}
        }
        let mut left = read;
        while let Ok(bytes) = pair.at(End::Server, |server, ctx| server.recv_bytes(ctx, left)) {
            left -= bytes.len();
            taken += bytes.len();
            if left == 0 {
                break;
            }
        }
        pair.flush();
        pair.host.now >= end
    });
    taken
}

#[test]
fn a_long_fat_path_is_filled_without_tuning() {
    let mut pair = pair(|_| {});
    let begin = pair.client.buffers();
    assert_eq!(begin, (128 << 10, 64 << 10));
    // Slow start doubles: 10 segments are 12.5 MB after ten round trips, and neither buffer limits
    // that.
    let early = transfer(&mut pair, ROUND_TRIP * 11, usize::MAX);
    assert!(early > LONG_FAT_BYTES / 2, "{early} bytes in eleven round trips");
    let in_one = transfer(&mut pair, ROUND_TRIP, usize::MAX);
    assert!(in_one > LONG_FAT_BYTES, "{in_one} bytes in a round trip");
    let (send, receive) = (pair.client.buffers().1, pair.server().buffers().0);
    let max = pair.host.config.tcp.max_buffer_bytes;
    assert!(send <= max && receive <= max, "{send} and {receive}");
    assert!(receive > 2 * LONG_FAT_BYTES, "{receive}");
    // The other direction carried nothing.
    assert_eq!((pair.client.buffers().0, pair.server().buffers().1), begin);
}

#[test]
fn what_a_program_has_set_stays() {
    let mut pair = pair(|settings| {
        settings.auto_receive_buffer = false;
        settings.receive_buffer_bytes = 300_000;
        settings.auto_send_buffer = false;
        settings.send_buffer_bytes = 200_000;
    });
    let _start = transfer(&mut pair, ROUND_TRIP * 10, usize::MAX);
    let in_one = transfer(&mut pair, ROUND_TRIP, usize::MAX);
    assert!((120_000..=300_000).contains(&in_one), "{in_one}");
    assert_eq!((pair.client.buffers().1, pair.server().buffers().0), (200_000, 300_000));
}

#[test]
fn a_program_that_reads_slowly_gets_no_larger_window() {
    let mut pair = pair(|_| {});
    let taken = transfer(&mut pair, ROUND_TRIP * 20, 10);
    assert!(taken < 200_000, "{taken}");
    assert_eq!(pair.server().buffers().0, 128 << 10);
    // The sender's buffer follows its congestion window, which has not grown beyond the peer's
    // window.
    assert!(pair.client.buffers().1 <= 2 * (128 << 10) + (64 << 10), "{}", pair.client.buffers().1);
}

#[test]
fn a_program_that_sends_little_gets_no_larger_buffer_and_dialogues_measure_nothing() {
    let mut pair = pair(|_| {});
    for _ in 0..50 {
        let _ = pair.send(End::Client, &[1; 4000]);
        pair.run_for(ROUND_TRIP);
        assert_eq!(pair.recv(End::Server).len(), 4000);
        let _ = pair.send(End::Server, &[2; 500]);
        pair.run_for(ROUND_TRIP);
        assert_eq!(pair.recv(End::Client).len(), 500);
    }
    assert_eq!(pair.client.buffers(), (128 << 10, 64 << 10));
    assert!(pair.server().rcv.sizing.is_none() && pair.client.rcv.sizing.is_none());
}

#[test]
fn the_receiver_finds_the_round_trip() {
    for timestamps in [true, false] {
        let mut pair = pair(|_| {});
        if !timestamps {
            pair.client.timestamps.negotiate(Instant::ZERO, None);
            pair.server().timestamps.negotiate(Instant::ZERO, None);
        }
        let _ = transfer(&mut pair, ROUND_TRIP * 8, usize::MAX);
        let sizing = pair.server().rcv.sizing.as_ref().expect("data has flowed");
        let millis = sizing.rtt / 1_000_000;
        assert!((95..=150).contains(&millis), "{millis} ms, timestamps: {timestamps}");
    }
}

#[test]
fn options_set_later_leave_a_grown_buffer_alone() {
    let mut pair = pair(|_| {});
    let _ = transfer(&mut pair, ROUND_TRIP * 8, usize::MAX);
    let grown = (pair.client.buffers().1, pair.server().buffers().0);
    assert!(grown.0 > 1 << 20 && grown.1 > 1 << 20, "{grown:?}");
    let settings = Settings { nodelay: true, ..pair.host.settings() };
    for end in [End::Client, End::Server] {
        pair.at(end, |connection, ctx| connection.set_settings(ctx, settings.clone()));
    }
    assert_eq!((pair.client.buffers().1, pair.server().buffers().0), grown);
    let settings = Settings { auto_send_buffer: false, send_buffer_bytes: 5000, ..settings };
    pair.at(End::Client, |connection, ctx| connection.set_settings(ctx, settings));
    assert_eq!(pair.client.buffers().1, 5000);
    assert!(!pair.client.readiness().writable);
}
