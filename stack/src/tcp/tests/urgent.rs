//! Urgent data, in both directions (RFC 9293 §3.8.5, RFC 6093).

use alloc::vec::Vec;

use super::peer::{Offer, Peer};
use crate::Ctx;
use crate::error::Error;
use crate::tcp::{Connection, Flags, Header};

fn inline(on: bool) -> Peer {
    Peer::established_with(Offer::plain(), |_, params| params.settings.oob_inline = on)
}

/// Delivers the peer's next data, with an urgent pointer of `pointer`.
fn urgent(peer: &mut Peer, pointer: u16, data: &[u8]) {
    let header = Header { urgent: pointer, ..peer.header(Flags::ACK.with(Flags::URG)) };
    peer.seq += data.len() as u32;
    let _ = peer.deliver(header, data);
}

fn oob(peer: &mut Peer) -> Result<u8, Error> {
    let seen = peer.connection.recv_oob(true);
    let taken = peer.connection.recv_oob(false);
    assert_eq!(seen, taken);
    taken.map(|byte| byte.expect("reading was not shut down"))
}

/// Sends data whose last byte is urgent.
pub(super) fn send_urgent(
    connection: &mut Connection,
    ctx: &mut Ctx<'_>,
    data: &[u8],
) -> Result<usize, Error> {
    let len = connection.send(ctx, data)?;
    connection.end_urgent_data();
    Ok(len)
}

fn read(peer: &mut Peer) -> Result<Vec<u8>, Error> {
    let mut buf = [0; 100];
    let read = peer.call(|connection, ctx| connection.recv(ctx, &mut buf)).0;
    read.map(|len| buf[..len].to_vec())
}

/// MUST-30, MUST-62: the byte before the one that the pointer names.
#[test]
fn the_last_urgent_byte_is_taken_out_of_the_stream() {
    let mut peer = inline(false);
    assert_eq!(oob(&mut peer), Err(Error::InvalidArgument));
    urgent(&mut peer, 3, b"abcde");
    assert!(peer.connection.readiness().urgent && peer.connection.take_urgent_news());
    assert!(!peer.connection.take_urgent_news());
    assert!(!peer.connection.is_at_mark());
    let mut buf = [0; 9];
    assert_eq!(peer.connection.peek(0, &mut [&mut buf]), Ok(2));
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"ab"[..]), "up to the mark");
    assert!(peer.connection.is_at_mark());
    assert_eq!(peer.connection.peek(0, &mut [&mut buf]), Ok(2));
    assert_eq!(&buf[..2], b"de", "behind the hidden byte");
    assert_eq!(oob(&mut peer), Ok(b'c'));
    assert_eq!(oob(&mut peer), Err(Error::InvalidArgument), "it is there once");
    assert!(!peer.connection.readiness().urgent);
    assert!(peer.connection.is_at_mark(), "still");
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"de"[..]));
    assert!(!peer.connection.is_at_mark());
    assert!(peer.connection.rcv.urgent.is_none());
}

#[test]
fn in_line_the_mark_is_all_that_tells_urgent_data() {
    let mut peer = inline(true);
    urgent(&mut peer, 3, b"abcde");
    assert!(peer.connection.readiness().urgent);
    assert_eq!(oob(&mut peer), Err(Error::InvalidArgument));
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"ab"[..]));
    assert!(peer.connection.is_at_mark());
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"cde"[..]));
    assert!(!peer.connection.is_at_mark() && !peer.connection.readiness().urgent);
}

/// MUST-31, MUST-32: urgent data of many segments; the pointer comes before the data.
#[test]
fn a_pointer_goes_ahead_of_its_data() {
    let mut peer = inline(false);
    urgent(&mut peer, 2005, &[1; 1000]);
    assert!(peer.connection.take_urgent_news());
    assert_eq!(oob(&mut peer), Err(Error::WouldBlock), "it is announced");
    assert!(!peer.connection.readiness().urgent);
    let _ = peer.data(&[2; 1000]);
    let mut last = [3; 10];
    last[4] = b'!';
    // The rest arrives without URG, and first out of order.
    let _ = peer.data_at(1, &last[1..]);
    assert!(peer.connection.readiness().urgent, "as soon as it is here");
    let _ = peer.data(&last);
    let mut all = Vec::new();
    while !peer.connection.is_at_mark() {
        all.extend(read(&mut peer).expect("up to the mark"));
    }
    assert_eq!(all.len(), 2004);
    assert_eq!(oob(&mut peer), Ok(b'!'));
    assert_eq!(read(&mut peer).as_deref(), Ok(&[3; 5][..]));
}

/// RFC 6093 §3: a second urgent byte replaces the first, which is then lost, or read in line.
#[test]
fn a_later_pointer_replaces_an_earlier_one() {
    let mut peer = inline(false);
    urgent(&mut peer, 1, b"a");
    assert!(peer.connection.is_at_mark());
    assert!(!peer.connection.readiness().readable, "there is nothing but the urgent byte");
    assert_eq!(read(&mut peer), Err(Error::WouldBlock));
    urgent(&mut peer, 2, b"bc");
    urgent(&mut peer, 3, b"def");
    assert_eq!(oob(&mut peer), Ok(b'f'));
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"bcde"[..]), "c was not read past, a was");
    // An old pointer changes nothing.
    let old = Header { urgent: 1, seq: peer.seq - 3, ..peer.header(Flags::ACK.with(Flags::URG)) };
    let _ = peer.deliver(old, b"def");
    assert!(peer.connection.is_at_mark() && !peer.connection.readiness().urgent);
    let _ = peer.data(b"g");
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"g"[..]));
}

