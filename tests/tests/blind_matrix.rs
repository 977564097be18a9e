//! A sample of the blind matrix: segments of all kinds in all states, and the answers of the kernel
//! and of Portolan.

use std::process::Command;

use portolan_tests::host::{is_judge, kernel_version};

/// The seed that selects the cases.
const SEED: &str = "20251130";

#[test]
fn a_sample_is_answered_as_the_kernel_does() {
    if !is_judge() {
        println!("kernel {} is older than the one that the rules were made for", kernel_version());
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_blind_matrix"))
        .args(["--sample", "500", "--seed", SEED])
        .output()
        .expect("the command starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    // If all cases differed, the generator would be broken, and the test would prove nothing.
    let same = told.strip_prefix("500 cases, ").and_then(|rest| rest.split_once(' '));
    let same: usize = same.and_then(|(same, _)| same.parse().ok()).expect("the first line counts");
    assert!((400..500).contains(&same), "{told}");
}
