//! Plays each script of `tests/scripts/` against the Linux kernel, as a separate test for each of
//! its families. `cargo test -p portolan-tests --test scripts_kernel -- timers/rto` runs some of
//! them. With `--nocapture` and SCRIPT_TRACE=1 in the environment the transcript is printed even if
//! a test passes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::Domain;
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::script::{Judgement, Script};
use portolan_tests::sources::{files_under, relative};

/// Many threads, because scripts mostly wait.
const THREADS: usize = 32;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that the scripts were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut trials = Vec::new();
    for path in files_under("tests/scripts", ".txt") {
        let name = relative(&path);
        let name = name.trim_start_matches("tests/scripts/").trim_end_matches(".txt").to_string();
        match Script::load(&path) {
            Ok(script) => trials.extend(trials_of(&script, &name, &path, too_old)),
            Err(failure) => {
                trials.push(Trial::test(name, move || Err(Failed::from(failure.to_string()))));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials_of(script: &Script, name: &str, path: &Path, too_old: bool) -> Vec<Trial> {
    let is_ignored = too_old || matches!(script.is_not_for_the_kernel(), Ok(Some(_)));
    let trial = |&domain: &Domain| {
        let path: PathBuf = path.into();
        let family = if domain == Domain::V4 { "v4" } else { "v6" };
        Trial::test(format!("{name}::{family}"), move || judge(&path, domain)).with_ignored_flag(is_ignored)
    };
    script.families().iter().map(trial).collect()
}

fn judge(path: &Path, domain: Domain) -> Result<(), Failed> {
    let judgement =
        Script::load(path).and_then(|script| script.judge(domain)).map_err(|failure| failure.to_string())?;
    if std::env::var_os("SCRIPT_TRACE").is_some() {
        let told = match judgement {
            Judgement::Agrees(transcript) => transcript.join("\n    "),
            Judgement::Differs(why) | Judgement::NotPlayed(why) => why,
        };
        println!("{}:\n    {told}", relative(path));
    }
    Ok(())
}
