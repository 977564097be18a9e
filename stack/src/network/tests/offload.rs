//! What the network layer makes of the work of devices on received frames.

use super::*;
use crate::offload::{ChecksumState, PartialChecksum, SegmentKind, Segments};
use crate::testing::PacketBuilder;

const UDP: Segments = Segments { kind: SegmentKind::Udp, len: 1000 };
const TCP: Segments = Segments { kind: SegmentKind::TcpV6, len: 1000 };

/// An IPv6 packet from fd00::1 to fd00::2, with these extension headers before the transport.
fn packet(extensions: &[u8], first: u8, transport: &[u8]) -> Vec<u8> {
    let mut packet =
        PacketBuilder::new(ip("fd00::1"), ip("fd00::2")).raw(first, &[extensions, transport].concat());
    packet[6] = first;
    packet
}

fn host() -> Host {
    Host::ip_medium(&["fd00::2/64"])
}

fn receive(
    host: &mut Host,
    packet: Vec<u8>,
    checksum: ChecksumState,
    segments: Option<Segments>,
) -> Option<Datagram> {
    let frame = Frame::new(packet).with_checksum(checksum).with_segments(segments);
    match host.with(|network, ctx| network.handle_frame(ctx, IFACE, frame)) {
        Ok(Some(Delivery::Datagram(datagram))) => Some(datagram),
        other => {
            host.keep(other);
            assert!(host.delivered.is_empty());
            None
        }
    }
}

#[test]
fn a_checksum_is_missed_where_the_transport_begins_and_nowhere_else() {
    // Destination options of eight bytes, with TCP behind them.
    let options = [6, 0, 1, 4, 0, 0, 0, 0];
    let partial = |start| ChecksumState::Partial(PartialChecksum { start, offset: 16 });
    for (extensions, first, checksum, is_checked) in [
        (&[][..], 6, partial(40), true),
        (&options[..], 60, partial(48), true),
        // The inner checksum of a tunnel; and an offset that makes no sense.
        (&options[..], 60, partial(40), false),
        (&[][..], 6, partial(u16::MAX), false),
        (&[][..], 6, ChecksumState::Verified, true),
        (&[][..], 6, ChecksumState::Unknown, false),
    ] {
        let packet = packet(extensions, first, &[7; 1060]);
        let datagram = receive(&mut host(), packet, checksum, None).expect("for us");
        assert_eq!((datagram.is_checked, datagram.segment_len), (is_checked, 0), "{checksum:?}");
        assert_eq!(datagram.transport(), [7; 1060]);
    }
}

#[test]
fn a_run_may_be_longer_than_the_link_and_is_one_of_its_own_protocol() {
    let options = [6, 0, 1, 4, 0, 0, 0, 0];
    for (extensions, first, segments, segment_len) in [
        (&[][..], 6, Some(TCP), 1000),
        (&options[..], 60, Some(TCP), 1000),
        (&[][..], 17, Some(UDP), 1000),
        // What a device stated about another protocol.
        (&[][..], 17, Some(TCP), 0),
        (&[][..], 6, Some(UDP), 0),
    ] {
        let mut host = host();
        let packet = packet(extensions, first, &[7; 60_000]);
        let datagram = receive(&mut host, packet.clone(), ChecksumState::Verified, segments).expect("for us");
        assert_eq!((datagram.is_checked, datagram.segment_len), (true, segment_len), "{segments:?}");
        assert!(receive(&mut host, packet, ChecksumState::Verified, None).is_none());
        assert_eq!(host.drops(DropReason::OversizedFrame), 1);
    }
}

/// RFC 8200 §4.5: a device's statements about a fragment do not hold for the reassembled packet.
#[test]
fn nothing_is_believed_of_a_packet_that_came_in_fragments() {
    let mut host = host();
    let builder = PacketBuilder::new(ip("fd00::1"), ip("fd00::2"));
    let mut whole = None;
    for fragment in builder.fragments(17, &[7; 2000], 1000) {
        whole = receive(&mut host, fragment, ChecksumState::Verified, Some(UDP)).or(whole);
    }
    let whole = whole.expect("both fragments came");
    assert_eq!((whole.is_checked, whole.segment_len, whole.transport().len()), (false, 0, 2000));
}
