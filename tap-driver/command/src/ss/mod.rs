//! `portolan ss`: the sockets of a running stack, with the options and filters of `ss`.
//!
//! | module | what it does |
//! |---|---|
//! | this one | the options, and which sockets they choose |
//! | [`filter`] | the filter that stands behind the options |
//! | [`table`] | the table |
//! | [`services`] | the names of ports |

mod filter;
mod services;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::control::client::ask;
use crate::control::place::find;
use crate::control::row::Row;
use crate::control::state::{State, StateSet};
use crate::failure::Failure;
use crate::printing::print;
use filter::Filter;
use services::Services;
use table::{Columns, table};

const EXAMPLES: &str = "\
Examples:
  portolan ss -ltn                                 who listens for TCP
  portolan ss -tnoi state established              connections, their timers and TCP_INFO
  portolan ss -tn 'dst 10.0.0.0/24 and ( sport = :http or dport gt :1024 )'

Filter:
  [state STATE | exclude STATE]... [EXPRESSION]
  STATE is all, connected, synchronized, bucket, big, or a state such as established or time-wait
  EXPRESSION joins with and, or, not and ( ):
    src HOST, dst HOST      HOST is [ADDRESS[/LENGTH]][:PORT], for example 10.0.0.0/8:80 or [fd00::2]:80
    sport = PORT, dport     also !=, <, >, <=, >=, or eq, ne, lt, gt, le, ge
    dev = NAME              the interface that a socket is bound to";

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = EXAMPLES, disable_version_flag = true)]
pub(crate) struct SsOptions {
    /// The control socket of the stack [default: $PORTOLAN_CONTROL, or that of the only running
    /// stack]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// TCP
    #[arg(short, long)]
    tcp: bool,
    /// UDP
    #[arg(short, long)]
    udp: bool,
    /// Raw sockets, and ping sockets (icmp), which Linux's ss does not list
    #[arg(short = 'w', long)]
    raw: bool,
    /// Unix-domain sockets
    #[arg(short = 'x', long)]
    unix: bool,
    /// Packet sockets
    #[arg(short = '0', long)]
    packet: bool,
    /// IPv4 only
    #[arg(short = '4', long)]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Sockets in all states
    #[arg(short, long)]
    all: bool,
    /// Listening sockets, and those that take datagrams from anybody
    #[arg(short, long)]
    listening: bool,
    /// Also sockets that neither listen nor are connected nor take datagrams yet
    #[arg(short = 'B', long)]
    bound_inactive: bool,
    /// Numbers instead of the names of ports
    #[arg(short, long)]
    numeric: bool,
    /// TCP_INFO
    #[arg(short, long)]
    pub(crate) info: bool,
    /// Memory: bytes to read (r), their limit (rb), bytes to send (w), their limit (tb), all bytes
    /// of the stack's memory (t), datagrams dropped (d)
    #[arg(short, long)]
    pub(crate) memory: bool,
    /// Timers
    #[arg(short = 'o', long = "options")]
    pub(crate) timers: bool,
    /// User and socket cookie
    #[arg(short, long)]
    pub(crate) extended: bool,
    /// The owners and their descriptors
    #[arg(short, long)]
    pub(crate) processes: bool,
    /// No line with the names of the columns
    #[arg(short = 'H', long)]
    pub(crate) no_header: bool,
    /// Everything about a socket on one line
    #[arg(short = 'O', long = "oneline")]
    pub(crate) one_line: bool,
    /// JSON: an array of objects with everything that the table can show
    #[arg(long)]
    json: bool,
    /// Which sockets: see below
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// The order of the kinds in the table, as `ss` has it.
const KINDS: [&str; 9] = ["u_str", "u_dgr", "u_seq", "p_raw", "p_dgr", "icmp", "raw", "udp", "tcp"];

/// Asks the stack, and prints.
pub(crate) fn run(options: &SsOptions) -> Result<ExitCode, Failure> {
    let names = Services::load();
    let filter = Filter::parse(&options.filter, &names).map_err(Failure::usage)?;
    let path = find(options.control.as_deref()).map_err(Failure::failed)?;
    let mut answer = ask(&path, &json!({ "request": "sockets", "tcp": options.info || options.json }))?;
    let mut rows = Vec::new();
    while let Some(line) = answer.next()? {
        let row = Row::from_json(line);
        let row = row.ok_or_else(|| Failure::failed("the stack describes a socket in an unknown way"))?;
        if options.shows(&row, &filter) {
            rows.push(row);
        }
    }
    print(&options.report(rows, &filter, names))
}

impl SsOptions {
    /// The kinds that were asked for, by the names of [`Row::netid`].
    fn kinds(&self) -> Vec<&'static str> {
        let chosen = [
            (self.tcp, &["tcp"][..]),
            (self.udp, &["udp"]),
            (self.raw, &["raw", "icmp"]),
            (self.unix, &["u_str", "u_dgr", "u_seq"]),
            (self.packet, &["p_raw", "p_dgr"]),
        ];
        let of = |any: bool| -> Vec<&'static str> {
            chosen
                .iter()
                .filter(|(is_chosen, _)| any || *is_chosen)
                .flat_map(|(_, kinds)| *kinds)
                .copied()
                .collect()
        };
        let some = of(false);
        if some.is_empty() { of(true) } else { some }
    }

    /// The states to show: those of the filter, or else those of the options.
    fn states(&self, filter: &Filter) -> StateSet {
        let by_option = match (self.all, self.listening) {
            (true, _) => StateSet::ALL,
            (false, true) => StateSet::LISTENING,
            // Such sockets are never connected, and are shown if one asks for them.
            _ if self.packet || self.unix => StateSet::OPEN.with(StateSet::of(&[State::Unconnected])),
            _ if self.only_datagrams() => StateSet::of(&[State::Established]),
            _ => StateSet::OPEN,
        };
        filter.states.unwrap_or(by_option)
    }

    fn only_datagrams(&self) -> bool {
        (self.udp || self.raw) && !self.tcp
    }

    fn shows(&self, row: &Row, filter: &Filter) -> bool {
        let is_of_family = match row.family.as_str() {
            "inet" => self.ipv4 || !self.ipv6,
            "inet6" => self.ipv6 || !self.ipv4,
            _ => !(self.ipv4 || self.ipv6),
        };
        let in_state =
            if row.is_inactive { self.bound_inactive } else { self.states(filter).contains(row.state) };
        is_of_family && in_state && self.kinds().contains(&row.netid.as_str()) && filter.matches(row)
    }

    /// What is printed of the chosen sockets.
    fn report(&self, mut rows: Vec<Row>, filter: &Filter, names: Services) -> String {
        rows.sort_by_key(|row| KINDS.iter().position(|kind| *kind == row.netid));
        if self.json {
            let lines: Vec<Value> = rows.into_iter().map(|row| row.line).collect();
            return format!("{}\n", Value::Array(lines));
        }
        let services = if self.numeric { Services::default() } else { names };
        table(&rows, self.columns(filter), self, &services)
    }

    fn columns(&self, filter: &Filter) -> Columns {
        let kinds = self.kinds();
        let is_one = |names: &[&str]| kinds.iter().all(|kind| names.contains(kind));
        Columns {
            netid: !(is_one(&["tcp"]) || is_one(&["udp"])),
            state: self.states(filter).len() != 1 || self.bound_inactive,
        }
    }
}

#[cfg(test)]
mod tests;
