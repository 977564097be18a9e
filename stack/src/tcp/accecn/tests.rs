use proptest::prelude::*;
use std::vec::Vec;

use super::*;
use crate::tcp::Timestamps;

const MSS: u32 = 1000;

fn delivered(segs: u32) -> Delivered {
    Delivered { bytes: segs * MSS, segs, mss: MSS }
}

fn syn_ack(number: u8, ip_ecn: IpEcn) -> Header {
    Header { flags: Flags::SYN_ACK.with(ace_flags(number)), ip_ecn, ..Header::default() }
}

/// An acknowledgement with this ACE field and option.
fn ack(number: u8, option: Option<AccEcnOption>) -> Header {
    let mut header = Header { flags: Flags::ACK.with(ace_flags(number)), ..Header::default() };
    header.options.accecn = option;
    header
}

/// What it would send now, with `room` bytes for options.
fn sent(accurate: &mut AccEcn, room: usize) -> Header {
    let mut header = Header { flags: Flags::ACK, ..Header::default() };
    header.options.accecn = accurate.option(room);
    accurate.write(&mut header);
    header
}

fn counters(header: &Header) -> Option<(AccEcnOrder, Vec<u32>)> {
    header.options.accecn.as_ref().map(|option| (option.order, option.counters().collect()))
}

/// A client that has sent its handshake options, on a path that does not change markings.
fn settled() -> AccEcn {
    let mut accurate = AccEcn::of_client(&syn_ack(0b010, IpEcn::NotEct));
    for _ in 0..2 {
        assert_eq!(counters(&sent(&mut accurate, 40)), Some((AccEcnOrder::Ect0First, [1, 0, 1].to_vec())));
    }
    assert_eq!(accurate.on_feedback(&ack(5, None), 0, delivered(1)), 0);
    accurate
}

/// §3.2.2.1, table 3: the pure ACK of each SYN-ACK reports its marking, and later counters include
/// it.
#[test]
fn the_client_says_how_the_syn_ack_came() {
    let markings = [IpEcn::NotEct, IpEcn::Ect1, IpEcn::Ect0, IpEcn::Ce];
    for (marking, number) in markings.into_iter().zip([0b010, 0b011, 0b100, 0b110]) {
        let mut accurate = AccEcn::of_client(&syn_ack(0b010, marking));
        assert!(accurate.sends_ect() && accurate.reflects());
        let mut header = sent(&mut accurate, 40);
        accurate.write_reflection(&mut header);
        assert_eq!(ace(header.flags), number);
        let counter = if marking == IpEcn::Ce { 6 } else { 5 };
        assert_eq!(ace(sent(&mut accurate, 40).flags), counter);
        // §3.2.2.2: only one mark on SYN-ACKs is counted.
        accurate.reflect(IpEcn::Ce);
        accurate.reflect(IpEcn::Ce);
        assert_eq!(ace(sent(&mut accurate, 40).flags), 6);
    }
}

/// §3.2.2.3: our SYN was not ECN-capable; if it arrives otherwise, the path changes markings.
/// §3.1.3: 101 has no meaning.
#[test]
fn a_client_whose_syn_was_changed_marks_nothing() {
    for (number, sends_ect) in [(0b010, true), (0b011, false), (0b100, false), (0b101, true), (0b110, false)]
    {
        assert_eq!(AccEcn::of_client(&syn_ack(number, IpEcn::NotEct)).sends_ect(), sends_ect, "{number:#b}");
    }
}

/// §3.2.2.1, table 4, and §3.2.2.3 at the server.
#[test]
fn the_server_reads_the_ack_of_its_syn_ack() {
    let cases = [
        (0b000, false, false, 0),
        (0b001, true, true, 0),
        (0b010, true, true, 0),
        (0b011, false, true, 0),
        (0b100, false, true, 0),
        (0b101, true, true, 0),
        (0b110, false, true, 1),
        (0b111, true, true, 0),
    ];
    for (number, sends_ect, uses_feedback, reported) in cases {
        let mut accurate = AccEcn::of_server(IpEcn::NotEct, 0, false);
        assert_eq!(accurate.on_feedback(&ack(number, None), 0, delivered(0)), reported, "{number:#b}");
        assert_eq!((accurate.sends_ect, accurate.uses_feedback), (sends_ect, uses_feedback), "{number:#b}");
        let next = (accurate.s_cep + 2) as u8;
        let reported = accurate.on_feedback(&ack(next, None), 0, delivered(3));
        assert_eq!(reported, if uses_feedback { 2 } else { 0 }, "{number:#b}");
    }
    // In a segment with data the field is a counter.
    let mut accurate = AccEcn::of_server(IpEcn::NotEct, 0, false);
    assert_eq!(accurate.on_feedback(&ack(0b110, None), 100, delivered(0)), 1);
    assert!(accurate.sends_ect());
    let mut zeroed = AccEcn::of_server(IpEcn::NotEct, 0, false);
    assert_eq!(zeroed.on_feedback(&ack(0, None), 100, delivered(0)), 0);
    assert!(!zeroed.sends_ect());
}

