//! Arbitrary and mangled frames: nothing panics, memory stays bounded, every drop is counted.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

/// Valid frames for a host with the addresses 10.0.0.2 and fd00::2.
fn samples(ethernet: bool) -> Vec<Vec<u8>> {
    let host = |last, addresses: &[&str]| {
        if ethernet { Host::ethernet(last, addresses) } else { Host::ip_medium(addresses) }
    };
    let mut a = host(1, &["10.0.0.1/24", "fd00::1/64"]);
    let mut b = host(2, &["10.0.0.2/24", "fd00::2/64"]);
    let mut frames = Vec::new();
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let _ = a.send_udp(dst, b"first");
        for _ in 0..4 {
            let (from_a, from_b) = (a.frames(), b.frames());
            frames.extend(from_a.iter().cloned());
            from_a.into_iter().for_each(|frame| b.receive(frame));
            from_b.into_iter().for_each(|frame| a.receive(frame));
        }
        frames.extend(a.send_udp(dst, b"datagram").unwrap());
        let (meta, message) = echo_request(ip(src), ip(dst), &[1; 40]);
        frames.extend(a.output(meta, &message, b"").unwrap());
        let _ = a.send_udp(dst, &[2; 3000]);
        frames.extend(a.frames());
        // An error about a datagram from b.
        if let Some(from_b) = b.send_udp(src, b"reply").unwrap() {
            a.receive(from_b);
            if let Some(Delivery::Datagram(datagram)) = a.delivered.pop() {
                a.with(|network, ctx| {
                    network.send_unreachable(ctx, &datagram, NetworkErrorKind::PortUnreachable)
                });
                frames.extend(a.frames());
            }
        }
    }
    frames
}

fn victim(ethernet: bool) -> Host {
    let mut config = Config::default();
    config.ip.reassembly_limit_bytes = 20_000;
    config.neighbor.max_entries = 8;
    let mut host = Host::with_config(2, config);
    let medium = if ethernet { Medium::Ethernet(mac(2)) } else { Medium::Ip };
    host.add_interface(medium, 1500, &["10.0.0.2/24", "fd00::2/64"]);
    host.advance(Duration::from_secs(5));
    host.frames();
    host
}

/// Gives a host a frame, and checks that it is delivered, answered, held, or counted.
fn attack(host: &mut Host, frame: Vec<u8>) {
    let before = host.stats.clone();
    let held = host.network.memory_bytes();
    host.receive(frame);
    let answered = !host.frames().is_empty();
    let delivered = !core::mem::take(&mut host.delivered).is_empty();
    let counted = host.stats.all_drops() > before.all_drops();
    let held = host.network.memory_bytes() > held || host.stats.ip.reasm_reqds > before.ip.reasm_reqds;
    let understood = host.stats.link.address_conflicts > before.link.address_conflicts
        || !host.network.neighbors(host.now, IFACE).is_empty();
    assert!(answered || delivered || counted || held || understood);
    assert!(host.network.memory_bytes() < 200_000);
}

#[test]
fn the_samples_are_understood() {
    for ethernet in [true, false] {
        let mut host = victim(ethernet);
        let samples = samples(ethernet);
        assert!(samples.len() >= 12, "{}", samples.len());
        for frame in samples {
            host.receive(frame);
        }
        assert_eq!(host.stats.all_drops(), 0, "{:?}", host.stats);
        assert_eq!(host.stats.ip.reasm_oks, 2);
        assert_eq!(
            host.delivered
                .iter()
                .filter(|delivery| matches!(delivery, Delivery::Icmp { outcome: IcmpOutcome::Error(_), .. }))
                .count(),
            2
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(ethernet: bool, frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut host = victim(ethernet);
        for frame in frames {
            attack(&mut host, frame);
        }
        host.advance(Duration::from_secs(100));
        prop_assert!(host.network.memory_bytes() < 200_000);
    }

    /// Frames with a valid link header.
    #[test]
    fn arbitrary_packets_never_panic(
        frames in prop::collection::vec((0usize..3, prop::collection::vec(any::<u8>(), 0..200)), 1..20)
    ) {
        let mut host = victim(true);
        for (kind, packet) in frames {
            attack(&mut host, frame(mac(2), mac(1), [0x0800, 0x86dd, 0x0806][kind], &packet));
        }
    }

    /// Valid frames of which a few bytes were changed, removed or added, with right checksums.
    #[test]
    fn mangled_frames_never_panic(
        ethernet: bool,
        mangled in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), 0usize..3, any::<u8>()),
            1..30,
        ),
    ) {
        let samples = samples(ethernet);
        let mut host = victim(ethernet);
        for (which, changes, how, by) in mangled {
            let mut frame = which.get(&samples).clone();
            for (place, value) in changes {
                let at = place.index(frame.len());
                frame[at] = value;
            }
            match how {
                1 => frame.truncate(frame.len().saturating_sub(usize::from(by))),
                2 => frame.extend(vec![by; usize::from(by)]),
                _ => {}
            }
            let ip_at = if ethernet { 14 } else { 0 };
            if let Some(header) = frame.get_mut(ip_at..ip_at + 20).filter(|header| header[0] == 0x45) {
                header[10..12].fill(0);
                let sum = crate::ip::checksum::internet_checksum(header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            attack(&mut host, frame);
            host.advance(Duration::from_millis(u64::from(by) * 10));
        }
    }

    /// Fragmentation, then reassembly in any order and with duplicates, between two stacks.
    #[test]
    fn datagrams_survive_fragmentation(v6: bool, len in 1usize..20_000, order in prop::collection::vec(any::<u16>(), 40)) {
        let (mut a, mut b) =
            (Host::ip_medium(&["10.0.0.1/24", "fd00::1/64"]), Host::ip_medium(&["10.0.0.2/24", "fd00::2/64"]));
        let data: Vec<u8> = (0..len).map(|index| (index % 253) as u8).collect();
        let sent = a.send_udp(if v6 { "fd00::2" } else { "10.0.0.2" }, &data).unwrap();
        let mut frames: Vec<(u16, Vec<u8>)> = Vec::new();
        for (at, frame) in a.frames().into_iter().chain(sent).enumerate() {
            let place = order[at % order.len()];
            if place % 3 == 0 {
                frames.push((place.wrapping_mul(7919), frame.clone()));
            }
            frames.push((place, frame));
        }
        frames.sort_by_key(|(place, _)| *place);
        for (_, frame) in frames {
            if b.delivered.is_empty() {
                b.receive(frame);
            }
        }
        let datagram = b.datagram();
        prop_assert_eq!(&datagram.transport()[8..], &data[..]);
        prop_assert_eq!(&datagram.transport()[..8], &udp_header(len));
    }
}
