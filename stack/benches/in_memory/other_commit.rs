//! Runs the same benchmarks with the stack of another commit.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Declares the benchmark in a commit that has none of this name.
const TARGET: &str = "\n[[bench]]\nname = \"instructions\"\nharness = false\n";
const PACKAGES: [&str; 2] = ["stack", "tap-driver"];

/// A file of the benchmarks that some commits need in the place of another, because the calls of
/// their stack or runtime are other ones.
struct Replacement {
    /// A source of such a commit, and a text that only stands there in such commits.
    mark: (&'static str, &'static str),
    file: &'static str,
    by: &'static str,
}

const REPLACEMENTS: [Replacement; 1] = [Replacement {
    mark: ("runtime/src/udp.rs", "fn recv_batch_from"),
    file: "tap-driver/benches/tap/server/datagrams.rs",
    by: "tap-driver/benches/tap/server/datagrams_by_tuples.rs",
}];

/// Unpacks the commit under `target/tmp` and puts the benchmarks of this checkout into it, so that
/// both run the same benchmarks. Returns the folder.
pub(crate) fn unpack(commit: &str) -> Result<PathBuf, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the package is in a workspace")?;
    let hash = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{commit}^{{commit}}")])
        .current_dir(here)
        .output()?;
    if !hash.status.success() {
        return Err(format!("git knows no commit {commit} here").into());
    }
    let hash = String::from_utf8(hash.stdout)?.trim().to_owned();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("commit-{hash}"));
    unpack_into(&hash, here, &folder)?;
    for package in PACKAGES {
        copy_folder(&here.join(package).join("benches"), &folder.join(package).join("benches"))?;
    }
    for Replacement { mark: (source, text), file, by } in REPLACEMENTS {
        if fs::read_to_string(folder.join(source)).is_ok_and(|source| source.contains(text)) {
            fs::copy(here.join(by), folder.join(file))?;
        }
    }
    let manifest = folder.join("stack/Cargo.toml");
    if !fs::read_to_string(&manifest)?.contains("name = \"instructions\"") {
        OpenOptions::new().append(true).open(&manifest)?.write_all(TARGET.as_bytes())?;
    }
    Ok(folder)
}

/// Runs `cargo bench` there with these arguments. Returns what it prints on stdout.
pub(crate) fn bench<'a>(
    folder: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String, Box<dyn Error>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
        .args(["bench", "--quiet"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("the benchmark fails in {}; see above", folder.display()).into()),
    }
}

fn unpack_into(hash: &str, repository: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
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
