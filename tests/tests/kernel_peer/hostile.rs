//! Frames that no correct host sends, sent without the kernel's IP. Reception continues after each
//! of them, and each is counted as dropped.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::PacketBuilder;
use portolan_tests::namespace::{
    HOST4, STACK_MAC, STACK4, STACK6, TAP, beside_portolan, counter, page, stack_at, tool,
};
use portolan_tests::packet_socket::PacketSocket;
use portolan_tests::pattern::Pattern;

use crate::tcp::{connect, echo_through, round_trip, within};

const ECHO: u16 = 7;
const HTTP: u16 = 80;
const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];

/// A unicast frame for another station stops some readers for good.
#[test]
fn a_frame_for_another_station() {
    reception_goes_on("hostile::a_frame_for_another_station", Some("OtherStation"), |link| {
        link.send(&ping_frame(OTHER_MAC, 56))
    });
}

#[test]
fn a_vlan_tag() {
    reception_goes_on("hostile::a_vlan_tag", Some("UnknownEtherType"), |link| {
        let mut frame = ping_frame(STACK_MAC, 56);
        // 802.1Q, VLAN 5, in front of the EtherType.
        frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        link.send(&frame)
    });
}

/// An Ethernet header without anything, or with less than an IP header.
#[test]
fn a_runt() {
    reception_goes_on("hostile::a_runt", Some("BadIpHeader"), |link| {
        let frame = ping_frame(STACK_MAC, 56);
        (14..14 + 20).try_for_each(|len| link.send(&frame[..len]))
    });
}

/// The MTU of the kernel's side of the link is larger than the stack's.
#[test]
fn an_oversized_frame() {
    reception_goes_on("hostile::an_oversized_frame", Some("OversizedFrame"), |link| {
        tool(&format!("ip link set {TAP} mtu 9000"));
        let sent = [1487, 1600, 4000, 8900]
            .into_iter()
            .try_for_each(|payload| link.send(&ping_frame(STACK_MAC, payload)));
        tool(&format!("ip link set {TAP} mtu 1500"));
        sent
    });
}

#[test]
fn garbage() {
    reception_goes_on("hostile::garbage", None, |link| {
        let mut pattern = Pattern::new(99);
        for index in 0..2000 {
            let len = 14 + (index * 7) % 1400;
            let mut frame = pattern.take(len);
            frame[..6].copy_from_slice(&STACK_MAC);
            frame[6..12].copy_from_slice(&OTHER_MAC);
            // A quarter each of any EtherType, IPv4, IPv6, ARP.
            match index % 4 {
                0 => {}
                1 => frame[12..14].copy_from_slice(&[0x08, 0x00]),
                2 => frame[12..14].copy_from_slice(&[0x86, 0xdd]),
                _ => frame[12..14].copy_from_slice(&[0x08, 0x06]),
            }
            link.send(&frame)?;
        }
        Ok(())
    });
}

/// Nearly valid frames: a valid one with one byte changed, for each byte in turn.
#[test]
fn frames_with_one_byte_changed() {
    reception_goes_on("hostile::frames_with_one_byte_changed", None, |link| {
        for good in [ping_frame(STACK_MAC, 56), syn_frame([10, 0, 0, 1], 999, HTTP), udp_frame()] {
            // The addresses of the link stay, because changing them is another test.
            for index in 12..good.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut frame = good.clone();
                    frame[index] ^= mask;
                    link.send(&frame)?;
                }
            }
        }
        Ok(())
    });
}

/// Frames as fast as the kernel can send them, far more than any queue holds.
#[test]
fn a_burst_beyond_the_queue() {
    reception_goes_on("hostile::a_burst_beyond_the_queue", None, |link| {
        let frame = ping_frame(STACK_MAC, 1400);
        for _ in 0..20_000 {
            // A full queue of the kernel is not an error here.
            let _ = link.send(&frame);
        }
        Ok(())
    });
}

/// 40,000 SYNs from addresses that never answer. The listener's queue is bounded, an open
/// connection continues, and new connections of the kernel to the flooded port succeed by their
/// cookies, with window scale and SACK (RFC 4987).
#[test]
fn a_flood_of_syns() {
    beside_portolan("hostile::a_flood_of_syns", &[], || {
        let mut open = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        let link = PacketSocket::open(TAP).expect("a packet socket");
        let before = resident_bytes();
        for round in 0..20_u8 {
            for index in 0..1000_u16 {
                let [high, low] = index.to_be_bytes();
                let _ = link.send(&syn_frame([10, 0, 0, 100 + round], 1000 + index, ECHO));
                let _ = link.send(&syn_frame([198, 18 + round, high, low], 999, ECHO));
            }
            round_trip(&mut open, u64::from(round));
            let flooded = SocketAddr::new(STACK4, ECHO);
            let mut fresh = connect(flooded).expect("the cookie lets it in");
            if round > 2 {
                // As the kernel read it in our SYN-ACK, and as we read it in its ACK.
                let us = fresh.local_addr().expect("our own socket").port();
                let seen = tool(&format!("ss -tineH sport = :{us}"));
                assert!(seen.contains("wscale:") && seen.contains(" ts sack "), "{seen}");
            }
            round_trip(&mut fresh, u64::from(round));
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "the flood took {} MiB", grown >> 20);
        echo_through(SocketAddr::new(STACK4, ECHO), 8 << 20);
        let counters = page("/");
        assert!(counter(&counters, "cookies.sent") > 10_000, "{counters}");
        assert!(counter(&counters, "cookies.recv") > 10, "{counters}");
    });
}

