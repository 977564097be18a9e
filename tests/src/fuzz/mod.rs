//! Fuzz targets: each interprets arbitrary bytes as a test, runs it, and checks what must hold for
//! any bytes.
//!
//! The targets are ordinary functions. `fuzz/` hands them to libFuzzer; `tests/tests/fuzz.rs` runs
//! them over the seeds in `fuzz/seeds/`; the command `fuzz` (`tests/src/bin/fuzz.rs`) writes those
//! seeds and runs a single file.
//!
//! Read `host` (a stack and the checks), then `features` and `step` (the format of an input),
//! `machine` (calls, segments and time in any order), `packets` (one frame after another),
//! `impairment`, `bpf`, `groups`, `interception`, and `seeds`.

mod bpf;
mod features;
mod groups;
mod host;
mod impairment;
mod input;
mod interception;
mod machine;
mod packets;
mod seeds;
mod step;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::sources::root;

pub use seeds::{Seed, generated_seeds};

/// A hash of everything that a run sent and counted: the same input gives the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

/// A way to interpret bytes as a test. It panics when a check fails.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target in `fuzz/` and of its folder of seeds.
    pub name: &'static str,
    /// Runs one input.
    pub run: fn(&[u8]) -> Digest,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "tcp_states", run: machine::run_states },
    Target { name: "calls", run: machine::run_calls },
    Target { name: "tcp_options", run: packets::run_tcp_options },
    Target { name: "frames", run: packets::run_frames },
    Target { name: "extension_headers", run: packets::run_extension_headers },
    Target { name: "reassembly", run: packets::run_reassembly },
    Target { name: "neighbors", run: packets::run_neighbors },
    Target { name: "vnet", run: packets::run_vnet },
    Target { name: "impairment", run: impairment::run },
    Target { name: "bpf", run: bpf::run },
    Target { name: "groups", run: groups::run },
    Target { name: "interception", run: interception::run },
];

/// Prints what happens if FUZZ_TRACE is set in the environment.
fn trace(what: std::fmt::Arguments<'_>) {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    if *IS_ON.get_or_init(|| std::env::var_os("FUZZ_TRACE").is_some()) {
        println!("{what}");
    }
}

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}

/// Runs an input with the target of this name; called by libFuzzer.
///
/// # Panics
///
/// If there is no such target, or if a check fails.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no fuzz target {name}"));
    (target.run)(data);
}

impl Target {
    /// The folder of its seeds.
    pub fn seed_dir(&self) -> PathBuf {
        root().join("fuzz/seeds").join(self.name)
    }

    /// Its seeds, by file name.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let dir = self.seed_dir();
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut seeds: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("a directory entry").path();
                let data = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), data)
            })
            .collect();
        seeds.sort();
        seeds
    }
}
