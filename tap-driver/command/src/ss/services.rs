//! The names of ports and protocols, from the files of this host.

use std::collections::HashMap;
use std::fs;

/// The names of ports, by protocol, and of IP protocols.
#[derive(Debug, Default)]
pub(crate) struct Services {
    by_port: HashMap<(u16, String), String>,
    by_name: HashMap<String, u16>,
    protocols: HashMap<u16, String>,
}

impl Services {
    /// Reads `/etc/services` and `/etc/protocols`. Without them there are no names.
    pub(crate) fn load() -> Services {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Services::of(&read("/etc/services"), &read("/etc/protocols"))
    }

    pub(crate) fn of(services: &str, protocols: &str) -> Services {
        let mut names = Services::default();
        for mut words in services.lines().map(words) {
            let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = place.split_once('/') else { continue };
            let Ok(port) = port.parse() else { continue };
            names.by_port.entry((port, protocol.to_owned())).or_insert_with(|| name.to_owned());
            for name in std::iter::once(name).chain(words) {
                names.by_name.entry(name.to_owned()).or_insert(port);
            }
        }
        for mut words in protocols.lines().map(words) {
            let (Some(name), Some(number)) = (words.next(), words.next()) else { continue };
            if let Ok(number) = number.parse() {
                names.protocols.entry(number).or_insert_with(|| name.to_owned());
            }
        }
        names
    }

    /// The port with this name.
    pub(crate) fn port(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// The name of a port of a kind of socket; of a raw socket that of its protocol.
    pub(crate) fn name(&self, netid: &str, port: u16) -> Option<&str> {
        match netid {
            "raw" => self.protocols.get(&port).map(String::as_str),
            netid => self.by_port.get(&(port, netid.to_owned())).map(String::as_str),
        }
    }
}

/// The words of a line, without its comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split('#').next().unwrap_or_default().split_whitespace()
}