/// §3.1.5: after a SYN or SYN-ACK without flags, sent or received, the client's mode is not known.
#[test]
fn a_doubtful_handshake_marks_nothing() {
    assert!(AccEcn::of_server(IpEcn::NotEct, 1, false).sends_ect());
    assert!(!AccEcn::of_server(IpEcn::NotEct, 2, false).sends_ect());
    assert!(!AccEcn::of_server(IpEcn::NotEct, 0, true).sends_ect());
    // §3.2.3.2.2: a SYN-ACK with an option was lost.
    let mut repeated = AccEcn::of_server(IpEcn::NotEct, 1, false);
    assert_eq!(repeated.on_packets(IpEcn::Ect0, 1, 100, false), AckDemand::Ordinary);
    assert_eq!(sent(&mut repeated, 40).options.accecn, None);
}

/// §3.2.2.4.
#[test]
fn a_client_whose_first_counter_is_zero_marks_and_heeds_nothing() {
    let mut accurate = AccEcn::of_client(&syn_ack(0b010, IpEcn::NotEct));
    assert_eq!(accurate.on_feedback(&ack(0, None), 0, delivered(1)), 0);
    assert!(!accurate.sends_ect());
    assert_eq!(accurate.on_feedback(&ack(3, None), 0, delivered(5)), 0);
    // Later, zero is an ordinary value.
    let mut sound = settled();
    assert_eq!(sound.on_feedback(&ack(0, None), 0, delivered(4)), 3);
    assert!(sound.sends_ect());
}

/// §3.2: every packet marked CE is counted, with data or not, and all bytes by their marking.
#[test]
fn marks_are_counted_and_reported() {
    let mut accurate = settled();
    assert_eq!(accurate.on_packets(IpEcn::NotEct, 1, 100, false), AckDemand::Ordinary);
    assert_eq!(counters(&sent(&mut accurate, 40)), None, "nothing has changed");
    assert_eq!(accurate.on_packets(IpEcn::Ect0, 1, 1000, false), AckDemand::Ordinary);
    // §3.2.3.3: only the counters that ever changed, and a second time in case the first option is
    // lost.
    for _ in 0..2 {
        let header = sent(&mut accurate, 40);
        assert_eq!(
            (ace(header.flags), counters(&header)),
            (5, Some((AccEcnOrder::Ect0First, [1001].to_vec())))
        );
    }
    assert_eq!(counters(&sent(&mut accurate, 40)), None);
    let _ = accurate.on_packets(IpEcn::Ce, 1, 500, false);
    let _ = accurate.on_packets(IpEcn::Ce, 1, 0, false);
    assert!(accurate.has_news_of_ce());
    let header = sent(&mut accurate, 40);
    assert_eq!(
        (ace(header.flags), counters(&header)),
        (7, Some((AccEcnOrder::Ect0First, [1001, 500].to_vec())))
    );
    assert!(!accurate.has_news_of_ce());
    for _ in 0..3 {
        let _ = accurate.on_packets(IpEcn::Ce, 1, 0, false);
    }
    assert_eq!(ace(sent(&mut accurate, 40).flags), 2, "10, of which three bits");
}

/// §3.2.3.3: changed counters are never left out; if they do not fit, there is no option.
#[test]
fn options_shrink_to_the_room() {
    let mut accurate = settled();
    let _ = accurate.on_packets(IpEcn::Ect0, 1, 10, false);
    let _ = accurate.on_packets(IpEcn::Ce, 1, 10, false);
    let fields = |accurate: &AccEcn, room| accurate.option(room).map(|option| option.counters().count());
    assert_eq!((fields(&accurate, 12), fields(&accurate, 8), fields(&accurate, 7)), (Some(2), Some(2), None));
    let _ = sent(&mut accurate, 8);
    let _ = accurate.on_packets(IpEcn::Ect1, 1, 10, false);
    assert_eq!((fields(&accurate, 12), fields(&accurate, 8)), (Some(3), None));
    // ECT(1) alone: the option with the other order begins with its counter.
    let mut accurate = settled();
    let _ = accurate.on_packets(IpEcn::Ect1, 1, 10, false);
    assert_eq!(counters(&sent(&mut accurate, 8)), Some((AccEcnOrder::Ect1First, [11].to_vec())));
}

