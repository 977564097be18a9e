//! Settings and socket options by the names that scripts use.

use std::time::Duration;

use portolan::{Config, CongestionControl, Ecn, FastOpenKey, MtuProbing, SocketOption, SynCookieMode};

use super::segment::{hex, tos};
use super::syntax::duration;

/// One line `config NAME VALUE`.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
    change: Change,
}

/// The equivalent for Portolan, ready to be applied.
#[derive(Clone, Copy, Debug)]
enum Change {
    Time(fn(&mut Config, Duration), Duration),
    Number(fn(&mut Config, usize), usize),
    Switch(fn(&mut Config, bool), bool),
    Congestion(CongestionControl),
    SynCookies(SynCookieMode),
    Ecn(Ecn),
    MtuProbing(MtuProbing),
}

impl Setting {
    pub(super) fn apply(&self, config: &mut Config) {
        match self.change {
            Change::Time(apply, time) => apply(config, time),
            Change::Number(apply, number) => apply(config, number),
            Change::Switch(apply, on) => apply(config, on),
            Change::Congestion(kind) => config.tcp.congestion = kind,
            Change::SynCookies(mode) => config.tcp.syn_cookies = mode,
            Change::MtuProbing(when) => config.tcp.mtu_probing = when,
            Change::Ecn(ecn) => config.tcp.ecn = ecn,
        }
    }
}

/// Settings of one type, with the names in [`portolan::TcpConfig`] or [`portolan::Config`].
type List<T> = &'static [(&'static str, fn(&mut Config, T))];

/// Settings that are durations.
const TIMES: List<Duration> = &[
    ("initial_rto", |config, value| config.tcp.initial_rto = value),
    ("min_rto", |config, value| config.tcp.min_rto = value),
    ("max_rto", |config, value| config.tcp.max_rto = value),
    ("delayed_ack", |config, value| config.tcp.delayed_ack = value),
    ("time_wait", |config, value| config.tcp.time_wait = value),
    ("fin_wait_2", |config, value| config.tcp.fin_wait_2 = value),
    ("keepalive_idle", |config, value| config.tcp.keepalive_idle = value),
    ("keepalive_interval", |config, value| config.tcp.keepalive_interval = value),
    ("mtu_probe_interval", |config, value| config.tcp.mtu_probe_interval = value),
    ("challenge_interval", |config, value| config.tcp.challenge_interval = value),
];

/// Settings that are numbers.
const NUMBERS: List<usize> = &[
    ("memory_limit_bytes", |config, value| config.memory_limit_bytes = value),
    ("receive_buffer_bytes", |config, value| config.tcp.receive_buffer_bytes = value),
    ("send_buffer_bytes", |config, value| config.tcp.send_buffer_bytes = value),
    ("max_buffer_bytes", |config, value| config.tcp.max_buffer_bytes = value),
    ("initial_window_segs", |config, value| config.tcp.initial_window_segs = value as u32),
    ("max_run_segs", |config, value| config.tcp.max_run_segs = value),
    ("quick_acks", |config, value| config.tcp.quick_acks = value as u8),
    ("syn_retries", |config, value| config.tcp.syn_retries = value as u8),
    ("syn_linear_timeouts", |config, value| config.tcp.syn_linear_timeouts = value as u8),
    ("syn_ack_retries", |config, value| config.tcp.syn_ack_retries = value as u8),
    ("retries", |config, value| config.tcp.retries = value as u8),
    ("orphan_retries", |config, value| config.tcp.orphan_retries = value as u8),
    ("max_time_wait", |config, value| config.tcp.max_time_wait = value),
    ("max_orphans", |config, value| config.tcp.max_orphans = value),
    ("keepalive_probes", |config, value| config.tcp.keepalive_probes = value as u8),
    ("max_backlog", |config, value| config.tcp.max_backlog = value),
    ("max_out_of_order_ranges", |config, value| config.tcp.max_out_of_order_ranges = value),
    ("duplicate_threshold", |config, value| config.tcp.duplicate_threshold = value as u8),
    ("mtu_probe_timeouts", |config, value| config.tcp.mtu_probe_timeouts = value as u8),
    ("mtu_probe_base", |config, value| config.tcp.mtu_probe_base = value as u16),
    ("mtu_probe_floor", |config, value| config.tcp.mtu_probe_floor = value as u16),
    ("min_mss", |config, value| config.tcp.min_mss = value as u16),
];

/// Settings that are on or off.
const SWITCHES: List<bool> = &[
    ("auto_tune_buffers", |config, value| config.tcp.auto_tune_buffers = value),
    ("timestamps", |config, value| config.tcp.timestamps = value),
    ("sack", |config, value| config.tcp.sack = value),
    ("window_scaling", |config, value| config.tcp.window_scaling = value),
    ("dsack", |config, value| config.tcp.dsack = value),
    ("rack_counts_segments", |config, value| config.tcp.rack_counts_segments = value),
    ("rack_adapts", |config, value| config.tcp.rack_adapts = value),
    ("loss_probes", |config, value| config.tcp.loss_probes = value),
    ("frto", |config, value| config.tcp.frto = value),
    ("hystart", |config, value| config.tcp.hystart = value),
    ("slow_start_after_idle", |config, value| config.tcp.slow_start_after_idle = value),
];

fn find<T: 'static>(list: List<T>, name: &str) -> Option<fn(&mut Config, T)> {
    list.iter().find(|(known, _)| *known == name).map(|&(_, apply)| apply)
}

