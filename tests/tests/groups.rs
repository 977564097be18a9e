//! Multicast memberships, and who gets a datagram to a group or a broadcast address, are as on
//! Linux (`portolan_tests::groups`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin groups -- --seeds 10000`.

use std::process::Command;

use portolan_tests::groups::written_count;
use portolan_tests::host::{is_judge, kernel_version};

/// In a process of its own, which moves into a network namespace.
#[test]
fn sequences_of_calls_find_no_difference() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_groups")).args(["--seeds", "300"]).output();
    let output = output.expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let expected = format!("{} the same, 0 different", 300 + written_count());
    assert!(text.contains(&expected), "{text}");
}
