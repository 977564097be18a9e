//! A connection when the stack runs out of memory.

use super::bench::Host;
use super::peer::{IRS, Offer, Peer};
use crate::config::Config;
use crate::drop_reason::DropReason;
use crate::memory::{Account, Budget};
use crate::message_flags::SendFlags;
use crate::tcp::{Flags, Header, Options, SeqNumber, SynReceived};

/// The budget of each of a hundred sockets in an account with this much room.
pub(super) fn pressed(room: usize) -> Budget {
    pressed_with(room, Config::default())
}

fn pressed_with(room: usize, config: Config) -> Budget {
    let config = Config { memory_limit_bytes: 16 << 20, ..config };
    let mut account = Account::new(&config);
    account.change(0, account.room() - room);
    assert!(account.is_pressed());
    account.budget(100)
}

fn edge(header: &Header) -> SeqNumber {
    header.ack + (u32::from(header.window) << 7)
}

/// A peer with a scaled window and segments of 1,000 bytes.
fn peer() -> Peer {
    Peer::established_with(Offer { scale: Some(0), sack: true, ..Offer::plain() }, |_, _| {})
}

#[test]
fn data_is_refused_and_what_it_acknowledges_counts() {
    let mut peer = peer();
    let _ = peer.data(&[1; 5000]);
    let _ = peer.send(b"ours");
    peer.host.memory = pressed(0);
    peer.ack += 4;
    let header = peer.header(Flags::ACK);
    let sent = peer.deliver_dropped(header, &[2; 1000], DropReason::MemoryLimit);
    assert_eq!(peer.connection.queued(), (5000, 0));
    assert_eq!((sent.len(), sent[0].header.ack), (1, peer.seq), "a duplicate acknowledgement");
    assert_eq!((sent[0].header.window, edge(&sent[0].header)), (0, peer.seq), "the window is closed");
    // Once the program has read, there is room again, the peer is told, and no data was lost.
    let mut buf = [0; 10_000];
    let (read, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut buf));
    assert_eq!(read, Ok(5000));
    assert_eq!((sent.len(), sent[0].header.ack), (1, peer.seq));
    assert!(edge(&sent[0].header).after(peer.seq), "opened");
    let _ = peer.data(&[2; 1000]);
    assert_eq!(peer.recv(10_000), [2; 1000]);
}

/// If not even the reserve has room, the window closes although the program has nothing to read
/// that could open it again. The next window probe opens it.
#[test]
fn a_probe_opens_a_window_that_closed_with_nothing_unread() {
    let mut peer = peer();
    let plenty = peer.host.memory;
    let mut account = Account::new(&Config { memory_limit_bytes: 16 << 20, ..Config::default() });
    account.change(0, 16 << 20);
    peer.host.memory = account.budget(100);
    let header = peer.header(Flags::ACK);
    let sent = peer.deliver_dropped(header, &[1; 1000], DropReason::MemoryLimit);
    assert_eq!((peer.connection.queued().0, sent[0].header.window), (0, 0));
    peer.host.memory = plenty;
    let header = peer.header(Flags::ACK);
    let sent = peer.deliver_dropped(header, &[1], DropReason::OutOfWindow);
    assert_eq!((sent.len(), sent[0].header.ack), (1, peer.seq));
    assert!(edge(&sent[0].header) - sent[0].header.ack >= 1460, "{:?}", sent[0].header);
}

#[test]
fn whoever_holds_nothing_gets_something() {
    let mut peer = peer();
    peer.host.memory = pressed(0);
    // The first segment of any size is accepted, then those within the reserve.
    for segment in 1..=4 {
        let _ = peer.data(&[7; 1000]);
        let taken = peer.connection.queued().0;
        assert_eq!(taken, if segment < 4 { segment * 1000 } else { 3000 }, "segment {segment}");
    }
    assert_eq!(peer.host.stats.drops(DropReason::MemoryLimit), 1);
}

