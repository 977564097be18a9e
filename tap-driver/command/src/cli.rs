//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, Subcommand};
use portolan::{Cidr, MacAddr};
use portolan_runtime::device::Impairment;
use portolan_tap::{MAX_MTU, MAX_QUEUES, MIN_MTU, Offload};

use crate::addresses::parse_mac;
use crate::services::Services;
use crate::ss::SsOptions;
use crate::stat::StatOptions;

/// Portolan: a TCP/IP stack in user space, on a Linux TAP device.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log more: -v what happens, -vv also drops and state changes, -vvv also every segment.
    /// RUST_LOG overrides it
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 900)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a stack up on a TAP device, in the foreground, until Ctrl-C or the end of COMMAND
    Up(Box<UpOptions>),
    /// Show it at work in a network of its own: ping, a web page, 100 MiB through echo, 1,000
    /// connections
    Demo,
    /// List the sockets of a running stack, as ss lists those of the kernel
    Ss(Box<SsOptions>),
    /// Print the counters of a running stack, as nstat prints those of the kernel
    Stat(Box<StatOptions>),
}

/// The limit of `--memory`: 1 TiB.
const MAX_MEMORY_MIB: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  portolan up --isolated -- ping -c 3 10.0.0.2
          no privileges: a network of its own, for as long as the ping runs
  portolan up --isolated -- bash
          a shell in such a network: try `curl http://10.0.0.2/`, `ping fd10::2`
  sudo portolan up --host 192.168.77.1/24 --addr 192.168.77.2/24
          on this host's network; then, in another terminal, `ping 192.168.77.2`
  sudo portolan up --dhcp --tap tap0 --services echo
          with an address from the DHCP server on the link, for example of a bridge that tap0 is in
  portolan up --isolated --impair loss=3%,delay=20ms --pcap x.pcap -- curl http://10.0.0.2/
          through a bad network, recorded for Wireshark

Exit status:
  that of COMMAND, or 128 and the number of the signal that ended it; 0 after Ctrl-C or SIGTERM;
  1 when something failed, 2 for mistakes on the command line, 126 or 127 when COMMAND could not run";

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpOptions {
    /// The name of the TAP device, at most 15 bytes [default: portolan0, or the next free number]
    #[arg(long, value_name = "NAME")]
    pub(crate) tap: Option<String>,

    /// An address of the kernel's side of the link [default: 10.0.0.1/24 and fd10::1/64, or the
    /// first free address in --addr's network]
    #[arg(long, value_name = "CIDR")]
    pub(crate) host: Vec<Cidr>,

    /// An address of the stack [default: 10.0.0.2/24 and fd10::2/64, or the first free address in
    /// --host's network]
    #[arg(long, value_name = "CIDR")]
    pub(crate) addr: Vec<Cidr>,

    /// The stack's default router, one for IPv4 and one for IPv6 [default: the kernel's side]
    #[arg(long, value_name = "IP", value_parser = parse_gateway)]
    pub(crate) gateway: Vec<IpAddr>,

    /// Get the stack's IPv4 address and router, and DNS servers, from a DHCP server on the link.
    /// Each change is printed as a line that begins with `dhcp`
    #[arg(long)]
    pub(crate) dhcp: bool,

    /// The stack's MAC address [default: derived from the name and the addresses]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub(crate) mac: Option<MacAddr>,

    /// The largest IP packet in bytes, for both sides: 576 to 65521, and at least 1280 for IPv6
    /// [default: 1500]
    #[arg(long, value_name = "N", value_parser = parse_mtu, allow_negative_numbers = true)]
    pub(crate) mtu: Option<usize>,

    /// auto: exchange runs of up to 64 KiB of segments with the kernel in one piece and without
    /// checksums, where the kernel supports that; off: packets as they would be on a wire [default:
    /// auto, but off with --impair, which affects packets]
    #[arg(long, value_name = "MODE", value_parser = parse_offload)]
    pub(crate) offload: Option<Offload>,

    /// Give the device this many queues, 1 to 256, each with its own stack and thread: for many
    /// connections and more than one processor [default: 1]
    #[arg(long, value_name = "N", value_parser = parse_queues, allow_negative_numbers = true)]
    pub(crate) queues: Option<usize>,

    /// The most memory that the stack may use, in MiB: for data that waits to be sent and read, and
    /// the records of connections. When it is used up, connections that make no progress are reset
    /// [default: 256]
    #[arg(long, value_name = "MIB", value_parser = parse_memory, allow_negative_numbers = true)]
    pub(crate) memory: Option<usize>,

    /// Which services to offer, separated by commas: echo (port 7), discard (9), daytime (13),
    /// chargen (19), http (80); or all, or none
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub(crate) services: Option<Services>,

    /// Record every frame that the stack sends and receives, for Wireshark and tcpdump
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,

    /// Simulate a bad network in both directions, with any of
    /// loss=3%,burst=4,outage=200ms@5s,dup=1%,reorder=1%,
    /// reorder_by=5ms,delay=20ms,jitter=5ms,rate=100mbit,queue=625kB,limit=1000,corrupt=0.1%,mark=1%,seed=7
    #[arg(long, value_name = "SETTINGS")]
    pub(crate) impair: Option<Impairment>,

    /// Where `portolan ss` and `portolan stat` find this stack: a Unix socket, for this user alone
    /// [default: NAME.sock in $XDG_RUNTIME_DIR/portolan, for root without that in /run/portolan]
    #[arg(long, value_name = "PATH", conflicts_with = "no_control")]
    pub(crate) control: Option<PathBuf>,

    /// No control socket
    #[arg(long)]
    pub(crate) no_control: bool,

    /// Put everything into a new user and network namespace: needs no privileges and touches
    /// nothing of this host
    #[arg(long)]
    pub(crate) isolated: bool,

    /// Run this command in the same network namespace once the stack is ready, then stop and exit
    /// with its status
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn parse_offload(text: &str) -> Result<Offload, String> {
    match text {
        "auto" => Ok(Offload::Auto),
        "off" => Ok(Offload::Off),
        _ => Err("choose auto or off".to_owned()),
    }
}

fn parse_mtu(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("the MTU is a number of bytes, {MIN_MTU} to {MAX_MTU}; write it like 1500"))
}

