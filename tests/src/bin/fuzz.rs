//! Writes the seeds of the fuzz targets, and runs single inputs.
//!
//! ```text
//! cargo run -p portolan-tests --bin fuzz -- seeds
//! cargo run -p portolan-tests --bin fuzz -- replay tcp_states fuzz/artifacts/tcp_states/crash-...
//! ```

use std::process::ExitCode;
use std::{env, fs};

use portolan_tests::fuzz::{TARGETS, generated_seeds, target};

const USAGE: &str = "usage: fuzz seeds | fuzz targets | fuzz replay TARGET FILE...

seeds writes the inputs that fuzz/seeds begins with, targets prints the names of all targets, and replay runs inputs of one
target: a panic tells what is wrong with it.";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["seeds"] => write_seeds(),
        ["targets"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["replay", name, ref files @ ..] if !files.is_empty() => replay(name, files),
        _ => Err(USAGE.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn write_seeds() -> Result<(), String> {
    for (name, file, bytes) in generated_seeds() {
        let dir = target(name).ok_or_else(|| format!("there is no target {name}"))?.seed_dir();
        let path = dir.join(file);
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn replay(name: &str, files: &[&str]) -> Result<(), String> {
    let target = target(name).ok_or_else(|| format!("there is no target {name}\n{USAGE}"))?;
    for file in files {
        let data = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        println!("{file}: {:?}", (target.run)(&data));
    }
    Ok(())
}
