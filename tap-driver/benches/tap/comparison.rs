//! The comparison of two commits: the same rows are measured in turn with the stack of this
//! checkout and with that of the other commit.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use crate::arithmetic::change;
use crate::other_commit;
use crate::report::{Line, Results, cell};

/// Builds this benchmark with the stack of a commit, and returns the program.
pub(crate) fn build(commit: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folder = other_commit::unpack(commit)?;
    let arguments = ["--package", "portolan-tap", "--bench", "tap", "--no-run", "--message-format", "json"];
    let messages = other_commit::bench(&folder, arguments)?;
    let program = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "tap" && message["target"]["kind"][0] == "bench";
        if is_ours { message["executable"].as_str().map(PathBuf::from) } else { None }
    });
    program.ok_or_else(|| format!("cargo does not say where the benchmark of {commit} is").into())
}

/// Prints a line for each figure and peer. Returns whether one has become worse.
pub(crate) fn print(here: &Results, there: &Results, commit: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let mut has_lost = false;
    writeln!(
        out,
        "\nThe median of all rounds (the least to the most), and the ratio of the medians (of the rounds):\n"
    )?;
    writeln!(out, "| | | {commit} | here | here / {commit} | |\n|---|---|---|---|---|---|")?;
    for Line { figure, values } in here.lines() {
        for (&peer, values) in values {
            let earlier = there.values(&figure.name, peer);
            let Some(change) = change(values, earlier, figure.is_rate()) else { continue };
            has_lost |= change.is_loss;
            writeln!(
                out,
                "| {}, {} | {} | {} | {} | {:.2} ({:.2} to {:.2}) | {} |",
                peer.title(),
                figure.title,
                figure.unit,
                cell(figure, earlier),
                cell(figure, values),
                change.ratio.median,
                change.ratio.least,
                change.ratio.most,
                if change.is_loss { "**lost**" } else { "" }
            )?;
        }
    }
    Ok(has_lost)
}
