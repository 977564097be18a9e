//! The command from a user's point of view: its help, its messages for each mistake, its exit
//! status, its ready line, how it stops. Its behaviour on the wire is tested in the package
//! `portolan-tests`.
//!
//! Tests that start a stack make a new network namespace with `--isolated`. So they need
//! /dev/net/tun and user namespaces (or root), and do not affect the host.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PORTOLAN: &str = env!("CARGO_BIN_EXE_portolan");

fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(PORTOLAN);
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    portolan(arguments).output().expect("portolan starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `up --isolated OPTIONS -- bash -c SCRIPT`; `$PORTOLAN` is the command itself.
fn isolated(options: &[&str], script: &str) -> Output {
    let arguments = [&["up", "--isolated"], options, &["--", "bash", "-c", script]].concat();
    portolan(&arguments).env("PORTOLAN", PORTOLAN).output().expect("portolan starts")
}

#[test]
fn help_explains_every_option() {
    let help = stdout(&output(&["up", "--help"]));
    for option in [
        "--tap <NAME>",
        "--host <CIDR>",
        "--addr <CIDR>",
        "--gateway <IP>",
        "--dhcp",
        "--mac <MAC>",
        "--mtu <N>",
        "--services <LIST>",
        "--pcap <FILE>",
        "--impair <SETTINGS>",
        "limit=1000",
        "--isolated",
        "--verbose",
        "[COMMAND]",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.contains(option), "{option} is missing in\n{help}");
    }
    let help = stdout(&output(&["--help"]));
    assert!(help.contains("up ") && help.contains("demo "), "{help}");
    assert_eq!(output(&[]).status.code(), Some(2));
}

