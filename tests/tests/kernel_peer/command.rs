//! The command itself: its exit status, what it prints, what it leaves behind.

use std::fs;
use std::process::Stdio;

use portolan_tests::namespace::portolan;

#[test]
fn it_exits_as_its_command_does() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7)] {
        let output = portolan()
            .args(["up", "--isolated", "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .expect("portolan starts");
        assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The line `ready` names the device and the addresses, and it is there before the command runs.
#[test]
fn it_says_when_it_is_ready() {
    let output = portolan()
        .args(["up", "--isolated", "--tap", "harbour", "--addr", "192.0.2.2/24", "--host", "192.0.2.1/24"])
        .args(["--", "sh", "-c", "echo the command runs; ip -brief address show dev harbour"])
        .stdin(Stdio::null())
        .output()
        .expect("portolan starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    let ready =
        lines.iter().position(|line| line.starts_with("ready")).unwrap_or_else(|| panic!("{printed}"));
    let runs =
        lines.iter().position(|line| *line == "the command runs").unwrap_or_else(|| panic!("{printed}"));
    assert!(ready < runs, "{printed}");
    assert!(lines[ready].contains("harbour") && lines[ready].contains("192.0.2.2"), "{printed}");
    assert!(printed.contains("192.0.2.1/24"), "the host's side has its address:\n{printed}");
}

/// The device is gone from the host when the command has ended: nothing of the host is touched by `--isolated`.
#[test]
fn isolated_leaves_the_host_alone() {
    let before = interfaces();
    let status = portolan()
        .args(["up", "--isolated", "--tap", "quay", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("portolan starts");
    assert!(status.success());
    assert_eq!(interfaces(), before);
}

/// What passed is in the file that `--pcap` names, in a format that Wireshark reads.
#[test]
fn it_keeps_what_passed() {
    let path = std::env::temp_dir().join(format!("portolan-kernel-peer-{}.pcap", std::process::id()));
    let output = portolan()
        .args(["up", "--isolated", "--addr", "192.0.2.2/24", "--host", "192.0.2.1/24", "--pcap"])
        .arg(&path)
        .args(["--", "ping", "-n", "-c", "2", "-i", "0.05", "-W", "5", "192.0.2.2"])
        .stdin(Stdio::null())
        .output()
        .expect("portolan starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let bytes = fs::read(&path).expect("the file that --pcap names");
    let _ = fs::remove_file(&path);
    // The magic number of pcap with micro- or nanoseconds, or the section header of pcapng.
    let magic = bytes.first_chunk::<4>().map(|&bytes| u32::from_le_bytes(bytes));
    assert!(matches!(magic, Some(0xa1b2_c3d4 | 0xa1b2_3c4d | 0x0a0d_0d0a)), "{magic:08x?}");
    // Two requests and two replies of 98 bytes.
    assert!(bytes.len() > 4 * 98, "{} bytes", bytes.len());
}

fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .expect("Linux")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
