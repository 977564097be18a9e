//! The report of all measurements as tables and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::arithmetic::Bound;
use crate::client::Measured;
use crate::goals::Verdict;
use crate::peers::{self, Peer};
use crate::rows::{Figure, Row};
use crate::spread::Spread;

/// All results, round by round.
#[derive(Default)]
pub(crate) struct Results {
    /// The figures in the order of the report.
    lines: Vec<Line>,
    /// The servers' notes about themselves.
    notes: Vec<(Peer, String)>,
    /// Measurements that failed, and why.
    failures: Vec<(Row, Peer, String)>,
}

/// A figure, with a value of each peer for each round.
pub(crate) struct Line {
    pub(crate) figure: Figure,
    pub(crate) values: BTreeMap<Peer, Vec<f64>>,
}

impl Results {
    /// Adds a row that is going to be measured.
    pub(crate) fn announce(&mut self, row: Row, idle: &[usize]) {
        let line = |figure| Line { figure, values: BTreeMap::new() };
        self.lines.extend(row.figures(idle).into_iter().map(line));
    }

    pub(crate) fn add(&mut self, row: Row, peer: Peer, measured: &Measured) {
        for (part, &value) in &measured.figures {
            let name = if part.is_empty() { row.name().to_owned() } else { format!("{}/{part}", row.name()) };
            if let Some(line) = self.lines.iter_mut().find(|line| line.figure.name == name) {
                line.values.entry(peer).or_default().push(value);
            }
        }
        let note = (peer, measured.note.clone());
        if !note.1.is_empty() && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn fail(&mut self, row: Row, peer: Peer, why: String) {
        self.failures.push((row, peer, why));
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.len()
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn line(&self, figure: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.figure.name == figure)
    }

    /// The values of all rounds; empty if it was not measured.
    pub(crate) fn values(&self, figure: &str, peer: Peer) -> &[f64] {
        self.line(figure).and_then(|line| line.values.get(&peer)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn title(&self, figure: &str) -> Option<&str> {
        self.line(figure).map(|line| line.figure.title.as_str())
    }

    pub(crate) fn median(&self, figure: &str, peer: Peer) -> Option<f64> {
        Spread::of(self.values(figure, peer).to_vec()).map(|spread| spread.median)
    }
}

/// Prints in Markdown what was measured, with a line for each figure and a column for each peer;
/// then the goals.
pub(crate) fn print(results: &Results, verdicts: &[Verdict]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let has_values = |peer: &Peer| results.lines.iter().any(|line| line.values.contains_key(peer));
    let columns: Vec<Peer> = peers::ALL.into_iter().filter(has_values).collect();
    writeln!(out, "\nThe median of all rounds (the least to the most):\n")?;
    write!(out, "| | |")?;
    for peer in &columns {
        write!(out, " {} |", peer.title())?;
    }
    writeln!(out, "\n|---|---|{}", "---|".repeat(columns.len()))?;
    for Line { figure, .. } in &results.lines {
        write!(out, "| {} | {} |", figure.title, figure.unit)?;
        for &peer in &columns {
            write!(out, " {} |", cell(figure, results.values(&figure.name, peer)))?;
        }
        writeln!(out)?;
    }
    for (peer, note) in &results.notes {
        writeln!(out, "\n{}: {note}.", peer.title())?;
    }
    if !verdicts.is_empty() {
        writeln!(out, "\nRatios of the medians (of the rounds, the least to the most):\n")?;
        writeln!(out, "| | is | goal | |\n|---|---|---|---|")?;
        for verdict in verdicts {
            writeln!(out, "{}", line(verdict))?;
        }
    }
    drop(out);
    print_failures(results)
}

pub(crate) fn print_failures(results: &Results) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (row, peer, why) in &results.failures {
        writeln!(out, "\nFAILED: {} with {}: {why}", row.name(), peer.title())?;
    }
    Ok(())
}

pub(crate) fn cell(figure: &Figure, values: &[f64]) -> String {
    let Some(Spread { median, least, most }) = Spread::of(values.to_vec()) else { return String::new() };
    let digits = figure.digits;
    match values.len() {
        1 => format!("{median:.digits$}"),
        _ => format!("{median:.digits$} ({least:.digits$} to {most:.digits$})"),
    }
}

fn line(verdict: &Verdict) -> String {
    let Spread { median, least, most } = verdict.value;
    let (digits, times) = if verdict.is_ratio { (2, "x") } else { (0, "") };
    let goal = match verdict.bound {
        Bound::AtLeast(bound) => format!("≥ {bound:.digits$}{times}"),
        Bound::AtMost(bound) => format!("≤ {bound:.digits$}{times}"),
    };
    let judgement = if verdict.is_met { "reached" } else { "**missed**" };
    format!(
        "| {} | {median:.digits$}{times} ({least:.digits$} to {most:.digits$}) | {goal} | {judgement} |",
        verdict.title
    )
}

/// All results, and a description of the machine.
pub(crate) fn json(results: &Results, verdicts: &[Verdict], settings: &Value) -> Value {
    let figures = results.lines.iter().flat_map(|Line { figure, values }| {
        values.iter().map(move |(peer, values)| {
            let spread = Spread::of(values.clone());
            json!({
                "figure": figure.name,
                "title": figure.title,
                "unit": figure.unit,
                "peer": peer.name(),
                "median": spread.map(|spread| spread.median),
                "least": spread.map(|spread| spread.least),
                "most": spread.map(|spread| spread.most),
                "rounds": values,
            })
        })
    });
    let goals = verdicts.iter().map(|verdict| {
        let (kind, bound) = match verdict.bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::AtMost(bound) => ("at most", bound),
        };
        json!({
            "title": verdict.title,
            "is": verdict.value.median,
            "least": verdict.value.least,
            "most": verdict.value.most,
            "goal": format!("{kind} {bound}"),
            "reached": verdict.is_met,
        })
    });
    let notes = results.notes.iter().map(|(peer, note)| json!({ "peer": peer.name(), "note": note }));
    let failures = results
        .failures
        .iter()
        .map(|(row, peer, why)| json!({ "row": row.name(), "peer": peer.name(), "why": why }));
    json!({
        "settings": settings,
        "figures": figures.collect::<Vec<_>>(),
        "goals": goals.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
    })
}
