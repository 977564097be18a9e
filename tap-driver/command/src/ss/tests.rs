//! Compares the command with the kernel's `ss`: the same sockets on a stack and on the kernel, and
//! the same options and filters.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use portolan::{
    Config, Descriptor, Domain, Error, Instant, InterfaceConfig, InterfaceId, Medium, Shutdown, SocketKind,
    SocketOption, Stack,
};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};

use super::*;
use crate::cli::{self, Cli};
use crate::control::row::Surroundings;

/// Options and filters, as both commands are given them. `-H`, because `ss` names a column more.
const QUESTIONS: [&str; 24] = [
    "-Htan",
    "-Htuan",
    "-Htn",
    "-Htun",
    "-Hun",
    "-Huan",
    "-Hltn",
    "-Hltun",
    "-Hta4n",
    "-Htua6n",
    "-Hlt sport = :http",
    "-Htun state all",
    "-Htn state established",
    "-Htun state connected",
    "-Htn state synchronized sport lt :5000",
    "-Htn state bucket",
    "-Htan exclude listening exclude time-wait",
    "-Htn state close-wait state fin-wait-2",
    "-Htan dport gt :5004",
    "-Htan src 127.0.0.1",
    "-Htuan dst [::1]:4003 or src [::1]",
    "-Htan src 127.0.0.0/8 and not dst :4001",
    "-Htan ( sport = :4000 or dport = :4000 ) and not src :5001",
    "-Htan src ::/0",
];

/// What runs inside the new namespace.
const INSIDE: &str = "PORTOLAN_SS_INSIDE";

/// The calls of a program, none of which waits. Sockets are numbered as they are made.
trait Host {
    fn socket(&mut self, is_ipv6: bool, is_stream: bool) -> usize;
    fn only_ipv6(&mut self, socket: usize);
    fn bind(&mut self, socket: usize, addr: SocketAddr);
    fn listen(&mut self, socket: usize, backlog: u8);
    fn connect(&mut self, socket: usize, addr: SocketAddr);
    fn accept(&mut self, socket: usize) -> usize;
    fn send(&mut self, socket: usize, len: usize);
    fn end_sending(&mut self, socket: usize);
    fn close(&mut self, socket: usize);
    /// Lets everything that was sent arrive.
    fn settle(&mut self);
    /// From now on nothing arrives.
    fn cut(&mut self);
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn bound(host: &mut impl Host, is_stream: bool, at: &str) -> usize {
    let at = addr(at);
    let socket = host.socket(at.is_ipv6(), is_stream);
    if at.port() % 10 == 9 {
        host.only_ipv6(socket);
    }
    host.bind(socket, at);
    socket
}

/// The two ends of a connection.
fn pair(host: &mut impl Host, from: &str, to: &str, listener: usize) -> (usize, usize) {
    let client = bound(host, true, from);
    host.connect(client, addr(to));
    host.settle();
    (client, host.accept(listener))
}

/// Makes sockets in each state that lasts.
fn populate(host: &mut impl Host) {
    let listeners = ["127.0.0.1:4000", "[::]:4001", "[::1]:4003", "[::]:4009", "0.0.0.0:80"].map(|at| {
        let socket = bound(host, true, at);
        host.listen(socket, 7);
        socket
    });
    // Neither command lists these unless it is asked for such sockets.
    bound(host, true, "127.0.0.1:7000");
    host.socket(true, true);
    host.socket(false, false);

    let [listener, dual, listener6, ..] = listeners;
    let unread = pair(host, "127.0.0.1:5001", "127.0.0.1:4000", listener);
    let mapped = pair(host, "127.0.0.1:5002", "127.0.0.1:4001", dual);
    let ipv6 = pair(host, "[::1]:5003", "[::1]:4003", listener6);
    let half = pair(host, "127.0.0.1:5005", "127.0.0.1:4000", listener);
    let half_unread = pair(host, "[::1]:5006", "[::1]:4001", dual);
    let over = pair(host, "127.0.0.1:5007", "127.0.0.1:4000", listener);
    let over6 = pair(host, "[::1]:5008", "[::1]:4003", listener6);
    let closing = pair(host, "127.0.0.1:5010", "127.0.0.1:4000", listener);
    let closing_last = pair(host, "127.0.0.1:5011", "127.0.0.1:4000", listener);
    let waiting = bound(host, true, "127.0.0.1:5012");
    host.connect(waiting, addr("127.0.0.1:80"));
    let unanswered = bound(host, true, "10.9.0.1:5013");
    host.connect(unanswered, addr("10.9.0.2:9"));
    host.send(unread.1, 300);
    host.send(ipv6.0, 5);
    host.send(half_unread.0, 40);
    host.settle();
    for socket in [half.0, half_unread.0, over.0, over6.0, closing_last.0] {
        host.end_sending(socket);
    }
    host.settle();
    for (first, second) in [over, over6] {
        host.close(first);
        host.close(second);
    }
    host.settle();

    for at in ["0.0.0.0:6000", "[::]:6001", "[::]:6009"] {
        bound(host, false, at);
    }
    for (from, to) in [("127.0.0.1:6002", "127.0.0.1:6000"), ("[::1]:6003", "[::1]:6001")] {
        let sender = bound(host, false, from);
        host.connect(sender, addr(to));
    }

    host.cut();
    host.send(mapped.0, 1000);
    host.send(mapped.1, 20);
    host.send(closing.0, 700);
    host.end_sending(closing.0);
    host.end_sending(closing_last.1);
}

/// A stack that is alone, in virtual time.
struct PortolanHost {
    stack: Stack,
    now: Instant,
    sockets: Vec<Descriptor>,
}

impl PortolanHost {
    fn new() -> PortolanHost {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let now = Instant::from_secs(1);
        let mut stack = Stack::new(config, [9; 32], now);
        let interface = InterfaceConfig::new(Medium::Ip).name("t0");
        let cidr = "10.9.0.1/24".parse().expect("a network");
        stack.add_interface(now, interface.address(cidr)).expect("an interface");
        PortolanHost { stack, now, sockets: Vec::new() }
    }

