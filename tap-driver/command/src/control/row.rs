//! A socket in an answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use portolan::{
    CongestionState, DeadlineKind, Descriptor, Domain, Instant, InterfaceId, LinkHeader, OwnerId, SocketInfo,
    SocketKind, Stack, TcpInfo,
};
use serde_json::{Value, json};

use super::name::Name;
use super::state::State;

/// A socket, as a line of an answer describes it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// `tcp`, `udp`, `icmp`, `raw`, `p_raw`, `p_dgr`, `u_str`, `u_dgr` or `u_seq`, as `ss` names
    /// them.
    pub(crate) netid: String,
    /// `inet`, `inet6`, `link` or `unix`.
    pub(crate) family: String,
    pub(crate) state: State,
    pub(crate) local: Name,
    pub(crate) peer: Name,
    /// Whether it is neither listening, connected nor, if it takes datagrams, bound. Linux's
    /// `ss` does not list such sockets.
    pub(crate) is_inactive: bool,
    /// The whole line, with everything that is only printed.
    pub(crate) line: Value,
}

/// What a row needs beside the socket.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The names of the interfaces.
    pub(crate) interfaces: HashMap<InterfaceId, String>,
    /// The process of the stack.
    pub(crate) pid: u32,
    /// Whether to add TCP_INFO.
    pub(crate) with_tcp: bool,
    pub(crate) now: Instant,
}

impl Surroundings {
    fn interface(&self, id: Option<InterfaceId>) -> Option<String> {
        self.interfaces.get(&id?).cloned()
    }
}

impl Row {
    /// The row of a socket. The stack is locked meanwhile.
    pub(crate) fn of(place: &Surroundings, stack_number: usize, stack: &Stack, info: &SocketInfo) -> Row {
        let (local, peer) = names(place, info);
        let (netid, family) = match (info.kind, info.domain) {
            (SocketKind::Packet(LinkHeader::Cooked), _) => ("p_dgr", "link"),
            (SocketKind::Packet(_), _) => ("p_raw", "link"),
            (SocketKind::Stream, Domain::Unix) => ("u_str", "unix"),
            (SocketKind::SeqPacket, Domain::Unix) => ("u_seq", "unix"),
            (_, Domain::Unix) => ("u_dgr", "unix"),
            (kind, Domain::V4) => (netid(kind), "inet"),
            (kind, _) => (netid(kind), "inet6"),
        };
        let state = State::of(info.state);
        let is_inactive = state == State::Unconnected
            && match info.kind {
                SocketKind::Raw(_) | SocketKind::Packet(_) => false,
                _ if info.domain == Domain::Unix => false,
                SocketKind::Stream => true,
                _ => info.local.is_none(),
            };
        let timers = info.id.into_iter().flat_map(|id| stack.socket_timers(id));
        let timer = shown_timer(timers.chain(info.timer), info).map(|(kind, at, count)| {
            json!({ "kind": kind, "ms": millis(at.duration_since(place.now)), "count": count })
        });
        let tcp = match info.id {
            Some(id) if place.with_tcp => stack.socket_tcp_info(place.now, id).map(|info| tcp_json(&info)),
            _ => None,
        };
        let line = json!({
            "netid": netid,
            "family": family,
            "state": state.name(),
            "recv_q": info.receive_queue,
            "send_q": info.send_queue,
            "local": local.to_json(),
            "peer": peer.to_json(),
            "users": info.descriptors().map(|d| user(place, stack, d)).collect::<Vec<_>>(),
            "uid": info.uid,
            "cookie": info.id.map(|id| id.cookie()),
            "peer_cookie": info.peer_socket.map(|id| id.cookie()),
            "stack": stack_number,
            "v6only": info.v6_only || is_of_one_ipv6(&local),
            "inactive": is_inactive,
            "timer": timer,
            "memory": {
                "receive_buffer": info.receive_buffer,
                "send_buffer": info.send_buffer,
                "bytes": info.memory_bytes,
                "drops": info.drops,
            },
            "tcp": tcp,
        });
        Row { netid: netid.to_owned(), family: family.to_owned(), state, local, peer, is_inactive, line }
    }

