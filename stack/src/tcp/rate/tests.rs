use super::*;

const MS: fn(u64) -> Instant = Instant::from_millis;

#[test]
fn a_stamp_is_small() {
    assert!(size_of::<Stamp>() <= 40);
}

/// A window sent at once, and acknowledged at the rate of the path.
#[test]
fn the_rate_is_that_of_the_path_not_of_the_burst() {
    let mut rates = RateSampler::new(MS(0));
    let mut newest = Newest::default();
    let stamps: std::vec::Vec<Stamp> = (0..10).map(|n| rates.stamp(MS(0), n * 1000, 1000)).collect();
    let mut last = None;
    for (n, stamp) in stamps.iter().enumerate() {
        let now = MS(50 + n as u64);
        rates.on_delivered(&mut newest, now, 1000, MS(0), stamp);
        last = rates.take_sample(core::mem::take(&mut newest), None);
    }
    // 10,000 bytes in the 59 ms since nothing was in flight.
    let sample = last.unwrap();
    assert_eq!((sample.delivered, sample.interval), (10_000, Duration::from_millis(59)));
    assert_eq!(sample.bytes_per_second(), 169_491);
    // The next window is sent as the first is acknowledged: a segment a millisecond.
    let stamp = rates.stamp(MS(59), 9_000, 1000);
    assert_eq!(stamp.tx_in_flight(), 10_000);
    let others = [rates.stamp(MS(59), 9_000, 1000); 9];
    for (n, other) in others.iter().enumerate() {
        rates.on_delivered(&mut newest, MS(110 + n as u64), 1000, MS(59), other);
    }
    rates.on_delivered(&mut newest, MS(119), 1000, MS(59), &stamp);
    let sample = rates.take_sample(core::mem::take(&mut newest), None).unwrap();
    assert_eq!((sample.delivered, sample.interval), (10_000, Duration::from_millis(60)));
}

/// Acknowledgements that arrive in a bunch: the transmission took longer, so its time counts.
#[test]
fn compressed_acks_do_not_make_the_path_faster() {
    let mut rates = RateSampler::new(MS(0));
    let mut newest = Newest::default();
    let first = rates.stamp(MS(0), 0, 1000);
    let second = rates.stamp(MS(20), 1000, 1000);
    rates.on_delivered(&mut newest, MS(50), 1000, MS(0), &first);
    let _ = rates.take_sample(core::mem::take(&mut newest), None);
    let third = rates.stamp(MS(70), 1000, 1000);
    rates.on_delivered(&mut newest, MS(71), 1000, MS(20), &second);
    rates.on_delivered(&mut newest, MS(71), 1000, MS(70), &third);
    let sample = rates.take_sample(core::mem::take(&mut newest), None).unwrap();
    // From the transmission of the first to that of the third are 70 ms; the acknowledgements took
    // 21 ms.
    assert_eq!((sample.delivered, sample.interval), (2000, Duration::from_millis(70)));
}

#[test]
fn a_sample_shorter_than_any_round_trip_is_none() {
    let mut rates = RateSampler::new(MS(0));
    let mut newest = Newest::default();
    let stamp = rates.stamp(MS(0), 0, 1000);
    rates.on_delivered(&mut newest, MS(3), 1000, MS(0), &stamp);
    assert_eq!(rates.take_sample(core::mem::take(&mut newest), Some(Duration::from_millis(10))), None);
    assert_eq!(rates.take_sample(core::mem::take(&mut newest), None), None, "taken once");
}

#[test]
fn what_was_sent_while_nothing_waited_is_application_limited() {
    let mut rates = RateSampler::new(MS(0));
    let mut newest = Newest::default();
    let before = rates.stamp(MS(0), 0, 1000);
    rates.on_application_limited(1000);
    let during = rates.stamp(MS(1), 1000, 1000);
    rates.on_delivered(&mut newest, MS(10), 1000, MS(0), &before);
    assert!(!rates.take_sample(core::mem::take(&mut newest), None).unwrap().is_application_limited);
    // Until more than that is delivered.
    assert!(rates.stamp(MS(10), 1000, 1000).is_application_limited());
    rates.on_delivered(&mut newest, MS(11), 1000, MS(1), &during);
    assert!(rates.take_sample(core::mem::take(&mut newest), None).unwrap().is_application_limited);
    assert!(!rates.stamp(MS(12), 1000, 1000).is_application_limited());
}

#[test]
fn losses_and_marks_are_counted_from_the_sending() {
    let mut rates = RateSampler::new(MS(0));
    let mut newest = Newest::default();
    let lost = rates.stamp(MS(0), 0, 1000);
    let delivered = rates.stamp(MS(1), 1000, 1000);
    assert_eq!(
        rates.on_lost(1000, &lost),
        Lost { bytes: 1000, tx_in_flight: 1000, lost: 1000, is_application_limited: false }
    );
    rates.on_delivered(&mut newest, MS(10), 1000, MS(1), &delivered);
    rates.on_ce(400);
    let sample = rates.take_sample(core::mem::take(&mut newest), None).unwrap();
    assert_eq!((sample.lost, sample.delivered_ce, sample.tx_in_flight), (1000, 400, 2000));
    assert_eq!((sample.prior_delivered, sample.total_delivered), (0, 1000));
}

/// The sample is for the record that was sent last: of records with the same delivered count, the
/// later transmission.
#[test]
fn the_newest_sending_makes_the_sample() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut rates = RateSampler::new(MS(0));
        let mut newest = Newest::default();
        let stamps = [0, 1, 2].map(|n| (MS(10 * n), rates.stamp(MS(10 * n), 1000 * n as u32, 1000)));
        for index in order {
            let (sent_at, stamp) = &stamps[index];
            rates.on_delivered(&mut newest, MS(50), 1000, *sent_at, stamp);
        }
        let sample = rates.take_sample(core::mem::take(&mut newest), None).unwrap();
        assert_eq!((sample.tx_in_flight, sample.delivered), (3000, 3000), "{order:?}");
        // A record sent after a delivery is newer than all before, even with the same time.
        let later = rates.stamp(MS(20), 0, 500);
        rates.on_delivered(&mut newest, MS(60), 500, MS(20), &later);
        rates.on_delivered(&mut newest, MS(60), 1000, MS(30), &stamps[2].1);
        let sample = rates.take_sample(newest, None).unwrap();
        assert_eq!((sample.tx_in_flight, sample.prior_delivered), (500, 3000), "{order:?}");
    }
}

#[test]
fn deliveries_and_marks_add_up() {
    let mut rates = RateSampler::new(MS(0));
    assert_eq!((rates.delivered(), rates.delivered_ce()), (0, 0));
    for (bytes, marked) in [(1000, 400), (500, 0), (2000, 2000)] {
        let stamp = rates.stamp(MS(0), 0, bytes);
        rates.on_delivered(&mut Newest::default(), MS(9), bytes, MS(0), &stamp);
        rates.on_ce(marked);
    }
    assert_eq!((rates.delivered(), rates.delivered_ce()), (3500, 2400));
}
