//! Queries on the kernel: `poll`, SIOCINQ, TCP_INFO, the table of connections, the counters.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use portolan::{Config, Instant, Readiness, Stack};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::sockets::get_bytes;
use crate::host::Found;

pub(crate) fn readiness(socket: BorrowedFd<'_>) -> rustix::io::Result<Readiness> {
    let asked = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP | PollFlags::PRI;
    let mut polled = [PollFd::from_borrowed_fd(socket, asked)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let events = polled[0].revents();
    Ok(Readiness {
        readable: events.contains(PollFlags::IN),
        writable: events.contains(PollFlags::OUT),
        peer_closed: events.contains(PollFlags::RDHUP),
        hung_up: events.contains(PollFlags::HUP),
        error: events.contains(PollFlags::ERR),
        urgent: events.contains(PollFlags::PRI),
    })
}

pub(super) fn queued_bytes(socket: BorrowedFd<'_>) -> rustix::io::Result<(usize, usize)> {
    let received = rustix::io::ioctl_fionread(socket)?;
    let mut unsent: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (tcp(7)) writes one int, and the pointer is to one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
    if result != 0 {
        return Err(rustix::io::Errno::INVAL);
    }
    Ok((received as usize, unsent as usize))
}

/// How a field of the kernel's `struct tcp_info` is read and written as text.
#[derive(Clone, Copy)]
enum Kind {
    Count8,
    Count16,
    Count32,
    Count64,
    /// Microseconds in 32 bits.
    Micros,
    /// Microseconds in 64 bits.
    Micros64,
    /// Milliseconds in 32 bits.
    Millis,
    /// Like `Micros`, and all ones before it is measured.
    MinRtt,
    State,
    CongestionState,
    /// A bit of the byte.
    Bit(u8),
    /// The lower four bits, if windows are scaled.
    LowScale,
    /// The upper four bits, if windows are scaled.
    HighScale,
}

/// Fields of `portolan::TcpInfo`, and where they are in `struct tcp_info`
/// (include/uapi/linux/tcp.h).
const FIELDS: &[(&str, usize, Kind)] = &[
    ("state", 0, Kind::State),
    ("ca_state", 1, Kind::CongestionState),
    ("retransmits", 2, Kind::Count8),
    ("probes", 3, Kind::Count8),
    ("backoff", 4, Kind::Count8),
    ("timestamps", 5, Kind::Bit(0)),
    ("sack", 5, Kind::Bit(1)),
    ("ecn", 5, Kind::Bit(3)),
    ("syn_data", 5, Kind::Bit(5)),
    ("snd_wscale", 6, Kind::LowScale),
    ("rcv_wscale", 6, Kind::HighScale),
    ("delivery_rate_app_limited", 7, Kind::Bit(0)),
    ("rto", 8, Kind::Micros),
    ("ato", 12, Kind::Micros),
    ("snd_mss", 16, Kind::Count32),
    ("rcv_mss", 20, Kind::Count32),
    ("unacked", 24, Kind::Count32),
    ("sacked", 28, Kind::Count32),
    ("lost", 32, Kind::Count32),
    ("retrans", 36, Kind::Count32),
    ("last_data_sent", 44, Kind::Millis),
    ("last_data_recv", 52, Kind::Millis),
    ("last_ack_recv", 56, Kind::Millis),
    ("pmtu", 60, Kind::Count32),
    ("rcv_ssthresh", 64, Kind::Count32),
    ("rtt", 68, Kind::Micros),
    ("rttvar", 72, Kind::Micros),
    ("snd_ssthresh", 76, Kind::Count32),
    ("snd_cwnd", 80, Kind::Count32),
    ("advmss", 84, Kind::Count32),
    ("reordering", 88, Kind::Count32),
    ("rcv_rtt", 92, Kind::Micros),
    ("rcv_space", 96, Kind::Count32),
    ("total_retrans", 100, Kind::Count32),
    ("pacing_rate", 104, Kind::Count64),
    ("bytes_acked", 120, Kind::Count64),
    ("bytes_received", 128, Kind::Count64),
    ("segs_out", 136, Kind::Count32),
    ("segs_in", 140, Kind::Count32),
    ("notsent_bytes", 144, Kind::Count32),
    ("min_rtt", 148, Kind::MinRtt),
    ("data_segs_in", 152, Kind::Count32),
    ("data_segs_out", 156, Kind::Count32),
    ("delivery_rate", 160, Kind::Count64),
    ("busy_time", 168, Kind::Micros64),
    ("rwnd_limited", 176, Kind::Micros64),
    ("sndbuf_limited", 184, Kind::Micros64),
    ("delivered", 192, Kind::Count32),
    ("delivered_ce", 196, Kind::Count32),
    ("bytes_sent", 200, Kind::Count64),
    ("bytes_retrans", 208, Kind::Count64),
    ("dsack_dups", 216, Kind::Count32),
    ("reord_seen", 220, Kind::Count32),
    ("rcv_ooopack", 224, Kind::Count32),
    ("snd_wnd", 228, Kind::Count32),
    ("rcv_wnd", 232, Kind::Count32),
    ("total_rto", 240, Kind::Count16),
];

/// The fields that only Portolan has.
const ONLY_PORTOLAN: [&str; 2] = ["snd_cwnd_bytes", "reordering_window"];

/// A field of TCP_INFO by Portolan's name for it.
pub(super) fn info(socket: BorrowedFd<'_>, field: &str) -> rustix::io::Result<Found> {
    if ONLY_PORTOLAN.contains(&field) {
        return Ok(Found::NotHere);
    }
    if field == "congestion" {
        let mut name = [0; 16];
        let len = get_bytes(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, &mut name)?;
        let name = String::from_utf8_lossy(&name[..len]);
        let name = name.trim_end_matches('\0');
        return Ok(Found::Value(name[..1].to_uppercase() + &name[1..]));
    }
    let Some(&(_, at, kind)) = FIELDS.iter().find(|(known, ..)| *known == field) else {
        return Ok(Found::Unknown);
    };
    let mut bytes = [0; 512];
    get_bytes(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    Ok(Found::Value(tell(&bytes, at, kind)))
}

fn tell(bytes: &[u8; 512], at: usize, kind: Kind) -> String {
    let number = |len: usize| {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&bytes[at..at + len]);
        u64::from_le_bytes(word)
    };
    let time = |time: Duration| format!("{time:?}");
    let scale = |shift: u8| {
        let is_scaled = bytes[5] & 1 << 2 != 0;
        format!("{:?}", is_scaled.then_some(bytes[at] >> shift & 15))
    };
    match kind {
        Kind::Count8 => number(1).to_string(),
        Kind::Count16 => number(2).to_string(),
        // 0x7fffffff: there is no threshold yet, which is u32::MAX in Portolan.
        Kind::Count32 if number(4) == 0x7fff_ffff => u32::MAX.to_string(),
        Kind::Count32 => number(4).to_string(),
        Kind::Count64 => number(8).to_string(),
        Kind::Micros => time(Duration::from_micros(number(4))),
        Kind::Micros64 => time(Duration::from_micros(number(8))),
        Kind::Millis => time(Duration::from_millis(number(4))),
        Kind::MinRtt if number(4) == u64::from(u32::MAX) => time(Duration::ZERO),
        Kind::MinRtt => time(Duration::from_micros(number(4))),
        Kind::State => state_name(number(1)).into(),
        Kind::CongestionState => ["Open", "Disorder", "Cwr", "Recovery", "Loss"]
            .get(bytes[at] as usize)
            .unwrap_or(&"?")
            .to_string(),
        Kind::Bit(bit) => (bytes[at] & 1 << bit != 0).to_string(),
        Kind::LowScale => scale(0),
        Kind::HighScale => scale(4),
    }
}

/// The kernel's numbers of the states (include/net/tcp_states.h).
fn state_name(number: u64) -> &'static str {
    match number {
        1 => "ESTABLISHED",
        2 => "SYN-SENT",
        3 | 12 => "SYN-RECEIVED",
        4 => "FIN-WAIT-1",
        5 => "FIN-WAIT-2",
        6 => "TIME-WAIT",
        7 => "CLOSED",
        8 => "CLOSE-WAIT",
        9 => "LAST-ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        _ => "?",
    }
}

