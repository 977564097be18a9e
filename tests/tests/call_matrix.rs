//! Two calls on a socket in every state have the same results as on Linux.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::call_matrix::compare;
use portolan_tests::host::{is_judge, kernel_version};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that calls were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trial = Trial::test("calls_return_what_they_do_on_linux", judge).with_ignored_flag(too_old);
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn judge() -> Result<(), Failed> {
    let report = compare()?;
    println!("{} the same", report.same);
    for (why, count) in &report.explained {
        println!("{count:6} {why}");
    }
    let told: Vec<String> = report
        .unexplained
        .iter()
        .map(|(case, linux, portolan)| {
            format!("{case}\n    Linux:    {linux:?}\n    Portolan: {portolan:?}\n")
        })
        .collect();
    if told.is_empty() { Ok(()) } else { Err(told.concat().into()) }
}
