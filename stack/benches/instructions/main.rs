//! The number of instructions for the benchmarks in memory, counted by callgrind: with this stack,
//! and with that of another commit.
//!
//! `cargo bench -p portolan --bench instructions` counts the instructions of a transfer, segments,
//! datagrams, round trips and connections between the two stacks of the benchmark `in_memory`, for
//! both ends together unless the row says otherwise. A count is the same each time, whatever else
//! the machine does. `-- --against COMMIT` also builds this benchmark with the stack of that
//! commit, counts both, and fails if a row takes over 3 % more instructions here. Further arguments
//! select rows by their names or parts of them.
//!
//! With `-- --test` (or without cargo's `--bench`) each row runs once and small, without counting,
//! to show that it works.

#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../in_memory/callgrind.rs"]
mod callgrind;
#[path = "../in_memory/other_commit.rs"]
mod other_commit;
#[allow(dead_code, reason = "not all of it is run from here")]
#[path = "../in_memory/pairs.rs"]
mod pairs;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use pairs::{BATCH, BULK_BYTES, Copies, SEGMENT_BYTES, portolan_side, smoltcp_side};
use portolan::Offloads;

/// A row with a larger ratio has become worse.
const MAX_RATIO: f64 = 1.03;

/// The functions whose instructions callgrind counts, as a pattern of names.
const COUNTED: &str = "*instructions::counted*";
const SERVED: &str = "*portolan_side::Pair::serve*";

struct Row {
    name: &'static str,
    /// The unit that the count is divided by.
    unit: &'static str,
    /// The number of units in a count.
    units: usize,
    function: &'static str,
    /// Sets the row up and returns its work, which takes the number of units.
    prepare: fn() -> Work,
}

type Work = Box<dyn FnMut(usize)>;

const SEGMENTS: usize = BULK_BYTES / SEGMENT_BYTES;

const ROWS: [Row; 12] = [
    Row::bulk("bulk, copied", || portolan_bulk(Offloads::NONE, Copies::Both)),
    Row::bulk("bulk, lent", || portolan_bulk(Offloads::NONE, Copies::None)),
    Row::bulk("bulk, copied, offloads", || portolan_bulk(Offloads::ALL, Copies::Both)),
    Row::bulk("bulk, lent, offloads", || portolan_bulk(Offloads::ALL, Copies::None)),
    Row::receive("receive, one of 10 busy", || receive(10, false)),
    Row::receive("receive, 10 of 10 busy", || receive(10, true)),
    Row::receive("receive, 100 of 100 busy", || receive(100, true)),
    Row {
        name: "TCP, 1 byte there and back",
        unit: "round trip",
        units: 1000,
        function: COUNTED,
        prepare: || {
            let mut pair = portolan_side::Pair::new(10, Offloads::NONE);
            // The quick acknowledgements at the start are not to be counted.
            pair.ping_pong(100);
            Box::new(move |count| pair.ping_pong(count))
        },
    },
    Row {
        name: "UDP echo, 64 bytes",
        unit: "datagram there and back",
        units: 32 * BATCH,
        function: COUNTED,
        prepare: || {
            let mut pair = portolan_side::Pair::new(10, Offloads::NONE);
            pair.echo_datagrams(1);
            Box::new(move |count| in_batches(count, |batch| pair.echo_datagrams(batch)))
        },
    },
    Row {
        name: "connect, 1 byte, close",
        unit: "connection",
        units: 500,
        function: COUNTED,
        prepare: || {
            let mut pair = portolan_side::Pair::new(10, Offloads::NONE);
            // 600 connections are in TIME-WAIT, of which one ends with each new connection.
            let time = Duration::from_millis(100);
            pair.cycle(700, time);
            Box::new(move |count| pair.cycle(count as u64, time))
        },
    },
    Row::bulk("smoltcp: bulk, copied", || smoltcp_bulk(Copies::Both)),
    Row::bulk("smoltcp: bulk, lent", || smoltcp_bulk(Copies::None)),
];

impl Row {
    const fn bulk(name: &'static str, prepare: fn() -> Work) -> Row {
        Row { name, unit: "segment", units: SEGMENTS, function: COUNTED, prepare }
    }

    /// A row for the receiving end alone.
    const fn receive(name: &'static str, prepare: fn() -> Work) -> Row {
        Row { name, unit: "segment", units: 256 * BATCH, function: SERVED, prepare }
    }

    fn count(&self) -> Result<f64, Box<dyn Error>> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args([RUN, self.name]);
        Ok(callgrind::count(&program, self.function)? as f64 / self.units as f64)
    }
}

