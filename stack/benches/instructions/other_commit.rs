//! The same benchmark with the stack of another commit.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a commit that has no such benchmark gets it.
const TARGET: &str = "\n[[bench]]\nname = \"instructions\"\nharness = false\n";

/// Unpacks the commit under `target/tmp`, puts the benchmarks of this checkout into it, so that
/// both do the same with what each has, and runs them. The counts, by the names of the rows.
pub(crate) fn count(commit: &str, rows: &[String]) -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let hash = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{commit}^{{commit}}")])
        .current_dir(here)
        .output()?;
    if !hash.status.success() {
        return Err(format!("git knows no commit {commit} here").into());
    }
    let hash = String::from_utf8(hash.stdout)?.trim().to_owned();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("instructions-{hash}"));
    unpack(&hash, here.parent().ok_or("the package is in a workspace")?, &folder)?;
    let stack = folder.join("stack");
    copy_folder(&here.join("benches"), &stack.join("benches"))?;
    let manifest = stack.join("Cargo.toml");
    if !fs::read_to_string(&manifest)?.contains("name = \"instructions\"") {
        OpenOptions::new().append(true).open(&manifest)?.write_all(TARGET.as_bytes())?;
    }
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
        .args(["bench", "--quiet", "--package", "portolan", "--bench", "instructions", "--", "--raw"])
        .args(rows)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the benchmark does not run with the stack of {commit}; see above").into());
    }
    let line = |line: &str| {
        let (name, count) = line.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    Ok(String::from_utf8(output.stdout)?.lines().filter_map(line).collect())
}

fn unpack(hash: &str, repository: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut git = Command::new("git")
        .args(["archive", "--format=tar", hash])
        .current_dir(repository)
        .stdout(Stdio::piped())
        .spawn()?;
    let archive = git.stdout.take().ok_or("a pipe was asked for")?;
    let unpacked = Command::new("tar").arg("-x").current_dir(folder).stdin(archive).status()?;
    match git.wait()?.success() && unpacked.success() {
        true => Ok(()),
        false => Err(format!("{hash} could not be unpacked into {}", folder.display()).into()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
