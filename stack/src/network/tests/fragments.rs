//! Fragments between hosts, regular ones and attacks.

use super::*;

fn hosts(mtu: usize) -> (Host, Host) {
    let config = Config::default;
    let a = Host::ethernet_with(1, &["10.0.0.1/24", "fd00::1/64"], config(), mtu);
    let b = Host::ethernet_with(2, &["10.0.0.2/24", "fd00::2/64"], config(), mtu);
    (a, b)
}

/// The fragments of a datagram, between hosts that have resolved each other.
fn fragments(dst: &str, len: usize) -> (Host, Host, Vec<Vec<u8>>) {
    let (mut a, mut b) = hosts(1500);
    let _ = a.send_udp(dst, b"x");
    settle(&mut a, &mut b);
    b.delivered.clear();
    let data: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
    assert_eq!(a.send_udp(dst, &data).unwrap(), None);
    let frames = a.frames();
    (a, b, frames)
}

#[test]
fn ping_with_8000_bytes_goes_both_ways_from_the_first_packet_on() {
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (mut a, mut b) = hosts(1500);
        let (meta, message) = echo_request(ip(src), ip(dst), &[0xa5; 8000]);
        assert_eq!(a.output(meta, &message[..8], &message[8..]).unwrap(), None);
        settle(&mut a, &mut b);
        let [Delivery::Icmp { message: reply, outcome: IcmpOutcome::EchoReply }] = &a.delivered[..] else {
            panic!("{:?}", a.delivered)
        };
        assert_eq!(reply.transport()[8..], [0xa5; 8000]);
        assert_eq!((a.stats.ip.frag_oks, a.stats.ip.frag_creates, b.stats.ip.reasm_reqds), (1, 6, 6));
        assert_eq!((a.stats.ip.reasm_oks, b.stats.ip.reasm_oks), (1, 1));
        assert_eq!((a.stats.all_drops(), b.stats.all_drops()), (0, 0));
    }
}

#[test]
fn the_largest_datagram_gets_through_and_a_larger_one_is_refused() {
    for (dst, largest) in [("10.0.0.2", 65507), ("fd00::2", 65527)] {
        let (mut a, mut b) = hosts(1500);
        assert_eq!(a.send_udp(dst, &vec![7; largest]).unwrap(), None);
        settle(&mut a, &mut b);
        assert_eq!(b.datagram().transport().len(), largest + 8);
        let too_long = vec![7; largest + 1];
        let dst = ip(dst);
        let src = a.network.source_for(dst, None).unwrap();
        assert_eq!(a.output(meta(src, dst), &udp_header(0), &too_long), Err(Error::MessageTooLong));
    }
}

