//! Cycles in a directed graph.

use std::collections::{BTreeMap, BTreeSet};

/// The nodes that each node refers to.
#[derive(Default)]
pub(crate) struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Adds an arrow. An arrow from a node to itself means nothing, and is left out.
    pub(crate) fn add(&mut self, from: String, to: String) {
        if from != to {
            self.0.entry(to.clone()).or_default();
            self.0.entry(from).or_default().insert(to);
        }
    }

    pub(crate) fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (&from[..], &to[..])))
    }

    /// The arrows from which all others follow: those that no longer way stands for. The graph must
    /// have no circle.
    pub(crate) fn reduced(&self) -> Vec<(&str, &str)> {
        let is_needed = |&(from, to): &(&str, &str)| {
            let mut others = self.0[from].iter().filter(|other| *other != to);
            !others.any(|other| self.reached_from(other).contains(to))
        };
        self.arrows().filter(is_needed).collect()
    }

    /// The largest sets of nodes of which each can be reached from every other.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|node| (&node[..], self.reached_from(node))).collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (&node, targets) in &reached {
            if targets.contains(node) && !circles.iter().any(|circle| circle.contains(node)) {
                circles.push(targets.iter().copied().filter(|to| reached[to].contains(node)).collect());
            }
        }
        circles
    }

    /// All nodes that can be reached from this one.
    fn reached_from(&self, node: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = self.0[node].iter().map(|node| &node[..]).collect();
        while let Some(node) = next.pop() {
            if reached.insert(node) {
                next.extend(self.0[node].iter().map(|node| &node[..]));
            }
        }
        reached
    }
}
