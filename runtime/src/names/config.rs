//! [`ResolverConfig`]: the settings of a resolver, and the format of resolv.conf.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::hosts::Hosts;

/// The most servers, suffixes and attempts that a configuration may have. More are ignored, so that
/// a lookup ends, also with settings that came from the network.
const MAX_SERVERS: usize = 8;
const MAX_SEARCH: usize = 16;
const MAX_ATTEMPTS: u32 = 8;
/// As in glibc.
const MAX_NDOTS: usize = 15;
const DNS_PORT: u16 = 53;

/// The settings of a [`Resolver`](crate::Resolver): those of resolv.conf, and a table of hosts.
///
/// ```
/// use portolan_runtime::ResolverConfig;
///
/// let mut config = ResolverConfig::default();
/// config.servers.push(([10, 0, 0, 53], 53).into());
/// config.search.push("example.com".into());
/// config.hosts.add("10.0.0.7".parse()?, "printer");
///
/// let parsed = ResolverConfig::parse_resolv_conf("nameserver 10.0.0.53\nsearch example.com\n");
/// assert_eq!(parsed.servers, config.servers);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverConfig {
    /// The recursive DNS servers, in the order in which they are asked. At most 8 are used. With
    /// none, only the table of hosts and `localhost` are known.
    pub servers: Vec<SocketAddr>,
    /// Suffixes that are tried with names of few dots. At most 16 are used.
    pub search: Vec<String>,
    /// A name with at least this many dots is tried as it is before the suffixes; the default is 1.
    pub ndots: usize,
    /// How long the first server may take; the default is 2 s. Each time that all servers have been
    /// asked, the time is doubled.
    pub timeout: Duration,
    /// How often each server is asked; the default is 3, at most 8.
    pub attempts: u32,
    /// Names that are known without asking, before all others.
    pub hosts: Hosts,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        ResolverConfig {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(2),
            attempts: 3,
            hosts: Hosts::default(),
        }
    }
}

impl ResolverConfig {
    /// Reads the format of `/etc/resolv.conf` (resolv.conf(5)): `nameserver`, `search` and
    /// `domain`, and the options `ndots`, `timeout` and `attempts`. What it does not know is
    /// ignored, as glibc does. A `%` and the name of an interface after an IPv6 address are
    /// ignored, too.
    ///
    /// A program that runs Portolan beside the kernel's stack can read the host's file. But a
    /// server on 127.0.0.1 that it may name is not one that Portolan reaches.
    pub fn parse_resolv_conf(text: &str) -> ResolverConfig {
        let mut config = ResolverConfig::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.split('%').next());
                    let address = address.and_then(|word| word.parse::<IpAddr>().ok());
                    config.servers.extend(address.map(|addr| SocketAddr::new(addr, DNS_PORT)));
                }
                // The last of these lines counts.
                Some("search") => config.search = words.map(String::from).collect(),
                Some("domain") => config.search = words.take(1).map(String::from).collect(),
                Some("options") => words.for_each(|word| config.set_option(word)),
                _ => {}
            }
        }
        config
    }

    fn set_option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value as usize,
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value,
            _ => {}
        }
    }

    /// The servers that are used.
    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers[..self.servers.len().min(MAX_SERVERS)]
    }

    /// How many turns servers have in all for one name and kind, before a lookup gives up.
    pub(super) fn max_turns(&self) -> u32 {
        self.servers().len() as u32 * self.attempts.clamp(1, MAX_ATTEMPTS)
    }

    /// How long the turn with this number, counted from 0, may take.
    pub(super) fn timeout_of(&self, turn: u32) -> Duration {
        let round = turn / (self.servers().len() as u32).max(1);
        self.timeout.max(Duration::from_millis(1)).saturating_mul(1 << round.min(MAX_ATTEMPTS))
    }

    /// The absolute names to try for `name`, in order (the search list of resolv.conf).
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let suffixes = self.search.iter().take(MAX_SEARCH).map(|suffix| suffix.trim_matches('.'));
        let mut names: Vec<String> = suffixes
            .filter(|suffix| !suffix.is_empty())
            .map(|suffix| format!("{name}.{}", suffix.to_ascii_lowercase()))
            .collect();
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let at = if dots >= self.ndots.min(MAX_NDOTS) { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_and_what_is_unknown_is_ignored() {
        let text = "# comment\nnameserver 192.0.2.1\nnameserver fe80::1%eth0 ; and more\nnameserver nonsense\n\
                    domain first.example\nsearch a.example b.example.\n\
                    options ndots:2 timeout:7 attempts:4 rotate ndots:x edns0\nsortlist 1.2.3.4\nnameserver";
        let config = ResolverConfig::parse_resolv_conf(text);
        assert_eq!(config.servers, [([192, 0, 2, 1], 53).into(), "[fe80::1]:53".parse().unwrap()]);
        assert_eq!(config.search, ["a.example", "b.example."]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (2, Duration::from_secs(7), 4));
        assert_eq!(ResolverConfig::parse_resolv_conf(""), ResolverConfig::default());
    }

    #[test]
    fn the_search_list_is_tried_as_resolv_conf_says() {
        let mut config =
            ResolverConfig { search: vec!["A.example".into(), ".".into()], ..Default::default() };
        assert_eq!(config.candidates("host"), ["host.a.example", "host"]);
        assert_eq!(config.candidates("host.b"), ["host.b", "host.b.a.example"]);
        assert_eq!(config.candidates("host."), ["host"]);
        config.ndots = 2;
        assert_eq!(config.candidates("host.b"), ["host.b.a.example", "host.b"]);
        config.search = vec!["x".into(); 1000];
        assert_eq!(config.candidates("host").len(), MAX_SEARCH + 1);
    }

    #[test]
    fn time_outs_double_when_all_servers_were_asked() {
        let mut config = ResolverConfig { attempts: u32::MAX, ..Default::default() };
        config.servers = vec![([10, 0, 0, 1], 53).into(), ([10, 0, 0, 2], 53).into()];
        let seconds = [0, 1, 2, 3, 4].map(|turn| config.timeout_of(turn).as_secs());
        assert_eq!(seconds, [2, 2, 4, 4, 8]);
        assert_eq!(config.max_turns(), 2 * MAX_ATTEMPTS);
        config.timeout = Duration::MAX;
        assert_eq!(config.timeout_of(u32::MAX), Duration::MAX);
    }
}
