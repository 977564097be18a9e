//! [`AdvertisedNames`]: name servers and search domains (RFC 8106), until they expire.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::effects::Effects;
use crate::link::router_advertisement::Lifetime;
use crate::time::Instant;

/// The most name servers, and the most search domains: RFC 8106 §5.3.1 wants three at least.
pub(super) const MAX_NAMES: usize = 8;
/// The longest name in DNS, written with dots.
const MAX_NAME_LEN: usize = 253;
const MAX_LABEL_LEN: u8 = 63;

/// Something that expires at some time, or never.
#[derive(Debug)]
struct Entry<T> {
    value: T,
    expires_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct AdvertisedNames {
    servers: Vec<Entry<Ipv6Addr>>,
    domains: Vec<Entry<String>>,
}

impl AdvertisedNames {
    /// Takes the addresses of name servers, 16 bytes each.
    pub(super) fn on_servers(
        &mut self,
        now: Instant,
        lifetime: Lifetime,
        addrs: &[u8],
        effects: &mut Effects,
    ) {
        for bytes in addrs.chunks_exact(16).filter_map(|bytes| bytes.first_chunk::<16>()) {
            let addr = Ipv6Addr::from(*bytes);
            if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() {
                effects.unusable += 1;
                continue;
            }
            set(&mut self.servers, now, addr, lifetime, effects);
        }
    }

    /// Takes domains, each a list of labels as in DNS messages. Zeros behind them are padding.
    pub(super) fn on_domains(
        &mut self,
        now: Instant,
        lifetime: Lifetime,
        mut names: &[u8],
        effects: &mut Effects,
    ) {
        while names.first().is_some_and(|&len| len != 0) {
            let Some((domain, rest)) = parse_domain(names) else {
                effects.unusable += 1;
                return;
            };
            names = rest;
            set(&mut self.domains, now, domain, lifetime, effects);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, effects: &mut Effects) {
        let before = self.servers.len() + self.domains.len();
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.servers.retain(|entry| !is_over(entry.expires_at));
        self.domains.retain(|entry| !is_over(entry.expires_at));
        if self.servers.len() + self.domains.len() != before {
            effects.note_names();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let servers = self.servers.iter().filter_map(|entry| entry.expires_at);
        servers.chain(self.domains.iter().filter_map(|entry| entry.expires_at)).min()
    }

    pub(super) fn clear(&mut self, effects: &mut Effects) {
        if !self.servers.is_empty() || !self.domains.is_empty() {
            effects.note_names();
        }
        *self = AdvertisedNames::default();
    }

    pub(super) fn servers(&self) -> Vec<Ipv6Addr> {
        self.servers.iter().map(|entry| entry.value).collect()
    }

    pub(super) fn domains(&self) -> Vec<String> {
        self.domains.iter().map(|entry| entry.value.clone()).collect()
    }
}

/// Adds an entry, renews it, or removes it if its lifetime is zero.
fn set<T: PartialEq>(
    entries: &mut Vec<Entry<T>>,
    now: Instant,
    value: T,
    lifetime: Lifetime,
    effects: &mut Effects,
) {
    let expires_at = lifetime.end(now);
    let found = entries.iter().position(|entry| entry.value == value);
    match found {
        Some(index) if lifetime == Lifetime::ZERO => {
            entries.remove(index);
            effects.note_names();
        }
        Some(index) => entries.iter_mut().skip(index).take(1).for_each(|entry| entry.expires_at = expires_at),
        None if lifetime == Lifetime::ZERO => {}
        None if entries.len() >= MAX_NAMES => effects.without_room += 1,
        None => {
            entries.push(Entry { value, expires_at });
            effects.note_names();
        }
    }
}

/// The first domain in lower case, and what is behind it. `None` if it is cut off, or has
/// characters that no host name has: programs paste it into names that they look up.
fn parse_domain(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut domain = String::new();
    loop {
        let (&len, rest) = bytes.split_first()?;
        if len == 0 {
            return Some((domain, rest)).filter(|(domain, _)| domain.len() <= MAX_NAME_LEN);
        }
        if len > MAX_LABEL_LEN {
            return None;
        }
        let (label, rest) = rest.split_at_checked(len.into())?;
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        if !domain.is_empty() {
            domain.push('.');
        }
        domain.extend(label.iter().map(|&byte| char::from(byte.to_ascii_lowercase())));
        bytes = rest;
    }
}
