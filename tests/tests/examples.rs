//! Every example runs and ends by itself, and prints what its description promises.

use std::process::Command;

use portolan_tests::sources::built;

/// Runs an example that `tests/run` has built, or else through cargo, so that it is built from
/// these sources. Returns its output.
fn run(name: &str) -> String {
    let mut command = match built(&format!("examples/{name}")) {
        Some(example) => Command::new(example),
        None => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["run", "--quiet", "-p", "portolan-examples", "--example", name]);
            cargo
        }
    };
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{printed}\n{errors}", output.status);
    printed
}

#[track_caller]
fn assert_says(printed: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(printed.contains(wanted), "`{wanted}` is missing in\n{printed}");
    }
}

#[test]
fn embed_loop() {
    let first = run("embed_loop");
    assert_says(&first, &["server: accepted", "client: received \"hello\"", "client: received \"\""]);
    // Without a clock and random numbers of its own, the output is the same each time.
    assert_eq!(first, run("embed_loop"));
}

#[test]
fn two_hosts() {
    assert_says(&run("two_hosts"), &["the server says: 1000000 bytes", "frames were lost on the way"]);
}

#[test]
fn tcp_echo() {
    let printed = run("tcp_echo");
    assert_says(&printed, &["listening on 10.0.0.1:7", "client 3 at 10.0.0.2", "heard: one two three"]);
    assert_says(&printed, &["the server ends"]);
}

#[test]
fn udp_echo() {
    let printed = run("udp_echo");
    assert_says(&printed, &["8000 bytes came back from 10.0.0.1", "8000 bytes came back from fd00::1"]);
    assert_says(&printed, &["port 9: Connection refused"]);
}

#[test]
fn http_get() {
    assert_says(&run("http_get"), &["You are 10.0.0.2:", "asked: GET /status HTTP/1.0"]);
}

#[test]
fn ping() {
    let printed = run("ping");
    assert_says(&printed, &["56 bytes from 10.0.0.1: seq=3", "56 bytes from fd00::1: seq=3"]);
    assert_says(&printed, &["3 sent, 3 received"]);
}

#[test]
fn qemu_nic() {
    let printed = run("qemu_nic");
    assert_says(&printed, &["10.0.2.15:", "sends Some(\"GET / HTTP/1.0\")", "guest: hello, 10.0.2.15"]);
    assert_says(&printed, &["host: the guest has ended"]);
}

#[test]
fn router() {
    let printed = run("router");
    assert_says(&printed, &["10.0.2.2 answers 10.0.1.2:", "fd02::2 answers [fd03::2]:"]);
    assert_says(&printed, &["10.9.9.9: Network is unreachable", "the router has forwarded"]);
}
