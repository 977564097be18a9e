use super::*;
use crate::host::KernelSetting;

const GOOD: &str = "
# A passive open.
family v4
call listen
peer SYN mss 1000 sackOK
stack SYN ACK seq 0 ack 1 mss link sackOK
+10ms peer seq 1 ack 1
call accept
call send 1500
stack ACK seq 1..1001 ack 1
stack ACK PSH seq 1001..1501
+10ms peer ack 1501
call recv 1 = EAGAIN
check state ESTABLISHED
check timer none
check info state ESTABLISHED snd_mss 1000
";

fn run(text: &str) -> Result<Vec<String>, Failure> {
    let script = Script::parse("a.txt", text)?;
    script.run(script.families()[0])
}

/// Checks that the script fails at this line with this message.
fn fails(text: &str, at: &str, why: &str) {
    let failure = run(text).expect_err("it should fail");
    assert_eq!(failure.at, at, "{failure}");
    assert!(failure.why.contains(why), "{failure}");
}

#[test]
fn a_good_script_passes_and_is_told() {
    let transcript = run(GOOD).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(transcript[1], "0.000000 peer SYN seq 0 win 65535 mss 1000 sackOK");
    assert!(
        transcript.contains(&"0.020000 peer ACK seq 1 ack 1501 win 65535".to_string()),
        "{transcript:#?}"
    );
}

#[test]
fn what_is_not_as_written_is_found() {
    for (right, wrong, at, why) in [
        ("ack 1 mss link", "ack 2 mss link", "a.txt:6", "ack 2, not 1"),
        ("mss link", "mss 1400", "a.txt:6", "mss 1400, not 1460"),
        ("link sackOK", "link no sackOK", "a.txt:6", "no option sackOK, but there is one"),
        ("stack SYN ACK", "stack SYN", "a.txt:6", "SYN, not SYN ACK"),
        ("call accept", "call accept = EAGAIN", "a.txt:8", "expected EAGAIN\ngot      ok"),
        ("seq 1..1001", "seq 1..1002", "a.txt:10", "len 1001, not 1000"),
        ("stack ACK PSH", "stack ACK", "a.txt:11", "ACK, not ACK PSH"),
        ("seq 1..1001", "seq 1..1001 may-fragment", "a.txt:10", "a packet that may be fragmented"),
        ("stack ACK PSH", "+40ms stack ACK PSH", "a.txt:11", "at 0.050000, not at 0.010000"),
        ("stack ACK PSH seq 1001..1501", "", "a.txt:12", "nothing more of the stack"),
        ("ESTABLISHED", "CLOSE-WAIT", "a.txt:14", "expected CLOSE-WAIT\ngot      ESTABLISHED"),
        ("timer none", "timer Retransmit 1s", "a.txt:15", "got      none"),
        ("snd_mss 1000", "snd_mss 999", "a.txt:16", "got      state ESTABLISHED snd_mss 1000"),
        ("snd_mss", "tea", "a.txt:16", "TcpInfo has no field tea"),
        ("check timer none", "stack ACK", "a.txt:15", "got      nothing by 0.020000"),
    ] {
        assert!(GOOD.contains(right), "{right}");
        fails(&GOOD.replacen(right, wrong, 1), at, why);
    }
}

#[test]
fn data_of_both_directions_is_compared() {
    let start = "start accepted mss 1000\n";
    assert!(run(&format!("{start}peer seq 1..11\nstack ack 11\ncall recv 10\n")).is_ok());
    fails(&format!("{start}peer seq 1..11 junk\nstack ack 11\ncall recv 10\n"), "a.txt:4", "another one");
}

#[test]
fn mistakes_in_the_notation_are_explained() {
    for (line, why) in [
        ("pear ACK", "begins no line"),
        ("peer ACK seq", "something is missing after `seq`"),
        ("peer ACK seq one", "`one` is no number"),
        ("peer ACK colour 3", "`colour` is no flag, field or option"),
        ("peer ACK each 10", "`each` goes with a stretch"),
        ("stack ACK flow a", "`flow` needs a name"),
        ("+10 peer ACK", "`10` is no time"),
        ("call fly", "`fly` is no call"),
        ("call close now", "`now` is one word too many"),
        ("nothing at all", "nothing for how long?"),
        ("check weather fine", "`weather` cannot be checked"),
        ("config tea 3", "`tea 3` is no setting"),
        ("call setsockopt SO_TEA on", "`SO_TEA` is no option"),
        ("call s.setsockopt TCP_NODELAY maybe", "on or off"),
    ] {
        fails(line, "a.txt:1", why);
    }
    fails("linux: is different", "a.txt:1", "with which kernel?");
    fails("kernel: is different", "a.txt:1", "too long");
    fails("linux: A (6.18)\nkernel: too long\ncall listen", "a.txt:2", "one mark");
    fails("call listen\nlinux: A (6.18)\n", "a.txt:2", "the header stands before the first step");
    fails("call listen\nfamily v6\n", "a.txt:2", "the header stands before the first step");
    fails("# nothing\n", "a.txt", "a script without a step");
    fails("call send 1\n", "a.txt:1", "there is no socket s");
}