#[test]
fn mistakes_on_the_command_line_exit_with_2_and_say_what_to_write() {
    let mtu = "the MTU is a number of bytes, 576 to 65521; write it like 1500\n";
    let choose =
        "choose from echo, discard, daytime, chargen and http, separated by commas, or write all or none\n";
    for (arguments, message) in [
        (
            &["--addr", "10.0.0.2"][..],
            "error: invalid value '10.0.0.2' for '--addr <CIDR>': the length of the network's prefix is missing; write for example 10.0.0.2/24\n",
        ),
        (
            &["--host", "10.0.0.x/24"],
            "error: invalid value '10.0.0.x/24' for '--host <CIDR>': `10.0.0.x` is not an IP address; write for example \
             10.0.0.2/24 or fd00::2/64\n",
        ),
        (
            &["--host", "10.0.0.1/24", "--addr", "10.0.0.1/24"],
            "portolan: 10.0.0.1 is given both as --host and as --addr: the kernel and the stack are two hosts on one \
             link, so give each its own address\n",
        ),
        (
            &["--host", "10.0.0.1/24", "--addr", "10.0.0.2/16"],
            "portolan: 10.0.0.1/24 and 10.0.0.2/16 overlap but are not the same network; give both the same prefix \
             length, or use networks that are apart\n",
        ),
        (
            &["--gateway", "192.0.2.1"],
            "portolan: --gateway 192.0.2.1 is not on the link: the stack's networks are 10.0.0.0/24, fd10::/64; give a \
             gateway in one of them, or an --addr in its network\n",
        ),
        (
            &["--tap", "a-name-too-long-"],
            "portolan: \"a-name-too-long-\" cannot be an interface name: it is longer than 15 bytes; choose another \
             with --tap\n",
        ),
        (
            &["--mtu", "65522"],
            "portolan: an MTU of 65522 does not work: it is 576 to 65521; choose another with --mtu\n",
        ),
        (
            &["--mtu", "1279", "--addr", "fd00::2/64"],
            "portolan: an MTU of 1279 does not work: with IPv6 addresses it is 1280 to 65521 (RFC 8200); choose \
             another, or give only IPv4 addresses\n",
        ),
        (&["--mtu", "abc"], &format!("error: invalid value 'abc' for '--mtu <N>': {mtu}")),
        (&["--mtu", "-1"], &format!("error: invalid value '-1' for '--mtu <N>': {mtu}")),
        (&["--mtu="], &format!("for '--mtu <N>': {mtu}")),
        (
            &["--queues", "-1"],
            "error: invalid value '-1' for '--queues <N>': give a number of queues, 1 to 256; write it like 2\n",
        ),
        (
            &["--queues", "0"],
            "portolan: a TAP device cannot have 0 queues: it has 1 to 256; choose another number with --queues\n",
        ),
        (
            &["--memory", "1", "--queues", "5"],
            "portolan: --memory is too little for 5 queues, which divide it: give at least 2 MiB\n",
        ),
        (
            &["--host", "192.168.1.1/24", "--addr", "10.0.0.2/24"],
            "portolan: --host 192.168.1.1/24 and --addr 10.0.0.2/24 share no network, so the kernel and the stack \
             cannot reach each other; give both an address in one network, as in --host 192.168.1.1/24 --addr \
             192.168.1.2/24\n",
        ),
        (
            &["--addr", "10.0.0.255/24"],
            "portolan: --addr 10.0.0.255/24: that is the network's broadcast address; give a host's address, like \
             10.0.0.2/24\n",
        ),
        (&["--gateway", "router"], "not an IPv4 or IPv6 address; write it like 10.0.0.1 or fd10::1\n"),
        (&["--offload", "on"], "error: invalid value 'on' for '--offload <MODE>': choose auto or off\n"),
        (&["--services", "ftp"], &format!("there is no service \"ftp\"; {choose}")),
        (&["--services", ""], &format!("a name is empty; {choose}")),
        (&["--services", "all,none"], &format!("all cannot be combined with other names; {choose}")),
        (
            &["--impair", "loss=300%"],
            "error: invalid value 'loss=300%' for '--impair <SETTINGS>': `loss=300%`: a share is 0% to 100%, or 0 to 1; \
             write it like `loss=3%`\n",
        ),
        (
            &["--impair", "rate=0mbit"],
            "`rate=0mbit`: a rate is a number with bit, kbit, mbit or gbit, from 1bit to 1000000gbit; write it like \
             `rate=100mbit`\n",
        ),
        (
            &["--impair", ""],
            "a setting is empty; write them like `loss=3%,delay=20ms`, without a comma at the end\n",
        ),
        (&["--impair", "loss=1%,loss=2%"], "`loss` is given twice; leave one out\n"),
        (
            &["--impair", "queue=1kB"],
            "`queue` does nothing without `rate`; give that, too, or leave `queue` out\n",
        ),
        (&["--mac", "ff:ff:ff:ff:ff:ff"], "a group address"),
        (
            &["--isolated", "ping", "-c", "3", "10.0.0.2"],
            "portolan: ping stands where an option is expected; a command to run stands behind `--`: `portolan up \
             --isolated -- ping -c 3 10.0.0.2`\n",
        ),
        (&["--frobnicate"], "error: unexpected argument '--frobnicate' found"),
    ] {
        let output = output(&[&["up"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

/// Runs `portolan` with a full disk as standard output.
fn into_full(arguments: &[&str]) -> Output {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let child = portolan(arguments).stdout(full).stderr(Stdio::piped()).spawn().expect("portolan starts");
    child.wait_with_output().expect("portolan ends")
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    for arguments in [&["demo"][..], &["--help"], &["--version"], &["up", "--help"]] {
        let output = into_full(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        let message = "portolan: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!(stderr(&output), message, "{arguments:?}");
    }
    // The stack serves nevertheless, and the failure to print is reported.
    let output = into_full(&["up", "--isolated", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let errors = stderr(&output);
    assert!(errors.contains("ready portolan0: ") && errors.contains("No space left on device"), "{errors}");
}

/// Runs in a mount namespace in which /dev/net/tun is another device.
#[test]
fn a_tun_device_that_is_none_is_told_from_a_name_that_is_taken() {
    let script = "mount --bind /dev/null /dev/net/tun && exec \"$PORTOLAN\" up $OPTIONS -- true";
    // Root may mount without a user namespace, which some containers forbid.
    let user: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    for options in ["", "--offload=off", "--queues=2"] {
        let output = Command::new("unshare")
            .args(user)
            .args(["--mount", "--net", "sh", "-c", script])
            .envs([("PORTOLAN", PORTOLAN), ("OPTIONS", options)])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .output()
            .expect("unshare starts");
        assert_eq!(output.status.code(), Some(1), "{options}: {}", stderr(&output));
        assert_eq!(
            stderr(&output),
            "portolan: there is no usable /dev/net/tun (Inappropriate ioctl for device (os error 25)), so no TAP device \
             can be made; load the driver with `modprobe tun`, or, in a container, start it with `--device \
             /dev/net/tun`\n",
            "{options}"
        );
    }
}

/// Without privileges the message names the missing capability and `--isolated`, or the owner of
/// /dev/net/tun.
#[test]
fn without_permission_it_says_what_would_help() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        let output = output(&["up", "--host", "192.0.2.1/24"]);
        return assert_needs_permission(&output);
    }
    let mut command = portolan(&["up", "--host", "198.51.100.1/24"]);
    let output = command.uid(65534).gid(65534).output().expect("portolan starts");
    assert_needs_permission(&output);
}

fn assert_needs_permission(output: &Output) {
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(output);
    assert!(message.contains("CAP_NET_ADMIN"), "{message}");
    assert!(message.contains("--isolated") || message.contains("chmod 666 /dev/net/tun"), "{message}");
}

#[test]
fn it_exits_with_the_status_of_its_command() {
    for (script, code) in
        [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)]
    {
        let output = isolated(&[], script);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", stderr(&output));
    }
    let missing = output(&["up", "--isolated", "--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(stderr(&missing).starts_with("portolan: cannot run /no/such/program: "), "{}", stderr(&missing));
    let forbidden = output(&["up", "--isolated", "--", "/etc/passwd"]);
    assert_eq!(forbidden.status.code(), Some(126), "{}", stderr(&forbidden));
    assert_eq!(
        stderr(&forbidden),
        "portolan: cannot run /etc/passwd: Permission denied (os error 13); is it a program, and may this user run it?\n"
    );
}

#[test]
fn the_ready_line_comes_first_and_names_device_and_addresses() {
    let options =
        ["--tap", "quay7", "--addr", "192.0.2.2/24", "--addr", "fd09::2/64", "--host", "192.0.2.1/24"];
    let output = isolated(&options, "echo then the command");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed = stdout(&output);
    let lines: Vec<&str> = printed.lines().collect();
    let [ready, "then the command"] = lines.as_slice() else { panic!("{printed}") };
    assert!(ready.starts_with("ready quay7: 192.0.2.2/24 fd09::2/64 "), "{ready}");
    assert!(ready.contains(" (kernel 192.0.2.1/24 fd09::1/64), offloads: checksums, TSO, "), "{ready}");
    assert_eq!(stderr(&output), "");
    let plain = isolated(&["--offload", "off"], "true");
    assert!(stdout(&plain).trim_end().ends_with(", offloads: none"), "{}", stdout(&plain));
}

#[test]
fn a_name_that_is_taken_and_a_network_that_is_in_use_are_refused() {
    let output = isolated(&[], "$PORTOLAN up --tap portolan0 --host 192.0.2.1/24");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "portolan: the name portolan0 is taken: a TAP device of that name exists; choose another with --tap, leave --tap \
         out to get a free one, or remove it with `ip link delete portolan0` if nobody uses it\n"
    );
    let output = isolated(&[], "$PORTOLAN up --tap lo --host 192.0.2.1/24");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "portolan: the name lo is taken: an interface of that name exists; choose another with --tap, or leave --tap out \
         to get a free one\n"
    );
    let output = isolated(&[], "$PORTOLAN up --host 10.0.0.9/28");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output)
            .starts_with("portolan: 10.0.0.9/28 overlaps 10.0.0.1/24 on portolan0 of this host; choose"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_recording_that_cannot_be_written_is_refused() {
    let output = output(&["up", "--isolated", "--pcap", "/no/such/folder/x.pcap", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("portolan: cannot record to /no/such/folder/x.pcap: No such file"),
        "{}",
        stderr(&output)
    );
    let output = portolan(&["up", "--isolated", "--pcap", "/dev/full", "--", "true"]).output();
    let output = output.expect("portolan starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "portolan: cannot record to /dev/full: No space left on device (os error 28); choose a file that can be written, \
         with --pcap\n"
    );
}

#[test]
fn only_the_chosen_services_listen() {
    let script = "for port in 7 9 13 19 80; do \
                  (exec 3<>/dev/tcp/10.0.0.2/$port) 2>/dev/null && echo $port; done; true";
    for (services, open) in [("none", ""), ("echo,http", "7\n80\n"), ("all", "7\n9\n13\n19\n80\n")] {
        let output = isolated(&["--services", services], script);
        let printed = stdout(&output);
        let (_, ports) = printed.split_once('\n').unwrap_or_else(|| panic!("{printed} {}", stderr(&output)));
        assert_eq!(ports, open, "{services}: {}", stderr(&output));
    }
}

/// A process that is killed when the test ends, however it ends.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running(
            portolan(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("portolan starts"),
        )
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// The exit code (or the negated number of the signal), within ten seconds.
    fn code(&mut self) -> i32 {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.0.try_wait().expect("a status") {
                return status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("portolan does not stop");
    }

    fn first_line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        let mut line = String::new();
        BufReader::with_capacity(1, stdout).read_line(&mut line).expect("a line");
        line
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `COMMAND` where /dev/net/tun does not exist.
fn without_tun(command: &str) -> Output {
    let hidden = format!("mount -t tmpfs none /dev/net && exec {command}");
    let user: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    Command::new("unshare")
        .args(user)
        .args(["--mount", "--net", "sh", "-c", &hidden])
        .env("PORTOLAN", PORTOLAN)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("unshare of util-linux")
}

#[test]
fn a_veth_pair_takes_the_place_of_a_tap_device_that_cannot_be_made() {
    let script = "ip -br link show portolan0 && curl -s --max-time 20 http://10.0.0.2/ | grep -o '<title>.*</title>' \
                  && timeout 20 bash -c 'head -c 20000000 /dev/zero >/dev/tcp/10.0.0.2/9' \
                  && ping -c 1 -W 5 fd10::2 >/dev/null && echo reached";
    let output = without_tun(&format!("$PORTOLAN up --isolated -- bash -c {script:?}"));
    let (out, errors) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{out}\n{errors}");
    assert!(out.contains("ready portolan0: 10.0.0.2/24") && out.contains("portolan0@portolan0-s"), "{out}");
    assert!(out.contains("<title>") && out.ends_with("reached\n"), "{out}");
    assert!(errors.contains("portolan0 is a veth pair with a packet socket"), "{errors}");

    let gone = without_tun(
        "$PORTOLAN up --isolated -- bash -c \"trap '' TERM; ip link delete portolan0; exec sleep 60\"",
    );
    assert_eq!(gone.status.code(), Some(1), "{}", stderr(&gone));
    assert!(stderr(&gone).contains("portolan0: the interface was removed from outside"), "{}", stderr(&gone));

    let shared = without_tun("$PORTOLAN up");
    assert!(!shared.status.success());
    assert!(stderr(&shared).contains("there is no usable /dev/net/tun"), "only in a namespace of its own");
}

#[test]
fn signals_end_it_in_order() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut running = Running::start(&["up", "--isolated", "-v"]);
        assert!(running.first_line().starts_with("ready portolan0: "), "{}", running.errors());
        running.signal(signal);
        assert_eq!(running.code(), 0, "{signal:?}: {}", running.errors());
        let errors = running.errors();
        assert!(errors.contains("link.frames_out"), "the counters are told at the end: {errors}");
        assert!(errors.contains("portolan0: removed"), "{errors}");
    }
}

#[test]
fn signals_reach_the_command_whose_status_counts() {
    for (signal, code) in [(Signal::TERM, 128 + 15), (Signal::INT, 128 + 2)] {
        let mut running = Running::start(&["up", "--isolated", "--", "sleep", "60"]);
        assert!(running.first_line().starts_with("ready "), "{}", running.errors());
        // `sleep` may not have been started yet: then the signal ends portolan with the same
        // status.
        running.signal(signal);
        assert_eq!(running.code(), code, "{}", running.errors());
    }
    let script = "trap 'echo caught; exit 5' TERM; echo trapped; while :; do sleep 0.05; done";
    let mut running = Running::start(&["up", "--isolated", "--", "bash", "-c", script]);
    assert!(running.first_line().starts_with("ready "));
    assert_eq!(running.first_line(), "trapped\n");
    running.signal(Signal::TERM);
    assert_eq!(running.code(), 5, "{}", running.errors());
}

#[test]
fn a_device_that_is_taken_away_ends_it_with_a_message() {
    let output = isolated(&[], "trap '' TERM; ip link delete portolan0; exec sleep 60");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("portolan0: the interface was removed from outside"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_demonstration_works() {
    let output = output(&["demo"]);
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", stderr(&output));
    assert!(!printed.contains("FAILED"), "{printed}");
    for needle in [
        "ping over IPv4        10.0.0.2 answered 20 of 20",
        "a web page, IPv4      http://10.0.0.2/ is ",
        "every byte came back as it was sent",
        "open at once, each with its own answer",
        "All of it worked.",
        "What to try next:",
    ] {
        assert!(printed.contains(needle), "{needle:?} is not in\n{printed}");
    }
    assert!(printed.lines().count() <= 25, "{printed}");
}

#[test]
fn an_address_from_the_network_is_printed_and_answers() {
    let script = r#"
        dir=$(mktemp -d)
        dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --group=root --pid-file= --no-ping \
            --interface=portolan0 --bind-interfaces --dhcp-authoritative --dhcp-leasefile=$dir/leases \
            --log-facility=$dir/log --dhcp-range=10.0.0.50,10.0.0.50,255.255.255.0,300 &
        for try in $(seq 100); do
            ping -c 1 -W 1 10.0.0.50 >$dir/ping && break
            sleep 0.1
        done
        cat $dir/ping
        kill $!
        rm -r $dir
    "#;
    let output = isolated(&["--dhcp", "--tap", "portolan0"], script);
    let printed = stdout(&output);
    assert!(
        printed.contains("dhcp portolan0: bound 10.0.0.50/24 from 10.0.0.1 for 300 s"),
        "{printed}{}",
        stderr(&output)
    );
    assert!(printed.contains("1 received"), "{printed}{}", stderr(&output));
    for wrong in [&["up", "--dhcp", "--addr", "10.0.0.2/24"][..], &["up", "--dhcp", "--queues", "2"]] {
        assert_eq!(self::output(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