    fn add(&mut self, made: Descriptor) -> usize {
        self.sockets.push(made);
        self.sockets.len() - 1
    }
}

impl Host for PortolanHost {
    fn socket(&mut self, is_ipv6: bool, is_stream: bool) -> usize {
        let domain = if is_ipv6 { Domain::V6 } else { Domain::V4 };
        let kind = if is_stream { SocketKind::Stream } else { SocketKind::Datagram };
        let made = self.stack.socket(domain, kind).expect("a socket");
        self.add(made)
    }

    fn only_ipv6(&mut self, socket: usize) {
        let option = SocketOption::V6Only(true);
        self.stack.set_option(self.now, self.sockets[socket], option).expect("an option");
    }

    fn bind(&mut self, socket: usize, addr: SocketAddr) {
        self.stack.bind(self.sockets[socket], addr).expect("an address");
    }

    fn listen(&mut self, socket: usize, backlog: u8) {
        self.stack.listen(self.sockets[socket], backlog.into()).expect("a listener");
    }

    fn connect(&mut self, socket: usize, addr: SocketAddr) {
        let started = self.stack.connect(self.now, self.sockets[socket], addr);
        assert!(matches!(started, Ok(()) | Err(Error::InProgress)), "{started:?}");
    }

    fn accept(&mut self, socket: usize) -> usize {
        let (made, _) = self.stack.accept(self.sockets[socket]).expect("a connection");
        self.add(made)
    }

    fn send(&mut self, socket: usize, len: usize) {
        assert_eq!(self.stack.send(self.now, self.sockets[socket], &vec![0; len]), Ok(len));
    }

    fn end_sending(&mut self, socket: usize) {
        self.stack.shutdown(self.now, self.sockets[socket], Shutdown::Write).expect("an end");
    }

    fn close(&mut self, socket: usize) {
        self.stack.close(self.now, self.sockets[socket]).expect("an end");
    }

    fn settle(&mut self) {
        for _ in 0..2 {
            while self.stack.poll_transmit(self.now).is_some() || self.stack.handle_loopback(self.now) {}
            self.now += Duration::from_millis(50);
            self.stack.handle_timeout(self.now);
        }
    }

    fn cut(&mut self) {}
}

/// The kernel, with the loopback of this namespace.
#[derive(Debug, Default)]
struct LinuxHost(Vec<Option<OwnedFd>>);

impl LinuxHost {
    fn add(&mut self, made: OwnedFd) -> usize {
        self.0.push(Some(made));
        self.0.len() - 1
    }

