//! The stack needs no std: a program without std links, and two stacks in it communicate
//! (`tests/no_std`).

use std::path::Path;
use std::process::Command;

use portolan_tests::sources::root;

#[test]
fn a_program_without_std_links_the_stack_and_runs_it() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--manifest-path", "tests/no_std/Cargo.toml", "--target-dir"])
        .arg(&target)
        .current_dir(root())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "it does not link");
    let output = Command::new(target.join("debug/portolan-no-std")).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(said, "4096 bytes crossed\n");
}