    /// The row that a line of an answer describes.
    pub(crate) fn from_json(line: Value) -> Option<Row> {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        Some(Row {
            netid: text("netid")?,
            family: text("family")?,
            state: State::named(line["state"].as_str()?)?,
            local: Name::from_json(&line["local"])?,
            peer: Name::from_json(&line["peer"])?,
            is_inactive: line["inactive"].as_bool()?,
            line,
        })
    }
}

fn netid(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Stream => "tcp",
        SocketKind::Datagram => "udp",
        SocketKind::Echo => "icmp",
        SocketKind::Raw(_) => "raw",
        _ => "other",
    }
}

/// Whether the name has an IPv6 address, so that no IPv4 comes to it. For such a socket Linux's
/// `bind` sets IPV6_V6ONLY, too.
fn is_of_one_ipv6(name: &Name) -> bool {
    match name {
        Name::Ip { addr: IpAddr::V6(addr), .. } => !addr.is_unspecified() && addr.to_ipv4_mapped().is_none(),
        _ => false,
    }
}

/// The names of both ends.
fn names(place: &Surroundings, info: &SocketInfo) -> (Name, Name) {
    if let SocketKind::Packet(_) = info.kind {
        let bound = info.local.as_ref().and_then(|name| name.link());
        let protocol = bound.map_or(0, |bound| bound.protocol);
        return (Name::Link { protocol, interface: place.interface(info.iface) }, Name::None);
    }
    if info.domain == Domain::Unix {
        let path = |name: &Option<portolan::SockAddr>| {
            let name = name.as_ref().and_then(|name| name.unix()).filter(|name| !name.is_unnamed());
            Name::Unix(name.map(|name| name.to_string()))
        };
        return (path(&info.local), path(&info.peer));
    }
    let is_ipv4 = info.domain == Domain::V4;
    let end = |name: &Option<portolan::SockAddr>| match name.as_ref().and_then(|name| name.ip()) {
        Some(addr) => Name::Ip { addr: addr.ip(), port: addr.port(), interface: place.interface(info.iface) },
        None => Name::any(is_ipv4, 0),
    };
    let (mut local, mut peer) = (end(&info.local), end(&info.peer));
    if let SocketKind::Raw(protocol) = info.kind {
        let ports = [(&mut local, u16::from(protocol)), (&mut peer, 0)];
        for (name, number) in ports {
            if let Name::Ip { port, .. } = name {
                *port = number;
            }
        }
    }
    if let Name::Ip { interface, .. } = &mut peer {
        *interface = None;
    }
    (local, peer)
}

fn user(place: &Surroundings, stack: &Stack, d: Descriptor) -> Value {
    let is_first = d.owner() == OwnerId::FIRST;
    let pid = stack.credentials(d.owner()).map_or(0, |credentials| credentials.pid);
    let pid = if is_first && pid == 0 { place.pid } else { pid };
    json!({ "name": if is_first { "portolan" } else { "owner" }, "pid": pid, "fd": d.number() })
}

