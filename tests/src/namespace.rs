//! Runs a test in a network namespace in which the command `portolan` serves on a TAP device, with
//! the real kernel as its peer.
//!
//! `portolan up --isolated -- COMMAND` creates the namespace and runs a command in it. That command
//! is the test binary itself with the name of one test. So a test has two halves in one function:
//! [`beside_portolan`] outside starts the command and waits for it, and inside runs the closure.

use std::env;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::sources::{built, root};

/// The name of the TAP device.
pub const TAP: &str = "portolan0";
/// The kernel's address.
pub const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// The stack's address.
pub const STACK4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The kernel's address.
pub const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
/// The stack's address.
pub const STACK6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
/// The stack's MAC address.
pub const STACK_MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x00, 0x02];

/// The environment variable that names the test whose inner half is to run.
const INSIDE: &str = "PORTOLAN_TEST_INSIDE";
/// A test that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `inside` in a new network namespace beside `portolan up` with these further arguments.
/// `test` is the name of the calling test, as `cargo test` prints it.
///
/// # Panics
///
/// If the inner half fails, with its output.
pub fn beside_portolan(test: &str, up_args: &[&str], inside: impl FnOnce()) {
    if env::var(INSIDE).is_ok_and(|name| name == test) {
        inside();
        println!("{}", finished_line(test));
        return;
    }
    let mut command = portolan();
    command
        .args(["up", "--isolated", "--tap", TAP, "--mac", &mac_text(STACK_MAC)])
        .args(["--host", &format!("{HOST4}/24"), "--host", &format!("{HOST6}/64")])
        .args(["--addr", &format!("{STACK4}/24"), "--addr", &format!("{STACK6}/64")])
        .args(device_args())
        .args(up_args)
        .arg("--")
        .arg(env::current_exe().expect("a test has a path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test);
    let (status, output) = run(command, test);
    // Without the line, no test of that name was run.
    let finished = output.contains(&finished_line(test));
    assert!(status.success() && finished, "inside the namespace ({status}):\n{}", indented(&output));
    // For `--nocapture`.
    print!("{}", indented(&output));
}

/// The arguments for the device, which depend on the name of the test binary: `kernel_peer_plain`
/// and `kernel_peer_queues` contain the tests of `kernel_peer`.
fn device_args() -> &'static [&'static str] {
    let exe = env::current_exe().expect("a test has a path");
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("kernel_peer_plain") {
        &["--offload", "off"]
    } else if name.starts_with("kernel_peer_queues") {
        &["--queues", "3"]
    } else {
        &[]
    }
}

/// The command `portolan`, built with the profile of this test.
pub fn portolan() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    Command::new(BINARY.get_or_init(|| built("portolan").unwrap_or_else(build_portolan)))
}

/// Builds `portolan`, because cargo builds only the binaries of a test's own package. Takes a
/// fraction of a second if it was built before.
fn build_portolan() -> PathBuf {
    let exe = env::current_exe().expect("a test has a path");
    // target/debug/deps/kernel_peer-0123 -> target/debug
    let profile_dir = exe.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).expect("a profile's name");
    let target_dir = profile_dir.parent().expect("target");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "portolan-cli", "--bin", "portolan"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(root())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "portolan does not build");
    profile_dir.join("portolan")
}

/// Runs a command to its end; kills it with all its children if it does not end.
fn run(mut command: Command, test: &str) -> (ExitStatus, String) {
    let output_path = env::temp_dir().join(format!("portolan-{}-{test}.log", std::process::id()));
    let output = File::create(&output_path).expect("a temporary file");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a descriptor"))
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if started.elapsed() > LIMIT {
            let group = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            break child.wait().expect("our own child");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text = fs::read(&output_path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let _ = fs::remove_file(&output_path);
    (status, text.expect("the log that we made"))
}

/// Runs a tool inside the namespace and returns its output.
///
/// # Panics
///
/// If it cannot be started or fails, with its output.
pub fn tool(line: &str) -> String {
    let output = tool_output(line);
    let printed = [&output.stdout[..], &output.stderr[..]].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "`{line}` ({}):\n{printed}", output.status);
    printed
}

/// Runs a tool that may fail.
///
/// # Panics
///
/// If it cannot be started.
pub fn tool_output(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("`{line}`: {error}; tests/run says what must be installed"))
}

/// Both addresses of the stack, with a port.
pub fn stack_at(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::new(STACK4, port), SocketAddr::new(STACK6, port)]
}

/// Fetches a page of the stack's HTTP service.
///
/// # Panics
///
/// If the page cannot be fetched.
pub fn page(path: &str) -> String {
    tool(&format!("curl --silent --show-error --fail --max-time 10 http://{STACK4}{path}"))
}

/// A counter of the status page; 0 if the page does not show it.
pub fn counter(page: &str, name: &str) -> u64 {
    let (_, behind) = page.split_once(name).unwrap_or_default();
    let digits = behind.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Writes `02:00:5e:10:00:02`.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn finished_line(test: &str) -> String {
    format!("finished inside the namespace: {test}")
}

/// Indents the output, so that nothing in it is taken for the result of the outer test.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    | {line}\n")).collect()
}
