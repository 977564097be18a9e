//! The emulated paths, and the pairs of hosts that use them.

use std::time::Duration;

use portolan_runtime::device::{Impairment, Outage};

use crate::flow::Stall;
use crate::hosts::Kind;

/// A sender and a receiver.
pub(crate) type Pair = (Kind, Kind);

/// One row of the report.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The name for people.
    pub(crate) title: String,
    /// The faults of the path, without a seed.
    pub(crate) impairment: Impairment,
    pub(crate) stall: Option<Stall>,
    /// The start of the measured interval, counted from the first byte.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) measures: Measures,
}

#[derive(Clone, Debug)]
pub(crate) enum Measures {
    /// The goodput of one flow.
    Goodput,
    /// Jain's index of this many flows. With senders of two kinds, flows alternate between them.
    Fairness { flows: usize },
}

/// The scale of the times of a run: for a whole measurement, or for a quick look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) single: Duration,
    pub(crate) fairness: Duration,
    pub(crate) long: Duration,
}

/// A path of 100 Mbit/s and 25 ms in each direction, with a queue for 50 ms of data.
fn path() -> Impairment {
    line(100_000_000, Duration::from_millis(50))
}

fn line(bits_per_second: u64, rtt: Duration) -> Impairment {
    let mut impairment = Impairment::default();
    impairment.bits_per_second = Some(bits_per_second);
    impairment.delay = rtt / 2;
    impairment.queue_bytes = Some((bits_per_second as f64 / 8.0 * rtt.as_secs_f64()) as usize);
    // The queue is limited in bytes, so this limit is never reached.
    impairment.limit = 1 << 20;
    impairment
}

fn single(name: &str, title: &str, length: Duration, change: impl FnOnce(&mut Impairment)) -> Case {
    let mut impairment = path();
    change(&mut impairment);
    Case {
        name: name.into(),
        title: title.into(),
        impairment,
        stall: None,
        from: Duration::ZERO,
        to: length,
        measures: Measures::Goodput,
    }
}

/// All cases, in the order of the report.
pub(crate) fn all(scale: Scale) -> Vec<Case> {
    let length = scale.single;
    let case = |name, title, change: &dyn Fn(&mut Impairment)| single(name, title, length, change);
    let mut cases = vec![
        case("loss-0", "no loss", &|_| {}),
        case("loss-0.1", "loss 0.1 %", &|path| path.loss = 0.001),
        case("loss-1", "loss 1 %", &|path| path.loss = 0.01),
        case("loss-3", "loss 3 %", &|path| path.loss = 0.03),
        case("reorder", "1 % late by 5 ms", &|path| {
            path.reordering = 0.01;
            path.reorder_delay = Some(Duration::from_millis(5));
        }),
        case("outage", "an outage of 200 ms", &|path| {
            path.outage = Some(Outage { begins_after: length / 4, lasts: Duration::from_millis(200) });
        }),
        case("stall", "the receiver stalls", &|_| {}),
        case("burst", "loss 1 % in bursts of 5", &|path| {
            path.loss = 0.01;
            path.loss_burst = 5.0;
        }),
    ];
    for case in &mut cases {
        if case.name == "stall" {
            case.stall = Some(Stall { begins_after: length / 4, lasts: length / 5 });
        }
    }
    for flows in [2, 4, 6, 8, 10] {
        let mut case = single(&format!("fair-{flows}"), &format!("{flows} flows"), scale.fairness, |_| {});
        case.from = scale.fairness / 4;
        case.measures = Measures::Fairness { flows };
        cases.push(case);
    }
    let mut long = single("long-fat", "1 Gbit/s, 100 ms", scale.long, |path| {
        *path = line(1_000_000_000, Duration::from_millis(100));
    });
    long.from = scale.long / 3;
    cases.push(long);
    cases
}

/// Parses a pair: `PL` is from Portolan to Linux.
pub(crate) fn parse_pair(text: &str) -> Result<Pair, String> {
    let kind = |letter: char| match letter {
        'P' => Some(Kind::Portolan),
        'L' => Some(Kind::Linux),
        'S' => Some(Kind::Smoltcp),
        _ => None,
    };
    let kinds: Vec<Option<Kind>> = text.chars().map(kind).collect();
    match kinds[..] {
        [Some(sender), Some(receiver)] => Ok((sender, receiver)),
        _ => Err("a sender and a receiver of P (Portolan), L (Linux) and S (smoltcp), such as PL".into()),
    }
}
