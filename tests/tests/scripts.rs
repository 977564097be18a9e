//! Runs each script of `tests/scripts/` as a separate test, over each of its families.
//! `cargo test -p portolan-tests --test scripts -- timers/rto` runs some of them. With
//! `--nocapture` and SCRIPT_TRACE=1 in the environment the transcript is printed even if a test
//! passes.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::Domain;
use portolan_tests::script::Script;
use portolan_tests::sources::{files_under, relative};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for path in files_under("tests/scripts", ".txt") {
        let name = relative(&path);
        let name = name.trim_start_matches("tests/scripts/").trim_end_matches(".txt").to_string();
        match Script::load(&path) {
            Ok(script) => {
                for &domain in script.families() {
                    let path = path.clone();
                    let family = if domain == Domain::V4 { "v4" } else { "v6" };
                    trials.push(Trial::test(format!("{name}::{family}"), move || run(&path, domain)));
                }
            }
            Err(failure) => {
                trials.push(Trial::test(name, move || Err(Failed::from(failure.to_string()))));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(path: &std::path::Path, domain: Domain) -> Result<(), Failed> {
    let transcript =
        Script::load(path).and_then(|script| script.run(domain)).map_err(|failure| failure.to_string())?;
    if std::env::var_os("SCRIPT_TRACE").is_some() {
        println!("{}:\n    {}", relative(path), transcript.join("\n    "));
    }
    Ok(())
}
