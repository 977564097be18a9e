//! The content of the status page and the table of sockets, as HTML and as JSON.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan::{
    AddressState, Cidr, Descriptor, InterfaceInfo, NeighborInfo, NeighborState, SockAddr, SocketInfo,
    SocketKind, Stats,
};
use portolan_runtime::{Handle, Handovers};
use serde_json::{Value, json};

use super::share::Shared;

/// The content of the status page: the state of a stack at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// The name of the device.
    pub(crate) device: String,
    /// The time since the stack was started.
    pub(crate) uptime: Duration,
    /// The interfaces.
    pub(crate) interfaces: Vec<InterfaceStatus>,
    /// The connections of each service over TCP.
    pub(crate) services: Vec<Shared>,
    /// The sockets.
    pub(crate) sockets: Vec<SocketStatus>,
    /// The counters, by name.
    pub(crate) counters: Vec<(String, u64)>,
    /// Packets dropped, by reason.
    pub(crate) drops: Vec<(String, u64)>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct InterfaceStatus {
    /// Its MAC address, if it has one.
    pub(crate) mac: Option<String>,
    /// The size of the largest IP packet in bytes.
    pub(crate) mtu: usize,
    /// Its addresses with their prefix lengths and states.
    pub(crate) addresses: Vec<(String, &'static str)>,
    /// Its neighbours: IP address, MAC address if known, state.
    pub(crate) neighbors: Vec<(String, Option<String>, &'static str)>,
}

/// A socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketStatus {
    /// The number of its descriptor, while a program holds one.
    pub(crate) descriptor: Option<u32>,
    /// `tcp`, `udp` or `icmp`.
    pub(crate) protocol: &'static str,
    /// `LISTEN`, `ESTABLISHED`, `BOUND`, ...
    pub(crate) state: &'static str,
    /// The local address and port.
    pub(crate) local: Option<String>,
    /// The address and port of the peer.
    pub(crate) peer: Option<String>,
    /// Bytes that wait to be read; for a listener, connections that wait to be accepted.
    pub(crate) receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged.
    pub(crate) send_queue: usize,
    /// For a listener: the most connections that may wait to be accepted.
    pub(crate) backlog: Option<usize>,
    /// For a connection: the smoothed round-trip time.
    pub(crate) rtt: Option<Duration>,
    /// For a connection: the congestion window in bytes.
    pub(crate) cwnd: Option<u32>,
}

/// The state of a listener.
const LISTEN: &str = "LISTEN";

/// The most sockets on the page; the JSON has all.
const MAX_SHOWN_SOCKETS: usize = 500;

const STYLE: &str = "body{font:16px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;margin:.5em 0}td,th{text-align:left;padding:.1em 1.2em .1em 0;\
border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}.n{text-align:right}";

impl InterfaceStatus {
    fn of(info: &InterfaceInfo, neighbors: &[NeighborInfo]) -> Self {
        let neighbor = |neighbor: &NeighborInfo| {
            let state = match neighbor.state {
                NeighborState::Incomplete => "incomplete",
                NeighborState::Reachable => "reachable",
                NeighborState::Stale => "stale",
                NeighborState::Delay => "delay",
                NeighborState::Probe => "probe",
            };
            (neighbor.addr.to_string(), neighbor.mac.map(|mac| mac.to_string()), state)
        };
        let address = |(cidr, state): &(Cidr, AddressState)| {
            let state = match state {
                AddressState::Tentative => "tentative",
                AddressState::Preferred => "preferred",
                AddressState::Deprecated => "deprecated",
                AddressState::Duplicated => "duplicated",
                _ => "other",
            };
            (cidr.to_string(), state)
        };
        InterfaceStatus {
            mac: info.medium.mac().map(|mac| mac.to_string()),
            mtu: info.mtu,
            addresses: info.addresses.iter().map(address).collect(),
            neighbors: neighbors.iter().map(neighbor).collect(),
        }
    }
}

impl SocketStatus {
    fn of(info: &SocketInfo) -> Self {
        let is_listener = info.state.name() == LISTEN;
        SocketStatus {
            descriptor: info.descriptor.map(Descriptor::number),
            protocol: match info.kind {
                SocketKind::Stream => "tcp",
                SocketKind::Datagram => "udp",
                SocketKind::Echo => "icmp",
                _ => "other",
            },
            state: info.state.name(),
            local: info.local.as_ref().map(shown),
            peer: info.peer.as_ref().map(shown),
            receive_queue: info.receive_queue,
            send_queue: if is_listener { 0 } else { info.send_queue },
            backlog: is_listener.then_some(info.send_queue),
            rtt: info.rtt,
            cwnd: info.cwnd,
        }
    }
}

/// An IPv4 address in its own form, even if a dual-stack socket has it as `::ffff:10.0.0.1`.
fn shown(name: &SockAddr) -> String {
    let Some(addr) = name.ip() else { return name.to_string() };
    match addr.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()).to_string(),
        IpAddr::V6(_) => addr.to_string(),
    }
}

