use super::*;
use crate::tcp::rate::RateSampler;
use proptest::prelude::*;
use std::vec;

const ISS: SeqNumber = SeqNumber(u32::MAX - 5_000);
const MSS: u16 = 100;

impl Scoreboard {
    /// The records cover exactly what is in flight, the sums are those of the records, and there
    /// are no more of them than needed.
    pub(in crate::tcp) fn assert_covers(&self, una: SeqNumber, nxt: SeqNumber) {
        let mut seq = una;
        let (mut sacked, mut lost, mut repeated) = (0, 0, 0);
        let mut last = None;
        for record in &self.records {
            assert_eq!(record.seq, seq, "a gap or an overlap");
            assert!(record.end.after(record.seq));
            seq = record.end;
            match record.state {
                RecordState::Sacked => sacked += record.len(),
                RecordState::Lost => lost += record.len(),
                RecordState::InFlight if record.is_repeated => repeated += record.len(),
                RecordState::InFlight => {}
            }
            let are_two = (last, record.state) != (Some(RecordState::Sacked), RecordState::Sacked);
            assert!(are_two, "sacked neighbours are one record");
            last = Some(record.state);
        }
        assert_eq!(seq, nxt);
        assert_eq!((self.sacked, self.lost, self.repeated), (sacked, lost, repeated));
        let times: Vec<Instant> = self.transmissions.iter().map(|sending| sending.at).collect();
        assert!(times.is_sorted(), "the list of transmissions is in order of time");
        // Each record in flight is in the list of transmissions; otherwise it could never be marked
        // lost.
        let has_transmission = |record: &SentRange| {
            self.transmissions.iter().any(|sending| {
                sending.at == record.sent_at
                    && sending.seq.before_eq(record.seq)
                    && record.end.before_eq(sending.end)
            })
        };
        assert!(
            self.records.iter().filter(|record| record.state == RecordState::InFlight).all(has_transmission)
        );
    }

    /// How many records there are.
    pub(in crate::tcp) fn records(&self) -> usize {
        self.records.len()
    }
}

