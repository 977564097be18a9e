use super::*;

/// A frame of 100 bytes whose first four are a number.
fn numbered(number: u32) -> Frame {
    let mut bytes = vec![0; 100];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Frame::new(bytes)
}

fn number_of(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.bytes[..4].try_into().unwrap())
}

/// Sends `count` frames, one a millisecond, and returns the numbers and arrivals of those that came
/// out.
fn run(settings: &str, count: u32) -> (Vec<(u32, Instant)>, ImpairCounts) {
    let mut queue = ImpairQueue::new(settings.parse().unwrap(), 0, Instant::ZERO);
    let mut arrived = Vec::new();
    let mut now = Instant::ZERO;
    for number in 0..count {
        now = Instant::from_millis(u64::from(number));
        while let Some(at) = queue.next_at().filter(|&at| at <= now) {
            arrived.extend(queue.pop(at).map(|frame| (number_of(&frame), at)));
        }
        queue.push(now, numbered(number));
    }
    while let Some(at) = queue.next_at() {
        now = now.max(at);
        arrived.extend(queue.pop(now).map(|frame| (number_of(&frame), at)));
    }
    assert!(queue.is_empty());
    (arrived, queue.counts())
}

fn assert_share(count: u64, of: u64, share: f64) {
    let expected = of as f64 * share;
    // Five standard deviations of a binomial distribution.
    let tolerance = 5.0 * (expected * (1.0 - share)).sqrt();
    assert!((count as f64 - expected).abs() <= tolerance, "{count} of {of} is not {share}");
}

#[test]
fn a_perfect_network_changes_nothing() {
    let (arrived, counts) = run("seed=0", 1000);
    assert_eq!(arrived.len(), 1000);
    for (index, &(number, at)) in arrived.iter().enumerate() {
        assert_eq!((number as usize, at), (index, Instant::from_millis(index as u64)));
    }
    assert_eq!(counts, ImpairCounts { seen: 1000, delivered: 1000, ..ImpairCounts::default() });
}

#[test]
fn rates_are_what_was_asked_for() {
    let (arrived, counts) = run("loss=3%,dup=1%,reorder=2%,corrupt=0.5%,seed=7", 50_000);
    let kept = counts.seen - counts.lost;
    assert_eq!(counts.seen, 50_000);
    assert_share(counts.lost, counts.seen, 0.03);
    assert_share(counts.duplicated, kept, 0.01);
    assert_share(counts.reordered, kept, 0.02);
    assert_share(counts.corrupted, kept, 0.005);
    assert_eq!(counts.overflowed, 0);
    assert_eq!(arrived.len() as u64, kept + counts.duplicated);
    assert_eq!(counts.delivered, kept + counts.duplicated);
}

#[test]
fn the_same_seed_makes_the_same_decisions_and_another_makes_others() {
    let settings = "loss=5%,dup=2%,reorder=2%,corrupt=1%,delay=3ms,jitter=2ms";
    assert_eq!(run(&format!("{settings},seed=1"), 2000), run(&format!("{settings},seed=1"), 2000));
    assert_ne!(run(&format!("{settings},seed=1"), 2000), run(&format!("{settings},seed=2"), 2000));
}

#[test]
fn losses_stay_the_same_when_a_delay_is_added() {
    let numbers = |settings| run(settings, 2000).0.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers("loss=5%,seed=3"), numbers("loss=5%,seed=3,delay=10ms,jitter=9ms"));
}

#[test]
fn the_two_directions_differ() {
    let impairment: Impairment = "loss=50%".parse().unwrap();
    let lost = |direction| {
        let mut queue = ImpairQueue::new(impairment, direction, Instant::ZERO);
        (0..64)
            .map(|number| {
                queue.push(Instant::ZERO, numbered(number));
                queue.counts().lost
            })
            .collect::<Vec<_>>()
    };
    assert_ne!(lost(0), lost(1));
}

#[test]
fn delay_and_jitter_stay_in_their_bounds_and_keep_the_order() {
    let (arrived, _) = run("delay=20ms,jitter=5ms,seed=9", 5000);
    let delays: Vec<_> =
        arrived.iter().map(|&(number, at)| at - Instant::from_millis(u64::from(number))).collect();
    assert!(delays.iter().all(|&delay| delay >= Duration::from_millis(15)));
    assert!(delays.iter().all(|&delay| delay <= Duration::from_millis(25)));
    assert!(delays.iter().any(|&delay| delay < Duration::from_millis(16)));
    assert!(delays.iter().any(|&delay| delay > Duration::from_millis(24)));
    assert!(arrived.is_sorted_by_key(|&(number, _)| number));
}