/// §3.2.2.5.1: an ACK when marks begin, then for every second, and for every third while there is
/// no data at all.
#[test]
fn marks_bring_acknowledgements() {
    let mut accurate = settled();
    assert_eq!(accurate.on_packets(IpEcn::Ce, 1, 100, false), AckDemand::Now, "the change");
    let _ = sent(&mut accurate, 40);
    assert_eq!(accurate.on_packets(IpEcn::Ce, 1, 100, true), AckDemand::Ordinary);
    assert_eq!(accurate.on_packets(IpEcn::Ce, 1, 100, true), AckDemand::Now, "the second");
    let _ = sent(&mut accurate, 40);
    for demand in [AckDemand::Ordinary, AckDemand::Ordinary, AckDemand::Now] {
        assert_eq!(accurate.on_packets(IpEcn::Ce, 1, 0, false), demand, "acknowledgements that are marked");
    }
}

/// §3.2.2.5.2, Appendix A.2.
#[test]
fn three_bits_may_have_gone_round() {
    let ce_segs = |number, segs, ce_bytes| settled().new_ce_segs(number, delivered(segs), ce_bytes);
    assert_eq!(ce_segs(5, 7, None), 0);
    assert_eq!(ce_segs(4, 3, None), 7, "the counter is believed, also beyond what was acknowledged");
    assert_eq!(ce_segs(5, 8, None), 8, "the worst that is possible");
    assert_eq!(ce_segs(7, 9, None), 2);
    assert_eq!(ce_segs(7, 10, None), 10);
    assert_eq!(ce_segs(7, 100, None), 98);
    assert_eq!(ce_segs(7, 100, Some(0)), 2, "an option tells");
    assert_eq!(ce_segs(7, 100, Some(2 * MSS)), 2);
    assert_eq!(ce_segs(7, 100, Some(10 * MSS)), 10);
    assert_eq!(ce_segs(7, 100, Some(u32::MAX)), 98);
}

/// §3.2.2.2, Appendix A.1: an older segment has no new information.
#[test]
fn feedback_that_is_superseded_counts_for_nothing() {
    let mut accurate = settled();
    let stamped = |number, value| {
        let mut header = ack(number, None);
        header.options.timestamps = Some(Timestamps { value, echo: 0 });
        header
    };
    assert_eq!(accurate.on_feedback(&stamped(6, 10), 0, delivered(1)), 1);
    assert_eq!(accurate.on_feedback(&stamped(5, 10), 0, delivered(0)), 0);
    assert_eq!(accurate.on_feedback(&stamped(5, 9), 0, delivered(0)), 0);
    assert_eq!(accurate.s_cep, 6);
    assert_eq!(accurate.on_feedback(&stamped(0, 11), 0, delivered(0)), 2);
}

/// §3.2.2.5.2: if the peer's options arrive, a segment without one means that nothing has changed,
/// unless there was no room; without options the largest possible number of marks counts.
#[test]
fn an_option_that_is_left_out_says_that_nothing_changed() {
    let option = Some(AccEcnOption::new(AccEcnOrder::Ect0First, &[1001, 0, 1]));
    let mut accurate = settled();
    assert_eq!(accurate.on_feedback(&ack(5, None), 1, delivered(20)), 16, "none has got here yet");
    let mut accurate = settled();
    assert_eq!(accurate.on_feedback(&ack(5, option), 1, delivered(1)), 0);
    assert_eq!(accurate.on_feedback(&ack(5, None), 2, delivered(20)), 0);
    let mut full = ack(5, None);
    full.options.timestamps = Some(Timestamps { value: 1, echo: 2 });
    let block = |n| (crate::tcp::SeqNumber(n), crate::tcp::SeqNumber(n + 1));
    full.options.sack = smallvec::smallvec![block(1), block(3), block(5)];
    assert_eq!(accurate.on_feedback(&full, 3, delivered(20)), 16);
}

