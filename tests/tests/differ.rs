//! A hundred random peers against Portolan and the Linux kernel (`portolan_tests::differ`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin differ -- --seeds 10000`.

use std::process::Command;

use portolan_tests::host::kernel_version;

/// The kernel version for which the rules were written.
const JUDGE: (u32, u32) = (6, 18);

fn is_judge() -> bool {
    let version = kernel_version();
    let (major, minor) = version.split_once('.').unwrap_or_default();
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)) >= JUDGE
}

#[test]
fn a_hundred_random_peers_find_no_difference() {
    if !is_judge() {
        println!("this kernel is {}, and the rules are about {JUDGE:?}", kernel_version());
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_differ")).args(["--seeds", "100"]).output();
    let output = output.expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("differ: 100 seeds: "), "{text}");
}

#[test]
fn the_command_says_what_it_takes() {
    let run = |argument| {
        let output = Command::new(env!("CARGO_BIN_EXE_differ")).arg(argument).output().expect("it was built");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, help) = run("--help");
    assert!(status == Some(0) && help.contains("--seeds"), "{status:?}: {help}");
    assert_eq!(run("--sedes").0, Some(2));
}