#[test]
fn a_reordered_frame_is_overtaken_by_one_to_three_others() {
    let (arrived, counts) = run("reorder=5%,seed=4", 5000);
    assert_eq!(arrived.len(), 5000);
    let mut late = 0;
    let mut highest = 0;
    for &(number, _) in &arrived {
        if number < highest {
            late += 1;
            assert!(highest - number <= 4, "{number} came after {highest}");
        }
        highest = highest.max(number);
    }
    assert!(late > 0 && late <= counts.reordered, "{late} late, {} reordered", counts.reordered);
}

#[test]
fn a_held_frame_goes_on_alone_when_no_other_follows() {
    let (arrived, counts) = run("reorder=100%", 1);
    assert_eq!(arrived, [(0, Instant::from_millis(5))]);
    assert_eq!(counts.reordered, 1);
}

#[test]
fn corruption_flips_one_bit() {
    let mut queue = ImpairQueue::new("corrupt=100%".parse().unwrap(), 0, Instant::ZERO);
    for _ in 0..100 {
        queue.push(Instant::ZERO, Frame::new(vec![0; 100]));
        let frame = queue.pop(Instant::ZERO).unwrap();
        assert_eq!(frame.bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }
    queue.push(Instant::ZERO, Frame::new(Vec::new()));
    assert!(queue.pop(Instant::ZERO).unwrap().bytes.is_empty());
}

#[test]
fn the_rate_spaces_frames_out() {
    // 100 bytes at 800 kbit/s take one millisecond.
    let mut queue = ImpairQueue::new("rate=800kbit,delay=10ms".parse().unwrap(), 0, Instant::ZERO);
    for number in 0..5 {
        queue.push(Instant::ZERO, numbered(number));
    }
    for number in 0..5 {
        let at = queue.next_at().unwrap();
        assert_eq!(at, Instant::from_millis(11 + number));
        assert!(queue.pop(at - Duration::from_nanos(1)).is_none());
        assert_eq!(u64::from(number_of(&queue.pop(at).unwrap())), number);
    }
    // An idle link saves nothing up for later.
    queue.push(Instant::from_secs(1), numbered(9));
    assert_eq!(queue.next_at(), Some(Instant::from_millis(1011)));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let mut queue = ImpairQueue::new("delay=1s,limit=10,reorder=10%".parse().unwrap(), 0, Instant::ZERO);
    for number in 0..100 {
        queue.push(Instant::ZERO, numbered(number));
        assert!(queue.len() <= 10);
    }
    assert_eq!(queue.len(), 10);
    assert_eq!(queue.counts().overflowed, 90);
}

#[test]
fn losses_come_in_bursts_and_their_share_stays() {
    let (arrived, counts) = run("loss=2%,burst=5,seed=3", 100_000);
    // The lengths of bursts vary, so losses are not independent, and the share varies more than in
    // a binomial distribution.
    let share = counts.lost as f64 / counts.seen as f64;
    assert!((0.016..0.024).contains(&share), "{share}");
    let bursts = arrived.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 1).count();
    let mean = counts.lost as f64 / bursts as f64;
    assert!((4.0..6.0).contains(&mean), "{mean}");
    assert_eq!(run("loss=100%,burst=5", 100).1.lost, 100);
}

#[test]
fn nothing_gets_through_in_an_outage() {
    let (arrived, counts) = run("outage=200ms@300ms,delay=20ms", 1000);
    let numbers: Vec<u32> = arrived.iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers, (0..300).chain(500..1000).collect::<Vec<_>>());
    assert_eq!((counts.cut_off, counts.lost), (200, 0));
}

#[test]
fn losses_outside_an_outage_are_those_without_it() {
    let lost = |settings| {
        let arrived = run(settings, 1000).0;
        (0..1000u32).filter(|number| !arrived.iter().any(|(n, _)| n == number)).collect::<Vec<_>>()
    };
    let mut expected = lost("loss=5%,seed=3");
    expected.retain(|number| !(300..400).contains(number));
    let mut with_outage = lost("loss=5%,seed=3,outage=100ms@300ms");
    with_outage.retain(|number| !(300..400).contains(number));
    assert_eq!(with_outage, expected);
}