fn portolan_bulk(offloads: Offloads, copies: Copies) -> Work {
    let mut pair = portolan_side::Pair::new(1, offloads);
    // One transfer for the congestion window to grow.
    pair.transfer(BULK_BYTES, copies);
    Box::new(move |segments| pair.transfer(segments * SEGMENT_BYTES, copies))
}

fn smoltcp_bulk(copies: Copies) -> Work {
    let mut pair = smoltcp_side::Pair::new(1);
    pair.transfer(BULK_BYTES, copies);
    Box::new(move |segments| pair.transfer(segments * SEGMENT_BYTES, copies))
}

fn receive(sockets: usize, all_busy: bool) -> Work {
    let mut pair = portolan_side::Pair::new(sockets, Offloads::NONE);
    Box::new(move |count| {
        in_batches(count, |batch| {
            pair.receive_batch(batch, all_busy);
        });
    })
}

fn in_batches(count: usize, mut work: impl FnMut(usize)) {
    let mut left = count;
    while left > 0 {
        let batch = left.min(BATCH);
        work(batch);
        left -= batch;
    }
}

/// Callgrind finds this function by its name, so it must stay a function.
#[inline(never)]
fn counted(work: &mut dyn FnMut(usize), units: usize) {
    work(units);
    // The call must not be the last statement: otherwise it becomes a tail call, and callgrind does
    // not see its return.
    std::hint::black_box(());
}

/// The first argument of the process that callgrind runs. The second is the name of the row.
const RUN: &str = "--run";

struct Arguments {
    is_bench: bool,
    against: Option<String>,
    /// Whether to print one line per row, for the process that compares.
    is_raw: bool,
    chosen: Vec<String>,
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut read = Arguments { is_bench: false, against: None, is_raw: false, chosen: Vec::new() };
        let mut is_test = false;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => read.is_bench = true,
                "--raw" => read.is_raw = true,
                "--against" => {
                    read.against =
                        Some(arguments.next().ok_or("--against needs a commit, as in `--against main`")?);
                }
                "--test" => is_test = true,
                option if option.starts_with('-') => {
                    return Err(format!(
                        "there is no option {option}; there are --against COMMIT and names of rows"
                    ));
                }
                name if ROWS.iter().any(|row| row.name.contains(name)) => read.chosen.push(argument),
                name => {
                    let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                    return Err(format!("no row has {name:?} in its name; they are: {}", names.join("; ")));
                }
            }
        }
        read.is_bench &= !is_test;
        Ok(read)
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let is_chosen = |row: &&Row| {
            self.chosen.is_empty() || self.chosen.iter().any(|name| row.name.contains(name.as_str()))
        };
        ROWS.iter().filter(is_chosen)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name] = &arguments[..]
        && run == RUN
        && let Some(row) = ROWS.iter().find(|row| row.name == name)
    {
        counted(&mut *(row.prepare)(), row.units);
        return ExitCode::SUCCESS;
    }
    match Arguments::read(arguments.into_iter()).map_err(Into::into).and_then(|arguments| count(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts all rows. Returns false if one has become worse.
fn count(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    if !arguments.is_bench {
        arguments.rows().for_each(|row| counted(&mut *(row.prepare)(), BATCH));
        return Ok(true);
    }
    if arguments.is_raw {
        for row in arguments.rows() {
            println!("{}\t{}", row.name, row.count()?);
        }
        return Ok(true);
    }
    let Some(commit) = &arguments.against else {
        println!("| | per | instructions |\n|---|---|---|");
        for row in arguments.rows() {
            println!("| {} | {} | {:.0} |", row.name, row.unit, row.count()?);
        }
        return Ok(true);
    };
    let there = count_there(commit, &arguments.chosen)?;
    println!("| | per | {commit} | here | |\n|---|---|---|---|---|");
    let mut has_lost = false;
    for row in arguments.rows() {
        let (_, there) = there.iter().find(|(name, _)| name == row.name).ok_or("a row is missing there")?;
        let here = row.count()?;
        let is_loss = here / there > MAX_RATIO;
        has_lost |= is_loss;
        let verdict = if is_loss { " **lost**" } else { "" };
        println!("| {} | {} | {there:.0} | {here:.0} | {:.3}{verdict} |", row.name, row.unit, here / there);
    }
    Ok(!has_lost)
}

/// The counts with the stack of another commit, by the names of the rows.
fn count_there(commit: &str, rows: &[String]) -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let folder = other_commit::unpack(commit)?;
    let fixed = ["--package", "portolan", "--bench", "instructions", "--", "--raw"];
    let counts = other_commit::bench(&folder, fixed.into_iter().chain(rows.iter().map(String::as_str)))?;
    let line = |line: &str| {
        let (name, count) = line.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    Ok(counts.lines().filter_map(line).collect())
}