/// The timer that `ss` shows: of those of a connection the retransmission timer comes first, and
/// pacing and delayed acknowledgements are left out. The count is that of retransmissions or
/// probes.
fn shown_timer(
    timers: impl Iterator<Item = (Instant, DeadlineKind)>,
    info: &SocketInfo,
) -> Option<(&'static str, Instant, u8)> {
    let known = timers.filter_map(|(at, kind)| {
        let (rank, name, count) = match kind {
            DeadlineKind::Retransmit | DeadlineKind::LossProbe | DeadlineKind::Reorder => {
                (0, "on", info.retransmits)
            }
            DeadlineKind::Handshake => (0, "on", info.retransmits),
            DeadlineKind::Persist => (1, "persist", info.probes),
            DeadlineKind::TimeWait => (2, "timewait", 0),
            DeadlineKind::Linger => (3, "timewait", 0),
            DeadlineKind::KeepAlive => (4, "keepalive", info.probes),
            _ => return None,
        };
        Some((rank, at, name, count))
    });
    known.min_by_key(|&(rank, at, ..)| (rank, at)).map(|(_, at, name, count)| (name, at, count))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// TCP_INFO, with the names of [`TcpInfo`]; times have their unit in the name.
fn tcp_json(info: &TcpInfo) -> Value {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let ca_state = match info.ca_state {
        CongestionState::Open => "open",
        CongestionState::Disorder => "disorder",
        CongestionState::Cwr => "cwr",
        CongestionState::Recovery => "recovery",
        CongestionState::Loss => "loss",
        _ => "other",
    };
    // Two objects, because the macro's depth is limited.
    let mut fields = json!({
        "ca_state": ca_state,
        "congestion": info.congestion.to_string(),
        "retransmits": info.retransmits,
        "probes": info.probes,
        "backoff": info.backoff,
        "timestamps": info.timestamps,
        "sack": info.sack,
        "ecn": info.ecn,
        "ecn_seen": info.ecn_seen,
        "syn_data": info.syn_data,
        "app_limited": info.delivery_rate_app_limited,
        "snd_wscale": info.snd_wscale,
        "rcv_wscale": info.rcv_wscale,
        "rto_us": micros(info.rto),
        "ato_us": micros(info.ato),
        "rtt_us": micros(info.rtt),
        "rttvar_us": micros(info.rttvar),
        "min_rtt_us": micros(info.min_rtt),
        "rcv_rtt_us": micros(info.rcv_rtt),
        "mss": info.snd_mss,
        "rcv_mss": info.rcv_mss,
        "advmss": info.advmss,
        "pmtu": info.pmtu,
        "cwnd": info.snd_cwnd,
        "cwnd_bytes": info.snd_cwnd_bytes,
        "ssthresh": info.snd_ssthresh,
    });
    let counts = json!({
        "unacked": info.unacked,
        "sacked": info.sacked,
        "lost": info.lost,
        "retrans": info.retrans,
        "total_retrans": info.total_retrans,
        "reordering": info.reordering,
        "reord_seen": info.reord_seen,
        "dsack_dups": info.dsack_dups,
        "rcv_ooopack": info.rcv_ooopack,
        "bytes_sent": info.bytes_sent,
        "bytes_retrans": info.bytes_retrans,
        "bytes_acked": info.bytes_acked,
        "bytes_received": info.bytes_received,
        "segs_out": info.segs_out,
        "segs_in": info.segs_in,
        "data_segs_out": info.data_segs_out,
        "data_segs_in": info.data_segs_in,
        "notsent_bytes": info.notsent_bytes,
        "delivered": info.delivered,
        "delivered_ce": info.delivered_ce,
        "pacing_rate": Some(info.pacing_rate).filter(|&rate| rate != u64::MAX),
        "delivery_rate": info.delivery_rate,
        "last_data_sent_ms": millis(info.last_data_sent),
        "last_data_recv_ms": millis(info.last_data_recv),
        "last_ack_recv_ms": millis(info.last_ack_recv),
        "busy_ms": millis(info.busy_time),
        "rwnd_limited_ms": millis(info.rwnd_limited),
        "sndbuf_limited_ms": millis(info.sndbuf_limited),
        "rcv_space": info.rcv_space,
        "rcv_ssthresh": info.rcv_ssthresh,
        "snd_wnd": info.snd_wnd,
        "rcv_wnd": info.rcv_wnd,
    });
    if let (Value::Object(fields), Value::Object(counts)) = (&mut fields, counts) {
        fields.extend(counts);
    }
    fields
}
