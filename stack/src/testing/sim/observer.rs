//! An observer of the segments that each host sends and receives: it knows from them what each end
//! of a connection may send, and reports violations.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::packet;
use crate::tcp::{Flags, Header, SeqNumber};
use crate::testing::internet_checksum;

/// RFC 9293 §3.4: sequence numbers that are further apart cannot be compared.
const HALF_SPACE: u32 = 1 << 31;

/// What all hosts have sent and received.
#[derive(Debug, Default)]
pub(super) struct Observer {
    ends: BTreeMap<EndKey, End>,
    /// Whether packets may be corrupted: those with a wrong checksum do not count as received.
    pub(super) has_damage: bool,
}

/// Whether a host may have dropped outgoing packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skips {
    None,
    Some,
}

/// A host, and the connection from its point of view: local port first.
type EndKey = (usize, IpAddr, u16, IpAddr, u16);

/// One end of a connection.
#[derive(Debug, Default)]
struct End {
    /// The SYN that it sent, with its window scale.
    syn: Option<(SeqNumber, Option<u8>)>,
    /// The peer's SYN that it accepted.
    peer_syn: Option<(SeqNumber, Option<u8>)>,
    /// A SYN that it received and may accept.
    offer: Option<Offer>,
    /// The sequence number behind everything that it sent.
    sent_end: SeqNumber,
    /// The sequence number of its FIN.
    fin: Option<SeqNumber>,
    /// The last acknowledgement that it sent, and the right edge of its window.
    ack: Option<SeqNumber>,
    offered_edge: Option<SeqNumber>,
    /// The sequence numbers that it received, and that of the peer's FIN.
    got: Ranges,
    got_fin: Option<SeqNumber>,
    /// The peer's last acknowledgement, and the right edge of the peer's window.
    una: Option<SeqNumber>,
    edge: Option<SeqNumber>,
    /// It sent a reset: later segments are not part of the connection.
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    seq: SeqNumber,
    end: SeqNumber,
    scale: Option<u8>,
}

/// The parts of a TCP segment that matter here.
struct Segment {
    header: Header,
    /// SEG.LEN, including SYN and FIN.
    len: u32,
}

impl Segment {
    fn has(&self, flags: Flags) -> bool {
        self.header.flags.contains(flags)
    }

    fn end(&self) -> SeqNumber {
        self.header.seq + self.len
    }
}

impl Observer {
    /// A host sends a packet. The error describes a violation. `skips` tells whether the host may
    /// have dropped packets itself, which count as sent.
    pub(super) fn on_sent(&mut self, host: usize, packet: &[u8], skips: Skips) -> Result<(), String> {
        let Some((src, dst, segment)) = parse(packet) else { return Ok(()) };
        let key = (host, src, segment.header.src_port, dst, segment.header.dst_port);
        if segment.has(Flags::SYN) {
            return self.on_syn_sent(key, &segment);
        }
        let Some(end) = self.ends.get_mut(&key) else { return Ok(()) };
        if skips == Skips::Some {
            end.sent_end = end.sent_end.max(segment.header.seq);
        }
        end.on_sent(&segment).map_err(|error| format!("{error}: {end:?}"))
    }

    /// A host receives a packet.
    pub(super) fn on_received(&mut self, host: usize, packet: &[u8]) {
        let Some((src, dst, segment)) = parse(packet) else { return };
        if self.has_damage && !is_whole(packet, src, dst) {
            return;
        }
        let key = (host, dst, segment.header.dst_port, src, segment.header.src_port);
        if segment.has(Flags::RST) {
            return;
        }
        if segment.has(Flags::SYN) {
            self.ends.entry(key).or_default().on_syn_received(&segment);
        } else if let Some(end) = self.ends.get_mut(&key) {
            end.on_received(&segment);
        }
    }

    /// A SYN with another sequence number begins another connection.
    fn on_syn_sent(&mut self, key: EndKey, segment: &Segment) -> Result<(), String> {
        let seq = segment.header.seq;
        let end = self.ends.entry(key).or_default();
        if end.is_over || end.syn.is_none_or(|(syn, _)| syn != seq) {
            *end = End { offer: end.offer, sent_end: seq + 1, ..End::default() };
        }
        end.syn = Some((seq, segment.header.options.window_scale));
        end.sent_end = end.sent_end.max(segment.end());
        if segment.has(Flags::ACK) && end.peer_syn.is_none() {
            let agreed = end.offer.filter(|offer| segment.header.ack.after(offer.seq));
            let offer =
                agreed.ok_or_else(|| format!("a SYN-ACK for a SYN that was not received: {end:?}"))?;
            end.agree(offer);
        }
        Ok(())
    }
}