/// The counters of the stack; for several stacks their sums, and the frames that they handed to
/// each other.
fn counters(handle: &Handle, stats: &Stats) -> Vec<(String, u64)> {
    let mut counters: Vec<(String, u64)> =
        stats.counters().map(|counter| (counter.name.to_owned(), counter.value)).collect();
    if handle.stacks() > 1 {
        let Handovers { frames, lost, .. } = handle.handovers();
        let stacks = handle.stacks() as u64;
        let between =
            [("stacks", stacks), ("frames_handed_over", frames), ("frames_lost_between_stacks", lost)];
        counters.extend(between.map(|(name, count)| (name.to_owned(), count)));
    }
    counters
}

impl Status {
    /// The state of a running stack.
    pub(crate) fn of(handle: &Handle, device: &str, uptime: Duration, services: Vec<Shared>) -> Self {
        let stats = handle.stats();
        Status {
            device: device.to_owned(),
            uptime,
            interfaces: handle.with_stack(|stack| {
                let of = |info: &InterfaceInfo| InterfaceStatus::of(info, &stack.neighbors(info.id));
                stack.interfaces().iter().map(of).collect()
            }),
            services,
            sockets: handle.sockets().iter().map(SocketStatus::of).collect(),
            counters: counters(handle, &stats),
            drops: stats.drop_counts().map(|(reason, count)| (format!("{reason:?}"), count)).collect(),
        }
    }

