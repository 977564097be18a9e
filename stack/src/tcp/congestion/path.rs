//! A model for tests: flows over one bottleneck, without the rest of TCP. Every segment is
//! acknowledged on its own. A segment counts as lost when the third segment after it is
//! acknowledged.

use std::collections::{BTreeMap, BinaryHeap};
use std::vec::Vec;

use core::cmp::Reverse;
use core::time::Duration;

use super::{Ack, Cause, Congestion, Phase, Sent};
use crate::config::CongestionControl;
use crate::tcp::SeqNumber;
use crate::tcp::pacer::{Pacer, quantum};
use crate::tcp::rate::{Newest, RateSampler, Stamp};
use crate::time::Instant;

pub(super) const MSS: u32 = 1448;

/// The bottleneck that all flows share.
#[derive(Clone, Copy)]
pub(super) struct Bottleneck {
    /// Bytes a second.
    pub(super) rate: u64,
    pub(super) delay: Duration,
    /// The size of the queue in bytes.
    pub(super) queue: u64,
    /// The chance of a random loss, in millionths.
    pub(super) loss_ppm: u64,
    /// CE is set when more than this many bytes wait.
    pub(super) mark_above: u64,
}

impl Bottleneck {
    /// 100 Mbit/s, 50 ms, and a queue of one bandwidth-delay product.
    pub(super) fn usual() -> Bottleneck {
        let (rate, delay) = (12_500_000, Duration::from_millis(50));
        Bottleneck { rate, delay, queue: rate / 20, loss_ppm: 0, mark_above: u64::MAX }
    }
}

struct Record {
    sent_at: Instant,
    stamp: Stamp,
}

pub(super) struct Flow {
    pub(super) cc: Congestion,
    rates: RateSampler,
    pacer: Pacer,
    records: BTreeMap<u64, Record>,
    next: u64,
    in_flight: u32,
    recovery_until: Option<u64>,
    min_rtt: Option<Duration>,
    srtt: Option<Duration>,
    /// Whether the program has something to send.
    pub(super) is_active: bool,
    wakes_at: Option<Instant>,
    /// Bytes delivered since the last [`Net::take_rates`].
    delivered: u64,
    pub(super) lost: u64,
    pub(super) sent: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ack { flow: usize, number: u64, ce: bool },
    Wake { flow: usize },
}

pub(super) struct Net {
    pub(super) path: Bottleneck,
    pub(super) flows: Vec<Flow>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
    pub(super) now: Instant,
    busy_until: Instant,
    random: u64,
    since: Instant,
    /// The longest queueing delay, and the sum and number of all, since the last
    /// [`Net::take_rates`].
    pub(super) max_wait: Duration,
    waits: (Duration, u32),
}

impl Net {
    pub(super) fn new(path: Bottleneck, kinds: &[CongestionControl]) -> Net {
        let now = Instant::from_secs(1);
        let flows = kinds.iter().map(|&kind| Flow {
            cc: Congestion::new(kind, MSS, 10, now),
            rates: RateSampler::new(now),
            pacer: Pacer::new(now),
            records: BTreeMap::new(),
            next: 0,
            in_flight: 0,
            recovery_until: None,
            min_rtt: None,
            srtt: None,
            is_active: true,
            wakes_at: None,
            delivered: 0,
            lost: 0,
            sent: 0,
        });
        Net {
            path,
            flows: flows.collect(),
            events: BinaryHeap::new(),
            order: 0,
            now,
            busy_until: now,
            random: 88_172_645_463_325_252,
            since: now,
            max_wait: Duration::ZERO,
            waits: (Duration::ZERO, 0),
        }
    }

    /// The rate of each flow, in bytes a second, since the last call.
    pub(super) fn take_rates(&mut self) -> Vec<u64> {
        let micros = ((self.now - self.since).as_micros() as u64).max(1);
        self.since = self.now;
        (self.max_wait, self.waits) = (Duration::ZERO, (Duration::ZERO, 0));
        self.flows.iter_mut().map(|flow| core::mem::take(&mut flow.delivered) * 1_000_000 / micros).collect()
    }

