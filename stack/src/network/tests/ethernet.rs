//! Hosts on an Ethernet: resolution, echo, and frames that are not for us.

use super::*;

#[test]
fn hosts_find_each_other_and_datagrams_arrive() {
    for dst in ["10.0.0.2", "fd00::2", "fe80::ff:fe00:2"] {
        let (mut a, mut b) = pair();
        assert_eq!(a.send_udp(dst, b"hello").unwrap(), None);
        settle(&mut a, &mut b);
        let datagram = b.datagram();
        assert_eq!((datagram.dst, datagram.protocol, datagram.cast), (ip(dst), 17, Cast::Unicast));
        assert_eq!(&datagram.transport()[8..], b"hello");
        assert_eq!(datagram.hop_limit, 64);
        // From now on frames go out at once, in both directions.
        let frame = a.send_udp(dst, b"again").unwrap().expect("resolved");
        b.receive(frame);
        assert_eq!(&b.datagram().transport()[8..], b"again");
        let src = datagram.src;
        let back = b.output(meta(ip(dst), src), &udp_header(4), b"back").unwrap();
        a.receive(back.expect("the asker's address was learned from its question"));
        assert_eq!(a.datagram().src, ip(dst));
        assert_eq!((a.stats.all_drops(), b.stats.all_drops()), (0, 0), "{:?} {:?}", a.stats, b.stats);
    }
}

#[test]
fn echo_is_answered_over_both_families() {
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (mut a, mut b) = pair();
        let (meta, message) = echo_request(ip(src), ip(dst), b"abcdefg");
        assert_eq!(a.output(meta, &message[..8], &message[8..]).unwrap(), None);
        settle(&mut a, &mut b);
        let [Delivery::Icmp { message: reply, outcome: IcmpOutcome::EchoReply }] = &a.delivered[..] else {
            panic!("{:?}", a.delivered)
        };
        assert_eq!((reply.src, &reply.transport()[4..]), (ip(dst), &message[4..]));
        assert_eq!(b.stats.icmp.out_echo_reps, 1);
        assert_eq!((a.stats.all_drops(), b.stats.all_drops()), (0, 0));
    }
}

#[test]
fn every_other_frame_is_counted_and_reception_goes_on() {
    let mut host = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    let mut sender = Host::ethernet(1, &["10.0.0.1/24"]);
    let _ = sender.send_udp("10.0.0.2", b"x");
    settle(&mut sender, &mut host);
    let good = sender.send_udp("10.0.0.2", b"x").unwrap().expect("resolved");
    host.delivered.clear();

    let mut frames = vec![
        (Vec::new(), DropReason::RuntFrame),
        (good[..13].to_vec(), DropReason::RuntFrame),
        (vec![0; 1515], DropReason::OversizedFrame),
        (good[..33].to_vec(), DropReason::BadIpHeader),
    ];
    for (at, value, reason) in [
        (5, 9, DropReason::OtherStation),
        (6, 1, DropReason::BadLinkSource),
        (12, 0x81, DropReason::UnknownEtherType),
        (14, 0x55, DropReason::BadIpHeader),
        (24, 0, DropReason::BadIpChecksum),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        frames.push((bad, reason));
    }
    for (bad, reason) in frames {
        let before = host.drops(reason);
        host.receive(bad);
        assert_eq!(host.drops(reason), before + 1, "{reason:?}");
        assert!(host.delivered.is_empty());
        host.receive(good.clone());
        assert_eq!(&host.datagram().transport()[8..], b"x");
    }
    // Ethernet pads to 60 bytes; the IP header tells where the packet ends.
    let padded = [&good[..], &[0xee; 17]].concat();
    host.receive(padded);
    assert_eq!(host.datagram().transport().len(), 9);
    host.receive_on(InterfaceId(7), good);
    assert_eq!(host.drops(DropReason::NoInterface), 1);
}
