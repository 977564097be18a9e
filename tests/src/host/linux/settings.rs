//! The sysctls that scripts rely on, and the kernel's equivalents of `config` lines.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A setting of the kernel, made before a script begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelSetting {
    /// A sysctl below `net`: `ipv4/tcp_sack`.
    Sysctl {
        /// Its path.
        name: String,
        /// The value to write.
        value: String,
    },
    /// The initial window in segments: a metric of the route to the peer.
    InitialWindow(u32),
    /// Acknowledge every segment at once: a metric of the route.
    QuickAcks,
    /// How long an acknowledgement may be delayed: TCP_DELACK_MAX_US of every socket.
    DelayedAck(Duration),
    /// The name of the congestion control: a metric of the route.
    Congestion(String),
}

/// All sysctls that change what TCP sends. Most values are the kernel's own defaults, which
/// distributions change. Those that differ from the kernel's defaults have a comment.
const DEFAULTS: &[(&str, &str)] = &[
    ("core/somaxconn", "4096"),
    ("ipv4/ip_local_port_range", "32768 60999"),
    ("ipv4/ip_no_pmtu_disc", "0"),
    ("ipv4/tcp_abort_on_overflow", "0"),
    ("ipv4/tcp_adv_win_scale", "1"),
    ("ipv4/tcp_app_win", "31"),
    ("ipv4/tcp_autocorking", "1"),
    ("ipv4/tcp_base_mss", "1024"),
    ("ipv4/tcp_challenge_ack_limit", "2147483647"),
    // Acknowledgements with SACK blocks are sent at once and not up to 1 ms later, because scripts
    // specify the time.
    ("ipv4/tcp_comp_sack_nr", "0"),
    ("ipv4/tcp_dsack", "1"),
    ("ipv4/tcp_early_retrans", "3"),
    // Linux 6.18 does not have the accurate kind, which `Ecn::Accept` accepts as well.
    ("ipv4/tcp_ecn", "2"),
    ("ipv4/tcp_ecn_fallback", "1"),
    // 1 for the client and 2 for the server; the kernel's default is 1.
    ("ipv4/tcp_fastopen", "3"),
    ("ipv4/tcp_fastopen_blackhole_timeout_sec", "0"),
    ("ipv4/tcp_fin_timeout", "60"),
    ("ipv4/tcp_frto", "2"),
    ("ipv4/tcp_invalid_ratelimit", "500"),
    ("ipv4/tcp_keepalive_intvl", "75"),
    ("ipv4/tcp_keepalive_probes", "9"),
    ("ipv4/tcp_keepalive_time", "7200"),
    ("ipv4/tcp_max_reordering", "300"),
    ("ipv4/tcp_max_syn_backlog", "4096"),
    ("ipv4/tcp_migrate_req", "0"),
    ("ipv4/tcp_min_snd_mss", "48"),
    ("ipv4/tcp_moderate_rcvbuf", "1"),
    // Like `MtuProbing::BlackHole`; the kernel's default is 0.
    ("ipv4/tcp_mtu_probing", "1"),
    // Like `TcpConfig::mtu_probe_floor`; the kernel's default is 48.
    ("ipv4/tcp_mtu_probe_floor", "512"),
    // A connection must not use what an earlier one has learned.
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_notsent_lowat", "4294967295"),
    // 0 means 8.
    ("ipv4/tcp_orphan_retries", "0"),
    ("ipv4/tcp_pingpong_thresh", "1"),
    ("ipv4/tcp_plb_enabled", "0"),
    ("ipv4/tcp_probe_interval", "600"),
    ("ipv4/tcp_probe_threshold", "8"),
    ("ipv4/tcp_recovery", "1"),
    ("ipv4/tcp_reflect_tos", "0"),
    ("ipv4/tcp_reordering", "3"),
    ("ipv4/tcp_retrans_collapse", "1"),
    ("ipv4/tcp_retries1", "3"),
    ("ipv4/tcp_retries2", "15"),
    ("ipv4/tcp_rfc1337", "0"),
    ("ipv4/tcp_rmem", "4096 131072 33554432"),
    ("ipv4/tcp_rto_max_ms", "120000"),
    ("ipv4/tcp_rto_min_us", "200000"),
    ("ipv4/tcp_sack", "1"),
    ("ipv4/tcp_shrink_window", "0"),
    ("ipv4/tcp_slow_start_after_idle", "1"),
    ("ipv4/tcp_stdurg", "0"),
    ("ipv4/tcp_syn_linear_timeouts", "4"),
    ("ipv4/tcp_syn_retries", "6"),
    ("ipv4/tcp_synack_retries", "5"),
    ("ipv4/tcp_syncookies", "1"),
    ("ipv4/tcp_thin_linear_timeouts", "0"),
    ("ipv4/tcp_timestamps", "1"),
    // No segment waits for more data; the kernel's default of 3 saves work for devices, and depends
    // on time.
    ("ipv4/tcp_tso_win_divisor", "255"),
    ("ipv4/tcp_tw_reuse", "2"),
    ("ipv4/tcp_window_scaling", "1"),
    ("ipv4/tcp_wmem", "4096 16384 4194304"),
    ("ipv4/tcp_workaround_signed_windows", "0"),
    // The kernel sends no frames of its own.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Sets the defaults. Older kernels do not have all of them; scripts that depend on a missing one
/// fail.
pub(super) fn set_defaults() -> io::Result<()> {
    for (name, value) in DEFAULTS {
        match set(name, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Writes a sysctl of this thread's namespace.
pub(super) fn set(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net").join(name), value)
        .map_err(|error| io::Error::new(error.kind(), format!("net/{name} = {value}: {error}")))
}

/// The kernel's equivalent of a line `config NAME VALUE` of a script; `None` if the kernel has no
/// such setting.
pub fn kernel_settings_of(name: &str, value: &str) -> Option<Vec<KernelSetting>> {
    let time = || crate::script::duration(value).ok();
    let seconds = || time().filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs().to_string());
    let millis = || time().map(|time: Duration| time.as_millis().to_string());
    let one = |name: &str, value: String| Some(vec![ipv4(name, value)]);
    let as_it_is = |name: &str| one(name, value.into());
    match name {
        "min_rto" => one("tcp_rto_min_us", time()?.as_micros().to_string()),
        "max_rto" => one("tcp_rto_max_ms", millis()?),
        "fin_wait_2" => one("tcp_fin_timeout", seconds()?),
        "keepalive_idle" => one("tcp_keepalive_time", seconds()?),
        "keepalive_interval" => one("tcp_keepalive_intvl", seconds()?),
        "keepalive_probes" => as_it_is("tcp_keepalive_probes"),
        "mtu_probe_interval" => one("tcp_probe_interval", seconds()?),
        "mtu_probe_timeouts" => as_it_is("tcp_retries1"),
        "mtu_probe_base" => as_it_is("tcp_base_mss"),
        "mtu_probe_floor" => as_it_is("tcp_mtu_probe_floor"),
        "min_mss" => as_it_is("tcp_min_snd_mss"),
        "challenge_interval" => one("tcp_invalid_ratelimit", millis()?),
        "receive_buffer_bytes" => one("tcp_rmem", format!("4096 {value} 33554432")),
        "send_buffer_bytes" => one("tcp_wmem", format!("4096 {value} 4194304")),
        "syn_retries" => as_it_is("tcp_syn_retries"),
        "syn_linear_timeouts" => as_it_is("tcp_syn_linear_timeouts"),
        "syn_ack_retries" => as_it_is("tcp_synack_retries"),
        "retries" => as_it_is("tcp_retries2"),
        "orphan_retries" => as_it_is("tcp_orphan_retries"),
        "max_time_wait" => as_it_is("tcp_max_tw_buckets"),
        "max_backlog" => {
            Some(vec![KernelSetting::Sysctl { name: "core/somaxconn".into(), value: value.into() }])
        }
        "auto_tune_buffers" => one("tcp_moderate_rcvbuf", index(&["off", "on"], value)?),
        "timestamps" => one("tcp_timestamps", index(&["off", "on"], value)?),
        "sack" => one("tcp_sack", index(&["off", "on"], value)?),
        "window_scaling" => one("tcp_window_scaling", index(&["off", "on"], value)?),
        "dsack" => one("tcp_dsack", index(&["off", "on"], value)?),
        "duplicate_threshold" => as_it_is("tcp_reordering"),
        // The bit of value 1 is always set. A script has one of the two.
        "rack_counts_segments" => one("tcp_recovery", index(&["", "on", "", "", "", "off"], value)?),
        "rack_adapts" => one("tcp_recovery", index(&["", "on", "", "off"], value)?),
        "delayed_ack" if time()?.is_zero() => Some(vec![KernelSetting::QuickAcks]),
        "delayed_ack" => Some(vec![KernelSetting::DelayedAck(time()?)]),
        "loss_probes" => one("tcp_early_retrans", index(&["off", "", "", "on"], value)?),
        "frto" => one("tcp_frto", index(&["off", "", "on"], value)?),
        "slow_start_after_idle" => one("tcp_slow_start_after_idle", index(&["off", "on"], value)?),
        "congestion" => Some(vec![KernelSetting::Congestion(value.into())]),
        "initial_window_segs" => Some(vec![KernelSetting::InitialWindow(value.parse().ok()?)]),
        // The kernel only has "always", as a metric of the route.
        "quick_acks" if value.parse().is_ok_and(|count: u32| count >= 100) => {
            Some(vec![KernelSetting::QuickAcks])
        }
        // The kernel's runs are always as long as its buffer allows.
        "max_run_segs" => Some(Vec::new()),
        "mtu_probing" => one("tcp_mtu_probing", index(&["off", "black_hole", "always"], value)?),
        "syn_cookies" => one("tcp_syncookies", index(&["off", "when_full", "always"], value)?),
        "ecn" => {
            let modes = [("off", "0"), ("accept_rfc3168", "2"), ("accept", "2"), ("request", "1")];
            let (_, mode) = modes.into_iter().find(|(known, _)| *known == value)?;
            one("tcp_ecn", mode.into())
        }
        _ => None,
    }
}

fn ipv4(name: &str, value: String) -> KernelSetting {
    KernelSetting::Sysctl { name: format!("ipv4/{name}"), value }
}

fn index(names: &[&str], value: &str) -> Option<String> {
    names.iter().position(|known| *known == value).map(|at| at.to_string())
}