#[test]
fn timestamps_have_names() {
    let start = "start accepted mss 1000 ts\ncall send 10\nstack seq 1..11 ts $first echo 1000\n";
    let text = format!("{start}+5ms peer ack 11 echo $first\ncall send 10\nstack seq 11..21 ts $first+5\n");
    assert!(run(&text).is_ok(), "{:?}", run(&text));
    fails(&text.replace("$first+5", "$first+6"), "a.txt:6", "ts");
    fails(&text.replace("echo $first", "echo $last"), "a.txt:4", "no segment of the stack was called $last");
}

#[test]
fn flow_labels_have_names() {
    let text = "family v6\nstart accepted mss 1000\ncall send 10\nstack seq 1..11 flow $a\npeer ack 11\ncall send 10\nstack seq 11..21";
    assert!(run(&format!("{text} flow $a\n")).is_ok(), "{:?}", run(&format!("{text} flow $a\n")));
    fails(&format!("{text} flow not $a\n"), "a.txt:7", "another flow label than");
}

#[test]
fn the_example_of_the_readme_passes() {
    let readme = crate::sources::read(&crate::sources::root().join("tests/scripts/README.md"));
    let example = readme.split("```").nth(1).expect("a block");
    let script = Script::parse("README.md", example).unwrap_or_else(|failure| panic!("{failure}"));
    for &domain in script.families() {
        script.run(domain).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn lines_for_one_host_are_not_played_on_the_other() {
    let start = "start accepted mss 1000\npeer seq 1..11\n";
    let lines = "linux +20ms stack ack 11\nportolan stack ack 11\n";
    assert!(run(&format!("{start}{lines}")).is_ok());
    fails(&format!("{start}linux stack ack 11\n"), "a.txt:3", "expected nothing more of the stack here");
}

#[test]
fn marks_that_are_not_needed_are_found() {
    let why = |text: &str| {
        let script = Script::parse("a.txt", text).unwrap_or_else(|failure| panic!("{failure}"));
        match script.is_not_for_the_kernel() {
            Ok(why) => why.unwrap_or_default(),
            Err(failure) => failure.why,
        }
    };
    assert_eq!(why("call listen\nnothing for 20s\n"), "");
    assert!(why("call listen\nnothing for 1h\n").contains("write `kernel: too long`"));
    assert_eq!(why("kernel: too long\ncall listen\nnothing for 1h\n"), "it lasts 3600s");
    assert!(why("kernel: too long\ncall listen\n+2s stack RST\n").contains("it lasts only 2s"));
    assert!(why("kernel: too long\ncall listen\nportolan nothing for 1h\n").contains("it lasts only 0ns"));
    let lacks = "kernel: lacks max_orphans\nconfig max_orphans 1\ncall listen\n";
    assert_eq!(why(lacks), "the kernel has no setting `max_orphans`");
    assert!(why(&lacks.replace("max_orphans 1", "retries 1")).contains("has no such `config`"));
    assert!(why(&lacks.replace("max_orphans", "retries")).contains("or the kernel has that setting"));
}

#[test]
fn settings_mean_sysctls() {
    let script = Script::parse("a.txt", "config fin_wait_2 4s\nsysctl tcp_rfc1337 1\ncall listen\n");
    let settings = script.map_err(|failure| failure.to_string()).and_then(|script| script.kernel_settings());
    let sysctl = |name: &str, value: &str| KernelSetting::Sysctl { name: name.into(), value: value.into() };
    let wanted = vec![sysctl("ipv4/tcp_fin_timeout", "4"), sysctl("ipv4/tcp_rfc1337", "1")];
    assert_eq!(settings, Ok(wanted));
    let script = Script::parse("a.txt", "config initial_rto 4s\ncall listen\n").expect("a good script");
    let why = script.kernel_settings().expect_err("the kernel has no such setting");
    assert!(why.contains("write `kernel: lacks initial_rto`"), "{why}");
}
