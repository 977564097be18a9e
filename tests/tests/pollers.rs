//! Pollers report what Linux's epoll reports (`portolan_tests::pollers`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin pollers -- --seeds 10000`.

use std::process::Command;

use portolan_tests::host::{is_judge, kernel_version};

/// In a process of its own: descriptors have the lowest free number, and no other thread may take
/// one.
#[test]
fn two_hundred_random_sequences_of_calls_find_no_difference() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pollers")).args(["--seeds", "200"]).output();
    let output = output.expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("200 the same, 0 different"), "{text}");
}