#[test]
fn a_pointer_of_zero_and_one_without_data_do_no_harm() {
    let mut peer = inline(false);
    urgent(&mut peer, 0, b"xy");
    assert_eq!(oob(&mut peer), Ok(b'x'));
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"y"[..]));
    urgent(&mut peer, 60_000, b"");
    assert!(peer.connection.take_urgent_news());
    let _ = peer.data(b"plain");
    assert_eq!(read(&mut peer).as_deref(), Ok(&b"plain"[..]));
    let _ = peer.fin();
    assert_eq!(read(&mut peer).as_deref(), Ok(&b""[..]));
    assert_eq!(oob(&mut peer), Err(Error::WouldBlock));
}

#[test]
fn without_copies_the_mark_is_kept_too() {
    let mut peer = inline(false);
    urgent(&mut peer, 3, b"abcde");
    let slice = peer.call(|connection, ctx| connection.recv_bytes(ctx, 100)).0;
    assert_eq!(slice.as_deref(), Ok(&b"ab"[..]));
    let slice = peer.call(|connection, ctx| connection.recv_bytes(ctx, 100)).0;
    assert_eq!(slice.as_deref(), Ok(&b"de"[..]));
    assert_eq!(oob(&mut peer), Err(Error::InvalidArgument), "read past");
}

/// MUST-62: every segment before the urgent byte has a pointer to the byte after it, and Nagle's
/// algorithm does not delay it.
#[test]
fn what_is_sent_as_urgent_is_announced() {
    let mut peer = inline(false);
    let _ = peer.send(b"first");
    let (_, sent) = peer.call(|connection, ctx| send_urgent(connection, ctx, b"ur!"));
    assert_eq!(&sent[0].data[..], b"ur!", "at once");
    assert!(sent[0].header.flags.contains(Flags::URG));
    assert_eq!(sent[0].header.urgent, 3);
    let plain = peer.send(b"more");
    assert!(!plain[0].header.flags.contains(Flags::URG), "it lies behind");
    let _ = peer.ack_bytes(12);
    let last = peer.send(b"x");
    assert!(!last[0].header.flags.contains(Flags::URG));
    assert!(peer.connection.snd.urgent_end.is_none());
}

#[test]
fn a_pointer_reaches_over_many_segments_and_is_repeated_with_them() {
    let mut peer = inline(false);
    let (_, sent) = peer.call(|connection, ctx| send_urgent(connection, ctx, &[7; 3500]));
    let pointers: Vec<u16> = sent.iter().map(|sent| sent.header.urgent).collect();
    assert_eq!(pointers, [3500, 2500, 1500, 500]);
    let again = peer.wait_for_segment();
    assert!(again.header.flags.contains(Flags::URG));
    assert_eq!(again.header.urgent, 3500);
}

#[test]
fn a_pointer_too_far_ahead_says_as_much_as_it_can() {
    let mut peer = Peer::established_with(Offer { scale: Some(4), ..Offer::plain() }, |_, _| {});
    let (_, sent) = peer.call(|connection, ctx| send_urgent(connection, ctx, &[7; 100_000]));
    assert!(sent.iter().all(|sent| sent.header.urgent == u16::MAX && sent.header.flags.contains(Flags::URG)));
}

#[test]
fn what_one_end_sends_as_urgent_the_other_finds() {
    use super::bench::{End, Pair};
    let mut pair = Pair::established();
    pair.at(End::Client, |connection, ctx| send_urgent(connection, ctx, b"interrupt!")).expect("room");
    let _ = pair.send(End::Client, b"and on");
    pair.run_until(|pair| pair.server().readiness().urgent);
    assert_eq!(pair.server().recv_oob(false), Ok(Some(b'!')));
    pair.run_for(core::time::Duration::from_secs(1));
    assert_eq!(pair.recv(End::Server), b"interruptand on");
}

/// As on Linux (tcp_check_urg): a byte that came as an ordinary one stays one, read or not.
#[test]
fn a_byte_does_not_become_urgent_after_it_came() {
    for read_bytes in [0, 2, 4] {
        let mut peer = inline(false);
        let _ = peer.data(b"abcd");
        if read_bytes > 0 {
            assert_eq!(peer.recv(read_bytes).len(), read_bytes);
        }
        for pointer in 1..=4 {
            // The segment again, with a pointer.
            let header =
                Header { seq: peer.seq - 4, urgent: pointer, ..peer.header(Flags::ACK.with(Flags::URG)) };
            let _ = peer.deliver(header, b"abcd");
            assert!(peer.connection.rcv.urgent.is_none(), "{pointer} of 4, {read_bytes} read");
            assert!(!peer.connection.take_urgent_news());
        }
        urgent(&mut peer, 1, b"e");
        assert_eq!(oob(&mut peer), Ok(b'e'), "the next one may be");
    }
}
