use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use crate::tcp::free_list::FreeList;

const ISS: SeqNumber = SeqNumber(u32::MAX - 2_000);
const MSS: u32 = 100;

fn sender(unsent: usize, window: u16, fin: bool) -> Sender {
    let mut sender = Sender::new(ISS, MSS as u16, 100_000);
    sender.on_syn_sent();
    sender.on_peer_syn(SeqNumber(0), window, None, None);
    sender.on_syn_acked(ISS + 1);
    sender.queue.prepare(&mut FreeList::default());
    sender.queue.push_copy(&vec![0; unsent]);
    if fin {
        sender.queue_fin();
    }
    sender
}

/// The results of successive plans, as long as each is a segment to send and all before were full.
fn plan_one_by_one(sender: &mut Sender, mut room: u32) -> Vec<(usize, bool)> {
    let mut planned: Vec<(usize, bool)> = Vec::new();
    while planned.last().is_none_or(|&(len, fin)| len == MSS as usize && !fin)
        && let Plan::Send { len, fin } = sender.plan(MSS, Some(room), NagleMode::On)
    {
        sender.on_sent(len, fin, len == MSS as usize);
        room -= len as u32;
        planned.push((len, fin));
    }
    planned
}

/// Any number of bytes, and often a whole number of segments.
fn bytes() -> impl Strategy<Value = u16> {
    prop_oneof![0..3000u16, (0..30u16).prop_map(|segs| segs * MSS as u16)]
}

proptest! {
    /// The certain segments are what `plan` would return one after the other, except the last.
    #[test]
    fn certain_segments_are_those_that_would_be_planned(
        unsent in bytes(),
        window in bytes(),
        room in bytes(),
        fin: bool,
    ) {
        let (unsent, room) = (usize::from(unsent), u32::from(room));
        let certain = sender(unsent, window, fin).certain_segs(MSS, room) as usize;
        let planned = plan_one_by_one(&mut sender(unsent, window, fin), room);
        prop_assert!(planned.len() >= certain);
        prop_assert!(planned.iter().take(certain).all(|&planned| planned == (MSS as usize, false)));
        prop_assert!(planned.len() <= certain + 1);
    }
}
