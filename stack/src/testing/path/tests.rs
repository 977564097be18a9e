use super::*;
use crate::testing::Discipline;
use alloc::vec;

const MBIT: u64 = 1_000_000;

/// Sends numbered packets of 1,000 bytes, one every `gap`. Returns number and time of those that
/// arrive.
fn run(config: PathConfig, count: u32, gap: Duration) -> (Vec<(u32, Instant)>, PathStats) {
    let mut path = Path::new(config, 4, Rng::new([7; 32]));
    let (mut arrived, mut now) = (Vec::new(), Instant::ZERO);
    let mut take = |path: &mut Path, until: Instant| {
        while let Some(at) = path.next_arrival().filter(|&at| at <= until) {
            while let Some(packet) = path.receive(at) {
                arrived.push((u32::from_be_bytes(*packet.packet.first_chunk().unwrap()), at));
            }
        }
    };
    for number in 0..count {
        take(&mut path, now);
        let mut packet = vec![0; 1000];
        packet[..4].copy_from_slice(&number.to_be_bytes());
        path.send(now, packet.into());
        now += gap;
    }
    take(&mut path, Instant::FAR_FUTURE);
    assert!(path.is_empty());
    (arrived, *path.stats())
}

#[test]
fn a_line_sends_at_its_rate_and_its_queue_drops_the_rest() {
    // 8 Mbit/s is one packet a millisecond. Two are sent in that time, and ten fit the queue.
    let config = PathConfig::rated(8 * MBIT, Duration::from_millis(10), 10_000);
    let (arrived, stats) = run(config, 1000, Duration::from_micros(500));
    assert_eq!(arrived[0], (0, Instant::from_millis(11)));
    assert!(arrived.windows(2).all(|pair| pair[1].1 - pair[0].1 == Duration::from_millis(1)));
    assert!(arrived.windows(2).all(|pair| pair[1].0 > pair[0].0));
    assert_eq!(stats.queue_full + arrived.len() as u64, 1000);
    assert!((500..=512).contains(&arrived.len()), "{}", arrived.len());
    assert_eq!((stats.delivered, stats.max_queued_bytes), (arrived.len() as u64, 10_000));
}

#[test]
fn a_line_that_is_not_full_only_delays() {
    let config = PathConfig::rated(8 * MBIT, Duration::from_millis(10), 10_000);
    let (arrived, stats) = run(config, 100, Duration::from_millis(2));
    assert!(arrived.iter().all(|&(n, at)| at == Instant::from_millis(11 + 2 * u64::from(n))));
    assert_eq!(stats.queue_full, 0);
}

#[test]
fn codel_keeps_the_queue_short_in_the_end() {
    let mut config = PathConfig::rated(8 * MBIT, Duration::ZERO, 1 << 30);
    config.queue.discipline = Discipline::codel(false);
    // 2 % more than the rate of the line.
    let (arrived, stats) = run(config, 20_000, Duration::from_micros(980));
    let waited =
        arrived.iter().map(|&(n, at)| at - Instant::from_micros(u64::from(n) * 980)).next_back().unwrap();
    assert!(waited < Duration::from_millis(40), "{waited:?}");
    assert_eq!(stats.codel_drops + arrived.len() as u64, 20_000);
}

#[test]
fn loss_in_bursts_has_the_length_that_was_asked_for() {
    let burst_loss = Some(GilbertElliott { enter: 0.01, leave: 0.2, loss: 1.0 });
    let config = PathConfig { burst_loss, ..PathConfig::default() };
    let (arrived, stats) = run(config, 50_000, Duration::from_micros(10));
    let gaps: Vec<u32> = arrived.windows(2).map(|p| p[1].0 - p[0].0 - 1).filter(|&gap| gap > 0).collect();
    let mean = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    assert!((4.0..6.0).contains(&mean), "{mean}");
    // 1 / 100 against 1 / 5: the link is bad for one twenty-first of the time.
    assert!((1900..2900).contains(&stats.lost), "{}", stats.lost);
}

#[test]
fn what_is_held_back_is_overtaken() {
    let reorder_by = HoldBack::Exactly(Duration::from_millis(5));
    let config = PathConfig { reorder: 0.01, reorder_by, ..PathConfig::default() };
    let (arrived, stats) = run(config, 10_000, Duration::from_micros(100));
    let late =
        arrived.iter().filter(|&&(n, at)| at > Instant::from_micros(1000 + u64::from(n) * 100)).count();
    assert_eq!(late as u64, stats.reordered);
    assert!((60..140).contains(&late), "{late}");
    assert!(arrived.windows(2).all(|pair| pair[0].1 <= pair[1].1));
}

#[test]
fn jitter_keeps_the_order_unless_it_may_not() {
    let config = PathConfig { jitter: Duration::from_millis(3), ..PathConfig::default() };
    let (arrived, _) = run(config.clone(), 1000, Duration::from_micros(100));
    assert!(arrived.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let (arrived, _) =
        run(PathConfig { jitter_order: JitterOrder::Free, ..config }, 1000, Duration::from_micros(100));
    assert!(arrived.windows(2).any(|pair| pair[0].0 > pair[1].0));
}

#[test]
fn an_outage_loses_what_is_sent_meanwhile() {
    let outages = vec![Outage { from: Instant::from_millis(10), until: Instant::from_millis(20) }];
    let config = PathConfig { outages, ..PathConfig::default() };
    let (arrived, stats) = run(config, 100, Duration::from_millis(1));
    assert_eq!(stats.lost_in_outages, 10);
    assert!(arrived.iter().all(|&(n, _)| !(10..20).contains(&n)));
}

#[test]
fn what_is_too_big_does_not_pass() {
    let (arrived, stats) = run(PathConfig { mtu: Some(999), ..PathConfig::default() }, 3, Duration::ZERO);
    assert_eq!((arrived.len(), stats.too_big), (0, 3));
    let (arrived, _) = run(PathConfig { mtu: Some(1000), ..PathConfig::default() }, 3, Duration::ZERO);
    assert_eq!(arrived.len(), 3);
}

#[test]
fn losses_are_kept_when_asked() {
    let mut path = Path::new(PathConfig { loss: 1.0, ..PathConfig::default() }, 0, Rng::new([7; 32]));
    path.send(Instant::ZERO, Bytes::from_static(b"one"));
    assert_eq!(path.take_losses(), []);
    path.keep_losses();
    path.send(Instant::ZERO, Bytes::from_static(b"two"));
    assert_eq!(path.take_losses(), [(Instant::ZERO, Loss::Random, Bytes::from_static(b"two"))]);
}
