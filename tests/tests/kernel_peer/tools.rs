//! The machine's `traceroute` and `tcpdump`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use portolan_tests::namespace::{STACK4, STACK6, TAP, beside_portolan, tool};

/// With UDP (an unused port), ICMP echo and TCP: each gets an answer that ends the trace.
#[test]
fn traceroute_finds_the_stack_one_hop_away() {
    beside_portolan("tools::traceroute_finds_the_stack_one_hop_away", &[], || {
        for addr in [STACK4, STACK6] {
            for method in ["", "-I", "-T -p 80", "-U -p 4000"] {
                let line = format!("traceroute -n -q 1 -N 1 -w 5 -m 3 {method} {addr}");
                let printed = tool(&line);
                let hops: Vec<&str> = printed.lines().skip(1).collect();
                assert_eq!(hops.len(), 1, "{line}: {printed}");
                assert!(hops[0].contains(&format!("1  {addr}  ")) && !hops[0].contains('!'), "{printed}");
            }
        }
    });
}

/// `tcpdump` decodes what the stack sends, and finds the checksums right.
#[test]
fn tcpdump_understands_what_the_stack_sends() {
    beside_portolan("tools::tcpdump_understands_what_the_stack_sends", &[], || {
        let filter = format!("src host {STACK4} or src host {STACK6}");
        let mut watcher = Command::new("tcpdump")
            .args(["-n", "-v", "-l", "-Z", "root", "-i", TAP, "-c", "6", &filter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        // It says when it listens.
        let mut said = BufReader::new(watcher.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("its output"), 0, "tcpdump ended early");
        }
        for addr in [STACK4, STACK6] {
            tool(&format!("ping -n -c 5 -i 0.2 -W 5 {addr}"));
        }
        let mut printed = String::new();
        watcher.stdout.take().expect("a pipe").read_to_string(&mut printed).expect("its output");
        assert!(watcher.wait().expect("our own child").success(), "{printed}");
        assert!(printed.contains("ICMP echo reply"), "{printed}");
        for wrong in ["bad cksum", "bad-ip-cksum", "truncated", "[|"] {
            assert!(!printed.contains(wrong), "{wrong}: {printed}");
        }
    });
}
