//! Options by number and bytes return what they do on Linux, and docs/options.md lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::sockopt::{RULES, compare, described};
use portolan_tests::sources::{read, root};

/// How many differences of an option are printed.
const SHOWN: usize = 5;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that options were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("options_return_what_they_do_on_linux", judge).with_ignored_flag(too_old),
        Trial::test("the_document_lists_the_options_of_the_code", document_agrees),
        Trial::test("the_document_lists_the_differences", document_explains),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn judge() -> Result<(), Failed> {
    let report = compare()?;
    println!("{} the same", report.same);
    for (why, count) in &report.explained {
        println!("{count:6} {why}");
    }
    let mut shown: BTreeMap<(i32, i32), usize> = BTreeMap::new();
    for difference in &report.unexplained {
        let count = shown.entry(difference.place.option).or_default();
        *count += 1;
        if *count <= SHOWN {
            println!("{difference}");
        }
    }
    match report.unexplained.len() {
        0 => Ok(()),
        count => Err(format!("{count} differences that nothing explains").into()),
    }
}

fn document_agrees() -> Result<(), Failed> {
    let documented: BTreeSet<(i32, i32, String)> = described()
        .into_iter()
        .filter(|option| option.is_done)
        .map(|option| (option.level, option.number, option.name))
        .collect();
    let known: BTreeSet<(i32, i32, String)> = portolan::option_names()
        .map(|option| (option.level, option.number, option.name.to_string()))
        .collect();
    let lost: Vec<_> = documented.symmetric_difference(&known).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("only on one side: {lost:?}").into()) }
}

fn document_explains() -> Result<(), Failed> {
    let text: Vec<String> =
        read(&root().join("docs/options.md")).split_whitespace().map(str::to_string).collect();
    let text = text.join(" ");
    let lost: Vec<_> = RULES.iter().map(|rule| rule.why).filter(|why| !text.contains(why)).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("not in docs/options.md: {lost:?}").into()) }
}