pub(super) fn setting(name: &str, value: &str) -> Result<Setting, String> {
    Ok(Setting { name: name.into(), value: value.into(), change: change(name, value)? })
}

fn change(name: &str, value: &str) -> Result<Change, String> {
    if let Some(apply) = find(TIMES, name) {
        return Ok(Change::Time(apply, duration(value)?));
    }
    if let Some(apply) = find(NUMBERS, name) {
        return Ok(Change::Number(apply, number(value)?));
    }
    if let Some(apply) = find(SWITCHES, name) {
        return Ok(Change::Switch(apply, on_or_off(name, value)?));
    }
    match (name, value) {
        ("congestion", _) => Ok(Change::Congestion(congestion(value)?)),
        ("mtu_probing", "off") => Ok(Change::MtuProbing(MtuProbing::Off)),
        ("mtu_probing", "black_hole") => Ok(Change::MtuProbing(MtuProbing::BlackHole)),
        ("mtu_probing", "always") => Ok(Change::MtuProbing(MtuProbing::Always)),
        ("ecn", "off") => Ok(Change::Ecn(Ecn::Off)),
        ("ecn", "accept") => Ok(Change::Ecn(Ecn::Accept)),
        ("ecn", "accept_rfc3168") => Ok(Change::Ecn(Ecn::AcceptRfc3168)),
        ("ecn", "accept_all_request_rfc3168") => Ok(Change::Ecn(Ecn::AcceptAllRequestRfc3168)),
        ("ecn", "request") => Ok(Change::Ecn(Ecn::Request)),
        ("ecn", "request_accurate") => Ok(Change::Ecn(Ecn::RequestAccurate)),
        ("syn_cookies", "off") => Ok(Change::SynCookies(SynCookieMode::Off)),
        ("syn_cookies", "when_full") => Ok(Change::SynCookies(SynCookieMode::WhenFull)),
        ("syn_cookies", "always") => Ok(Change::SynCookies(SynCookieMode::Always)),
        _ => Err(format!("`{name} {value}` is no setting that scripts know")),
    }
}

/// An option of `setsockopt` by its Berkeley name.
pub(super) fn socket_option(name: &str, value: &str) -> Result<SocketOption, String> {
    let on = || on_or_off(name, value);
    Ok(match name {
        "SO_RCVBUF" => SocketOption::ReceiveBuffer(number(value)?),
        "SO_SNDBUF" => SocketOption::SendBuffer(number(value)?),
        "SO_KEEPALIVE" => SocketOption::KeepAlive(on()?),
        "SO_LINGER" if value == "off" => SocketOption::Linger(None),
        "SO_LINGER" => SocketOption::Linger(Some(duration(value)?)),
        "SO_OOBINLINE" => SocketOption::OobInline(on()?),
        "SO_RCVLOWAT" => SocketOption::ReceiveLowWater(number(value)?),
        "TCP_NOTSENT_LOWAT" => SocketOption::UnsentLowWater(number(value)?),
        "SO_MAX_PACING_RATE" => SocketOption::MaxPacingRate(Some(number(value)? as u64)),
        "TCP_CORK" => SocketOption::Cork(on()?),
        "TCP_USER_TIMEOUT" => SocketOption::UserTimeout(Some(duration(value)?)),
        "TCP_DEFER_ACCEPT" => SocketOption::DeferAccept(duration(value)?),
        "TCP_FASTOPEN_CONNECT" => SocketOption::FastOpenConnect(on()?),
        "IP_TOS" | "IPV6_TCLASS" => SocketOption::Tos(tos(value)?),
        "TCP_SYNCNT" => SocketOption::SynCount(number(value)? as u8),
        "TCP_LINGER2" if value == "-1" => SocketOption::Linger2(None),
        "TCP_LINGER2" => SocketOption::Linger2(Some(duration(value)?)),
        "TCP_FASTOPEN_NO_COOKIE" => SocketOption::FastOpenWithoutCookie(on()?),
        "TCP_FASTOPEN_KEY" => SocketOption::FastOpenKey(fast_open_key(value)?),
        "TCP_FASTOPEN" => SocketOption::FastOpen(number(value)?),
        "TCP_QUICKACK" => SocketOption::QuickAck(on()?),
        "TCP_NODELAY" => SocketOption::NoDelay(on()?),
        "TCP_KEEPIDLE" => SocketOption::KeepIdle(duration(value)?),
        "TCP_KEEPINTVL" => SocketOption::KeepInterval(duration(value)?),
        "TCP_KEEPCNT" => SocketOption::KeepCount(number(value)? as u8),
        "TCP_CONGESTION" => SocketOption::Congestion(congestion(value)?),
        "TCP_MAXSEG" => SocketOption::MaxSegment(number(value)? as u16),
        other => return Err(format!("`{other}` is no option that scripts know")),
    })
}

/// 16 bytes in hexadecimal, or 32 with the backup.
fn fast_open_key(value: &str) -> Result<FastOpenKey, String> {
    let bytes = hex(value)?;
    match bytes.as_chunks::<16>() {
        ([primary], []) => Ok(FastOpenKey { primary: *primary, backup: None }),
        ([primary, backup], []) => Ok(FastOpenKey { primary: *primary, backup: Some(*backup) }),
        _ => Err(format!("a key has 16 or 32 bytes, not {}", bytes.len())),
    }
}

fn on_or_off(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{name} is on or off, not `{other}`")),
    }
}

fn congestion(name: &str) -> Result<CongestionControl, String> {
    name.parse().map_err(|_| format!("`{name}` is no congestion control"))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}