    /// The page.
    pub(crate) fn to_html(&self) -> String {
        let mut page = String::with_capacity(8 << 10);
        let device = escape(&self.device);
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Portolan on {device}</title>\
             <style>{STYLE}</style></head>\n<body>\n<h1>Portolan on {device}</h1>\n<p>A TCP/IP stack in user space. Up \
             for {}.</p>\n",
            humane(self.uptime)
        );
        self.write_interfaces(&mut page);
        self.write_services(&mut page);
        self.write_sockets(&mut page);
        write_counts(&mut page, "Dropped packets", "None.", &self.drops);
        write_counts(&mut page, "Counters", "All zero.", &self.counters);
        page.push_str("</body></html>\n");
        page
    }

    /// The table of sockets as JSON: an object with the array `sockets`.
    pub(crate) fn to_json(&self) -> String {
        let sockets: Vec<Value> = self
            .sockets
            .iter()
            .map(|socket| {
                json!({
                    "descriptor": socket.descriptor,
                    "protocol": socket.protocol,
                    "state": socket.state,
                    "local": socket.local,
                    "peer": socket.peer,
                    "receive_queue": socket.receive_queue,
                    "send_queue": socket.send_queue,
                    "backlog": socket.backlog,
                    "rtt_us": socket.rtt.map(|rtt| rtt.as_micros() as u64),
                    "cwnd": socket.cwnd,
                })
            })
            .collect();
        let mut text = json!({ "device": self.device, "sockets": sockets }).to_string();
        text.push('\n');
        text
    }

    fn write_interfaces(&self, page: &mut String) {
        for interface in &self.interfaces {
            page.push_str("<h2>Interface</h2>\n<table>\n");
            let mac = interface.mac.as_deref().unwrap_or("none");
            write_row(page, &[("MAC address", ""), (mac, "")]);
            write_row(page, &[("MTU", ""), (&interface.mtu.to_string(), "")]);
            for (address, state) in &interface.addresses {
                write_row(page, &[("Address", ""), (address, ""), (state, "")]);
            }
            for (address, mac, state) in &interface.neighbors {
                let mac = mac.as_deref().unwrap_or("-");
                write_row(page, &[("Neighbour", ""), (address, ""), (state, ""), (mac, "")]);
            }
            page.push_str("</table>\n");
        }
    }

    fn write_services(&self, page: &mut String) {
        page.push_str(
            "<h2>Services</h2>\n<table>\n<tr><th>Service<th class=\"n\">Connections<th class=\"n\">At most\
             <th class=\"n\">Refused</tr>\n",
        );
        for Shared { service, open, limit, refused } in &self.services {
            let [open, limit, refused] = [open, limit, refused].map(usize::to_string);
            write_row(page, &[(service.name(), ""), (&open, "n"), (&limit, "n"), (&refused, "n")]);
        }
        page.push_str("</table>\n");
    }

    fn write_sockets(&self, page: &mut String) {
        let _ = write!(
            page,
            "<h2>Sockets</h2>\n<p>{} sockets. All of them: <a href=\"/socket-table.json\">socket-table.json</a>.</p>\n\
             <table>\n<tr><th>Protocol<th>State<th>Local<th>Peer<th class=\"n\">To read<th class=\"n\">To send\
             <th class=\"n\">RTT<th class=\"n\">cwnd</tr>\n",
            self.sockets.len()
        );
        for socket in self.sockets.iter().take(MAX_SHOWN_SOCKETS) {
            let (to_read, to_send) = match socket.backlog {
                Some(backlog) => (format!("{} of {backlog} to accept", socket.receive_queue), String::new()),
                None => (socket.receive_queue.to_string(), socket.send_queue.to_string()),
            };
            write_row(
                page,
                &[
                    (socket.protocol, ""),
                    (socket.state, ""),
                    (socket.local.as_deref().unwrap_or("-"), ""),
                    (socket.peer.as_deref().unwrap_or("-"), ""),
                    (&to_read, "n"),
                    (&to_send, "n"),
                    (&socket.rtt.map_or(String::new(), |rtt| format!("{} µs", rtt.as_micros())), "n"),
                    (&socket.cwnd.map_or(String::new(), |cwnd| cwnd.to_string()), "n"),
                ],
            );
        }
        page.push_str("</table>\n");
        if let Some(more) = self.sockets.len().checked_sub(MAX_SHOWN_SOCKETS).filter(|&more| more > 0) {
            let _ = writeln!(page, "<p>And {more} more.</p>");
        }
    }
}

fn write_counts(page: &mut String, title: &str, none: &str, counts: &[(String, u64)]) {
    let _ = writeln!(page, "<h2>{title}</h2>");
    if counts.iter().all(|(_, count)| *count == 0) {
        let _ = writeln!(page, "<p>{none}</p>");
        return;
    }
    page.push_str("<table>\n");
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        write_row(page, &[(name, ""), (&count.to_string(), "n")]);
    }
    page.push_str("</table>\n");
}

fn write_row(page: &mut String, cells: &[(&str, &str)]) {
    page.push_str("<tr>");
    for (text, class) in cells {
        match *class {
            "" => page.push_str("<td>"),
            class => {
                let _ = write!(page, "<td class=\"{class}\">");
            }
        }
        page.push_str(&escape(text));
    }
    page.push_str("</tr>\n");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            character => escaped.push(character),
        }
    }
    escaped
}

