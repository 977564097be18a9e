//! The command `portolan`: a TCP/IP stack on a Linux TAP device.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `addresses` | reads the command line; completes and checks the addresses on it |
//! | `up`, `demo` | the two commands |
//! | `session` | what both share: a stack on a device, with services |
//! | `services` | echo, discard, daytime, chargen, and a status page over HTTP |
//! | `happenings` | what a running command waits for: signals, and the end of its start |
//! | `failure` | messages for people, and exit statuses |

mod addresses;
mod cli;
mod demo;
mod failure;
mod happenings;
mod services;
mod session;
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
        // Nobody is left to tell if stderr is gone too.
        let _ = writeln!(std::io::stderr(), "portolan: {failure}");
        failure.exit_code()
    })
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    init_log(cli.verbose);
    match cli.command {
        Command::Up(options) => up::run(&options),
        Command::Demo => demo::run(),
    }
}

/// Warnings always; -v and its repetitions more, RUST_LOG whatever it says.
fn init_log(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
}
