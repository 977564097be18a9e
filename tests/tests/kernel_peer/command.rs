//! The effects of the command on the network around it. Its messages and its exit status are tested
//! in its own package.

use std::fs;
use std::process::Stdio;

use portolan_tests::namespace::portolan;

/// The commands that the README tells a newcomer to try.
#[test]
fn the_default_addresses_answer() {
    let output = portolan()
        .args("up --isolated -- ping -c 3 10.0.0.2".split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("portolan starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("3 packets transmitted, 3 received"), "{printed}");
}

/// After the command the device is gone, and `--isolated` does not affect the host.
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

/// The frames are in the file that `--pcap` names, in a format that Wireshark reads.
#[test]
fn it_keeps_what_passed() {
    let path = std::env::temp_dir().join(format!("portolan-kernel-peer-{}.pcap", std::process::id()));
    let output = portolan()
        .args(["up", "--isolated", "--addr", "192.0.2.2/24", "--host", "192.0.2.1/24", "--pcap"])
        .arg(&path)
        .args(["--", "ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", "192.0.2.2"])
        .stdin(Stdio::null())
        .output()
        .expect("portolan starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let bytes = fs::read(&path).expect("the file that --pcap names");
    let _ = fs::remove_file(&path);
    // The magic number of pcap with micro- or nanoseconds in either byte order, or the section
    // header of pcapng.
    let magic = bytes.first_chunk::<4>().map(|&bytes| u32::from_be_bytes(bytes)).unwrap_or_default();
    let known = [0xa1b2_c3d4_u32, 0xa1b2_3c4d, 0x0a0d_0d0a];
    assert!(known.iter().any(|known| [*known, known.swap_bytes()].contains(&magic)), "{magic:08x}");
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
