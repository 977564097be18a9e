//! The report as tables and as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cases::{Case, Measures, Pair};
use crate::hosts::Kind;
use crate::run::Outcome;
use crate::spread::Spread;

/// Linux to Linux, with which the others are compared.
const REFERENCE: Pair = (Kind::Linux, Kind::Linux);

/// All runs of a case, by pair.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) runs: Vec<(Pair, Vec<Outcome>)>,
}

/// The figure of a run: Mbit/s, or Jain's index.
pub(crate) fn figure(case: &Case, outcome: &Outcome) -> f64 {
    match case.measures {
        Measures::Goodput => outcome.goodputs.iter().sum::<f64>() / 1e6,
        Measures::Fairness { .. } => outcome.fairness(),
    }
}

fn spread(row: &Row, pair: Pair) -> Option<Spread> {
    let (_, outcomes) = row.runs.iter().find(|(other, _)| *other == pair)?;
    Spread::of(outcomes.iter().map(|outcome| figure(&row.case, outcome)).collect())
}

/// Prints a Markdown table of the rows of one kind, with a column for each pair.
pub(crate) fn print(rows: &[Row], pairs: &[Pair]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (goodput, fairness): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| matches!(row.case.measures, Measures::Goodput));
    if !goodput.is_empty() {
        writeln!(
            out,
            "\nMbit/s of one flow: the median of all runs (the least to the most), times Linux to Linux\n"
        )?;
        table(&mut out, &goodput, pairs, |(sender, receiver)| {
            format!("{} to {}", sender.name(), receiver.name())
        })?;
    }
    if !fairness.is_empty() {
        writeln!(out, "\nJain's index of flows that share the path: the median (the least to the most)\n")?;
        table(&mut out, &fairness, pairs, |(a, b)| match a == b {
            true => format!("all {}", a.name()),
            false => format!("{} and {}", a.name(), b.name()),
        })?;
    }
    Ok(())
}

fn table(
    out: &mut impl Write,
    rows: &[&Row],
    pairs: &[Pair],
    head: impl Fn(Pair) -> String,
) -> io::Result<()> {
    let columns: Vec<Pair> =
        pairs.iter().copied().filter(|&pair| rows.iter().any(|row| spread(row, pair).is_some())).collect();
    write!(out, "| |")?;
    for &pair in &columns {
        write!(out, " {} |", head(pair))?;
    }
    writeln!(out, "\n|---|{}", "---|".repeat(columns.len()))?;
    for row in rows {
        write!(out, "| {} |", row.case.title)?;
        for &pair in &columns {
            write!(out, " {} |", cell(row, pair))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cell(row: &Row, pair: Pair) -> String {
    let Some(Spread { median, least, most }) = spread(row, pair) else { return String::new() };
    match row.case.measures {
        Measures::Fairness { .. } => format!("{median:.2} ({least:.2} to {most:.2})"),
        Measures::Goodput => {
            let reference = spread(row, REFERENCE).filter(|_| pair != REFERENCE);
            let ratio = reference.map_or(String::new(), |linux| format!(", {:.2}x", median / linux.median));
            format!("{median:.1} ({least:.1} to {most:.1}){ratio}")
        }
    }
}

/// Every run with everything that is known about it.
pub(crate) fn json(rows: &[Row]) -> Value {
    let runs = rows.iter().flat_map(|row| {
        row.runs.iter().flat_map(move |((sender, receiver), outcomes)| {
            outcomes.iter().enumerate().map(move |(index, outcome)| {
                let counts = |direction: usize| {
                    let counts = outcome.path.directions[direction];
                    json!({
                        "seen": counts.seen, "lost": counts.lost, "cut_off": counts.cut_off,
                        "reordered": counts.reordered, "overflowed": counts.overflowed,
                    })
                };
                json!({
                    "case": row.case.name,
                    "path": row.case.impairment.to_string(),
                    "sender": sender.name(),
                    "receiver": receiver.name(),
                    "seed": index + 1,
                    "figure": figure(&row.case, outcome),
                    "goodput_bits_per_second": outcome.goodputs,
                    "by_second_bits_per_second": outcome.by_second,
                    "notes": outcome.notes,
                    "forth": counts(0),
                    "back": counts(1),
                    "refused": outcome.path.refused,
                    "mean_lateness_us": outcome.path.mean_lateness.as_micros() as u64,
                    "latest_us": outcome.path.latest.as_micros() as u64,
                })
            })
        })
    });
    Value::Array(runs.collect())
}
