//! The settings of a bad network as text, and the effects of such a network on frames.

use std::time::Duration;

use portolan::{Frame, Instant};
use portolan_runtime::device::{ImpairQueue, Impairment};

use super::Digest;
use super::input::Input;

const MAX_STEPS: usize = 64;

/// Parses settings, and simulates a network that has them.
pub(super) fn run(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let text = String::from_utf8_lossy(input.counted()).into_owned();
    let impairment: Impairment = match text.parse() {
        Ok(impairment) => impairment,
        Err(error) => {
            assert!(!format!("{error}").is_empty(), "a refusal says why");
            return Digest(0);
        }
    };
    check_settings(&impairment);
    let begun_at = Instant::from_secs(1);
    let mut queue = ImpairQueue::new(impairment, 0, begun_at);
    let (mut now, mut popped) = (begun_at, 0);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let (count, frame) = (input.byte(), input.counted());
        for _ in 0..count % 32 {
            queue.push(now, Frame::new(frame.to_vec()));
        }
        assert!(queue.len() <= impairment.limit, "{} frames, the limit is {}", queue.len(), impairment.limit);
        now += input.duration();
        popped += pop_all(&mut queue, now);
    }
    // All waiting frames come out in the end.
    let mut turns = 0;
    while let Some(at) = queue.next_at() {
        turns += 1;
        assert!(turns < 100_000, "frames that never come out");
        now = now.max(at);
        popped += pop_all(&mut queue, now);
    }
    let counts = queue.counts();
    assert!(queue.is_empty());
    assert_eq!(counts.delivered, popped);
    let gone = counts.lost + counts.cut_off + counts.overflowed;
    assert_eq!(counts.seen + counts.duplicated, gone + counts.delivered, "{counts:?}");
    Digest(counts.delivered << 32 | counts.corrupted << 16 | counts.lost)
}

fn pop_all(queue: &mut ImpairQueue<Frame>, now: Instant) -> u64 {
    let mut popped = 0;
    while queue.pop(now).is_some() {
        popped += 1;
    }
    popped
}

/// Checks that settings are within their ranges, and that their text is parsed to the same
/// settings.
fn check_settings(impairment: &Impairment) {
    let shares = [
        impairment.loss,
        impairment.duplication,
        impairment.reordering,
        impairment.corruption,
        impairment.marking,
    ];
    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{impairment:?}");
    assert!((1.0..=1000.0).contains(&impairment.loss_burst) && impairment.limit > 0, "{impairment:?}");
    let minute = Duration::from_secs(60);
    assert!(impairment.delay <= minute && impairment.jitter <= minute, "{impairment:?}");
    let shown = impairment.to_string();
    let again: Impairment = shown.parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
    // Shares and times may lose their last digits once when they are converted to text.
    assert_eq!(
        again.to_string(),
        again.to_string().parse::<Impairment>().map(|same| same.to_string()).unwrap_or_default()
    );
}
