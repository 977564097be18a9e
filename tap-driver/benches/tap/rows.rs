//! The rows of the report.

use crate::peers::Peer;

/// A row of the report: one measurement, which may have several figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Bulk {
        direction: Direction,
        streams: usize,
    },
    /// TCP round trips of one byte.
    Latency {
        is_awake: bool,
    },
    /// UDP round trips of 64 bytes.
    DatagramLatency {
        is_awake: bool,
    },
    /// UDP round trips of 64 bytes, with several in flight.
    DatagramRate,
    Connect {
        with_byte: bool,
    },
    /// Bulk and latency beside idle connections.
    Idle,
    /// Bulk between two stacks in memory.
    InMemory,
    /// A received segment beside idle sockets, in memory.
    Segment,
    /// The memory of idle connections and records.
    Memory,
    Instructions,
}

/// The direction from the point of view of the measured stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    To,
    From,
}

pub(crate) const ALL: [Row; 16] = [
    Row::Bulk { direction: Direction::To, streams: 1 },
    Row::Bulk { direction: Direction::From, streams: 1 },
    Row::Bulk { direction: Direction::To, streams: 8 },
    Row::Bulk { direction: Direction::From, streams: 8 },
    Row::DatagramRate,
    Row::DatagramLatency { is_awake: false },
    Row::DatagramLatency { is_awake: true },
    Row::Latency { is_awake: false },
    Row::Latency { is_awake: true },
    Row::Connect { with_byte: false },
    Row::Connect { with_byte: true },
    Row::Idle,
    Row::InMemory,
    Row::Segment,
    Row::Memory,
    Row::Instructions,
];

/// The parts of a row of throughput: the processor time of both ends, and of the server alone.
pub(crate) const CPU_BOTH: &str = "cpu";
pub(crate) const CPU_SERVER: &str = "cpu-server";

/// One number of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The name in JSON, which is unique.
    pub(crate) name: String,
    /// The name for people.
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// The number of decimal places.
    pub(crate) digits: usize,
}

impl Figure {
    /// Whether a larger value is better.
    pub(crate) fn is_rate(&self) -> bool {
        matches!(self.unit, "Gbit/s" | "1/s")
    }
}

impl Row {
    /// The name in arguments and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Row::Bulk { direction: Direction::To, streams: 1 } => "to-1",
            Row::Bulk { direction: Direction::From, streams: 1 } => "from-1",
            Row::Bulk { direction: Direction::To, .. } => "to-8",
            Row::Bulk { direction: Direction::From, .. } => "from-8",
            Row::DatagramRate => "udp-rate",
            Row::DatagramLatency { is_awake: false } => "udp-latency",
            Row::DatagramLatency { is_awake: true } => "udp-latency-awake",
            Row::Latency { is_awake: false } => "latency",
            Row::Latency { is_awake: true } => "latency-awake",
            Row::Connect { with_byte: false } => "connect",
            Row::Connect { with_byte: true } => "connect-byte",
            Row::Idle => "idle",
            Row::InMemory => "in-memory",
            Row::Segment => "segment",
            Row::Memory => "memory",
            Row::Instructions => "instructions",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Row, String> {
        let names = || ALL.map(Row::name).join(", ");
        ALL.into_iter()
            .find(|row| row.name() == name)
            .ok_or_else(|| format!("there is no row {name}; they are {}", names()))
    }

    /// Whether it is measured over a device, and not in memory.
    pub(crate) fn has_device(self) -> bool {
        !matches!(self, Row::InMemory | Row::Segment | Row::Memory | Row::Instructions)
    }

    /// Whether an idle thread of the lowest priority keeps each CPU awake.
    pub(crate) fn is_awake(self) -> bool {
        matches!(self, Row::Latency { is_awake: true } | Row::DatagramLatency { is_awake: true })
    }

    /// Whether the result is the same each time, so that one round is enough.
    pub(crate) fn is_exact(self) -> bool {
        matches!(self, Row::Memory | Row::Instructions)
    }