    fn get(&self, socket: usize) -> &OwnedFd {
        self.0[socket].as_ref().expect("an open socket")
    }
}

impl Host for LinuxHost {
    fn socket(&mut self, is_ipv6: bool, is_stream: bool) -> usize {
        let family = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let kind = if is_stream { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        self.add(net::socket_with(family, kind, flags, None).expect("a socket"))
    }

    fn only_ipv6(&mut self, socket: usize) {
        net::sockopt::set_ipv6_v6only(self.get(socket), true).expect("an option");
    }

    fn bind(&mut self, socket: usize, addr: SocketAddr) {
        net::bind(self.get(socket), &addr).expect("an address");
    }

    fn listen(&mut self, socket: usize, backlog: u8) {
        net::listen(self.get(socket), backlog.into()).expect("a listener");
    }

    fn connect(&mut self, socket: usize, addr: SocketAddr) {
        let started = net::connect(self.get(socket), &addr);
        assert!(matches!(started, Ok(()) | Err(Errno::INPROGRESS)), "{started:?}");
    }

    fn accept(&mut self, socket: usize) -> usize {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        self.add(net::accept_with(self.get(socket), flags).expect("a connection"))
    }

    fn send(&mut self, socket: usize, len: usize) {
        assert_eq!(net::send(self.get(socket), &vec![0; len], SendFlags::empty()), Ok(len));
    }

    fn end_sending(&mut self, socket: usize) {
        net::shutdown(self.get(socket), net::Shutdown::Write).expect("an end");
    }

    fn close(&mut self, socket: usize) {
        self.0[socket] = None;
    }

    fn settle(&mut self) {
        // Longer than an acknowledgement is delayed.
        sleep(Duration::from_millis(100));
    }

    fn cut(&mut self) {
        tool("ip link set lo down");
    }
}

/// Runs a tool; what it prints.
fn tool(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the command prints of a stack's sockets.
fn answer(host: &PortolanHost, question: &str) -> String {
    let words = ["portolan", "ss"].into_iter().chain(question.split(' '));
    let Ok(Cli { command: cli::Command::Ss(options), .. }) = cli::read(words.map(OsString::from)) else {
        panic!("{question} is not understood");
    };
    let place = Surroundings {
        interfaces: HashMap::from([(InterfaceId::LOOPBACK, "lo".to_owned())]),
        pid: 1,
        with_tcp: false,
        now: host.now,
    };
    let names = Services::load();
    let filter = Filter::parse(&options.filter, &names).unwrap_or_else(|error| panic!("{question}: {error}"));
    let lines = host.stack.sockets().map(|info| Row::of(&place, 0, &host.stack, &info).line);
    let rows = lines.map(|line| Row::from_json(line).expect("a row"));
    let chosen = rows.filter(|row| options.shows(row, &filter)).collect();
    options.report(chosen, &filter, names)
}

/// The lines in the order of the alphabet, their words apart by one space.
fn lines(printed: &str) -> Vec<String> {
    let one_space = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = printed.lines().map(one_space).collect();
    lines.sort();
    lines
}

/// Takes SYN and FIN out of the queues of `ss`, in which Linux counts each as a byte until it is
/// acknowledged or, as the end of the data, read.
fn without_syn_and_fin(printed: &str) -> String {
    let counted = |line: &str| {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (receives, sends) = match words.iter().find_map(|word| State::named(word)) {
            Some(State::CloseWait) => (1, 0),
            Some(State::SynSent | State::FinWait1) => (0, 1),
            Some(State::LastAck | State::Closing) => (1, 1),
            _ => (0, 0),
        };
        let first = words.iter().position(|word| word.parse::<u64>().is_ok()).expect("a queue");
        for (at, fewer) in [(first, receives), (first + 1, sends)] {
            words[at] = (words[at].parse::<u64>().expect("a queue") - fewer).to_string();
        }
        words.join(" ")
    };
    printed.lines().map(counted).collect::<Vec<_>>().join("\n")
}

/// Neither states, queues, addresses and ports differ, nor what a filter chooses.
#[test]
fn the_same_sockets_are_listed_as_the_kernel_s_ss_lists_them() {
    if env::var_os(INSIDE).is_none() {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let name = "ss::tests::the_same_sockets_are_listed_as_the_kernel_s_ss_lists_them";
        command.args(["--net", "--"]).arg(env::current_exe().expect("a path")).args([
            name,
            "--exact",
            "--nocapture",
        ]);
        let output = command.env(INSIDE, "1").output().expect("unshare is installed");
        let printed = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}{why}");
        return;
    }
    tool("ip link set lo up");
    tool("ip tuntap add dev t0 mode tun");
    tool("ip addr add 10.9.0.1/24 dev t0");
    tool("ip link set t0 up");
    let (mut stack, mut kernel) = (PortolanHost::new(), LinuxHost::default());
    populate(&mut stack);
    populate(&mut kernel);
    let mut wrong = Vec::new();
    for question in QUESTIONS {
        let (ours, theirs) =
            (lines(&answer(&stack, question)), lines(&without_syn_and_fin(&tool(&format!("ss {question}")))));
        assert!(!theirs.is_empty(), "{question} asks for nothing");
        if ours != theirs {
            wrong.push(format!(
                "ss {question}\n  ours:\n{}\n  the kernel's:\n{}",
                ours.join("\n"),
                theirs.join("\n")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