/// §3.2.3.1, §3.2.3.2.4, §3.2.3.2.5.
#[test]
fn options_are_read_believed_or_ignored() {
    let option = |counters: &[u32]| Some(AccEcnOption::new(AccEcnOrder::Ect0First, counters));
    let mut accurate = settled();
    assert_eq!(accurate.read_option(&ack(5, option(&[1001, 0, 1]))), Some(0));
    assert_eq!(accurate.read_option(&ack(5, option(&[1001, 700]))), Some(700));
    assert_eq!(accurate.read_option(&ack(5, option(&[1002]))), Some(0));
    assert_eq!(accurate.read_option(&ack(5, option(&[]))), Some(0));
    assert_eq!(accurate.read_option(&ack(5, option(&[1002, 600]))), None, "older");
    assert_eq!(accurate.s, Bytes { e0b: 1002, ceb: 700, e1b: 1 });
    // The 24 bits wrap.
    for step in 1..=5 {
        let ceb = (700 + step * 0x40_0000) & FIELD_MASK;
        assert_eq!(accurate.read_option(&ack(5, option(&[1002, ceb]))), Some(0x40_0000));
    }
    assert_eq!(accurate.s.ceb, 700 + 5 * 0x40_0000);
    for zeroed in [&[0, 0, 0][..], &[1, 0, 0], &[0]] {
        let mut accurate = settled();
        assert_eq!(accurate.read_option(&ack(5, option(zeroed))), None);
        assert_eq!(accurate.read_option(&ack(5, option(&[500, 700]))), None, "from then on");
    }
    // Marked bytes without marked packets.
    let mut accurate = settled();
    assert_eq!(accurate.on_feedback(&ack(5, option(&[1, 700])), 0, delivered(1)), 0);
    assert!(!accurate.sends_ect());
}

proptest! {
    /// Both ends' counters agree for any marks and any loss of ACKs, as long as one ACK covers
    /// fewer than eight segments. With more, three bits are not enough, and options help only
    /// sometimes.
    #[test]
    fn the_sender_learns_of_every_mark(
        rounds in prop::collection::vec((prop::collection::vec(0u8..4, 1..20), any::<bool>()), 1..50),
    ) {
        let mut receiver = settled();
        let mut sender = settled();
        let (mut marked, mut known, mut unacknowledged) = (0, 0, 0);
        for (packets, is_lost) in rounds {
            for ecn in &packets {
                let ecn = IpEcn::of_traffic_class(*ecn);
                let _ = receiver.on_packets(ecn, 1, MSS as usize, true);
                marked += u32::from(ecn == IpEcn::Ce);
            }
            unacknowledged += packets.len() as u32;
            let header = sent(&mut receiver, 40);
            if !is_lost {
                let news = sender.on_feedback(&header, 0, delivered(unacknowledged));
                if unacknowledged <= ACE_MAX {
                    prop_assert_eq!(known + news, marked);
                } else {
                    prop_assert!(news <= unacknowledged);
                }
                known = marked;
                unacknowledged = 0;
            }
        }
        prop_assert!(sender.sends_ect());
    }

    /// A peer that lies cannot make us count more segments than it acknowledged, or seven.
    #[test]
    fn lies_are_bounded(
        steps in prop::collection::vec((0u8..8, 0u32..70, prop::option::of(prop::collection::vec(any::<u32>(), 0..4))), 1..100),
        is_server: bool,
    ) {
        let mut accurate = if is_server { AccEcn::of_server(IpEcn::NotEct, 0, false) } else { settled() };
        for (number, segs, fields) in steps {
            let option = fields.map(|fields| AccEcnOption::new(AccEcnOrder::Ect1First, &fields));
            let ce_segs = accurate.on_feedback(&ack(number, option), 0, delivered(segs));
            prop_assert!(ce_segs <= segs.max(ACE_MAX));
        }
    }
}

/// §3.2.3.2.2: a time-out before anything has come ends the options; later ones do not.
#[test]
fn a_time_out_after_the_handshake_ends_the_options() {
    let mut accurate = AccEcn::of_client(&syn_ack(0b010, IpEcn::NotEct));
    accurate.on_timeout();
    assert_eq!(counters(&sent(&mut accurate, 40)), None);
    // It stays so.
    assert_eq!(accurate.on_feedback(&ack(5, None), 0, delivered(1)), 0);
    accurate.on_timeout();
    let _ = accurate.on_packets(IpEcn::Ce, 1, 100, true);
    assert_eq!(counters(&sent(&mut accurate, 40)), None);
    let mut accurate = settled();
    accurate.on_timeout();
    let _ = accurate.on_packets(IpEcn::Ce, 1, 100, true);
    assert!(counters(&sent(&mut accurate, 40)).is_some());
}
