//! The client of every measurement: plain sockets of the kernel, in a network namespace that
//! contains only the cable to the measured peer. Each measurement has its own process and
//! namespace, so that none is affected by another.

mod bulk;
mod connect;
mod datagrams;
mod idle;
mod latency;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use crate::peers::Peer;
use crate::processor::Used;
use crate::rows::{CPU_BOTH, CPU_SERVER, Direction, Row};
use crate::server::services::Service;
use crate::server::{self, Purpose};
use crate::{CONGESTION, arithmetic, kernel_sockets, link};

pub(crate) use idle::hold;

/// A call that takes this long will never return.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The plan of a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) row: Row,
    pub(crate) peer: Peer,
    pub(crate) time: Duration,
    /// The numbers of idle connections, in order.
    pub(crate) idle: Vec<usize>,
}

impl Plan {
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let idle = self.idle.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let (row, peer) = (self.row.name().to_owned(), self.peer.name().to_owned());
        vec![row, peer, self.time.as_millis().to_string(), idle]
    }

    pub(crate) fn from_arguments(row: &str, peer: &str, millis: &str, idle: &str) -> Result<Plan, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        Ok(Plan {
            row: Row::parse(row)?,
            peer: Peer::parse(peer)?,
            time: Duration::from_millis(number(millis)?),
            idle: idle.split(',').map(|text| number(text).map(|n| n as usize)).collect::<Result<_, _>>()?,
        })
    }
}

/// Figures by the part of their name after the row's; the empty string for the only figure of a
/// row.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The result of a measurement: figures, and the server's note about itself.
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) note: String,
}

/// Measures. Must be called before any thread is started.
pub(crate) fn run(plan: &Plan) -> io::Result<Measured> {
    portolan_tap::isolate().map_err(io::Error::other)?;
    link::settle_namespace()?;
    let purpose = |service, streams| Purpose { service, streams, idle: 0 };
    let purpose = match plan.row {
        Row::Bulk { direction: Direction::To, streams } => purpose(Service::Discard, streams),
        Row::Bulk { direction: Direction::From, streams } => purpose(Service::Chargen, streams),
        Row::Latency { .. } => purpose(Service::Echo, 1),
        Row::DatagramLatency { .. } | Row::DatagramRate => purpose(Service::Datagrams, 1),
        Row::Connect { .. } => purpose(Service::Brief, 1),
        Row::Idle => {
            Purpose { service: Service::Echo, streams: 1, idle: plan.idle.iter().copied().max().unwrap_or(0) }
        }
        Row::InMemory | Row::Segment | Row::Memory | Row::Instructions => {
            return Err(io::Error::other("what is in memory needs no client"));
        }
    };
    let server = server::start(plan.peer, purpose)?;
    let before = Used::so_far(&server)?;
    // The rate, the number of units that were counted (billions of bytes, or millions), and their
    // cost.
    let with_costs = |rate: f64, count: f64| -> io::Result<Figures> {
        let used = Used::so_far(&server)? - before;
        let each = |time: Duration| time.as_secs_f64() / count;
        Ok(Figures::from([
            (String::new(), rate),
            (CPU_BOTH.to_owned(), each(used.both())),
            (CPU_SERVER.to_owned(), each(used.server)),
        ]))
    };
    let figures = match plan.row {
        Row::Bulk { direction, streams } => {
            let flowed = bulk::measure(direction, streams, plan.time)?;
            with_costs(flowed.gbits_per_second, flowed.bytes as f64 / 1e9)?
        }
        Row::Latency { .. } => percentiles(latency::measure(plan.time)?)?,
        Row::DatagramLatency { .. } => percentiles(datagrams::latency(plan.time)?)?,
        Row::DatagramRate => {
            let (rate, count) = datagrams::rate(plan.time)?;
            with_costs(rate, count as f64 / 1e6)?
        }
        Row::Connect { with_byte } => {
            let (rate, count) = connect::measure(with_byte, plan.time)?;
            with_costs(rate, count as f64 / 1e6)?
        }
        Row::Idle => idle::measure(&plan.idle, plan.time)?,
        Row::InMemory | Row::Segment | Row::Memory | Row::Instructions => Figures::new(),
    };
    Ok(Measured { figures, note: server.note().to_owned() })
}

/// Converts round trips in nanoseconds, in any order, to percentiles in microseconds.
fn percentiles(mut round_trips: Vec<u64>) -> io::Result<Figures> {
    round_trips.sort_unstable();
    let percentile = |percent: f64| {
        let nanos = arithmetic::percentile(&round_trips, percent).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((format!("p{percent}"), nanos as f64 / 1e3))
    };
    [50.0, 99.0, 99.9].into_iter().map(percentile).collect()
}

fn connect(service: Service) -> io::Result<TcpStream> {
    let stream = kernel_sockets::connect(link::server(service.port()), CONGESTION, CALL_TIMEOUT)?;
    stream.set_read_timeout(Some(CALL_TIMEOUT))?;
    stream.set_write_timeout(Some(CALL_TIMEOUT))?;
    Ok(stream)
}
