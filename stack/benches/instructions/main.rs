//! The instructions that the rows in memory take, counted by callgrind: here, and with the stack of
//! another commit.
//!
//! `cargo bench -p portolan --bench instructions` counts a transfer, segments, datagrams, round
//! trips and connections between the two stacks of the benchmark `in_memory`, both ends together
//! unless the row says otherwise. A count is the same each time, whatever else the machine does.
//! `-- --against COMMIT` builds this benchmark with the stack of that commit too, counts both, and
//! fails if a row takes more than 3 % more instructions than there. Names of rows, or parts of
//! them, choose among the rows.
//!
//! With `-- --test` (or without cargo's `--bench`) each row runs once and small, uncounted, to show
//! that it works.

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

/// More than that is a loss.
const MAX_RATIO: f64 = 1.03;

/// What callgrind counts, by the name of the function.
const COUNTED: &str = "*instructions::counted*";
const SERVED: &str = "*portolan_side::Pair::serve*";

struct Row {
    name: &'static str,
    /// What the count is divided by.
    unit: &'static str,
    /// How many units there are in a count.
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
            // The quick acknowledgements of the start are not what is counted.
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
            // 600 in TIME-WAIT, of which one ends with each new connection.
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

    /// The receiver's end alone.
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
    // Once for the congestion window.
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

/// Callgrind finds it by its name, so it has to stay a function.
#[inline(never)]
fn counted(work: &mut dyn FnMut(usize), units: usize) {
    work(units);
    // Not the last thing that it does: then it would be a jump, and callgrind would not see it
    // return.
    std::hint::black_box(());
}

/// The first argument of the process that callgrind runs; the second is the row's name.
const RUN: &str = "--run";

struct Arguments {
    is_bench: bool,
    against: Option<String>,
    /// One line a row, for the process that compares.
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

/// False if a row has lost.
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