#[test]
fn what_came_out_of_order_gives_way_to_what_is_next() {
    let mut peer = peer();
    let _ = peer.data(&[0; 1000]);
    for n in 1..=20 {
        let _ = peer.data_at(n * 1000, &[n as u8; 1000]);
    }
    peer.host.memory = pressed(0);
    // Data after the other segments is itself discarded first.
    let behind = Header { seq: peer.seq + 21_000, ..peer.header(Flags::ACK) };
    let _ = peer.deliver_dropped(behind, &[9; 1000], DropReason::MemoryLimit);
    assert_eq!(peer.host.stats.memory.pruned_bytes, 0);
    let sent = peer.data(&[0; 1000]);
    assert_eq!(peer.host.stats.memory.pruned_bytes, 20_000);
    assert_eq!((sent[0].header.ack, sent[0].header.options.sack.len()), (peer.seq, 0));
    assert_eq!(peer.connection.queued().0, 2000);
}

#[test]
fn the_window_narrows_as_it_is_used_and_opens_again() {
    let mut peer = peer();
    let mut right = IRS;
    let mut last = 0;
    let start = peer.host.memory;
    peer.host.memory = pressed(3 << 20);
    for _ in 0..2000 {
        for sent in peer.data(&[7; 1000]) {
            assert!(edge(&sent.header).after_eq(right));
            right = edge(&sent.header);
            last = right - sent.header.ack;
        }
        let _ = peer.recv(1000);
    }
    // Unread data counts in the window.
    assert!((1000..=3500).contains(&last), "{last}");
    peer.host.memory = start;
    for _ in 0..2000 {
        for sent in peer.data(&[7; 1000]) {
            last = edge(&sent.header) - sent.header.ack;
        }
        let _ = peer.recv(1000);
    }
    assert!(last > 1_000_000, "{last}");
}

/// A peer that respects the window loses no data, and one that waits for a larger window is told.
#[test]
fn no_more_is_offered_than_there_is_memory_for() {
    let mut peer = peer();
    peer.host.memory = pressed(0);
    for _ in 0..2000 {
        let _ = peer.data(&[7; 1000]);
        let _ = peer.recv(1000);
    }
    let mut taken = 0;
    while peer.connection.rcv.window() >= 1000 {
        taken += 1000;
        let _ = peer.data(&[7; 1000]);
    }
    assert!((2000..=4000).contains(&taken), "{taken}");
    assert_eq!((peer.connection.queued().0, peer.host.stats.drops(DropReason::MemoryLimit)), (taken, 0));
    let (data, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 4096]));
    assert_eq!((data, sent.len()), (Ok(taken), 1));
    assert!(edge(&sent[0].header) - sent[0].header.ack > 2000);
}

/// A peer waits for room for a full segment (RFC 9293 §3.8.6.2.1), and a scaled window is a whole
/// number of units: the narrowest window is rounded up to hold a segment.
#[test]
fn the_narrowest_window_holds_a_segment() {
    let mut peer = peer();
    peer.host.memory = pressed_with(0, Config { memory_reserve_bytes: 1200, ..Config::default() });
    assert!(peer.host.memory.window() < 1460, "less than a segment");
    for _ in 0..2000 {
        let _ = peer.data(&[7; 1000]);
        let _ = peer.recv(1000);
    }
    // The least multiple of 128 that holds 1,460 bytes.
    assert_eq!(peer.connection.rcv.ssthresh(), 12 << 7);
    let mut most = 0;
    for _ in 0..100 {
        let in_order = peer.data(&[7; 500]);
        let (_, read) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 500]));
        for sent in in_order.iter().chain(&read) {
            most = most.max(edge(&sent.header) - sent.header.ack);
        }
    }
    assert_eq!(most, 12 << 7);
}

/// The windows of a SYN, of a SYN-ACK, and of the first segments after them.
#[test]
fn nor_is_a_newcomer_offered_more() {
    let most = u32::try_from(pressed(0).window()).unwrap();
    assert!((2920..4096).contains(&most));
    let offer = Offer { scale: Some(0), sack: true, ..Offer::plain() };
    let mut opener = Peer::established_with(offer, |host, _| host.memory = pressed(0));
    assert_eq!(opener.connection.rcv.window(), most);
    let sent = opener.send(b"hello");
    assert_eq!(edge(&sent[0].header) - sent[0].header.ack, most);

    let mut host = Host::new();
    host.memory = pressed(0);
    let params = host.params(1);
    let syn = Header { seq: IRS, flags: Flags::SYN, window: 1000, ..Header::default() };
    let record = SynReceived::new(&mut host.ctx(), &syn, &params);
    assert_eq!(u32::from(record.syn_ack(host.now).window), most);
    let connection = record.into_connection(&mut host.ctx(), params.settings, 1460);
    assert_eq!((connection.rcv.window(), connection.rcv.ssthresh()), (most, most));

    // The window that a cookie has offered is not known, and is not reduced.
    let params = host.params(1);
    let ack = Header { seq: IRS + 1, flags: Flags::ACK, ..Header::default() };
    let record = SynReceived::from_cookie(&mut host.ctx(), &ack, &params, 1000);
    let connection = record.into_connection(&mut host.ctx(), params.settings, 1460);
    assert_eq!(connection.rcv.window(), 65_535);
}

