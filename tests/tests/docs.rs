//! Checks the documents against the project: what they name exists, their links lead somewhere, and
//! the commands that they print are run somewhere.

use std::path::{Path, PathBuf};

use portolan_tests::sources::{defines_function, files_under, read, relative, root, rust_files};

/// Commands in documents, and where a test or the continuous integration runs each of them: a file
/// and a text in it. `cargo test` needs no line here, because the tests that it names are checked
/// to exist.
const RUN_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("tests/run", ".ci/run", "step tests/run"),
    (".ci/run", ".ci/run", "#!/usr/bin/env bash"),
    ("fuzz/run", ".ci/run", "step fuzz/run 60"),
    (
        "cargo run --release --manifest-path tests/peers/Cargo.toml",
        ".ci/run",
        "step cargo run --quiet --locked --manifest-path tests/peers/Cargo.toml",
    ),
    ("portolan ss -ltn", "tap-driver/command/tests/control.rs", "$PORTOLAN ss -ltn"),
    ("portolan ss -tunaoem", "tap-driver/command/tests/control.rs", "$PORTOLAN ss -tunaoem"),
    (
        "portolan ss -tni state established '( sport = :echo or dport gt :1024 )'",
        "tap-driver/command/tests/control.rs",
        "$PORTOLAN ss -tni state established '( sport = :echo or dport gt :1024 )'",
    ),
    ("portolan ss -a --json", "tap-driver/command/tests/control.rs", "$PORTOLAN ss -a --json"),
    ("portolan stat", "tap-driver/command/tests/control.rs", "$PORTOLAN stat"),
    ("portolan stat -az 'TcpExt*'", "tap-driver/command/tests/control.rs", "$PORTOLAN stat -az 'TcpExt*'"),
    (
        "cargo run --release -p portolan-tests --bin differ -- --seeds 10000",
        "tests/tests/differ.rs",
        "env!(\"CARGO_BIN_EXE_differ\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin pollers -- --seeds 10000",
        "tests/tests/pollers.rs",
        "env!(\"CARGO_BIN_EXE_pollers\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin unix_sockets -- --seeds 10000",
        "tests/tests/unix_sockets.rs",
        "env!(\"CARGO_BIN_EXE_unix_sockets\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin groups -- --seeds 10000",
        "tests/tests/groups.rs",
        "env!(\"CARGO_BIN_EXE_groups\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin datagrams -- --table 1 --seeds 10000",
        "tests/tests/datagrams.rs",
        "env!(\"CARGO_BIN_EXE_datagrams\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin streams -- --seeds 1000",
        "tests/tests/streams.rs",
        "env!(\"CARGO_BIN_EXE_streams\")",
    ),
    // The test itself carries less.
    (
        "QUIC_MIB=1024 cargo test --release -p portolan-tests --test quic -- --nocapture --test-threads 1",
        "tests/tests/quic/main.rs",
        "env::var(\"QUIC_MIB\")",
    ),
    (
        "CONNECTIONS=100000 cargo test --release -p portolan-tests --test kernel_peer crowd -- --nocapture",
        "tests/tests/kernel_peer/crowd.rs",
        "env::var(\"CONNECTIONS\")",
    ),
    // This is run by hand, for hours.
    (
        "cargo mutants -p portolan --shard 7/19 --sharding round-robin --baseline skip --timeout 60",
        ".cargo/mutants.toml",
        "test_package = [\"portolan\", \"portolan-tests\"]",
    ),
    ("fuzz/run 30000", ".ci/run", "step fuzz/run 60"),
    ("fuzz/run 600 calls", ".ci/run", "step fuzz/run 60"),
    (
        "cargo run -p portolan-tests --bin fuzz -- seeds",
        "tests/tests/fuzz.rs",
        "env!(\"CARGO_BIN_EXE_fuzz\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin crowd -- --clients 50000",
        "tests/tests/memory.rs",
        "env!(\"CARGO_BIN_EXE_crowd\")",
    ),
    (
        "cargo bench -p portolan --bench in_memory",
        "tests/run",
        "cargo test --quiet --workspace --bench in_memory",
    ),
    (
        "cargo bench -p portolan --bench instructions",
        "tests/run",
        "cargo test --quiet --workspace --bench instructions",
    ),
    (
        "cargo bench -p portolan --bench instructions -- --against 3b09d04",
        "tests/run",
        "cargo test --quiet --workspace --bench instructions",
    ),
    (
        "cargo bench -p portolan --bench instructions -- --against main",
        "tests/run",
        "cargo test --quiet --workspace --bench instructions",
    ),
    (
        "cargo bench -p portolan-runtime -- round_trips",
        "tests/run",
        "cargo test --quiet --workspace --bench throughput",
    ),
    (
        "cargo bench -p portolan-runtime -- unix open walk",
        "tests/run",
        "cargo test --quiet --workspace --bench throughput",
    ),
    (
        "cargo bench -p portolan-tap --bench paths",
        "tests/run",
        "cargo test --quiet --workspace --bench paths",
    ),
    ("cargo bench --bench tap", "tests/run", "cargo test --quiet --workspace --bench tap"),
    (
        "cargo bench --bench tap -- --one-cpu --against 3b09d04",
        "tests/run",
        "cargo test --quiet --workspace --bench tap",
    ),
    ("cargo bench --bench tap -- --quick", "tests/run", "cargo test --quiet --workspace --bench tap"),
    (
        "cargo run --release -p portolan-tests --bin soak -- --seeds 10000",
        "tests/tests/soak.rs",
        "env!(\"CARGO_BIN_EXE_soak\")",
    ),
    (
        "cargo run --release -p portolan-tests --bin blind_matrix",
        "tests/tests/blind_matrix.rs",
        "env!(\"CARGO_BIN_EXE_blind_matrix\")",
    ),
    (
        "cargo run -p portolan-examples --example embed_threads",
        "tests/tests/examples.rs",
        "\"-p\", \"portolan-examples\", \"--example\", name",
    ),
    ("cargo add portolan portolan-runtime", "tests/tests/packages.rs", "strip_prefix(\"cargo add \")"),
    (
        "cargo add portolan-runtime --features tokio,resolver",
        "tests/tests/packages.rs",
        "strip_prefix(\"cargo add \")",
    ),
    ("cargo add portolan-tap", "tests/tests/packages.rs", "strip_prefix(\"cargo add \")"),
    ("cargo run --release -- demo", "tests/run", "cargo run --quiet --release -- demo"),
    (
        "cargo run --release -- up --isolated -- ping -c 3 10.0.0.2",
        "tests/tests/kernel_peer/command.rs",
        "up --isolated -- ping -c 3 10.0.0.2",
    ),
];