    /// The peers that it is measured with.
    pub(crate) fn peers(self) -> &'static [Peer] {
        match self {
            // With one stream, a second stack has nothing to do.
            Row::Bulk { streams: 1, .. } => &[
                Peer::Kernel,
                Peer::Limit,
                Peer::Portolan,
                Peer::PortolanCopies,
                Peer::KernelPlain,
                Peer::LimitPlain,
                Peer::PortolanPlain,
                Peer::Smoltcp,
            ],
            Row::Bulk { .. } => &crate::peers::ALL,
            // The data is too small for a row with copies and one without.
            Row::Latency { .. } | Row::DatagramLatency { .. } | Row::DatagramRate | Row::Connect { .. } => &[
                Peer::Kernel,
                Peer::Limit,
                Peer::Portolan,
                Peer::KernelPlain,
                Peer::LimitPlain,
                Peer::PortolanPlain,
                Peer::Smoltcp,
            ],
            // The limit has no connections, and smoltcp scans all of them for every packet.
            Row::Idle => &[Peer::Kernel, Peer::Portolan],
            Row::InMemory | Row::Instructions => &[Peer::Portolan, Peer::PortolanPlain, Peer::Smoltcp],
            Row::Segment => &[Peer::PortolanPlain, Peer::Smoltcp],
            Row::Memory => &[Peer::Portolan],
        }
    }

    /// The figures of the row; `idle` lists the numbers of idle connections, for the rows that use
    /// them.
    pub(crate) fn figures(self, idle: &[usize]) -> Vec<Figure> {
        let figure = |part: &str, title: String, unit, digits| {
            let name =
                if part.is_empty() { self.name().to_owned() } else { format!("{}/{part}", self.name()) };
            Figure { name, title, unit, digits }
        };
        let percentiles = |what: &str, is_awake: bool| {
            let how = if is_awake { ", CPUs kept awake" } else { "" };
            [("p50", "p50"), ("p99", "p99"), ("p99.9", "p99.9")]
                .map(|(part, title)| figure(part, format!("{what}, {title}{how}"), "µs", 1))
                .to_vec()
        };
        // The rate, and the processor time of each unit that it counts.
        let with_costs = |what: String, rate_unit, cost_unit, digits| {
            let both = format!("{what}: CPU, both ends");
            let server = format!("{what}: CPU, server");
            vec![
                figure("", what, rate_unit, digits),
                figure(CPU_BOTH, both, cost_unit, 3),
                figure(CPU_SERVER, server, cost_unit, 3),
            ]
        };
        match self {
            Row::Bulk { direction, streams } => {
                let direction = match direction {
                    Direction::To => "towards the stack",
                    Direction::From => "from the stack",
                };
                let streams =
                    if streams == 1 { "one stream".to_owned() } else { format!("{streams} streams") };
                with_costs(format!("{direction}, {streams}"), "Gbit/s", "s/GB", 1)
            }
            Row::DatagramRate => with_costs("UDP echo, 64 bytes".into(), "1/s", "µs each", 0),
            Row::DatagramLatency { is_awake } => percentiles("UDP, 64 bytes", is_awake),
            Row::Latency { is_awake } => percentiles("TCP, 1 byte", is_awake),
            Row::Connect { with_byte: false } => with_costs("connect, close".into(), "1/s", "µs each", 0),
            Row::Connect { with_byte: true } => {
                with_costs("connect, 1 byte, close".into(), "1/s", "µs each", 0)
            }
            Row::Idle => {
                let counts = [0].into_iter().chain(idle.iter().copied());
                let beside = |count: usize| match count {
                    0 => "none idle".to_owned(),
                    count => format!("{} idle", thousands(count)),
                };
                let parts = |count: usize| {
                    [
                        figure(&format!("to/{count}"), format!("towards, {}", beside(count)), "Gbit/s", 1),
                        figure(&format!("from/{count}"), format!("from, {}", beside(count)), "Gbit/s", 1),
                        figure(
                            &format!("p50/{count}"),
                            format!("TCP, 1 byte, p50, {}", beside(count)),
                            "µs",
                            1,
                        ),
                        figure(
                            &format!("p99/{count}"),
                            format!("TCP, 1 byte, p99, {}", beside(count)),
                            "µs",
                            1,
                        ),
                    ]
                };
                counts.flat_map(parts).collect()
            }
            Row::InMemory => vec![
                figure("copied", "in memory, copied".into(), "Gbit/s", 1),
                figure("lent", "in memory, lent".into(), "Gbit/s", 1),
            ],
            Row::Segment => [10]
                .iter()
                .chain(idle.last())
                .map(|&count| {
                    figure(
                        &count.to_string(),
                        format!("a received segment, {} sockets", thousands(count)),
                        "ns",
                        0,
                    )
                })
                .collect(),
            Row::Memory => vec![
                figure("stack", "idle connection, the stack alone".into(), "bytes", 0),
                figure("unused", "idle connection, with its TcpStream".into(), "bytes", 0),
                figure("used", "the same, after 1,000 bytes there and back".into(), "bytes", 0),
                figure("time-wait", "TIME-WAIT".into(), "bytes", 0),
            ],
            Row::Instructions => vec![figure("", "instructions a segment, both ends, copied".into(), "", 0)],
        }
    }
}

/// Writes `100,000`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
