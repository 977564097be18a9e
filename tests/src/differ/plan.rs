//! A plan: what a program and a peer do, and when.

use std::fmt::Write as _;
use std::time::Duration;

use portolan::Domain;

use crate::by_family;
use crate::script::Script;

/// The actions at one time, and how long the host then has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Lines of a script: `call` and `peer`.
    pub lines: Vec<String>,
    /// The time until the next group.
    pub wait: Duration,
}

/// The actions that are played on both hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// The family.
    pub domain: Domain,
    /// The steps.
    pub groups: Vec<Group>,
}

impl Plan {
    /// The text of a script that plays the plan and expects nothing.
    pub fn text(&self) -> String {
        // Portolan follows RFC 1337 §3: no reset ends TIME-WAIT. Linux does so only with this
        // setting.
        let mut text = format!("# seed {}\nfamily {}\nsysctl tcp_rfc1337 1\n", self.seed, self.family());
        for group in &self.groups {
            for line in &group.lines {
                // Segments in between are not compared with the script, but belong to this group.
                let _ = writeln!(text, "{line}\nskip for 0ms");
            }
            let _ = writeln!(text, "skip for {}ms", group.wait.as_millis());
        }
        text
    }

    /// `v4` or `v6`.
    pub fn family(&self) -> &'static str {
        by_family(self.domain, "v4", "v6")
    }

    /// The script that plays the plan.
    ///
    /// # Panics
    ///
    /// If its lines are not valid in a script.
    pub fn script(&self) -> Script {
        let text = self.text();
        Script::parse("plan", &text).unwrap_or_else(|failure| panic!("{failure}\n{text}"))
    }
}