#[test]
fn breakpoints_exist() {
    let mut count = 0;
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            let Some(place) = line.trim().strip_prefix("break ") else { continue };
            count += 1;
            if let Err(why) = check_breakpoint(place.trim()) {
                panic!("{}:{}: {place}: {why}", relative(&path), number + 1);
            }
        }
    }
    assert!(count >= 15, "only {count} breakpoints in the whole tour");
}

#[test]
fn commands_are_run_somewhere() {
    let mut count = 0;
    for (path, text) in documents() {
        for (number, command) in shell_lines(&text).into_iter().chain(inline_commands(&text)) {
            count += 1;
            if let Err(why) = check_command(command) {
                panic!("{}:{number}: `{command}`: {why}", relative(&path));
            }
        }
    }
    assert!(count >= 8, "only {count} commands in all documents");
}

#[test]
fn links_resolve() {
    let mut count = 0;
    for (path, text) in documents() {
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            if let Err(why) = check_link(&path, &text, target) {
                panic!("{}: the link to {target}: {why}", relative(&path));
            }
        }
    }
    assert!(count >= 10, "only {count} links in all documents");
}

/// The map lists every chapter, and every chapter names a test and breakpoints.
#[test]
fn chapters_are_on_the_map_and_runnable() {
    let map = read(&root().join("docs/README.md"));
    for path in files_under("docs", ".md") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
        let is_chapter =
            path.parent() == Some(&root().join("docs")) && name.starts_with(|c: char| c.is_numeric());
        if !is_chapter {
            continue;
        }
        assert!(map.contains(&format!("({name})")), "docs/README.md does not name {name}");
        let text = read(&path);
        if name.starts_with("01") {
            continue;
        }
        assert!(text.contains("cargo test -p portolan-tests --test tour "), "{name} names no test");
        assert!(text.lines().any(|line| line.starts_with("break portolan::")), "{name} names no breakpoint");
    }
}