    pub(super) fn mean_wait(&self) -> Duration {
        self.waits.0 / self.waits.1.max(1)
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for flow in 0..self.flows.len() {
            self.transmit(flow);
        }
        while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= end) {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            match event {
                Event::Ack { flow, number, ce } => {
                    self.on_ack(flow, number, ce);
                    self.transmit(flow);
                }
                Event::Wake { flow } => {
                    self.flows[flow].wakes_at = None;
                    self.transmit(flow);
                }
            }
        }
        self.now = end;
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1_000_000
    }

    fn transmit(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let rate = flow.cc.pacing_rate();
        if let (Some(_), Some(at)) = (rate, flow.pacer.wait_until(now)) {
            if flow.wakes_at != Some(at) {
                flow.wakes_at = Some(at);
                self.push(at, Event::Wake { flow: index });
            }
            return;
        }
        let burst = rate.map_or(u32::MAX, |rate| quantum(rate, MSS));
        let mut bytes = 0;
        while self.flows[index].is_active && bytes + MSS <= burst {
            let flow = &mut self.flows[index];
            if flow.in_flight + MSS > flow.cc.cwnd() {
                break;
            }
            let stamp = flow.rates.stamp(now, flow.in_flight, MSS);
            flow.records.insert(flow.next, Record { sent_at: now, stamp });
            let number = flow.next;
            flow.next += 1;
            flow.in_flight += MSS;
            flow.sent += 1;
            bytes += MSS;
            self.forward(index, number);
        }
        let flow = &mut self.flows[index];
        if bytes > 0 {
            if let Some(rate) = rate {
                flow.pacer.on_sent(now, bytes, rate, bytes);
            }
            flow.cc.on_sent(&Sent {
                now,
                una: flow.una(),
                nxt: SeqNumber(flow.next as u32 * MSS),
                in_flight: flow.in_flight,
                rto: Duration::from_millis(300),
                restart_segs: 10,
            });
        } else if !flow.is_active {
            flow.rates.on_application_limited(flow.in_flight);
        }
        if let (true, Some(at)) = (bytes > 0 && rate.is_some(), flow.pacer.wait_until(now)) {
            flow.wakes_at = Some(at);
            self.push(at, Event::Wake { flow: index });
        }
    }

    /// Sends a segment through the queue, and schedules its acknowledgement.
    fn forward(&mut self, flow: usize, number: u64) {
        let wait = self.busy_until.max(self.now) - self.now;
        let queued = wait.as_nanos() as u64 * self.path.rate / 1_000_000_000;
        if queued + u64::from(MSS) > self.path.queue || self.chance() < self.path.loss_ppm {
            return;
        }
        self.max_wait = self.max_wait.max(wait);
        self.waits = (self.waits.0 + wait, self.waits.1 + 1);
        let nanos = u64::from(MSS) * 1_000_000_000 / self.path.rate;
        self.busy_until = self.busy_until.max(self.now) + Duration::from_nanos(nanos);
        let ce = queued > self.path.mark_above;
        self.push(self.busy_until + self.path.delay, Event::Ack { flow, number, ce });
    }

    fn on_ack(&mut self, index: usize, number: u64, ce: bool) {
        let now = self.now;
        let flow = &mut self.flows[index];
        // The segment was marked lost too early.
        let Some(record) = flow.records.remove(&number) else { return };
        let prior_in_flight = flow.in_flight;
        flow.in_flight -= MSS;
        flow.delivered += u64::from(MSS);
        let rtt = now - record.sent_at;
        flow.min_rtt = Some(flow.min_rtt.map_or(rtt, |min| min.min(rtt)));
        flow.srtt = Some(flow.srtt.map_or(rtt, |srtt| srtt * 7 / 8 + rtt / 8));
        if ce {
            flow.rates.on_ce(MSS);
        }
        let mut newest = Newest::default();
        flow.rates.on_delivered(&mut newest, now, MSS, record.sent_at, &record.stamp);
        let lost: Vec<u64> =
            flow.records.range(..number.saturating_sub(2)).map(|(&number, _)| number).collect();
        for number in &lost {
            let record = flow.records.remove(number).unwrap();
            flow.in_flight -= MSS;
            flow.lost += 1;
            let lost = flow.rates.on_lost(MSS, &record.stamp);
            flow.cc.on_lost(&lost);
        }
        if flow.recovery_until.is_some_and(|until| number >= until) {
            flow.recovery_until = None;
            flow.cc.on_recovery_done(None);
        }
        if (!lost.is_empty() || ce && flow.cc.kind() != CongestionControl::Bbr)
            && flow.recovery_until.is_none()
        {
            let cause = if lost.is_empty() { Cause::Ecn } else { Cause::Loss };
            flow.cc.on_congestion(cause);
            flow.recovery_until = Some(flow.next);
            if !flow.cc.controls_recovery() {
                flow.cc.set_cwnd(flow.cc.ssthresh());
            }
        }
        let ack = Ack {
            now,
            phase: if flow.recovery_until.is_some() { Phase::Recovery } else { Phase::Open },
            acked_bytes: MSS,
            delivered_bytes: MSS,
            lost_bytes: MSS * lost.len() as u32,
            ce_bytes: if ce { MSS } else { 0 },
            prior_in_flight,
            in_flight: flow.in_flight,
            rtt: Some(rtt),
            min_rtt: flow.min_rtt,
            srtt: flow.srtt,
            una: flow.una(),
            nxt: SeqNumber(flow.next as u32 * MSS),
            rate: flow.rates.take_sample(newest, flow.min_rtt),
        };
        flow.cc.on_ack(&ack);
        if flow.cc.wants_limited_samples() {
            flow.rates.on_application_limited(flow.in_flight);
        }
    }
}

impl Flow {
    fn una(&self) -> SeqNumber {
        let first = self.records.keys().next().copied().unwrap_or(self.next);
        SeqNumber(first as u32 * MSS)
    }
}

/// Jain's fairness index.
pub(super) fn fairness(rates: &[u64]) -> f64 {
    let sum: f64 = rates.iter().map(|&rate| rate as f64).sum();
    let squares: f64 = rates.iter().map(|&rate| (rate as f64).powi(2)).sum();
    sum * sum / (rates.len() as f64 * squares)
}
