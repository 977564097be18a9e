//! Properties of the packages for their users: the dependencies of each library, and the wording of
//! its errors.

use std::fs;
use std::process::Command;

use portolan_tests::sources::{files_under, read, relative, root};

/// The packages that other programs depend on.
const LIBRARIES: [(&str, &str); 3] =
    [("portolan", "stack"), ("portolan-runtime", "runtime"), ("portolan-tap", "tap-driver")];

/// Features that exist for the sake of a framework, which a program with such a feature has anyhow.
const OF_FRAMEWORKS: [&str; 3] = ["axum", "quinn", "tonic"];

/// Packages for command lines, logs, signals, HTTP and dates.
const OF_COMMANDS: [&str; 9] =
    ["clap", "env_logger", "http", "httparse", "hyper", "jiff", "serde", "serde_json", "signal-hook"];

#[test]
fn libraries_bring_nothing_of_a_command() {
    for (package, _) in LIBRARIES {
        let brought = dependencies(package);
        assert!(brought.iter().any(|name| name == "log"), "{package}: {brought:?}");
        let of_commands: Vec<_> =
            brought.iter().filter(|name| OF_COMMANDS.contains(&name.as_str())).collect();
        assert!(of_commands.is_empty(), "{package} brings {of_commands:?}");
    }
    // The same check finds them in the command's package.
    let brought = dependencies("portolan-cli");
    let missing: Vec<_> = ["clap", "env_logger", "serde_json", "signal-hook"]
        .into_iter()
        .filter(|name| !brought.iter().any(|brought| brought == name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A program that uses a library has other options, or none.
#[test]
fn libraries_do_not_speak_of_options_of_the_command() {
    let options = options_of_the_command();
    assert!(options.len() > 10 && options.contains(&"--isolated".to_owned()), "{options:?}");
    let mut wrong = Vec::new();
    for (_, folder) in LIBRARIES {
        for path in files_under(&format!("{folder}/src"), ".rs") {
            for (number, line) in read(&path).lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                if let Some(option) = options.iter().find(|option| !is_comment && names(line, option)) {
                    wrong.push(format!("{}:{}: {option}", relative(&path), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The commands with which `docs/embedding.md` makes a program depend on the libraries. They are
/// run on a new program, with the packages of this workspace in place of published ones.
#[test]
fn a_new_program_can_depend_on_the_libraries() {
    let program = std::env::temp_dir().join(format!("portolan-program-{}", std::process::id()));
    fs::create_dir_all(program.join("src")).unwrap();
    fs::write(program.join("src/main.rs"), "fn main() {}").unwrap();
    let manifest = program.join("Cargo.toml");
    fs::write(&manifest, "[package]\nname = \"program\"\nedition = \"2024\"\n").unwrap();
    let page = read(&root().join("docs/embedding.md"));
    for arguments in page.lines().filter_map(|line| line.strip_prefix("cargo add ")) {
        let (packages, features) = arguments.split_once(" --features ").unwrap_or((arguments, ""));
        for package in packages.split(' ') {
            let (_, folder) = LIBRARIES.into_iter().find(|(name, _)| *name == package).expect("a library");
            let path = root().join(folder);
            let mut command = vec!["add", "--offline", "--quiet", "--path", path.to_str().unwrap()];
            command.extend(["--features", features, "--manifest-path", manifest.to_str().unwrap()]);
            cargo(&command);
        }
    }
    let manifest = read(&manifest);
    fs::remove_dir_all(&program).unwrap();
    for (package, _) in LIBRARIES {
        assert!(manifest.contains(&format!("\n{package} = {{ ")), "{manifest}");
    }
    assert!(manifest.contains("features = [\"resolver\", \"tokio\"]"), "{manifest}");
}

/// The names of all packages that this one depends on, with all of its features but those of
/// frameworks.
fn dependencies(package: &str) -> Vec<String> {
    let features = features_of(package).join(",");
    let arguments = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"];
    let lines = cargo(&[&arguments[..], &["--features", &features, "--locked"]].concat());
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn features_of(package: &str) -> Vec<String> {
    let folder = LIBRARIES.into_iter().find(|(name, _)| *name == package);
    let manifest =
        read(&root().join(folder.map_or("tap-driver/command", |(_, folder)| folder)).join("Cargo.toml"));
    let (_, section) = manifest.split_once("[features]\n").unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names =
        lines.filter_map(|line| Some(line.split_once(" = ")?.0)).filter(|name| !name.starts_with('#'));
    names.filter(|name| !OF_FRAMEWORKS.contains(name)).map(str::to_owned).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The long options that clap parses, which have the names of their fields: `--tap` and so on.
fn options_of_the_command() -> Vec<String> {
    let source = read(&root().join("tap-driver/command/src/cli.rs"));
    let mut lines = source.lines();
    let mut options = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("#[arg(") && line.contains("long") {
            let field = lines.next().and_then(|line| line.trim().strip_prefix("pub(crate) "));
            let name =
                field.and_then(|field| field.split(':').next()).expect("a field follows its attribute");
            options.push(format!("--{}", name.replace('_', "-")));
        }
    }
    options
}

fn names(line: &str, option: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '-';
    line.match_indices(option).any(|(at, _)| !line[at + option.len()..].starts_with(is_word))
}

/// Published packages contain their README and licences, and neither benchmarks nor the tests that
/// need these; the other packages of the workspace are not published.
#[test]
fn published_packages_are_complete() {
    let published = LIBRARIES.into_iter().chain([("portolan-cli", "tap-driver/command")]);
    for (package, folder) in published {
        let files = cargo(&["package", "--list", "--allow-dirty", "--package", package]);
        for needed in ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(files.lines().any(|file| file == needed), "{package} lacks {needed}:\n{files}");
        }
        let stray: Vec<_> = files
            .lines()
            .filter(|file| file.contains('/') && !file.starts_with("src/"))
            .chain(files.lines().filter(|file| file.ends_with(".pcap")))
            .collect();
        assert!(stray.is_empty(), "{package} has {stray:?}");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert_eq!(read(&root().join(folder).join(licence)), read(&root().join(licence)), "{package}");
        }
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        for field in ["description = ", "readme = ", "documentation = ", "keywords = ", "categories = "] {
            assert!(manifest.lines().any(|line| line.starts_with(field)), "{package}: {field}");
        }
    }
    for folder in
        ["examples", "tests", "tests/no_std", "tests/peers", "fuzz", "runtime/loom", "runtime/shuttle"]
    {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        assert!(manifest.lines().any(|line| line == "publish = false"), "{folder} would be published");
    }
}