/// Names of code in a picture (`SynReceived`) are types, and the picture is of a kind that Mermaid
/// draws.
#[test]
fn pictures_name_what_exists() {
    let sources: String = rust_files().iter().map(|path| read(path)).collect();
    let mut count = 0;
    for (path, text) in documents() {
        for picture in text.split("```mermaid\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            count += 1;
            let kind = picture.split_whitespace().next().unwrap_or_default();
            assert!(matches!(kind, "flowchart" | "stateDiagram-v2"), "{}: {kind}", relative(&path));
            for name in labels(picture).into_iter().flat_map(code_names) {
                let is_type =
                    ["struct", "enum"].iter().any(|kind| sources.contains(&format!("{kind} {name} ")));
                assert!(is_type, "{}: there is no type {name}", relative(&path));
            }
        }
    }
    assert!(count >= 3, "only {count} pictures");
    assert_eq!(code_names("the SYN queue: a SynReceived record, TIME-WAIT"), ["SynReceived"]);
    assert_eq!(labels("a[\"b c\"] --> d"), ["b c"]);
}

/// The texts between quotation marks.
fn labels(picture: &str) -> Vec<&str> {
    picture.split('"').skip(1).step_by(2).collect()
}

/// The words with a capital letter after a small one.
fn code_names(label: &str) -> Vec<&str> {
    let is_name = |word: &&str| {
        let letters = word.as_bytes().windows(2);
        letters.clone().any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
    };
    label.split(|c: char| !c.is_alphanumeric()).filter(is_name).collect()
}

#[test]
fn faults_are_found() {
    assert!(check_breakpoint("portolan::stack::Stack::handle_frame").is_ok());
    assert!(check_breakpoint("portolan::stack::Stack::no_such_call").is_err());
    assert!(check_breakpoint("portolan::no_such_room::handle_frame").is_err());
    assert!(check_breakpoint("nothing::of::ours").is_err());
    assert!(check_command("cargo test -p portolan-tests --test docs faults_are_found").is_ok());
    assert!(check_command("cargo test -p portolan-tests --test docs no_such_test").is_err());
    assert!(check_command("cargo test -p portolan-tests --test no_such_file faults_are_found").is_err());
    assert!(check_command("cargo test -p no-such-package faults_are_found").is_err());
    assert!(check_command("cargo test -p portolan-tests --test docs").is_ok());
    assert!(check_command("cargo test -p portolan-tests --test no_such_file").is_err());
    assert!(check_command("cargo test -p portolan-tests").is_err());
    assert!(check_command("rm -r /").is_err());
    let here = root().join("docs/README.md");
    assert!(check_link(&here, "", "no-such-file.md").is_err());
    assert!(check_link(&here, "# A heading\n", "#a-heading").is_ok());
    assert!(check_link(&here, "# A heading\n", "#another").is_err());
    assert_eq!(links("[a](b.md) and `[c](d)` and [e](f#g)"), ["b.md", "f#g"]);
}

/// Every Markdown file for readers.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    paths.extend(files_under("docs", ".md"));
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// Checks a place in the form in which debuggers name it,
/// `portolan::tcp::connection::Connection::set_state`: the package, the modules that lead to a
/// file, the type that is defined there (its functions may be in any file of the package), and the
/// function. `tour.rs` tests it in a debugger.
fn check_breakpoint(place: &str) -> Result<(), String> {
    let mut parts: Vec<&str> = place.split("::").collect();
    let package = match parts.remove(0) {
        "portolan" => "stack/src",
        "portolan_runtime" => "runtime/src",
        "portolan_tap" => "tap-driver/src",
        other => return Err(format!("{other} is no package of ours")),
    };
    let function = parts.pop().ok_or("a function is missing")?;
    let mut path = root().join(package);
    let mut rest = parts.as_slice();
    while let [module, after @ ..] = rest {
        let deeper = path.join(module);
        if !deeper.is_dir() && !deeper.with_extension("rs").is_file() {
            break;
        }
        path = deeper;
        rest = after;
    }
    let source = [path.with_extension("rs"), path.join("mod.rs"), path.join("lib.rs")]
        .into_iter()
        .find(|path| path.is_file())
        .map(|path| read(&path))
        .ok_or_else(|| format!("no file for {place}"))?;
    let is_there = match rest {
        [] => defines_function(&source, function),
        [owner] => {
            let is_defined =
                ["struct", "enum"].iter().any(|kind| source.contains(&format!("{kind} {owner} ")));
            if !is_defined {
                return Err(format!("{owner} is not defined in that file"));
            }
            files_under(package, ".rs").iter().map(|path| read(path)).any(|source| {
                source.contains(&format!("impl {owner} ")) && defines_function(&source, function)
            })
        }
        _ => return Err(format!("there is no module {}", rest[0])),
    };
    if is_there { Ok(()) } else { Err(format!("there is no function {function}")) }
}