#[test]
fn order_does_not_matter_and_duplicates_do_no_harm() {
    for dst in ["10.0.0.2", "fd00::2"] {
        let (_, mut b, mut frames) = fragments(dst, 5000);
        let last = frames.pop().unwrap();
        for frame in frames.iter().rev() {
            b.receive(frame.clone());
            b.receive(frame.clone());
        }
        b.receive(last);
        let datagram = b.datagram();
        assert_eq!((datagram.transport().len(), datagram.cast), (5008, Cast::Unicast));
        assert!(datagram.transport()[8..].iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
        assert_eq!(b.drops(DropReason::DuplicateFragment), frames.len() as u64);
        assert_eq!(b.network.poll_timeout().is_some(), b.network.interfaces[0].poll_timeout().is_some());
    }
}

#[test]
fn rfc_5722_overlapping_fragments_take_the_datagram_with_them() {
    for dst in ["10.0.0.2", "fd00::2"] {
        let (_, mut b, frames) = fragments(dst, 5000);
        b.receive(frames[0].clone());
        // The second fragment again, 8 bytes earlier.
        let mut overlap = frames[1].clone();
        if dst.contains(':') {
            let place = u16::from_be_bytes([overlap[56], overlap[57]]) - 8;
            overlap[56..58].copy_from_slice(&place.to_be_bytes());
        } else {
            let place = u16::from_be_bytes([overlap[20], overlap[21]]) - 1;
            overlap[20..22].copy_from_slice(&place.to_be_bytes());
            overlap[24..26].fill(0);
            let sum = crate::ip::checksum::internet_checksum(&overlap[14..34]);
            overlap[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        b.receive(overlap);
        for frame in &frames[1..] {
            b.receive(frame.clone());
        }
        assert!(b.delivered.is_empty());
        assert_eq!(b.drops(DropReason::FragmentOverlap), 1 + frames.len() as u64);
        assert_eq!(b.stats.all_drops(), 1 + frames.len() as u64);
    }
}

#[test]
fn a_missing_fragment_is_told_when_the_first_one_came() {
    for dst in ["10.0.0.2", "fd00::2"] {
        for first_came in [true, false] {
            let (mut a, mut b, frames) = fragments(dst, 5000);
            let missing = if first_came { 1 } else { 0 };
            for (_, frame) in frames.iter().enumerate().filter(|&(at, _)| at != missing) {
                b.receive(frame.clone());
            }
            b.advance(Duration::from_secs(30));
            assert_eq!(b.drops(DropReason::ReassemblyTimeout), frames.len() as u64 - 1);
            settle(&mut a, &mut b);
            if first_came {
                let error = a.error();
                assert_eq!((error.kind, error.remote), (NetworkErrorKind::ReassemblyTimeExceeded, ip(dst)));
                assert_eq!(&error.transport[..4], &[0x03, 0xe8, 0x07, 0xd0]);
            } else {
                assert!(a.delivered.is_empty());
            }
            assert_eq!(b.stats.icmp.errors_sent, u64::from(first_came));
        }
    }
}

#[test]
fn impossible_fragments_are_refused() {
    let (mut a, mut b, frames) = fragments("10.0.0.2", 5000);
    let refixed = |frame: &[u8], change: &dyn Fn(&mut [u8])| {
        let mut frame = frame.to_vec();
        change(&mut frame);
        frame[24..26].fill(0);
        let sum = crate::ip::checksum::internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    // Beyond 65,535 (the "ping of death"), not a multiple of 8, no data.
    b.receive(refixed(&frames[3], &|frame| frame[20..22].copy_from_slice(&0x1fffu16.to_be_bytes())));
    b.receive(refixed(&frames[1], &|frame| frame[17] -= 1));
    b.receive(refixed(&frames[1], &|frame| frame[16..18].copy_from_slice(&20u16.to_be_bytes())));
    assert_eq!((b.drops(DropReason::BadFragment), b.frames().len()), (3, 0));

    let (mut c, mut d, frames) = fragments("fd00::2", 5000);
    let mut too_far = frames[3].clone();
    too_far[56..58].copy_from_slice(&0xfff8u16.to_be_bytes());
    let mut uneven = frames[1].clone();
    uneven[19] -= 1;
    let mut without_ports = frames[0][..14 + 48].to_vec();
    without_ports[18..20].copy_from_slice(&8u16.to_be_bytes());
    without_ports.extend([0; 8]);
    without_ports[18..20].copy_from_slice(&16u16.to_be_bytes());
    // The header chain ends beyond the fragment: the length of the destination options is too
    // large.
    (without_ports[54], without_ports[63]) = (60, 3);
    for (frame, code, pointer) in [(too_far, 0, 42), (uneven, 0, 4), (without_ports, 3, 0)] {
        d.receive(frame);
        let error = d.frames().remove(0);
        assert_eq!((&error[54..56], &error[58..62]), (&[4, code][..], &[0, 0, 0, pointer][..]));
    }
    assert_eq!(d.drops(DropReason::BadFragment), 3);
    settle(&mut a, &mut b);
    settle(&mut c, &mut d);
}

#[test]
fn rfc_6946_atomic_fragments_wait_for_nothing() {
    let (mut a, mut b) = (Host::ip_medium(&["fd00::1/64"]), Host::ip_medium(&["fd00::2/64"]));
    let packet = a.send_udp("fd00::2", b"hello").unwrap().unwrap();
    let mut atomic = [&packet[..40], &[17, 0, 0, 0, 1, 2, 3, 4], &packet[40..]].concat();
    atomic[6] = 44;
    let len = (atomic.len() - 40) as u16;
    atomic[4..6].copy_from_slice(&len.to_be_bytes());
    for _ in 0..2 {
        b.receive(atomic.clone());
        let datagram = b.datagram();
        assert_eq!((&datagram.transport()[8..], datagram.protocol), (&b"hello"[..], 17));
        assert_eq!(&datagram.packet[..], &packet[..]);
    }
    // A fragment header in a fragment.
    let mut nested = [&atomic[..40], &[44, 0, 0, 0, 9, 9, 9, 9], &atomic[40..]].concat();
    let len = (nested.len() - 40) as u16;
    nested[4..6].copy_from_slice(&len.to_be_bytes());
    b.receive(nested);
    assert_eq!(b.drops(DropReason::BadExtensionHeader), 1);
}

#[test]
fn all_fragments_go_or_none() {
    let mut config = Config::default();
    config.ip.max_queued_frames = 5;
    let mut a = Host::with_config(1, config);
    a.add_interface(Medium::Ip, 1500, &["10.0.0.1/24"]);
    assert_eq!(a.send_udp("10.0.0.2", &[0; 5000]).unwrap(), None);
    assert_eq!(a.send_udp("10.0.0.2", &[0; 5000]).unwrap(), None);
    assert_eq!((a.frames().len(), a.drops(DropReason::TransmitQueueFull)), (4, 1));
}

#[test]
fn rfc_6864_identifications_of_fragments_differ() {
    let (mut a, _, first) = fragments("10.0.0.2", 3000);
    assert_eq!(first[0][18..20], first[1][18..20]);
    let _ = a.send_udp("10.0.0.2", &[0; 3000]);
    assert_ne!(a.frames()[0][18..20], first[0][18..20]);
    // A packet that must not be fragmented needs no identification.
    let whole = IpMeta { mtu_discovery: MtuDiscovery::Do, ..meta(ip("10.0.0.1"), ip("10.0.0.2")) };
    let frame = a.output(whole, &udp_header(0), &[]).unwrap().unwrap();
    assert_eq!((&frame[18..20], frame[20] & 0x40), (&[0, 0][..], 0x40));
}
