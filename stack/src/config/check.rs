//! Whether a configuration can work at all.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::Config;

/// "Less than 256 KiB in all is not enough to work with": what the parts of the limit then hold is
/// less than one packet.
const MIN_MEMORY_LIMIT: usize = 256 << 10;
/// Beyond it an RTO no longer fits what it is computed in.
const LONGEST_RTO: Duration = Duration::from_secs(71 * 60);

/// A setting with which a stack could not work, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    reason: String,
}

impl ConfigError {
    /// The path of the setting in [`Config`]: `tcp.min_rto`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config::{} {}", self.setting, self.reason)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Refuses a configuration that contradicts itself, or with which no connection could ever
    /// work. The runtime's builder calls it; [`Stack::new`](crate::Stack::new) takes any.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_memory()?;
        let error = |setting, reason: String| Err(ConfigError { setting, reason });
        let (first, last) = self.ephemeral_ports;
        if first == 0 || first > last {
            return error(
                "ephemeral_ports",
                format!("is ({first}, {last}): give the first and the last port, like (32768, 60999)"),
            );
        }
        let Config { neighbor, ip, udp, tcp, interception, .. } = self;
        for (setting, value) in [
            ("max_descriptors", self.max_descriptors),
            ("max_descriptors_in_all", self.max_descriptors_in_all),
            ("max_registrations", self.max_registrations),
            ("neighbor.max_entries", neighbor.max_entries),
            ("neighbor.max_solicitations", neighbor.max_solicitations.into()),
            ("ip.hop_limit", ip.hop_limit.into()),
            ("udp.receive_buffer_bytes", udp.receive_buffer_bytes),
            ("udp.send_buffer_bytes", udp.send_buffer_bytes),
            ("tcp.receive_buffer_bytes", tcp.receive_buffer_bytes),
            ("tcp.send_buffer_bytes", tcp.send_buffer_bytes),
            ("tcp.initial_window_segs", tcp.initial_window_segs as usize),
            ("tcp.max_run_segs", tcp.max_run_segs),
            ("tcp.max_backlog", tcp.max_backlog),
            ("tcp.duplicate_threshold", tcp.duplicate_threshold.into()),
            ("tcp.min_mss", tcp.min_mss.into()),
            ("tcp.max_flight_segs", tcp.max_flight_segs as usize),
            ("interception.max_pending", interception.max_pending),
            ("interception.max_pending_per_source", interception.max_pending_per_source),
            ("interception.max_flows", interception.max_flows),
            ("interception.max_flows_per_source", interception.max_flows_per_source),
        ] {
            if value == 0 {
                return error(setting, "is 0, with which nothing works: give at least 1".into());
            }
        }
        for (setting, time) in [
            ("neighbor.retransmit_delay", neighbor.retransmit_delay),
            ("tcp.initial_rto", tcp.initial_rto),
            ("tcp.min_rto", tcp.min_rto),
            ("tcp.keepalive_interval", tcp.keepalive_interval),
        ] {
            if time.is_zero() {
                return error(setting, "is zero: what is sent would be sent again at once, for ever".into());
            }
        }
        if tcp.max_rto > LONGEST_RTO {
            return error("tcp.max_rto", format!("is {:?}: it is at most {LONGEST_RTO:?}", tcp.max_rto));
        }
        for (setting, rto) in [("tcp.min_rto", tcp.min_rto), ("tcp.initial_rto", tcp.initial_rto)] {
            if rto > tcp.max_rto {
                return error(
                    setting,
                    format!("is {rto:?}, more than tcp.max_rto, which is {:?}: raise that, too", tcp.max_rto),
                );
            }
        }
        for (setting, bytes) in [
            ("tcp.receive_buffer_bytes", tcp.receive_buffer_bytes),
            ("tcp.send_buffer_bytes", tcp.send_buffer_bytes),
        ] {
            if bytes > tcp.max_buffer_bytes {
                return error(
                    setting,
                    format!(
                        "is {bytes}, more than tcp.max_buffer_bytes, which is {}: raise that, too",
                        tcp.max_buffer_bytes
                    ),
                );
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), ConfigError> {
        let limit = self.memory_limit_bytes;
        if limit < MIN_MEMORY_LIMIT {
            return Err(ConfigError {
                setting: "memory_limit_bytes",
                reason: format!(
                    "is {limit}: a stack needs at least {MIN_MEMORY_LIMIT} bytes to work with; give more, or leave \
                     the default of {}",
                    Config::default().memory_limit_bytes
                ),
            });
        }
        if !(1..=100).contains(&self.memory_pressure_percent) {
            return Err(ConfigError {
                setting: "memory_pressure_percent",
                reason: format!("is {}: give a share of 1 to 100 per cent", self.memory_pressure_percent),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        use alloc::string::ToString;
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("it cannot work").to_string()
    }

    #[test]
    fn the_defaults_work_and_so_does_the_least_memory() {
        assert_eq!(Config::default().check(), Ok(()));
        let least = Config { memory_limit_bytes: MIN_MEMORY_LIMIT, ..Config::default() };
        assert_eq!(least.check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_named_with_what_to_write_instead() {
        assert_eq!(
            refused(|config| config.memory_limit_bytes = 0),
            "Config::memory_limit_bytes is 0: a stack needs at least 262144 bytes to work with; give more, or \
             leave the default of 268435456"
        );
        assert_eq!(
            refused(|config| config.memory_pressure_percent = 101),
            "Config::memory_pressure_percent is 101: give a share of 1 to 100 per cent"
        );
        assert_eq!(
            refused(|config| config.ephemeral_ports = (60999, 32768)),
            "Config::ephemeral_ports is (60999, 32768): give the first and the last port, like (32768, 60999)"
        );
        assert_eq!(
            refused(|config| config.tcp.max_backlog = 0),
            "Config::tcp.max_backlog is 0, with which nothing works: give at least 1"
        );
        assert_eq!(
            refused(|config| config.neighbor.retransmit_delay = Duration::ZERO),
            "Config::neighbor.retransmit_delay is zero: what is sent would be sent again at once, for ever"
        );
        assert_eq!(
            refused(|config| config.tcp.max_rto = Duration::from_millis(100)),
            "Config::tcp.min_rto is 200ms, more than tcp.max_rto, which is 100ms: raise that, too"
        );
        assert_eq!(
            refused(|config| config.tcp.max_rto = Duration::from_secs(4261)),
            "Config::tcp.max_rto is 4261s: it is at most 4260s"
        );
        assert_eq!(
            refused(|config| config.tcp.max_buffer_bytes = 65536),
            "Config::tcp.receive_buffer_bytes is 131072, more than tcp.max_buffer_bytes, which is 65536: raise \
             that, too"
        );
    }
}