fn check_command(command: &str) -> Result<(), String> {
    if let Some(arguments) = command.strip_prefix("cargo test ") {
        return check_cargo_test(arguments);
    }
    let (_, file, needle) = RUN_ELSEWHERE
        .iter()
        .find(|(known, _, _)| *known == command)
        .ok_or("nothing runs this command; add where to RUN_ELSEWHERE")?;
    if read(&root().join(file)).contains(needle) { Ok(()) } else { Err(format!("{file} does not run it")) }
}

/// Checks `-p PACKAGE [--test FILE] TEST [-- ...]`, or a whole FILE: the package, the file and the
/// test must exist.
fn check_cargo_test(arguments: &str) -> Result<(), String> {
    let mut words = arguments.split_whitespace().take_while(|word| *word != "--");
    let (mut dir, mut file, mut name) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "-p" => {
                dir = match words.next() {
                    Some("portolan") => Some("stack"),
                    Some("portolan-runtime") => Some("runtime"),
                    Some("portolan-tap") => Some("tap-driver"),
                    Some("portolan-cli") => Some("tap-driver/command"),
                    Some("portolan-loom") => Some("runtime/loom"),
                    Some("portolan-shuttle") => Some("runtime/shuttle"),
                    Some("portolan-examples") => Some("examples"),
                    Some("portolan-tests") => Some("tests"),
                    other => return Err(format!("{other:?} is no package of ours")),
                }
            }
            "--test" => file = words.next(),
            word => name = Some(word),
        }
    }
    let dir = dir.ok_or("say which package with -p")?;
    let Some(name) = name else {
        // The models have their own packages, which are run as a whole.
        if file.is_none() && ["runtime/loom", "runtime/shuttle"].contains(&dir) {
            return Ok(());
        }
        // All tests of a file.
        let file = file.ok_or("say which test")?;
        let target = root().join(dir).join("tests").join(file);
        let exists = target.is_dir() || target.with_extension("rs").is_file();
        return if exists { Ok(()) } else { Err(format!("there is no test file {file}")) };
    };
    let function = name.rsplit("::").next().unwrap_or(name);
    let under = match file {
        None => root().join(dir),
        Some(file) => root().join(dir).join("tests").join(file),
    };
    // A test target is a file or a folder.
    let found = rust_files()
        .iter()
        .filter(|path| path.starts_with(&under) || **path == under.with_extension("rs"))
        .any(|path| {
            let module = relative(path).contains(&format!("/{name}"));
            module || defines_function(&read(path), function)
        });
    if found { Ok(()) } else { Err(format!("there is no test {name}")) }
}

/// The lines of the blocks marked `sh`, with their numbers, without comments and output.
fn shell_lines(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.is_empty() && !line.starts_with('#') => {
                let command = line.split("  #").next().unwrap_or(line).trim();
                lines.push((index + 1, command.strip_prefix("$ ").unwrap_or(command)));
            }
            _ => {}
        }
    }
    lines
}

/// Commands in running text and in tables, with the numbers of their lines.
fn inline_commands(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .enumerate()
        .flat_map(|(index, line)| line.split('`').skip(1).step_by(2).map(move |code| (index + 1, code)))
        .filter(|(_, code)| code.starts_with("cargo test ") || code.starts_with("cargo run "))
        .collect()
}

/// The targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Every second part between backticks is code.
        for piece in line.split('`').step_by(2) {
            for (at, _) in piece.match_indices("](") {
                if let Some((target, _)) = piece[at + 2..].split_once(')') {
                    targets.push(target);
                }
            }
        }
        // A link whose text is code is split by its backticks: its target follows the last of them.
        for (at, _) in line.match_indices("`](") {
            if let Some((target, _)) = line[at + 3..].split_once(')')
                && !targets.contains(&target)
            {
                targets.push(target);
            }
        }
    }
    targets
}

fn check_link(from: &Path, text: &str, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let text = if file.is_empty() {
        text.to_string()
    } else {
        let path = from.parent().expect("a file has a folder").join(file);
        if !path.exists() {
            return Err(format!("there is no {}", path.display()));
        }
        if path.is_dir() { String::new() } else { read(&path) }
    };
    let known = text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor);
    if anchor.is_empty() || known { Ok(()) } else { Err(format!("there is no heading #{anchor}")) }
}

/// A heading as the anchor of a web page.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