#[test]
fn reordered_frames_arrive_late_by_what_was_asked_for_and_hold_up_no_other() {
    let (arrived, counts) = run("reorder=2%,reorder_by=5ms,delay=10ms,seed=4", 5000);
    let late = |&&(number, at): &&(u32, Instant)| {
        let delay = at - Instant::from_millis(u64::from(number));
        assert!([10, 15].map(Duration::from_millis).contains(&delay), "{delay:?}");
        delay == Duration::from_millis(15)
    };
    assert_eq!(arrived.iter().filter(late).count() as u64, counts.reordered);
    assert_share(counts.reordered, counts.seen, 0.02);
    assert_eq!(arrived.len(), 5000);
}

#[test]
fn the_queue_is_counted_in_bytes_without_what_is_under_way() {
    // 100 bytes at 800 kbit/s take one millisecond; ten fit, the one that is being sent included.
    let mut queue = ImpairQueue::new("rate=800kbit,delay=1s,queue=1kB".parse().unwrap(), 0, Instant::ZERO);
    for number in 0..30 {
        queue.push(Instant::ZERO, numbered(number));
    }
    assert_eq!((queue.len(), queue.counts().overflowed), (10, 20));
    for number in 0..30 {
        queue.push(Instant::from_millis(5), numbered(number));
    }
    assert_eq!((queue.len(), queue.counts().overflowed), (15, 45));
    // A frame that is longer than the queue passes an idle link; otherwise none would pass.
    let mut queue = ImpairQueue::new("rate=800kbit,queue=50B".parse().unwrap(), 0, Instant::ZERO);
    queue.push(Instant::ZERO, numbered(0));
    queue.push(Instant::ZERO, numbered(1));
    assert_eq!((queue.len(), queue.counts().overflowed), (1, 1));
}

#[test]
fn settings_are_parsed_and_printed() {
    let text = "loss=3%,burst=2.5,outage=200ms@5s, dup=0.01,reorder=1%,reorder_by=3ms,corrupt=0.1%,mark=5%,\
                delay=20ms,jitter=500us,rate=1.5mbit,queue=64kB,limit=50,seed=7";
    let impairment: Impairment = text.parse().unwrap();
    let expected = Impairment {
        loss: 0.03,
        loss_burst: 2.5,
        outage: Some(Outage { begins_after: Duration::from_secs(5), lasts: Duration::from_millis(200) }),
        duplication: 0.01,
        reordering: 0.01,
        reorder_delay: Some(Duration::from_millis(3)),
        corruption: 0.001,
        marking: 0.05,
        delay: Duration::from_millis(20),
        jitter: Duration::from_micros(500),
        bits_per_second: Some(1_500_000),
        queue_bytes: Some(64_000),
        limit: 50,
        seed: 7,
    };
    assert_eq!(impairment, expected);
    assert_eq!(impairment.to_string().parse::<Impairment>().unwrap(), expected);
    let default = Impairment::default();
    assert_eq!(default.to_string().parse::<Impairment>().unwrap(), default);
    // A setting without effect would be refused when it is parsed again.
    for text in ["loss=0%,burst=4", "reorder=0%,reorder_by=5ms"] {
        assert_eq!(text.parse::<Impairment>().unwrap().to_string(), "seed=0");
    }
    assert_eq!(Impairment { queue_bytes: Some(1000), ..default }.to_string(), "seed=0");
    assert_eq!("delay=1.5s".parse::<Impairment>().unwrap().delay, Duration::from_millis(1500));
}