impl End {
    fn agree(&mut self, offer: Offer) {
        self.peer_syn = Some((offer.seq, offer.scale));
        self.got = Ranges { next: offer.end, above: Vec::new() };
    }

    /// The window scales of the segments that it sends and receives: both are 0 unless both ends
    /// sent the option.
    fn shifts(&self) -> (u8, u8) {
        match (self.syn, self.peer_syn) {
            (Some((_, Some(own))), Some((_, Some(peers)))) => (own.min(14), peers.min(14)),
            _ => (0, 0),
        }
    }

    fn on_syn_received(&mut self, segment: &Segment) {
        let Header { seq, ack, window, .. } = segment.header;
        let offer = Offer { seq, end: segment.end(), scale: segment.header.options.window_scale };
        self.offer = Some(offer);
        let is_answer = segment.has(Flags::ACK) && self.syn.is_some_and(|(syn, _)| ack.after(syn));
        if is_answer && self.peer_syn.is_none() && ack.before_eq(self.sent_end) {
            self.agree(offer);
            self.una = Some(ack);
            // RFC 7323 §2.2: the window of a SYN is not scaled.
            self.edge = Some(ack + u32::from(window));
        }
    }

    fn on_received(&mut self, segment: &Segment) {
        let header = &segment.header;
        // The SYN of a simultaneous open counts as accepted once this end sends something after it.
        if let (None, Some(offer)) = (self.peer_syn, self.offer)
            && header.seq == offer.end
        {
            self.agree(offer);
        }
        if self.peer_syn.is_none()
            || header.seq - self.got.next >= HALF_SPACE && self.got.next - header.seq >= HALF_SPACE
        {
            return;
        }
        let is_in_order = header.seq == self.got.next;
        self.got.insert(header.seq, segment.end());
        if segment.has(Flags::FIN) {
            self.got_fin = Some(segment.end());
        }
        if !segment.has(Flags::ACK) || header.ack.after(self.sent_end) {
            return;
        }
        // The host may have ignored a segment that is not in order, but may have used the window of
        // any.
        if is_in_order && segment.len == 0 {
            self.una = Some(self.una.map_or(header.ack, |una| una.max(header.ack)));
        }
        let edge = header.ack + (u32::from(header.window) << self.shifts().1);
        self.edge = Some(self.edge.map_or(edge, |before| before.max(edge)));
    }

    fn on_sent(&mut self, segment: &Segment) -> Result<(), String> {
        if segment.has(Flags::RST) {
            self.is_over = true;
        }
        if self.is_over || self.syn.is_none() || self.peer_syn.is_none() {
            return Ok(());
        }
        self.check_data(segment)?;
        if segment.has(Flags::ACK) {
            self.check_ack(&segment.header)?;
        }
        Ok(())
    }

    /// Checks SND.UNA <= SND.NXT, that nothing is beyond the window, that no acknowledged data are
    /// sent again, and that there is one FIN.
    fn check_data(&mut self, segment: &Segment) -> Result<(), String> {
        let (seq, end) = (segment.header.seq, segment.end());
        if seq.after(self.sent_end) {
            return Err(format!("{} numbers are left out", seq - self.sent_end));
        }
        if segment.len == 0 {
            return Ok(());
        }
        if let Some(una) = self.una.filter(|&una| end.before_eq(una)) {
            return Err(format!("{seq:?}-{end:?} is sent again, though {una:?} is acknowledged"));
        }
        let has_fin = segment.has(Flags::FIN);
        match self.fin {
            Some(fin) if has_fin && end != fin => return Err(format!("a second FIN at {end:?}")),
            Some(fin) if end.after(fin) => {
                return Err(format!("data up to {end:?} behind the FIN at {fin:?}"));
            }
            _ => {}
        }
        if end.after(self.sent_end) {
            // RFC 9293 §3.8.6.1: a probe is one byte beyond a closed window.
            let is_probe = |edge| segment.len == 1 && seq == edge;
            if let Some(edge) = self.edge.filter(|&edge| end.after(edge) && !is_probe(edge)) {
                return Err(format!("data up to {end:?} beyond the window's edge at {edge:?}"));
            }
            self.sent_end = end;
        }
        if has_fin {
            self.fin = Some(end);
        }
        Ok(())
    }

