//! `docs/calls.md` tells what every call returns on every kind of socket in every state.
//!
//! `WRITE=1 cargo test -p portolan-tests --test call_table` writes the tables anew.

use std::fs;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::call_table::{KINDS, Kernel, OwnStack, accepted_from_strangers, answers, table};
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::sources::{read, root};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that calls were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let table = Trial::test("the_tables_tell_what_calls_return", check).with_ignored_flag(too_old);
    let strangers = Trial::test("descriptors_of_nobody_and_of_others_are_refused", strangers);
    libtest_mimic::run(&arguments, vec![table, strangers]).exit_code()
}

fn strangers() -> Result<(), Failed> {
    let mut accepted = Vec::new();
    for (kind, _) in KINDS {
        accepted.extend(accepted_from_strangers(kind)?);
    }
    if accepted.is_empty() { Ok(()) } else { Err(accepted.join("\n").into()) }
}

fn check() -> Result<(), Failed> {
    let path = root().join("docs/calls.md");
    let mut document = read(&path);
    let is_written = std::env::var_os("WRITE").is_some();
    let mut wrong = String::new();
    for (kind, heading) in KINDS {
        let ours = answers(&mut OwnStack::new(), kind);
        let theirs = answers(&mut Kernel::new()?, kind);
        let expected = table(kind, &ours, &theirs);
        let from = document.find(&format!("\n## {heading}\n")).ok_or(format!("no section {heading}"))?;
        let from = from + document[from..].find("\n| call |").ok_or(format!("no table in {heading}"))? + 1;
        let len = document[from..].find("\n\n").map_or(document.len() - from, |at| at + 1);
        if document[from..from + len] != expected {
            wrong += &format!("{heading}:\n{expected}\n");
            document.replace_range(from..from + len, &expected);
        }
    }
    if is_written {
        fs::write(path, document)?;
        return Ok(());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}
