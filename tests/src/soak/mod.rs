//! Random networks by the thousand: each seed is a [`Scenario`], and every one must keep the
//! invariants of [`sim`](portolan::testing::sim) and what is asked here: connections end, all that
//! was sent arrives where both ends wait for it, memory returns, every frame is accounted for, and
//! the same seed is the same run.

pub(crate) mod dice;
mod run;
mod scenario;
mod watch;

pub use run::{Outcome, Summary, run_seed};
pub use scenario::{FlowPlan, Scenario, Topology};

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::pcap::write_pcap;

/// The packets that are kept of a run that failed.
const KEPT_PACKETS: usize = 300_000;

/// A seed that failed, and where the packets are.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// Why.
    pub what: String,
    /// The packets, as the hosts sent and received them, and the log in virtual time.
    pub kept: Option<(PathBuf, PathBuf)>,
}

/// Runs a seed; if it fails, once more, to keep its packets in `directory`.
pub fn soak(seed: u64, directory: &Path) -> Result<Summary, Failure> {
    let caught = catch_unwind(AssertUnwindSafe(|| run_seed(seed, 0)));
    let outcome = caught.unwrap_or_else(|panic| Outcome::of_panic(&panic));
    match outcome.failure {
        None => Ok(outcome.summary),
        Some(what) => Err(Failure { seed, what, kept: keep(seed, directory) }),
    }
}

/// A panic leaves nothing to keep but its message.
fn keep(seed: u64, directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run_seed(seed, KEPT_PACKETS))).ok()?;
    fs::create_dir_all(directory).ok()?;
    let log = directory.join(format!("soak-{seed}.log"));
    let scenario = Scenario::new(seed);
    let failure = outcome.failure.unwrap_or_default();
    fs::write(&log, format!("{scenario:#?}\n{}\n{failure}\n", outcome.transcript)).ok()?;
    let pcap = directory.join(format!("soak-{seed}.pcap"));
    let packets = outcome.packets.iter().map(|(at, packet)| (*at, &packet[..]));
    write_pcap(&pcap, pcap_file::DataLink::RAW, packets);
    Some((pcap, log))
}
