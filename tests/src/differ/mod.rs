//! Random peers against Portolan and the Linux kernel: a seed becomes a [`Plan`], both hosts play
//! it, and their answers are compared by kind. A difference is explained by a rule (`rules`), or
//! shrunk to a short script with a difference of the same kind.
//!
//! A plan is a script of `tests/scripts` (its notation is in the README there) without
//! expectations: calls of the program and segments of the peer, in groups, and after each group a
//! time in which the host answers, longer than an acknowledgement may be delayed. The comparison
//! includes what a host sends at once, and what it has acknowledged at the end of a group. It does
//! not include what timers send later, which scripts test. The peer leaves data unacknowledged for
//! so short a time that timers rarely fire.
//!
//! Read `plan` (a plan, and its text), `generate` (from a seed to a plan), `answers` (what is
//! compared), `rules` (known differences), then `shrink`.

mod answers;
mod generate;
mod plan;
mod rules;
mod shrink;

pub use answers::{Answer, Difference};
pub use generate::generate;
pub use plan::{Group, Plan};
pub use rules::{RULES, Rule};
pub use shrink::shrink;

/// How many times a difference must appear, because a busy machine may answer late several times.
const ATTEMPTS: usize = 6;

/// The result of a plan.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Both hosts gave the same answers.
    Same,
    /// The answers differ, and this one of [`RULES`] explains why.
    Explained(usize, Difference),
    /// The answers differ, and no rule explains why.
    Unexplained(Difference),
}

impl Verdict {
    /// Whether it shows a bug, or needs a rule.
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Verdict::Unexplained(_))
    }
}

/// Plays a plan on both hosts and compares the answers. The kernel plays in a network namespace
/// that this thread enters.
pub fn compare(plan: &Plan) -> Verdict {
    let mut verdict = Verdict::Same;
    for _ in 0..ATTEMPTS {
        let ours = answers::of(plan, play_on_portolan(plan));
        let theirs = answers::of(plan, play_on_linux(plan));
        verdict = judge(plan, &ours, &theirs);
        if !verdict.is_unexplained() {
            break;
        }
    }
    verdict
}

/// The first difference, and the rule that explains it, if there is one. Later differences do not
/// count, because the hosts are in different states by then.
fn judge(plan: &Plan, ours: &[Answer], theirs: &[Answer]) -> Verdict {
    let first = (0..plan.groups.len()).find_map(|index| answers::difference(plan, index, ours, theirs));
    let Some(difference) = first else { return Verdict::Same };
    match RULES.iter().position(|rule| (rule.explains)(&difference)) {
        Some(rule) => Verdict::Explained(rule, difference),
        None => Verdict::Unexplained(difference),
    }
}

fn play_on_portolan(plan: &Plan) -> Vec<String> {
    transcript(plan.script().run_on_portolan(plan.domain))
}

fn play_on_linux(plan: &Plan) -> Vec<String> {
    transcript(plan.script().run_on_linux(plan.domain))
}

/// The transcript, up to a call that could not be made.
fn transcript(result: Result<Vec<String>, crate::script::Failure>) -> Vec<String> {
    match result {
        Ok(transcript) => transcript,
        Err(failure) => {
            let mut transcript = failure.transcript;
            transcript.push(format!("0 failure {}", failure.line));
            transcript
        }
    }
}
