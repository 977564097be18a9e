//! The table that `ss` prints.

use std::fmt::Write;
use std::net::IpAddr;

use serde_json::Value;

use super::SsOptions;
use super::services::Services;
use crate::control::name::Name;
use crate::control::row::Row;
use crate::control::state::State;

/// Which columns there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) netid: bool,
    pub(crate) state: bool,
}

/// The cells of a line. Each end is in two parts, which meet at a colon.
type Cells = [String; 8];

/// The alignment of each cell: to the right before a colon.
const RIGHT: [bool; 8] = [false, false, false, false, true, false, true, false];

/// Lays out the table. `services` has the names of ports, if they are to be shown.
pub(crate) fn table(rows: &[Row], columns: Columns, options: &SsOptions, services: &Services) -> String {
    let head = ["Netid", "State", "Recv-Q", "Send-Q", "Local Address:", "Port", "Peer Address:", "Port"];
    let mut lines: Vec<Cells> = Vec::with_capacity(rows.len() + 1);
    lines.push(head.map(str::to_owned));
    lines.extend(rows.iter().map(|row| cells(row, services)));
    if options.no_header {
        lines.remove(0);
    }
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    let first_row = lines.len() - rows.len();
    for (index, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            if column == 0 && !columns.netid || column == 1 && !columns.state {
                continue;
            }
            // The parts of an end stand side by side.
            let gap = if matches!(column, 4 | 6) || column == 7 { "" } else { " " };
            let width = widths[column];
            let _ = if RIGHT[column] {
                write!(text, "{cell:>width$}{gap}")
            } else {
                write!(text, "{cell:<width$}{gap}")
            };
        }
        match index.checked_sub(first_row).and_then(|row| rows.get(row)) {
            Some(row) => {
                let more = more(row, options);
                if !more.is_empty() {
                    let _ = write!(text, " {}", more.trim_start_matches(' '));
                }
            }
            None if options.processes => text.push_str(" Process"),
            None => {}
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells(row: &Row, services: &Services) -> Cells {
    let queue = |key: &str| row.line[key].as_u64().unwrap_or(0).to_string();
    let (local, local_port) = end(row, &row.local, services);
    let (peer, peer_port) = end(row, &row.peer, services);
    [
        row.netid.clone(),
        row.state.name().to_owned(),
        queue("recv_q"),
        queue("send_q"),
        local,
        local_port,
        peer,
        peer_port,
    ]
}

/// The two parts of an end, the first one with its colon.
fn end(row: &Row, name: &Name, services: &Services) -> (String, String) {
    match name {
        Name::Ip { addr, port, interface } => {
            let is_v6only = row.line["v6only"] == true;
            let addr = match addr {
                IpAddr::V6(addr) if addr.is_unspecified() && !is_v6only => "*".to_owned(),
                IpAddr::V6(addr) => format!("[{addr}]"),
                IpAddr::V4(addr) => addr.to_string(),
            };
            let interface = interface.as_ref().map_or(String::new(), |name| format!("%{name}"));
            let port = match services.name(&row.netid, *port) {
                Some(name) => name.to_owned(),
                None if *port == 0 => "*".to_owned(),
                None => port.to_string(),
            };
            (format!("{addr}{interface}:"), port)
        }
        Name::Link { protocol, interface } => {
            let protocol = if *protocol == 3 { "*".to_owned() } else { format!("[{protocol}]") };
            (format!("{protocol}:"), interface.clone().unwrap_or_else(|| "*".to_owned()))
        }
        Name::Unix(path) => {
            // As `ss` has the inodes of both ends there, this has their cookies.
            let key = if std::ptr::eq(name, &raw const row.local) { "cookie" } else { "peer_cookie" };
            let cookie =
                row.line[key].as_u64().map_or_else(|| "*".to_owned(), |cookie| format!("{cookie:x}"));
            (format!("{} ", path.as_deref().unwrap_or("*")), cookie)
        }
        Name::None => ("*".to_owned(), String::new()),
    }
}

/// What the options ask for beside the columns.
fn more(row: &Row, options: &SsOptions) -> String {
    let line = &row.line;
    let mut text = String::new();
    let next_line = if options.one_line { " " } else { "\n\t " };
    if options.processes
        && let Some(users) = line["users"].as_array().filter(|users| !users.is_empty())
    {
        let users: Vec<String> = users
            .iter()
            .map(|user| format!("({},pid={},fd={})", user["name"], user["pid"], user["fd"]))
            .collect();
        let _ = write!(text, " users:({})", users.join(","));
    }
    if options.timers
        && let (Some(kind), Some(ms)) = (line["timer"]["kind"].as_str(), line["timer"]["ms"].as_u64())
    {
        let _ = write!(text, " timer:({kind},{},{})", short_time(ms), line["timer"]["count"]);
    }
    if options.extended {
        let uid = line["uid"].as_u64().unwrap_or(0);
        if uid > 0 {
            let _ = write!(text, " uid:{uid}");
        }
        let _ = write!(text, " sk:{:x}", line["cookie"].as_u64().unwrap_or(0));
        if row.family == "inet6" && row.state == State::Listen {
            let _ = write!(text, " v6only:{}", u8::from(line["v6only"] == true));
        }
    }
    if options.memory {
        let memory = &line["memory"];
        // The queues of a listener are numbers of connections.
        let is_listening = row.state == State::Listen;
        let queue = |key: &str| if is_listening { 0 } else { line[key].as_u64().unwrap_or(0) };
        let _ = write!(
            text,
            "{next_line}mem:(r{},rb{},w{},tb{},t{},d{})",
            queue("recv_q"),
            memory["receive_buffer"],
            queue("send_q"),
            memory["send_buffer"],
            memory["bytes"],
            memory["drops"],
        );
    }
    if options.info && line["tcp"].is_object() {
        text.push_str(next_line);
        text.push_str(&tcp(&line["tcp"], row.state));
    }
    text
}

/// A time as `ss` shows it in timers: `27sec`, `1min59sec`, `119min`.
fn short_time(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{ms}ms"),
        (0, 1..10) if !ms.is_multiple_of(1000) => format!("{seconds}.{:03}sec", ms % 1000),
        (0, seconds) => format!("{seconds}sec"),
        (minutes @ 1..10, seconds) if seconds > 0 => format!("{minutes}min{seconds}sec"),
        (minutes, _) => format!("{minutes}min"),
    }
}

/// TCP_INFO with the names of `ss`. What is zero or off is left out.
fn tcp(info: &Value, state: State) -> String {
    let number = |key: &str| match key {
        // The backlog of a listener is there. Its accept queue is in `unacked`, which `ss` shows.
        "sacked" if state == State::Listen => 0,
        key => info[key].as_u64().unwrap_or(0),
    };
    let millis = |key: &str| number(key) as f64 / 1000.0;
    let mut words: Vec<String> = Vec::new();
    let flags = [
        ("timestamps", "ts"),
        ("sack", "sack"),
        ("ecn", "ecn"),
        ("ecn_seen", "ecnseen"),
        ("syn_data", "fastopen"),
    ];
    words.extend(flags.iter().filter(|(key, _)| info[*key] == true).map(|(_, name)| (*name).to_owned()));
    words.extend(info["congestion"].as_str().map(str::to_owned));
    if let (Some(snd), Some(rcv)) = (info["snd_wscale"].as_u64(), info["rcv_wscale"].as_u64()) {
        words.push(format!("wscale:{snd},{rcv}"));
    }
    if number("rto_us") > 0 {
        words.push(format!("rto:{}", millis("rto_us")));
    }
    if number("backoff") > 0 {
        words.push(format!("backoff:{}", number("backoff")));
    }
    if number("rtt_us") > 0 {
        words.push(format!("rtt:{}/{}", millis("rtt_us"), millis("rttvar_us")));
    }
    if number("ato_us") > 0 {
        words.push(format!("ato:{}", millis("ato_us")));
    }
    let mut some = |name: &str, key: &str| {
        if number(key) > 0 {
            words.push(format!("{name}:{}", number(key)));
        }
    };
    for (name, key) in
        [("mss", "mss"), ("pmtu", "pmtu"), ("rcvmss", "rcv_mss"), ("advmss", "advmss"), ("cwnd", "cwnd")]
    {
        some(name, key);
    }
    if number("ssthresh") < u64::from(u32::MAX) {
        some("ssthresh", "ssthresh");
    }
    for key in [
        "bytes_sent",
        "bytes_retrans",
        "bytes_acked",
        "bytes_received",
        "segs_out",
        "segs_in",
        "data_segs_out",
        "data_segs_in",
    ] {
        some(key, key);
    }
    for (name, key) in
        [("lastsnd", "last_data_sent_ms"), ("lastrcv", "last_data_recv_ms"), ("lastack", "last_ack_recv_ms")]
    {
        some(name, key);
    }
    for (name, key) in [("pacing_rate", "pacing_rate"), ("delivery_rate", "delivery_rate")] {
        if number(key) > 0 {
            words.push(format!("{name} {}bps", number(key).saturating_mul(8)));
        }
    }
    let mut some = |name: &str, key: &str| {
        if number(key) > 0 {
            words.push(format!("{name}:{}", number(key)));
        }
    };
    some("delivered", "delivered");
    some("delivered_ce", "delivered_ce");
    if info["app_limited"] == true {
        words.push("app_limited".to_owned());
    }
    let mut some = |name: &str, key: &str| {
        if number(key) > 0 {
            words.push(format!("{name}:{}", number(key)));
        }
    };
    for (name, key) in
        [("unacked", "unacked"), ("sacked", "sacked"), ("lost", "lost"), ("dsack_dups", "dsack_dups")]
    {
        some(name, key);
    }
    if number("total_retrans") > 0 {
        words.push(format!("retrans:{}/{}", number("retrans"), number("total_retrans")));
    }
    if number("rcv_rtt_us") > 0 {
        words.push(format!("rcv_rtt:{}", millis("rcv_rtt_us")));
    }
    let mut some = |name: &str, key: &str| {
        if number(key) > 0 {
            words.push(format!("{name}:{}", number(key)));
        }
    };
    for (name, key) in
        [("rcv_space", "rcv_space"), ("rcv_ssthresh", "rcv_ssthresh"), ("notsent", "notsent_bytes")]
    {
        some(name, key);
    }
    if number("min_rtt_us") > 0 {
        words.push(format!("minrtt:{}", millis("min_rtt_us")));
    }
    if number("snd_wnd") > 0 {
        words.push(format!("snd_wnd:{}", number("snd_wnd")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `ss` of iproute2 6.1 prints them.
    #[test]
    fn tcp_info_of_a_listener_is_without_its_backlog() {
        let info = json!({ "congestion": "cubic", "cwnd": 10, "unacked": 1, "sacked": 4096, "lost": 0 });
        assert_eq!(tcp(&info, State::Listen), "cubic cwnd:10 unacked:1");
        assert_eq!(tcp(&info, State::Established), "cubic cwnd:10 unacked:1 sacked:4096");
    }
}