fn humane(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Service;

    fn status() -> Status {
        Status {
            device: "tap<0>".to_owned(),
            uptime: Duration::from_secs(61),
            interfaces: vec![InterfaceStatus {
                mac: Some("02:00:00:00:00:01".to_owned()),
                mtu: 1500,
                addresses: vec![("10.0.0.2/24".to_owned(), "preferred")],
                neighbors: vec![("10.0.0.1".to_owned(), Some("02:00:00:00:00:09".to_owned()), "reachable")],
            }],
            services: vec![Shared { service: Service::Echo, open: 7, limit: 8, refused: 9 }],
            sockets: vec![
                SocketStatus {
                    descriptor: Some(3),
                    protocol: "tcp",
                    state: "ESTABLISHED",
                    local: Some("10.0.0.2:80".to_owned()),
                    peer: Some("[fd10::1]:40000".to_owned()),
                    receive_queue: 5,
                    send_queue: 6,
                    backlog: None,
                    rtt: Some(Duration::from_micros(1500)),
                    cwnd: Some(14_480),
                },
                SocketStatus { protocol: "tcp", state: "TIME-WAIT", ..SocketStatus::default() },
                SocketStatus {
                    protocol: "tcp",
                    state: LISTEN,
                    receive_queue: 2,
                    backlog: Some(4096),
                    ..SocketStatus::default()
                },
            ],
            counters: vec![("link.frames_in".to_owned(), 42), ("link.frames_out".to_owned(), 0)],
            drops: vec![],
        }
    }

    #[test]
    fn the_page_shows_interface_addresses_sockets_and_counters_and_escapes() {
        let page = status().to_html();
        for needle in [
            "<title>Portolan on tap&lt;0&gt;</title>",
            "Up for 1 min 1 s",
            "02:00:00:00:00:01",
            "10.0.0.2/24<td>preferred",
            "10.0.0.1<td>reachable<td>02:00:00:00:00:09",
            "<td>echo<td class=\"n\">7<td class=\"n\">8<td class=\"n\">9",
            "<td>ESTABLISHED<td>10.0.0.2:80<td>[fd10::1]:40000<td class=\"n\">5<td class=\"n\">6<td class=\"n\">1500 µs<td class=\"n\">14480",
            "<td>TIME-WAIT<td>-<td>-",
            "<td>LISTEN<td>-<td>-<td class=\"n\">2 of 4096 to accept<td class=\"n\"><td",
            "frames_in<td class=\"n\">42",
            "<h2>Dropped packets</h2>\n<p>None.</p>",
        ] {
            assert!(page.contains(needle), "{needle} is not in {page}");
        }
        assert!(!page.contains("link.frames_out"));
    }

    #[test]
    fn ipv4_is_shown_as_ipv4() {
        let shown = |text: &str| shown(&text.parse::<SocketAddr>().expect("an address").into());
        assert_eq!(shown("[::ffff:10.0.0.1]:7"), "10.0.0.1:7");
        assert_eq!(shown("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(shown("[fd00::1]:7"), "[fd00::1]:7");
    }

    #[test]
    fn a_crowd_of_sockets_does_not_make_the_page_endless() {
        let mut status = status();
        status.sockets = vec![SocketStatus::default(); 1234];
        assert!(status.to_html().contains("And 734 more."));
        let parsed: Value = serde_json::from_str(&status.to_json()).expect("JSON");
        assert_eq!(parsed["sockets"].as_array().map(Vec::len), Some(1234));
    }

    #[test]
    fn the_json_has_every_field() {
        let parsed: Value = serde_json::from_str(&status().to_json()).expect("JSON");
        assert_eq!(
            parsed["sockets"][0],
            json!({"descriptor": 3, "protocol": "tcp", "state": "ESTABLISHED", "local": "10.0.0.2:80",
                   "peer": "[fd10::1]:40000", "receive_queue": 5, "send_queue": 6, "backlog": null, "rtt_us": 1500, "cwnd": 14_480})
        );
        assert_eq!(parsed["sockets"][1]["local"], Value::Null);
        assert_eq!(
            (&parsed["sockets"][2]["send_queue"], &parsed["sockets"][2]["backlog"]),
            (&json!(0), &json!(4096))
        );
    }
}
