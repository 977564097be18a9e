//! `portolan ss` and `portolan stat` against a running `portolan up`, and the control socket
//! itself.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const PORTOLAN: &str = env!("CARGO_BIN_EXE_portolan");

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("portolan-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn portolan(dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = Command::new(PORTOLAN);
    command.args(arguments).env_remove("RUST_LOG").env_remove("PORTOLAN_CONTROL").stdin(Stdio::null());
    command.env("PORTOLAN", PORTOLAN).env("XDG_RUNTIME_DIR", &dir.0).env("DIR", &dir.0);
    command
}

/// Runs a script beside a stack; its output.
fn beside(dir: &Dir, options: &[&str], script: &str) -> String {
    let arguments = [&["up", "--isolated"], options, &["--", "bash", "-ec", script]].concat();
    let output = portolan(dir, &arguments).output().expect("portolan starts");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn failure(output: &Output) -> String {
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// The commands of docs/ss.md, beside a stack with one connection from the kernel.
#[test]
fn sockets_and_counters_are_listed_as_the_documents_say() {
    let dir = Dir::new("listed");
    let script = "exec 5<>/dev/tcp/10.0.0.2/7; echo hello >&5; read -r line <&5
        echo A; $PORTOLAN ss -ltn
        echo B; $PORTOLAN ss -tunaoem
        echo C; $PORTOLAN ss -tni state established '( sport = :echo or dport gt :1024 )'
        echo D; $PORTOLAN ss -a --json
        echo E; $PORTOLAN stat
        echo F; $PORTOLAN stat -az 'TcpExt*'
        echo G; $PORTOLAN stat
        echo H; $PORTOLAN ss -Htn state established sport = 7
        echo I; $PORTOLAN ss -Htan dst 192.0.2.1";
    let printed = beside(&dir, &[], script);
    let part = |name: &str| {
        let (_, rest) = printed.split_once(&format!("\n{name}\n")).unwrap_or_else(|| panic!("{printed}"));
        rest.lines().take_while(|line| !(line.len() == 1 && *line > name)).collect::<Vec<_>>()
    };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let listeners = part("A");
    assert_eq!(words(listeners[0])[..3], ["State", "Recv-Q", "Send-Q"], "{printed}");
    assert_eq!(listeners.len(), 6, "a listener for each service: {printed}");
    assert!(listeners[1..].iter().all(|line| line.starts_with("LISTEN")), "{printed}");
    let all = part("B").join("\n");
    for needle in ["Netid", "udp", "UNCONN", "sk:", "mem:(r0,rb", "v6only:0"] {
        assert!(all.contains(needle), "{needle}: {printed}");
    }
    let connections = part("C").join("\n");
    assert!(connections.contains(":7") && connections.contains("cwnd:"), "{printed}");
    let json: serde_json::Value = serde_json::from_str(part("D")[0]).expect("JSON");
    let sockets = json.as_array().expect("an array");
    let established = sockets.iter().find(|socket| socket["state"] == "ESTAB").expect("the connection");
    assert_eq!(established["tcp"]["bytes_received"], 6);
    assert!(
        part("E").iter().any(|line| words(line).starts_with(&["TcpPassiveOpens".to_owned(), "1".to_owned()])),
        "{printed}"
    );
    assert!(
        part("F").iter().skip(1).all(|line| line.starts_with("TcpExt")) && part("F").len() > 10,
        "{printed}"
    );
    assert!(!part("G").iter().any(|line| line.starts_with("TcpPassiveOpens")), "once only: {printed}");
    let one = part("H");
    assert_eq!((one.len(), words(one[0])[2].rsplit(':').next()), (1, Some("7")), "{printed}");
    assert_eq!(part("I"), [""; 0]);
}

/// The socket is its owner's alone, and is gone at the end.
#[test]
fn the_socket_has_mode_600_and_goes_with_the_stack() {
    let dir = Dir::new("mode");
    let printed = beside(&dir, &[], "stat -c %a $PORTOLAN_CONTROL $DIR/portolan; echo $PORTOLAN_CONTROL");
    let lines: Vec<&str> = printed.lines().skip(1).collect();
    let path = dir.0.join("portolan/portolan0.sock");
    assert_eq!(lines, ["600", "700", &path.display().to_string()]);
    assert!(!path.exists());
    let none = portolan(&dir, &["ss"]).output().expect("portolan starts");
    assert!(failure(&none).contains("no stack runs here"), "{}", failure(&none));
    let without = beside(&dir, &["--no-control"], "echo \"<$PORTOLAN_CONTROL>\"");
    assert!(without.ends_with("<>\n"), "{without}");
}

/// The history of `portolan stat` counts for the stack that it is of, and goes with it.
#[test]
fn the_history_is_of_one_stack_and_goes_with_it() {
    let dir = Dir::new("history");
    let control = dir.0.join("z.sock");
    let history = dir.0.join("z.sock.stat");
    let options = ["--control", &control.display().to_string()];
    let connect = "exec 5<>/dev/tcp/10.0.0.2/7; echo hello >&5; read -r line <&5";
    beside(&dir, &options, &format!("{connect}; $PORTOLAN stat; cp $DIR/z.sock.stat $DIR/kept"));
    assert!(!history.exists(), "it goes with the stack");
    // A stack that was killed could not remove its history.
    fs::rename(dir.0.join("kept"), &history).expect("the copy");
    let printed = beside(&dir, &options, &format!("{connect}; $PORTOLAN stat -s 'TcpPassive*'"));
    let mut counted = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(
        counted.any(|words| words.starts_with(&["TcpPassiveOpens", "1"])),
        "another stack's history: {printed}"
    );
    assert!(!history.exists(), "that of a killed stack goes, too");
    fs::write(&history, "precious").expect("a file");
    beside(&dir, &options, "true");
    assert_eq!(fs::read(&history).expect("the file"), b"precious");
}

/// What a dead process has left is replaced. What a live one has, and other files, are not touched.
#[test]
fn only_a_dead_socket_is_replaced() {
    let dir = Dir::new("taken");
    let path = dir.0.join("x.sock");
    let path_text = path.display().to_string();
    let listener = UnixListener::bind(&path).expect("a socket");
    let up = |dir: &Dir| {
        portolan(dir, &["up", "--isolated", "--control", &path_text, "--", "true"])
            .output()
            .expect("portolan starts")
    };
    let live = up(&dir);
    assert!(failure(&live).contains("another process listens there; choose another with --control"));
    assert!(path.exists());
    drop(listener);
    assert!(up(&dir).status.success(), "a dead one is replaced");
    fs::write(&path, "precious").expect("a file");
    assert!(failure(&up(&dir)).contains("there is a file that is no socket"));
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
    fs::remove_file(&path).expect("the file");
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).expect("our own");
}

/// Requests that are wrong are refused, and clients that do not read hold up nobody.
#[test]
fn bad_clients_are_refused_and_hold_up_nobody() {
    let dir = Dir::new("clients");
    let control = dir.0.join("y.sock");
    let mut up = portolan(&dir, &["up", "--isolated", "--control", &control.display().to_string()]);
    let mut up = up.stdout(Stdio::piped()).spawn().expect("portolan starts");
    let mut ready = [0; 5];
    up.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("a line");
    let connect = || std::os::unix::net::UnixStream::connect(&control).expect("it listens");
    let ask = |request: &[u8]| {
        let mut stream = connect();
        let _ = stream.write_all(request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for (request, answer) in [
        (&b"nonsense\n"[..], "the request is not JSON"),
        (b"{\"version\":2,\"request\":\"sockets\"}\n", "speaks version 1"),
        (b"{\"version\":1,\"request\":\"reboot\"}\n", "a request is `sockets` or `counters`"),
        (&[b' '; 4096], "at most 4096 bytes"),
    ] {
        let printed = ask(request);
        assert!(printed.contains(answer), "{printed}");
    }
    let silent: Vec<_> = (0..7).map(|_| connect()).collect();
    let counters = b"{\"version\":1,\"request\":\"counters\"}\n";
    assert!(ask(counters).contains("\"end\":"), "there is a place left");
    let last = connect();
    // The accepting thread has counted them all before it answers.
    assert!(ask(counters).contains("too many clients"));
    drop((silent, last));
    let mut kill = Command::new("kill");
    kill.arg(up.id().to_string()).status().expect("kill");
    assert!(up.wait().expect("our own child").success());
    assert!(!control.exists());
}
