//! Random sequences of calls on TCP sockets return what they return on Linux
//! (`portolan_tests::streams`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin streams -- --seeds 1000`.

use std::process::Command;

use portolan_tests::host::{is_judge, kernel_version};

/// In a process of its own, because it must move into a network namespace before it has threads.
#[test]
fn sequences_of_calls_on_tcp_sockets_return_what_they_do_on_linux() {
    if !is_judge() {
        println!("this kernel is {}, which calls were not compared with", kernel_version());
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_streams"));
    let output = command.args(["--seeds", "60"]).output().expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" the same, 0 different"), "{text}");
    println!("{text}");
}