fn parse_queues(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("give a number of queues, 1 to {MAX_QUEUES}; write it like 2"))
}

/// Parses a number of MiB and returns bytes.
fn parse_memory(text: &str) -> Result<usize, String> {
    let mib = text.parse().ok().filter(|mib| (1..=MAX_MEMORY_MIB).contains(mib));
    mib.map(|mib: usize| mib << 20)
        .ok_or_else(|| format!("give a whole number of MiB, 1 to {MAX_MEMORY_MIB}; write it like 512"))
}

/// Parses the command line. Otherwise returns what is to be printed: an error of clap's, or our own
/// message where that of clap does not say what to write.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Unread> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map_err(|error| match without_dashes(&error, &arguments) {
        Some(message) => Unread::Mistake(message),
        None => Unread::Clap(error),
    })
}

/// The reason why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The help, the version, or a mistake, as clap reports it.
    Clap(clap::Error),
    /// A mistake with our own message.
    Mistake(String),
}

/// For a command in the place of options: the command line with `--` in front of it.
fn without_dashes(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument || !arguments.iter().any(|argument| argument == "up") {
        return None;
    }
    let Some(ContextValue::String(stray)) = error.get(ContextKind::InvalidArg) else { return None };
    if stray.starts_with('-') {
        return None;
    }
    let at = arguments.iter().position(|argument| argument == stray.as_str())?;
    let shown = |arguments: &[OsString]| {
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    Some(format!(
        "{stray} stands where an option is expected; a command to run stands behind `--`: `portolan {} -- {}`",
        shown(arguments.get(1..at)?),
        shown(arguments.get(at..)?)
    ))
}

fn parse_gateway(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| match text.split_once('/') {
        Some((addr, _)) if addr.parse::<IpAddr>().is_ok() => {
            format!("a gateway is one address, without a prefix length; write {addr}")
        }
        _ => "not an IPv4 or IPv6 address; write it like 10.0.0.1 or fd10::1".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn up(arguments: &[&str]) -> Result<UpOptions, clap::Error> {
        let cli = Cli::try_parse_from(["portolan", "up"].iter().chain(arguments))?;
        match cli.command {
            Command::Up(options) => Ok(*options),
            _ => panic!("up was written"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_whole_synopsis_is_read() {
        let options = up(&[
            "--tap",
            "t0",
            "--host",
            "10.9.0.1/24",
            "--host",
            "fd09::1/64",
            "--addr",
            "10.9.0.2/24",
            "--gateway",
            "10.9.0.1",
            "--mac",
            "02:00:00:00:00:07",
            "--mtu",
            "9000",
            "--queues",
            "4",
            "--memory",
            "64",
            "--services",
            "echo,http",
            "--pcap",
            "x.pcap",
            "--impair",
            "loss=3%,dup=1%,reorder=1%,delay=20ms,jitter=5ms,rate=100mbit,corrupt=0.1%,seed=7",
            "--isolated",
            "-vv",
            "--",
            "ping",
            "-c",
            "3",
            "10.9.0.2",
        ])
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(options.host.len(), 2);
        assert_eq!((options.mtu, options.queues), (Some(9000), Some(4)));
        assert_eq!(options.memory, Some(64 << 20));
        assert_eq!(options.services.as_ref().map(Services::to_string).as_deref(), Some("echo,http"));
        assert!(options.isolated);
        assert_eq!(options.command, ["ping", "-c", "3", "10.9.0.2"]);
    }

    #[test]
    fn without_options_all_services_are_on() {
        let options = up(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(options.services, Some(Services::all()));
        assert!(options.command.is_empty() && !options.isolated);
    }

    #[test]
    fn malformed_values_name_the_option_and_say_what_to_write() {
        for (arguments, needles) in [
            (["--addr", "10.0.0.2"], ["--addr <CIDR>", "write for example 10.0.0.2/24"]),
            (["--host", "10.0.0.1/40"], ["--host <CIDR>", "from 0 to 32"]),
            (["--gateway", "10.0.0.1/24"], ["--gateway <IP>", "without a prefix length; write 10.0.0.1"]),
            (["--gateway", "router"], ["--gateway <IP>", "write it like 10.0.0.1"]),
            (["--mac", "01:00:00:00:00:01"], ["--mac <MAC>", "group address"]),
            (["--services", "ftp"], ["--services <LIST>", "there is no service \"ftp\""]),
            (["--mtu", "big"], ["--mtu <N>", "a number of bytes, 576 to 65521; write it like 1500"]),
            (["--mtu", "-1"], ["--mtu <N>", "a number of bytes, 576 to 65521; write it like 1500"]),
            (["--queues", "-1"], ["--queues <N>", "a number of queues, 1 to 256; write it like 2"]),
            (["--memory", "0"], ["--memory <MIB>", "a whole number of MiB, 1 to 1048576; write it like 512"]),
            (
                ["--memory", "64M"],
                ["--memory <MIB>", "a whole number of MiB, 1 to 1048576; write it like 512"],
            ),
            (["--impair", "loss=lots"], ["--impair <SETTINGS>", "loss"]),
        ] {
            let error = up(&arguments).expect_err("malformed").to_string();
            for needle in needles {
                assert!(error.contains(needle), "{arguments:?}: {error} should have {needle:?}");
            }
        }
    }
}
