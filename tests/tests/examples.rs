//! Every example runs and ends by itself, and prints what its description promises.

use std::process::Command;

use portolan_tests::sources::{built, files_under, read};

/// Runs an example that `tests/run` has built, or else through cargo, so that it is built from
/// these sources. Returns its output.
fn run(name: &str) -> String {
    run_with(name, &[])
}

fn run_with(name: &str, args: &[&str]) -> String {
    let mut command = match built(&format!("examples/{name}")) {
        Some(example) => Command::new(example),
        None => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["run", "--quiet", "-p", "portolan-examples", "--example", name, "--"]);
            cargo
        }
    };
    let output = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it starts");
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

/// The same server with threads and with tasks.
#[test]
fn embed_threads_and_embed_tokio() {
    for name in ["embed_threads", "embed_tokio"] {
        let printed = run(name);
        assert_says(&printed, &["the server answers \"ONE\\nTWO\\n\"", "10.0.0.2: 1 lines"]);
        assert_says(&printed, &["10.0.0.2: too slow", "3 connections were served; everything was delivered"]);
    }
}

#[test]
fn chat() {
    let printed = run("chat");
    assert_says(&printed, &["client 3 reads: 2: hello\n", "client 3 reads: 1: (put out: "]);
    assert_says(&printed, &["client 1: Err(ConnectionReset)"]);
}

#[test]
fn http_server() {
    let printed = run("http_server");
    assert_says(&printed, &["GET /: HTTP/1.1 200 OK: <h1>hello, 10.0.0.2</h1>"]);
    assert_says(&printed, &["A BODY OF 20 LETTERS", "GET /square/12: HTTP/1.1 200 OK: 144"]);
    assert_says(
        &printed,
        &["GET /nowhere: HTTP/1.1 404", "3 requests were answered; everything was delivered"],
    );
}

#[test]
fn https_server() {
    let printed = run("https_server");
    assert_says(
        &printed,
        &["/secret by TLSv1_3", "a client without the certificate: invalid peer certificate"],
    );
}

#[test]
fn quic() {
    let printed = run("quic");
    assert_says(&printed, &["server: 10.0.0.2 is connected", "client: 1 bytes, their sum is 2\n"]);
    assert_says(&printed, &["4194304 bytes, their sum is 8388608", "server: the client says \"done\""]);
    // Larger than QUIC begins with: datagrams are not fragmented, so the path MTU is found.
    assert_says(&printed, &["datagrams of up to 1452 bytes"]);
}

#[test]
fn multicast_discovery() {
    let printed = run("multicast_discovery");
    let all = "    10.0.0.1: clock is at port 123\n    10.0.0.1: files is at port 2049\n    10.0.0.1: printer is at port 631";
    let one = "10.0.0.1: clock is at port 123";
    assert_says(
        &printed,
        &[&format!("\"*\" to 239.255.7.7:\n{all}\n\"clock\" to 239.255.7.7:\n    {one}\n\"")],
    );
    let v6 = printed.split("\"clock\" to ff02::707:707:").last().expect("it asks");
    assert!(v6.contains("clock is at port 123") && !v6.contains("files"), "{printed}");
}

#[test]
fn unix_ipc() {
    let printed = run("unix_ipc");
    assert_says(&printed, &["front: the worker is user 1000", "worker: called by process 1, user 0"]);
    assert_says(
        &printed,
        &["client: user 1000 greets Anna at 10.0.0.2", "user 1000 greets Bert at 10.0.0.2"],
    );
}

#[test]
fn traceroute() {
    let printed = run("traceroute");
    let hops: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["10.0.1.1", "10.0.2.2", "10.0.3.2"], "{printed}");
}

#[test]
fn reuseport_workers() {
    let printed = run("reuseport_workers");
    let served: Vec<&str> = printed.lines().filter(|line| line.starts_with("served by:")).collect();
    let [before, after] = served[..] else { panic!("{printed}") };
    for number in 1..=5 {
        let worker = format!("worker {number}\"");
        assert_eq!(
            (before.contains(&worker), after.contains(&worker)),
            (number != 5, number != 1),
            "{printed}"
        );
    }
}

#[test]
fn simulate_my_protocol() {
    let first = run_with("simulate_my_protocol", &["7"]);
    assert_says(&first, &["seed 7: 50 of 50 letters after", "digest of all packets: "]);
    assert_eq!(first, run_with("simulate_my_protocol", &["7"]));
    let digest = |printed: &str| printed.lines().last().map(str::to_owned);
    assert_ne!(digest(&first), digest(&run_with("simulate_my_protocol", &["8"])));
}

#[test]
fn vpn_pair() {
    let printed = run("vpn_pair");
    assert_says(&printed, &["through the tunnel: nobody else can read this", "datagrams refused: "]);
    assert!(!printed.contains("the middle can read it"), "{printed}");
    assert!(!printed.contains("datagrams refused: 0"), "{printed}");
}

/// Every example is run by a test, here or beside the kernel, and is short.
#[test]
fn all_are_run() {
    let tests: String = files_under("tests/tests", ".rs").iter().map(|path| read(path)).collect();
    for path in files_under("examples", ".rs") {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name == "lib" {
            continue;
        }
        assert!(tests.contains(&format!("\"{name}\"")), "no test runs {name}");
        let lines = read(&path).lines().count();
        assert!(lines < 120, "{name} has {lines} lines; an example has less than 120");
    }
}