fn stamp() -> Stamp {
    RateSampler::new(Instant::ZERO).stamp(Instant::ZERO, 0, 0)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Runs of these many bytes, a millisecond apart.
fn board(runs: &[u32]) -> Scoreboard {
    let mut board = Scoreboard::default();
    let mut seq = ISS;
    for (n, &len) in runs.iter().enumerate() {
        board.on_sent(at(n as u64), seq, seq + len, MSS, stamp());
        seq += len;
    }
    board
}

fn sack(board: &mut Scoreboard, blocks: &[(u32, u32)]) -> u32 {
    let blocks = blocks.iter().map(|&(left, right)| (ISS + left, ISS + right)).collect();
    let mut news = 0;
    board.on_sack(blocks, |_, len| news += len);
    news
}

fn fates(board: &Scoreboard) -> Vec<(u32, u32, RecordState)> {
    board.records.iter().map(|record| (record.seq - ISS, record.end - ISS, record.state)).collect()
}

#[test]
fn a_block_splits_a_run_between_segments() {
    let mut board = board(&[1000]);
    assert_eq!(sack(&mut board, &[(250, 650)]), 300, "300..600 is whole");
    use RecordState::{InFlight, Sacked};
    assert_eq!(fates(&board), [(0, 300, InFlight), (300, 600, Sacked), (600, 1000, InFlight)]);
    // The partly covered segment counts once the rest of it is SACKed.
    assert_eq!(sack(&mut board, &[(200, 700)]), 200);
    assert_eq!(sack(&mut board, &[(200, 700)]), 0);
    assert_eq!(board.sacked(), 500);
    assert_eq!(sack(&mut board, &[(900, 1000), (200, 800)]), 200);
}

#[test]
fn acknowledging_takes_from_the_front_what_is_not_sacked() {
    let mut board = board(&[300, 300]);
    sack(&mut board, &[(200, 400)]);
    let mut delivered = vec![];
    board.acknowledge(ISS + 500, |sent, len| delivered.push((sent.sent_at, len)));
    assert_eq!(delivered, [(at(0), 200), (at(1), 100)]);
    assert_eq!((board.sacked(), board.lost()), (0, 0));
    board.acknowledge(ISS + 600, |_, _| {});
    assert!(board.first().is_none());
}

#[test]
fn what_was_sent_before_something_that_arrived_is_lost_in_the_order_of_time() {
    let mut board = board(&[200, 200, 200]);
    sack(&mut board, &[(400, 600)]);
    let mut lost = 0;
    // The first run is late; the second will be.
    let judge = |sent: &SentRange| if sent.sent_at == at(0) { Overdue::Lost } else { Overdue::At(at(50)) };
    let next = board.mark_overdue(judge, &mut |sent| lost += sent.len());
    assert_eq!((lost, next), (200, Some(at(50))));
    assert_eq!(board.next_lost(100), Some((ISS, ISS + 100)));
    board.on_resent(at(60), ISS, ISS + 100, MSS, stamp());
    assert_eq!((board.lost(), board.repeated()), (100, 100));
    assert_eq!(board.next_lost(1000), Some((ISS + 100, ISS + 200)));
    // The retransmission is now the latest.
    let next = board
        .mark_overdue(|sent| if sent.sent_at < at(60) { Overdue::Lost } else { Overdue::No }, &mut |_| {});
    assert_eq!((board.lost(), board.repeated(), next), (300, 100, None));
}

#[test]
fn neighbours_that_are_lost_go_out_together() {
    let mut board = board(&[30, 30, 30, 30]);
    board.mark_all_lost(&mut |_| {});
    assert_eq!(board.next_lost(100), Some((ISS, ISS + 100)));
    board.on_resent(at(9), ISS, ISS + 100, MSS, stamp());
    use RecordState::{InFlight, Lost};
    assert_eq!(fates(&board), [(0, 100, InFlight), (100, 120, Lost)]);
}

#[test]
fn the_last_segment_of_a_run_is_cut_out() {
    let mut board = board(&[250]);
    assert_eq!(board.last_segment(ISS + 250), Some((ISS + 200, ISS + 250)));
    board.on_resent(at(9), ISS + 200, ISS + 250, MSS, stamp());
    assert_eq!(fates(&board).len(), 2);
    assert_eq!(board.repeated(), 50);
}

#[test]
fn of_a_run_only_the_segments_that_are_too_big_are_lost() {
    let mut board = board(&[250, 200]);
    board.mark_oversized_lost(60, &mut |_| {});
    use RecordState::{InFlight, Lost};
    assert_eq!(fates(&board), [(0, 200, Lost), (200, 250, InFlight), (250, 450, Lost)]);
}

#[test]
fn a_fin_takes_its_data_with_it() {
    let mut board = board(&[250]);
    board.on_sent(at(0), ISS + 250, ISS + 251, MSS, stamp());
    assert_eq!(board.last_segment(ISS + 250), Some((ISS + 200, ISS + 251)));
    // It was sent later than the data, or is no FIN.
    board.on_resent(at(9), ISS + 250, ISS + 251, MSS, stamp());
    assert_eq!(board.last_segment(ISS + 250), Some((ISS + 250, ISS + 251)));
    board.on_resent(at(9), ISS + 200, ISS + 250, MSS, stamp());
    assert_eq!(board.last_segment(ISS + 251), Some((ISS + 250, ISS + 251)));
}

#[test]
fn reneging_and_undoing_bring_everything_back_into_flight() {
    let mut board = board(&[300]);
    sack(&mut board, &[(0, 100)]);
    board.forget_sacks();
    board.mark_all_lost(&mut |_| {});
    assert_eq!((board.sacked(), board.lost()), (0, 300));
    board.unmark_lost();
    assert_eq!((board.sacked(), board.lost(), board.repeated()), (0, 0, 0));
    assert_eq!(board.first_transmission_at(), Some(at(0)));
}

/// The first segment stays in flight while others are retransmitted many times.
#[test]
fn overtaken_sendings_do_not_pile_up() {
    let mut board = board(&[100; 3]);
    for n in 0..1000 {
        board.on_resent(at(10 + n), ISS + 200, ISS + 300, MSS, stamp());
        board.assert_covers(ISS, ISS + 300);
        assert!(board.transmissions.len() <= OVERTAKEN_TRANSMISSIONS + 6, "{}", board.transmissions.len());
    }
    assert_eq!(board.first_transmission_at(), Some(at(0)));
}

/// An operation on a scoreboard.
#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    Ack(u32),
    Sack(Vec<(u32, u32)>),
    LoseBefore(u64),
    LoseAll,
    LoseFirst,
    Resend(u32),
    RepeatLast,
    Undo,
    Renege,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..2_000).prop_map(Step::Send),
        (1u32..3_000).prop_map(Step::Ack),
        prop::collection::vec((0u32..20_000, 1u32..3_000), 1..4).prop_map(Step::Sack),
        (0u64..200).prop_map(Step::LoseBefore),
        Just(Step::LoseAll),
        Just(Step::LoseFirst),
        (1u32..1_000).prop_map(Step::Resend),
        Just(Step::RepeatLast),
        Just(Step::Undo),
        Just(Step::Renege),
    ]
}

