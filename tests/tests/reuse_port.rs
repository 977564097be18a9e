//! Sockets that share a port are chosen by a program as on Linux.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::SocketKind;
use portolan_tests::host::{LinuxHost, is_judge, kernel_version};
use portolan_tests::reuse_port::{compare, is_meant};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that selectors were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("datagrams", || judge(SocketKind::Datagram)).with_ignored_flag(too_old),
        Trial::test("connections", || judge(SocketKind::Stream)).with_ignored_flag(too_old),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn judge(kind: SocketKind) -> Result<(), Failed> {
    let _namespace = LinuxHost::new(&[])?;
    portolan_tests::sockopt::set_loopback_up()?;
    let answers = compare(kind)?;
    let differs =
        |(step, linux, portolan): &&(_, _, _)| linux != portolan && !is_meant(*step, linux, portolan);
    for (step, linux, portolan) in answers.iter().filter(differs) {
        println!("{step:?}: Linux {linux:?}, Portolan {portolan:?}");
    }
    match answers.iter().filter(differs).count() {
        0 => Ok(()),
        count => Err(format!("{count} answers differ").into()),
    }
}
