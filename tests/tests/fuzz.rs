//! Replays the seeds of all fuzz targets (`portolan_tests::fuzz`), including those that once found
//! a bug.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use portolan_tests::fuzz::{TARGETS, generated_seeds, target};
use portolan_tests::sources::{files_under, read, relative, root};

#[test]
fn seeds_run_and_give_the_same_twice() {
    for target in TARGETS {
        let seeds = target.seeds();
        assert!(seeds.len() >= 5, "{} has {} seeds", target.name, seeds.len());
        for (name, data) in seeds {
            println!("{}/{name}", target.name);
            assert_eq!((target.run)(&data), (target.run)(&data), "{}/{name}", target.name);
        }
    }
}

#[test]
fn generated_seeds_are_the_ones_in_the_repository() {
    for (name, file, bytes) in generated_seeds() {
        let path = target(name).expect("seeds are for targets").seed_dir().join(&file);
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{}: cargo run -p portolan-tests --bin fuzz -- seeds", relative(&path));
    }
}

/// Each target has a file in `fuzz/fuzz_targets`, an entry in its manifest, and a part in what the
/// CI runs; and these contain nothing else.
#[test]
fn targets_are_known_to_the_fuzzer() {
    let manifest = read(&root().join("fuzz/Cargo.toml"));
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_string()).collect();
    let files: BTreeSet<String> = files_under("fuzz/fuzz_targets", ".rs")
        .iter()
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_string))
        .collect();
    assert_eq!(names, files);
    for name in &names {
        let source = read(&root().join(format!("fuzz/fuzz_targets/{name}.rs")));
        assert!(source.contains(&format!("run(\"{name}\"")), "{name} runs another target: {source}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no {name}");
    }
    let dirs = fs::read_dir(root().join("fuzz/seeds")).expect("the seeds");
    let dirs: BTreeSet<String> =
        dirs.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names, dirs);
}

#[test]
fn the_command_lists_and_replays() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fuzz")).args(words).output();
        let output = output.expect("it was built with this test");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, text) = run(&["targets"]);
    assert_eq!((status, text.lines().count()), (Some(0), TARGETS.len()));
    let seed = root().join("fuzz/seeds/impairment/perfect");
    let (status, text) = run(&["replay", "impairment", &seed.to_string_lossy()]);
    assert!(status == Some(0) && text.contains("Digest"), "{status:?}: {text}");
    assert_eq!(run(&["replay", "nothing", "x"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}