/// A window of less than a segment that was narrowed before the scale was known is rounded up when
/// the scale is negotiated.
#[test]
fn a_newcomer_is_offered_whole_units() {
    let config = || Config { memory_reserve_bytes: 1200, ..Config::default() };
    let opener = Peer::established_with(Offer { scale: Some(0), ..Offer::plain() }, |host, _| {
        host.memory = pressed_with(0, config());
    });
    assert_eq!(opener.connection.rcv.ssthresh(), 12 << 7);
    let mut host = Host::new();
    host.memory = pressed_with(0, config());
    let params = host.params(1);
    let options = Options { window_scale: Some(0), ..Options::default() };
    let syn = Header { seq: IRS, flags: Flags::SYN, window: 1000, options, ..Header::default() };
    let record = SynReceived::new(&mut host.ctx(), &syn, &params);
    let connection = record.into_connection(&mut host.ctx(), params.settings, 1460);
    assert_eq!(connection.rcv.ssthresh(), 12 << 7);
}

#[test]
fn a_connection_that_is_reset_keeps_nothing_beside_itself() {
    let mut peer = peer();
    let _ = peer.send(&[1; 20_000]);
    for _ in 0..10 {
        let _ = peer.data(&[2; 1460]);
    }
    let _ = peer.data_at(5000, &[3; 1000]);
    assert!(peer.connection.rcv.sizing.is_some() && peer.connection.memory_bytes() > 20_000);
    let sent = peer.call(|connection, ctx| connection.give_up_for_memory(ctx)).1;
    assert_eq!((sent.len(), sent[0].flags().as_str()), (1, "RST,ACK"));
    assert_eq!(peer.connection.memory_bytes(), 0);
    assert!(peer.connection.rcv.sizing.is_none() && peer.connection.path.search.is_none());
}

#[test]
fn a_send_buffer_shrinks_so_that_its_writer_can_wait() {
    let mut peer = Peer::established_with(Offer::plain(), |host, params| {
        params.settings.auto_send_buffer = true;
        host.config.tcp.auto_tune_buffers = true;
    });
    let _ = peer.send(&[1; 60_000]);
    peer.host.memory = pressed(0);
    let memory = peer.call(|connection, ctx| connection.memory_to_send(ctx)).0;
    assert_eq!(memory, 0);
    assert!(peer.connection.readiness().writable);
    assert!(peer.connection.shrink_send_buffer());
    assert!(!peer.connection.readiness().writable);
    let _ = peer.ack_bytes(10_000);
    assert!(!peer.connection.readiness().writable);
    let mut acked = 10_000;
    while !peer.connection.readiness().writable {
        acked += 10_000;
        let _ = peer.ack_bytes(acked);
    }
    assert_eq!(acked, 40_000);
    let _ = peer.ack_bytes(60_000);
    assert!(peer.call(|connection, ctx| connection.memory_to_send(ctx)).0 > 3000);
    assert!(!peer.connection.shrink_send_buffer(), "there is nothing to wait for");
    assert_eq!(peer.call(|connection, ctx| connection.send(ctx, b"x")).0, Ok(1));
}

#[test]
fn the_record_of_a_connection_does_not_grow() {
    // On 64 bits. Each idle connection pays for every byte.
    assert!(size_of::<crate::tcp::Connection>() <= 688, "{}", size_of::<crate::tcp::Connection>());
}

#[test]
fn the_ends_of_records_count() {
    let held = |is_record: bool| {
        let mut peer = peer();
        peer.window = 0;
        let _ = peer.ack_bytes(0);
        for _ in 0..20 {
            let _ = peer.send(&[1; 10]);
            let flags = if is_record { SendFlags::END_OF_RECORD } else { SendFlags::NONE };
            peer.connection.set_send_flags(flags);
        }
        peer.connection.memory_bytes()
    };
    assert!(held(true) >= held(false) + 20 * size_of::<SeqNumber>());
}
