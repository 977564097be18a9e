//! The project's own files: sources, for tests that compare text and code, and built programs.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent")
}

/// Where a program is that `tests/run` has built with the tests: under `target/debug`. None if the
/// test was started in another way.
pub fn built(program: &str) -> Option<PathBuf> {
    env::var_os("PORTOLAN_BUILT").map(|dir| Path::new(&dir).join(program))
}

/// The text of a file of the project.
///
/// # Panics
///
/// If the file cannot be read: the tests cannot continue without it.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file under `dir` (from the root) whose name ends in `suffix`, sorted.
pub fn files_under(dir: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        for entry in entries {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    dirs.push(path);
                }
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The sources of all packages, tests included.
pub fn rust_files() -> Vec<PathBuf> {
    ["stack", "runtime", "tap-driver", "examples", "tests"]
        .iter()
        .flat_map(|package| files_under(package, ".rs"))
        .collect()
}

/// A path in the form for readers: from the root of the repository.
pub fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Whether a source defines a function of this name.
pub fn defines_function(source: &str, name: &str) -> bool {
    source.match_indices("fn ").any(|(at, _)| {
        let before = source[..at].chars().next_back();
        let after = &source[at + "fn ".len()..];
        before.is_none_or(|c| !is_word(c))
            && after.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word))
    })
}

/// Whether this character can be part of a name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_functions_by_their_whole_name() {
        let source = "pub(crate) fn handle_frame(&mut self) {}\nasync fn generic<T>() {}\n";
        assert!(defines_function(source, "handle_frame"));
        assert!(defines_function(source, "generic"));
        assert!(!defines_function(source, "handle"));
        assert!(!defines_function(source, "frame"));
        assert!(!defines_function("// often handle_x", "handle_x"));
    }

    #[test]
    fn this_file_is_among_the_sources() {
        let names: Vec<String> = rust_files().iter().map(|path| relative(path)).collect();
        assert!(names.contains(&"tests/src/sources.rs".to_string()), "{names:?}");
        assert!(names.contains(&"stack/src/stack.rs".to_string()), "{names:?}");
    }
}