#[test]
fn mistakes_say_what_is_wrong_and_what_to_write() {
    let share = "a share is 0% to 100%, or 0 to 1";
    let time = "a time is a number with us, ms or s, at most 60s";
    let rate = "a rate is a number with bit, kbit, mbit or gbit, from 1bit to 1000000gbit";
    let size = "a size is a number with B, kB or MB, from 1B to 1000000MB";
    let outage = "an outage is two times of at most 60s with us, ms or s: for how long, and when";
    for (setting, what, example) in [
        ("loss=300%", share, "loss=3%"),
        ("loss=-1%", share, "loss=3%"),
        ("loss=NaN", share, "loss=3%"),
        ("dup=x", share, "dup=1%"),
        ("reorder=", share, "reorder=1%"),
        ("corrupt=2", share, "corrupt=0.1%"),
        ("mark=1000", share, "mark=1%"),
        ("delay=20", time, "delay=20ms"),
        ("delay=2000s", time, "delay=20ms"),
        ("jitter=1h", time, "jitter=5ms"),
        ("reorder_by=5", time, "reorder_by=5ms"),
        ("rate=fast", rate, "rate=100mbit"),
        ("rate=0mbit", rate, "rate=100mbit"),
        ("rate=1e5mbit", rate, "rate=100mbit"),
        ("burst=0", "a burst is 1 to 1000 frames on average", "burst=4"),
        ("outage=200ms", outage, "outage=200ms@5s"),
        ("queue=64", size, "queue=625kB"),
        ("limit=0", "the limit is a number of frames, at least 1", "limit=1000"),
        ("seed=-1", "the seed is a number from 0", "seed=7"),
    ] {
        let error = setting.parse::<Impairment>().unwrap_err().to_string();
        assert_eq!(error, format!("`{setting}`: {what}; write it like `{example}`"));
    }
}

#[test]
fn settings_that_are_empty_unknown_given_twice_or_without_effect_are_refused() {
    let empty = "a setting is empty; write them like `loss=3%,delay=20ms`, without a comma at the end";
    for (text, message) in [
        ("", empty),
        ("loss=3%,", empty),
        ("loss=3%,,dup=1%", empty),
        ("loss", "`loss` has no value; write it like `loss=3%`"),
        ("loss=1%,delay=1ms,loss=2%", "`loss` is given twice; leave one out"),
        ("burst=4", "`burst` does nothing without `loss`; give that, too, or leave `burst` out"),
        ("queue=1kB", "`queue` does nothing without `rate`; give that, too, or leave `queue` out"),
        (
            "reorder_by=5ms",
            "`reorder_by` does nothing without `reorder`; give that, too, or leave `reorder_by` out",
        ),
    ] {
        assert_eq!(text.parse::<Impairment>().unwrap_err().to_string(), message, "{text}");
    }
    for text in ["speed=1mbit", "=3%"] {
        let error = text.parse::<Impairment>().unwrap_err().to_string();
        assert!(error.contains("the settings are loss, burst, outage, dup, reorder"), "{error}");
    }
}

/// RFC 3168 §5: only ECN-capable packets are marked, and an IPv4 header checksum stays right.
#[test]
fn ecn_capable_packets_are_marked() {
    let v4 = |tos: u8| {
        let mut header = [0x45, tos, 0, 28, 7, 7, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let checksum = sum(&header);
        header[10..12].copy_from_slice(&(!checksum).to_be_bytes());
        [&header[..], &[0; 8]].concat()
    };
    let v6 = |second: u8| [&[0x60, second, 0, 0, 0, 8][..], &[0; 42]].concat();
    let ethernet =
        |ethertype: u16, packet: Vec<u8>| [&[0x45; 12][..], &ethertype.to_be_bytes(), &packet].concat();
    let marked = |bytes: Vec<u8>| {
        let frame = Frame::new(bytes).with_congestion_experienced()?;
        Some(frame.bytes.to_vec())
    };
    for ect in [1, 2] {
        for tos in [0, 0xb8, 0xfc] {
            assert_eq!(marked(v4(tos | ect)), Some(v4(tos | 3)), "{tos:#x}");
            assert_eq!(marked(ethernet(0x0800, v4(tos | ect))), Some(ethernet(0x0800, v4(tos | 3))));
        }
        assert_eq!(marked(v6(ect << 4)), Some(v6(0x30)));
        assert_eq!(marked(ethernet(0x86dd, v6(0x8f | ect << 4))), Some(ethernet(0x86dd, v6(0xbf))));
    }
    for other in [v4(0), v4(3), v6(0), v6(0x30), ethernet(0x0806, vec![0; 28]), vec![], vec![0x45, 1]] {
        assert_eq!(marked(other), None);
    }
}

fn sum(words: &[u8]) -> u16 {
    let sum: u32 = words.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