    /// Checks that only received data are acknowledged or reported, and that neither the
    /// acknowledgement nor the window's edge goes back.
    fn check_ack(&mut self, header: &Header) -> Result<(), String> {
        let ack = header.ack;
        if ack.after(self.got.next) {
            return Err(format!("{ack:?} is acknowledged, but only {:?} was received", self.got.next));
        }
        if let Some(before) = self.ack.filter(|&before| ack.before(before)) {
            return Err(format!("the acknowledgement goes back from {before:?} to {ack:?}"));
        }
        self.ack = Some(ack);
        let shift = self.shifts().0;
        let edge = ack + (u32::from(header.window) << shift);
        // RFC 7323 §2.4: the edge may seem to move back by less than one unit. After the peer's FIN
        // it means nothing.
        let slack = (1 << shift) - 1;
        let is_meant = self.got_fin != Some(ack);
        if let Some(before) = self.offered_edge.filter(|&before| is_meant && (edge + slack).before(before)) {
            return Err(format!("the window's edge moves left, from {before:?} to {edge:?}"));
        }
        self.offered_edge = Some(self.offered_edge.map_or(edge, |before| before.max(edge)));
        for &(left, right) in &header.options.sack {
            if !left.before(right) || !self.got.has(left, right) {
                return Err(format!("a SACK block {left:?}-{right:?} of what was not received"));
            }
        }
        Ok(())
    }
}

/// Sequence numbers that arrived.
#[derive(Debug, Default)]
struct Ranges {
    /// All numbers before this one have arrived.
    next: SeqNumber,
    /// The ranges that arrived beyond it: in order, with gaps between them.
    above: Vec<(SeqNumber, SeqNumber)>,
}

impl Ranges {
    fn insert(&mut self, left: SeqNumber, right: SeqNumber) {
        if right.before_eq(self.next) || left == right {
            return;
        }
        if left.before_eq(self.next) && self.above.is_empty() {
            self.next = right;
            return;
        }
        let first = self.above.partition_point(|&(_, end)| end.before(left));
        let behind = self.above.partition_point(|&(start, _)| start.before_eq(right));
        let merged = self.above[first..behind]
            .iter()
            .fold((left, right), |(left, right), &(start, end)| (left.min(start), right.max(end)));
        self.above.splice(first..behind, [merged]);
        while let Some(&(start, end)) = self.above.first()
            && start.before_eq(self.next)
        {
            self.next = self.next.max(end);
            self.above.remove(0);
        }
    }

    fn has(&self, left: SeqNumber, right: SeqNumber) -> bool {
        right.before_eq(self.next)
            || self.above.iter().any(|&(start, end)| start.before_eq(left) && right.before_eq(end))
    }
}

/// The TCP segment in an IP packet, unless that is a fragment.
fn parse(packet: &[u8]) -> Option<(IpAddr, IpAddr, Segment)> {
    let (src, dst) = (packet::source(packet)?, packet::destination(packet)?);
    let tcp = tcp_part(packet)?;
    let (header, header_len) = Header::parse(tcp)?;
    let len = header.segment_len(tcp.len() - header_len);
    Some((src, dst, Segment { header, len }))
}

fn tcp_part(packet: &[u8]) -> Option<&[u8]> {
    let is_v4 = packet.first()? >> 4 == 4;
    if is_v4 {
        let header_len = usize::from(packet[0] & 0xf) * 4;
        let [_, _, l0, l1, _, _, f0, f1, _, protocol, ..] = *packet.first_chunk::<20>()?;
        let is_whole = u16::from_be_bytes([f0, f1]) & 0x3fff == 0;
        let total_len = usize::from(u16::from_be_bytes([l0, l1]));
        return packet.get(header_len..total_len).filter(|_| is_whole && protocol == 6);
    }
    let header = packet.first_chunk::<40>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    packet.get(40..40 + len).filter(|_| header[6] == 6)
}

