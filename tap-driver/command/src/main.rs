//! The command `portolan`: a TCP/IP stack on a Linux TAP device.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `addresses` | reads the command line; completes and checks the addresses on it |
//! | `up`, `demo` | the two commands |
//! | `control` | the control socket of `up`, over which `ss` and `stat` ask |
//! | `ss`, `stat` | list the sockets and the counters of a running stack |
//! | `printing` | prints to standard output |
//! | `session` | the common part of both: a stack on a device, with services |
//! | `services` | echo, discard, daytime, chargen, and a status page over HTTP |
//! | `events` | the events that a running command waits for: signals, and the end of its start |
//! | `logger` | the log, with the names of the command line |
//! | `failure` | error messages, and exit statuses |

mod addresses;
mod cli;
mod control;
mod demo;
mod events;
mod failure;
mod logger;
mod printing;
mod services;
mod session;
mod ss;
mod stat;
mod up;

use std::io::Write;
use std::process::ExitCode;

use cli::{Cli, Command, Unread};
use failure::Failure;

fn main() -> ExitCode {
    let result = match cli::read(std::env::args_os()) {
        Ok(cli) => run(cli),
        Err(Unread::Mistake(message)) => Err(Failure::usage(message)),
        // The help and the version go to stdout, mistakes to stderr.
        Err(Unread::Clap(error)) => match error.print() {
            Ok(()) => Ok(ExitCode::from(error.exit_code() as u8)),
            Err(lost) => Err(Failure::unwritten(&lost)),
        },
    };
    result.unwrap_or_else(|failure| {
        // If stderr is closed, too, the error cannot be reported.
        let _ = writeln!(std::io::stderr(), "portolan: {failure}");
        failure.exit_code()
    })
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    logger::init(cli.verbose);
    match cli.command {
        Command::Up(options) => up::run(&options),
        Command::Demo => demo::run(),
        Command::Ss(options) => ss::run(&options),
        Command::Stat(options) => stat::run(&options),
    }
}