/// The table of connections of this thread's namespace: local port, remote port, state.
pub(super) fn states() -> Vec<(u16, u16, String)> {
    let tables = ["tcp", "tcp6"]
        .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default());
    // `0: 0100000A:0050 0200000A:1388 01 ...`, in hexadecimal.
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let state = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (port(fields.next()?)?, port(fields.next()?)?);
        let number = u64::from_str_radix(fields.next()?, 16).ok()?;
        Some((local, remote, state_name(number).to_string()))
    };
    tables.iter().flat_map(|table| table.lines()).filter_map(state).collect()
}

/// Counters of Portolan that are the sum of two of the kernel's.
const SUMS: &[(&str, [&str; 2])] = &[
    ("recovery.recoveries", ["TcpExtTCPRenoRecovery", "TcpExtTCPSackRecovery"]),
    ("recovery.spurious_recoveries", ["TcpExtTCPFullUndo", "TcpExtTCPDSACKUndo"]),
    ("recovery.dsacks_received", ["TcpExtTCPDSACKRecv", "TcpExtTCPDSACKOfoRecv"]),
    ("recovery.dsacks_sent", ["TcpExtTCPDSACKOldSent", "TcpExtTCPDSACKOfoSent"]),
];

/// The kernel's value for a counter of Portolan.
pub(super) fn counter(name: &str) -> Found {
    let sum = SUMS.iter().find(|(known, _)| *known == name).map(|(_, parts)| parts.to_vec());
    let Some(parts) = sum.or_else(|| Some(vec![mib_name(name)?])) else { return Found::NotHere };
    let values = parts.iter().map(|part| mib(part));
    values.sum::<Option<u64>>().map_or(Found::NotHere, |sum| Found::Value(sum.to_string()))
}

fn mib_name(name: &str) -> Option<&'static str> {
    let stack = Stack::new(Config::default(), [0; 32], Instant::ZERO);
    stack.stats().counters().find(|counter| counter.name == name)?.mib
}

/// A counter of this thread's namespace by its name in `nstat`.
fn mib(name: &str) -> Option<u64> {
    let text: String = ["snmp", "netstat"]
        .iter()
        .map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default())
        .collect();
    // Two lines for each group, both with the group's name and a colon in front: the names and the
    // values.
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    while let (Some((group, names)), Some((_, values))) = (lines.next(), lines.next()) {
        let Some(wanted) = name.strip_prefix(group) else { continue };
        let mut counters = names.split_whitespace().zip(values.split_whitespace());
        if let Some((_, value)) = counters.find(|&(known, _)| known == wanted) {
            return value.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_the_counters_that_are_named_after_its_own() {
        let stack = Stack::new(Config::default(), [0; 32], Instant::ZERO);
        let named: Vec<_> = stack.stats().counters().filter_map(|counter| counter.mib).collect();
        assert!(named.len() > 30);
        for name in named.into_iter().chain(SUMS.iter().flat_map(|(_, parts)| *parts)) {
            assert!(mib(name).is_some(), "{name}");
        }
    }
}