proptest! {
    /// After any operations, the records cover exactly what is in flight, and the sums are those of
    /// the records.
    #[test]
    fn the_sums_are_those_of_the_records(steps in prop::collection::vec(step(), 1..120)) {
        let mut board = Scoreboard::default();
        let (mut una, mut nxt, mut now) = (ISS, ISS, 0);
        for step in steps {
            now += 1;
            match step {
                Step::Send(len) => {
                    board.on_sent(at(now), nxt, nxt + len, MSS, stamp());
                    nxt += len;
                }
                Step::Ack(len) => {
                    una += len.min(nxt - una);
                    board.acknowledge(una, |_, _| {});
                }
                Step::Sack(blocks) => {
                    let flight = nxt - una;
                    let blocks: SackBlocks = blocks
                        .into_iter()
                        .filter(|&(left, len)| left + len <= flight)
                        .map(|(left, len)| (una + left, una + left + len))
                        .collect();
                    board.on_sack(blocks, |_, _| {});
                }
                Step::LoseBefore(millis) => {
                    let judge = |sent: &SentRange| if sent.sent_at < at(millis) { Overdue::Lost } else { Overdue::No };
                    let _ = board.mark_overdue(judge, &mut |_| {});
                }
                Step::LoseAll => board.mark_all_lost(&mut |_| {}),
                Step::LoseFirst => board.mark_first_lost(&mut |_| {}),
                Step::Resend(max) => {
                    if let Some((seq, end)) = board.next_lost(max) {
                        prop_assert!(end - seq <= max);
                        board.on_resent(at(now), seq, end, MSS, stamp());
                    }
                }
                Step::RepeatLast => {
                    if let Some((seq, end)) = board.last_segment(ISS - 1) {
                        prop_assert!(end - seq <= u32::from(MSS));
                        board.on_resent(at(now), seq, end, MSS, stamp());
                    }
                }
                Step::Undo => board.unmark_lost(),
                Step::Renege => {
                    board.forget_sacks();
                    board.mark_all_lost(&mut |_| {});
                }
            }
            board.assert_covers(una, nxt);
        }
    }
}

#[test]
fn what_begins_at_a_number_is_lost_or_not() {
    let mut board = board(&[200, 200, 200]);
    for number in [0, 100, 200, 400, 600] {
        assert!(!board.is_lost_at(ISS + number), "nothing is lost");
    }
    board.mark_first_lost(&mut |_| {});
    let lost = fates(&board).iter().filter(|(_, _, state)| *state == RecordState::Lost).count();
    assert_eq!(lost, 1);
    assert!(board.is_lost_at(ISS));
    for number in [1, 100, 200, 400, 600] {
        assert!(!board.is_lost_at(ISS + number), "{number} is in flight, inside of a record, or behind all");
    }
}

#[test]
fn memory_is_that_of_the_records_and_the_sendings() {
    let mut board = Scoreboard::default();
    let mut rate = RateSampler::new(Instant::ZERO);
    let empty = board.memory_bytes();
    assert!(empty >= size_of::<Scoreboard>());
    for n in 0..100 {
        let (now, seq) = (Instant::from_millis(n), ISS + n as u32 * 100);
        let stamp = rate.stamp(now, n as u32 * 100, 100);
        board.on_sent(now, seq, seq + 100, MSS, stamp);
    }
    let least = 100 * (size_of::<SentRange>() + size_of::<Transmission>());
    let bytes = board.memory_bytes() - empty;
    assert!((least..3 * least).contains(&bytes), "{bytes} {least}");
}

#[test]
fn the_first_transmission_is_the_earliest() {
    let mut board = Scoreboard::default();
    assert_eq!(board.first_transmission_at(), None);
    for n in 1..=3 {
        let seq = ISS + (n as u32 - 1) * 100;
        board.on_sent(at(n), seq, seq + 100, MSS, stamp());
    }
    assert_eq!(board.first_transmission_at(), Some(at(1)));
}
