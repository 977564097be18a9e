//! The goals: bounds for ratios of medians within one run.

use crate::arithmetic::{Bound, ratio};
use crate::peers::Peer;
use crate::report::Results;
use crate::spread::Spread;

/// A figure with a goal.
pub(crate) struct Goal {
    /// The name of the figure.
    figure: String,
    peer: Peer,
    against: Against,
    bound: Bound,
}

enum Against {
    /// The same figure of another peer.
    Peer(Peer),
    /// Another figure of the same peer.
    Figure(String),
    /// Nothing: the bound is for the number itself.
    Nothing,
}

/// The result for a goal.
pub(crate) struct Verdict {
    /// What is compared with what.
    pub(crate) title: String,
    pub(crate) value: Spread,
    pub(crate) is_ratio: bool,
    pub(crate) bound: Bound,
    pub(crate) is_met: bool,
}

/// All goals; `idle` is the largest number of idle connections.
pub(crate) fn all(idle: usize) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let goal = |figure: &str, peer, against, bound| Goal { figure: figure.to_owned(), peer, against, bound };
    let mut goals = Vec::new();
    for row in ["to-1", "from-1"] {
        goals.extend([
            goal(row, Peer::Portolan, Against::Peer(Peer::Limit), AtLeast(0.9)),
            goal(row, Peer::Portolan, Against::Peer(Peer::Kernel), AtLeast(1.0)),
            goal(row, Peer::Portolan, Against::Peer(Peer::Smoltcp), AtLeast(10.0)),
            goal(row, Peer::PortolanCopies, Against::Peer(Peer::Limit), AtLeast(0.6)),
            goal(row, Peer::PortolanPlain, Against::Peer(Peer::Smoltcp), AtLeast(2.0)),
            goal(row, Peer::PortolanPlain, Against::Peer(Peer::KernelPlain), AtLeast(0.8)),
        ]);
    }
    for row in ["to-8", "from-8"] {
        goals.push(goal(row, Peer::PortolanQueues, Against::Peer(Peer::Portolan), AtLeast(1.0)));
    }
    for part in ["copied", "lent"] {
        let figure = format!("in-memory/{part}");
        goals.push(goal(&figure, Peer::Portolan, Against::Peer(Peer::Smoltcp), AtLeast(4.0)));
    }
    for row in ["latency", "latency-awake"] {
        for (part, bound) in [("p50", 1.25), ("p99", 1.5)] {
            let figure = format!("{row}/{part}");
            goals.push(goal(&figure, Peer::Portolan, Against::Peer(Peer::Limit), AtMost(bound)));
        }
    }
    goals.push(goal("udp-rate", Peer::Portolan, Against::Peer(Peer::Limit), AtLeast(0.85)));
    goals.push(goal("connect-byte", Peer::Portolan, Against::Peer(Peer::Kernel), AtLeast(0.8)));
    for (part, bound) in [("to", AtLeast(0.95)), ("from", AtLeast(0.95)), ("p50", AtMost(1.0 / 0.95))] {
        let figure = format!("idle/{part}/{idle}");
        goals.push(goal(&figure, Peer::Portolan, Against::Figure(format!("idle/{part}/0")), bound));
    }
    for figure in ["memory/unused", "memory/used"] {
        goals.push(goal(figure, Peer::Portolan, Against::Nothing, AtMost(1024.0)));
    }
    let figure = format!("segment/{idle}");
    goals.push(goal(&figure, Peer::PortolanPlain, Against::Figure("segment/10".into()), AtMost(1.15)));
    goals
}

impl Goal {
    /// `None` unless both sides were measured.
    pub(crate) fn judge(&self, results: &Results) -> Option<Verdict> {
        let ours = results.values(&self.figure, self.peer);
        let name = results.title(&self.figure)?;
        let who = self.peer.title();
        let (title, value) = match &self.against {
            Against::Peer(peer) => {
                let value = ratio(ours, results.values(&self.figure, *peer))?;
                (format!("{name}: {who} against {}", peer.title()), value)
            }
            Against::Figure(figure) => {
                let value = ratio(ours, results.values(figure, self.peer))?;
                (format!("{who}, {name}, against: {}", results.title(figure)?), value)
            }
            Against::Nothing => (format!("{who}, {name}"), Spread::of(ours.to_vec())?),
        };
        let is_ratio = !matches!(self.against, Against::Nothing);
        Some(Verdict { title, value, is_ratio, bound: self.bound, is_met: self.bound.is_met(value.median) })
    }
}