/// Every connection is opened by a cookie, as after hours of a flood: in both families, and from a
/// kernel without timestamps, whose cookie contains only an MSS.
#[test]
fn connections_by_cookie() {
    beside_portolan("hostile::connections_by_cookie", &[], || {
        let link = PacketSocket::open(TAP).expect("a packet socket");
        // The backlog is 4,096.
        for index in 0..6_000_u16 {
            let [high, low] = index.to_be_bytes();
            let _ = link.send(&syn_frame([198, 18, high, low], 999, ECHO));
        }
        // With several queues the next segments may arrive in a queue that is ahead of the others,
        // so first wait for the whole flood.
        let mut cookies = 0;
        let is_over = within(Duration::from_secs(10), || {
            let before = std::mem::replace(&mut cookies, counter(&page("/"), "cookies.sent"));
            cookies > 0 && cookies == before
        });
        assert!(is_over, "{cookies} cookies, and still more of them");
        let sent = || counter(&page("/"), "cookies.recv");
        for (timestamps, expected) in [(1, 2), (0, 4)] {
            fs::write("/proc/sys/net/ipv4/tcp_timestamps", timestamps.to_string())
                .expect("our own namespace");
            for addr in stack_at(ECHO) {
                echo_through(addr, 1 << 20);
            }
            assert_eq!(sent(), expected);
        }
    });
}

/// Sends strange frames, checks before and after that everything works, and checks on the status
/// page that they were counted.
fn reception_goes_on(
    test: &str,
    counted_as: Option<&str>,
    send: impl Fn(&PacketSocket) -> std::io::Result<()>,
) {
    beside_portolan(test, &[], || {
        let mut open = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        round_trip(&mut open, 1);
        let link = PacketSocket::open(TAP).expect("a packet socket");
        send(&link).expect("frames sent");

        // A burst may still be in flight, and may have displaced other frames from the kernel's
        // queue.
        let answered = within(Duration::from_secs(10), || {
            portolan_tests::namespace::tool_output(&format!("ping -n -c 1 -W 1 {STACK4}")).status.success()
        });
        assert!(answered, "no ping is answered any more");
        tool(&format!("ping -6 -n -c 1 -W 5 {STACK6}"));
        round_trip(&mut open, 2);
        let mut fresh = connect(SocketAddr::new(STACK6, ECHO)).expect("the echo service");
        round_trip(&mut fresh, 3);
        if let Some(reason) = counted_as {
            let page = page("/");
            assert!(page.contains(reason), "no drop is counted as {reason}:\n{page}");
        }
    });
}

/// An ICMP echo request from the kernel's address.
fn ping_frame(to: [u8; 6], payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(OTHER_MAC, to)
        .ipv4(octets(HOST4), octets(STACK4), 64)
        .icmpv4_echo_request(7, 1);
    built(builder.size(payload), |frame| builder.write(frame, &vec![0x55; payload]))
}

/// A UDP datagram for the echo service.
fn udp_frame() -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(OTHER_MAC, STACK_MAC).ipv4(octets(HOST4), octets(STACK4), 64).udp(999, ECHO);
    built(builder.size(32), |frame| builder.write(frame, &[0x55; 32]))
}

/// A SYN from any address.
fn syn_frame(from: [u8; 4], from_port: u16, to_port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(OTHER_MAC, STACK_MAC)
        .ipv4(from, octets(STACK4), 64)
        .tcp(from_port, to_port, 0x1234_5678, 64_000)
        .syn();
    built(builder.size(0), |frame| builder.write(frame, &[]))
}

fn built<E: std::fmt::Debug>(size: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(size);
    write(&mut frame).expect("a vector takes everything");
    frame
}

fn octets(addr: IpAddr) -> [u8; 4] {
    match addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => unreachable!("these frames are IPv4"),
    }
}

/// The memory of the command, which is the parent of the inner half of the test.
fn resident_bytes() -> usize {
    let parent = rustix::process::getppid().expect("inside the namespace").as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{parent}/status")).expect("our own parent");
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes: usize = kilobytes.and_then(|text| text.parse().ok()).expect("the line VmRSS");
    kilobytes << 10
}
