//! [`Cache`]: answers, for as long as they are valid.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use portolan::Instant;

use super::message::RecordKind;
use crate::policy::{MAX_CACHED_ANSWERS, MAX_CACHED_FOR, MAX_NEGATIVE_CACHED_FOR};

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Addresses(Vec<IpAddr>),
    Alias(String),
    NoData,
    NoName,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    expires_at: Instant,
}

/// Answers by name and kind. The name is in lower case.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<(String, RecordKind), Entry>,
}

impl Cache {
    /// Remembers an answer for as long as it is valid (RFC 2308 §5 for those without addresses),
    /// but not for ever.
    pub(super) fn insert(&mut self, now: Instant, name: &str, kind: RecordKind, known: Known, ttl: u32) {
        let max = match known {
            Known::Addresses(_) | Known::Alias(_) => MAX_CACHED_FOR,
            Known::NoData | Known::NoName => MAX_NEGATIVE_CACHED_FOR,
        };
        let valid_for = Duration::from_secs(ttl.into()).min(max);
        if valid_for.is_zero() {
            return;
        }
        let key = (name.to_owned(), kind);
        if self.entries.len() >= MAX_CACHED_ANSWERS && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, Entry { known, expires_at: now + valid_for });
    }

    pub(super) fn look_up(&self, now: Instant, name: &str, kind: RecordKind) -> Option<&Known> {
        let entry = self.entries.get(&(name.to_owned(), kind))?;
        (entry.expires_at > now).then_some(&entry.known)
    }

    /// Forgets what has expired, or else the answer that would expire next.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.expires_at > now);
        if self.entries.len() < MAX_CACHED_ANSWERS {
            return;
        }
        let next = self.entries.iter().min_by_key(|(_, entry)| entry.expires_at);
        if let Some(key) = next.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    #[test]
    fn answers_expire_and_their_number_and_time_are_limited() {
        let mut cache = Cache::default();
        let known = |octet: u8| Known::Addresses(vec![IpAddr::from([10, 0, 0, octet])]);
        cache.insert(at(0), "a", RecordKind::A, known(1), 10);
        cache.insert(at(0), "a", RecordKind::Aaaa, Known::NoData, u32::MAX);
        cache.insert(at(0), "zero", RecordKind::A, known(1), 0);
        assert_eq!(cache.look_up(at(9), "a", RecordKind::A), Some(&known(1)));
        assert_eq!(cache.look_up(at(10), "a", RecordKind::A), None);
        assert_eq!(cache.look_up(at(0), "zero", RecordKind::A), None);
        let longest = MAX_NEGATIVE_CACHED_FOR.as_secs();
        assert_eq!(cache.look_up(at(longest - 1), "a", RecordKind::Aaaa), Some(&Known::NoData));
        assert_eq!(cache.look_up(at(longest), "a", RecordKind::Aaaa), None);

        for index in 0..2 * MAX_CACHED_ANSWERS as u32 {
            cache.insert(at(20), &index.to_string(), RecordKind::A, known(1), 1000 - index.min(900));
        }
        assert_eq!(cache.entries.len(), MAX_CACHED_ANSWERS);
        assert!(cache.look_up(at(20), "0", RecordKind::A).is_some(), "the one that is valid longest stays");
        cache.insert(at(2000), "late", RecordKind::A, known(1), 1);
        assert_eq!(cache.entries.len(), 1 + 1, "the negative answer and the late one");
    }
}
