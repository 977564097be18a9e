//! Random networks by the thousand. Each seed is a [`Scenario`]. Each run must keep the invariants
//! of [`sim`](portolan::testing::sim) and those checked here: connections end, all data arrives if
//! both ends wait for it, memory is released, every frame is accounted for, and the same seed gives
//! the same run.

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

/// The number of packets that are kept of a run that failed.
const KEPT_PACKETS: usize = 300_000;

/// A seed that failed, and the file with its packets.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The reason.
    pub what: String,
    /// The files with the packets, as the hosts sent and received them, and with the log in virtual
    /// time.
    pub kept: Option<(PathBuf, PathBuf)>,
}

/// Runs a seed. If it fails, runs it again to store its packets in `directory`.
pub fn soak(seed: u64, directory: &Path) -> Result<Summary, Failure> {
    let caught = catch_unwind(AssertUnwindSafe(|| run_seed(seed, 0)));
    let outcome = caught.unwrap_or_else(|panic| Outcome::of_panic(&panic));
    match outcome.failure {
        None => Ok(outcome.summary),
        Some(what) => Err(Failure { seed, what, kept: keep(seed, directory) }),
    }
}

/// Runs a seed again and stores its packets. `None` after a panic, which leaves only its message.
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