/// Whether the checksums are right.
fn is_whole(packet: &[u8], src: IpAddr, dst: IpAddr) -> bool {
    let Some(tcp) = tcp_part(packet) else { return false };
    let is_v4 = src.is_ipv4();
    let mut pseudo = Vec::with_capacity(40);
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(addr) => pseudo.extend_from_slice(&addr.octets()),
            IpAddr::V6(addr) => pseudo.extend_from_slice(&addr.octets()),
        }
    }
    pseudo.extend_from_slice(&(tcp.len() as u32).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, 6]);
    internet_checksum(&[&pseudo, tcp]) == 0 && (!is_v4 || internet_checksum(&[&packet[..20]]) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PacketBuilder, TcpSegment};
    use proptest::prelude::*;

    const A: &str = "10.0.0.1";
    const B: &str = "10.0.0.2";

    /// Host 0 is A, which the observer watches; B is any peer.
    struct Scene {
        observer: Observer,
    }

    impl Scene {
        /// A has opened a connection: its sequence numbers begin at 101 and B's at 501, and B's
        /// window ends at 1101.
        fn new() -> Scene {
            let mut scene = Scene { observer: Observer::default() };
            scene.sends(TcpSegment { flags: TcpSegment::SYN, seq: 100, ..segment() }).unwrap();
            let flags = TcpSegment::SYN | TcpSegment::ACK;
            scene.gets(TcpSegment { flags, seq: 500, ack: 101, window: 1000, ..segment() });
            scene.sends(TcpSegment { seq: 101, ack: 501, ..segment() }).unwrap();
            scene
        }

        fn sends(&mut self, segment: TcpSegment) -> Result<(), String> {
            let builder = PacketBuilder::new(A.parse().unwrap(), B.parse().unwrap());
            self.observer.on_sent(0, &builder.tcp(&segment), Skips::None)
        }

        fn gets(&mut self, segment: TcpSegment) {
            let builder = PacketBuilder::new(B.parse().unwrap(), A.parse().unwrap());
            let segment = TcpSegment { src_port: 80, dst_port: 5000, ..segment };
            self.observer.on_received(0, &builder.tcp(&segment));
        }

        fn refuses(&mut self, segment: TcpSegment, why: &str) {
            let error = self.sends(segment).expect_err(why);
            assert!(error.starts_with(why) || error.contains(why), "{error}");
        }
    }

    fn segment() -> TcpSegment {
        TcpSegment { flags: TcpSegment::ACK, window: 1000, ..TcpSegment::new(5000, 80) }
    }

    fn data(seq: u32, len: usize) -> TcpSegment {
        TcpSegment { seq, ack: 501, payload: alloc::vec![0; len], ..segment() }
    }

    #[test]
    fn data_stays_in_the_window_and_one_probe_may_pass() {
        let mut scene = Scene::new();
        scene.sends(data(101, 600)).unwrap();
        scene.refuses(data(701, 401), "beyond the window's edge");
        scene.refuses(data(702, 10), "left out");
        scene.sends(data(701, 400)).unwrap();
        scene.refuses(data(1101, 2), "beyond the window's edge");
        scene.sends(data(1101, 1)).unwrap();
        scene.sends(data(101, 600)).unwrap();
        scene.gets(TcpSegment { seq: 501, ack: 701, window: 1000, ..segment() });
        scene.refuses(data(101, 600), "is sent again");
        scene.sends(data(1101, 600)).unwrap();
    }

    #[test]
    fn there_is_one_fin() {
        let mut scene = Scene::new();
        scene.sends(data(101, 10)).unwrap();
        let fin = TcpSegment { flags: TcpSegment::FIN | TcpSegment::ACK, ..data(111, 0) };
        scene.sends(fin.clone()).unwrap();
        scene.sends(fin.clone()).unwrap();
        scene.refuses(data(111, 10), "behind the FIN");
        scene.refuses(TcpSegment { seq: 105, ..fin }, "a second FIN");
    }

    #[test]
    fn only_what_came_is_acknowledged() {
        let mut scene = Scene::new();
        let ack = |ack, window| TcpSegment { seq: 101, ack, window, ..segment() };
        scene.refuses(ack(502, 1000), "but only 501 was received");
        scene.gets(TcpSegment { seq: 501, ack: 101, payload: alloc::vec![0; 100], ..segment() });
        scene.sends(ack(601, 900)).unwrap();
        scene.refuses(ack(501, 1000), "goes back");
        scene.refuses(ack(601, 899), "moves left");
        scene.gets(TcpSegment { seq: 701, ack: 101, payload: alloc::vec![0; 100], ..segment() });
        let sack = |left: u32, right: u32| {
            let mut options = alloc::vec![1, 1, 5, 10];
            options.extend_from_slice(&left.to_be_bytes());
            options.extend_from_slice(&right.to_be_bytes());
            TcpSegment { options, ..ack(601, 900) }
        };
        scene.sends(sack(701, 801)).unwrap();
        scene.refuses(sack(701, 802), "what was not received");
        scene.refuses(sack(801, 701), "what was not received");
    }

    proptest! {
        #[test]
        fn ranges_are_a_set(pieces in proptest::collection::vec((0u32..300, 1u32..40), 1..40), start: u32) {
            let mut ranges = Ranges { next: SeqNumber(start), above: Vec::new() };
            let mut set = [false; 400];
            for (at, len) in pieces {
                ranges.insert(SeqNumber(start) + at, SeqNumber(start) + at + len);
                set[at as usize..(at + len) as usize].fill(true);
            }
            let next = set.iter().position(|&there| !there).unwrap() as u32;
            prop_assert_eq!(ranges.next - SeqNumber(start), next);
            for (at, there) in set.into_iter().enumerate() {
                let at = SeqNumber(start) + at as u32;
                prop_assert_eq!(ranges.has(at, at + 1), there);
            }
        }
    }
}
