//! [`Hosts`]: a table of names and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A table of names and addresses, as in `/etc/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    by_name: BTreeMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Reads the format of `/etc/hosts`: an address and its names on each line. Lines that do not
    /// begin with an address are ignored.
    ///
    /// ```
    /// let hosts = portolan_runtime::Hosts::parse("10.0.0.7 printer printer.example.com # second floor\n");
    /// assert_eq!(hosts.addresses("Printer"), ["10.0.0.7".parse::<std::net::IpAddr>()?]);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(Ok(addr)) = words.next().map(str::parse) else { continue };
            words.for_each(|name| hosts.add(addr, name));
        }
        hosts
    }

    /// Adds an address of a name. A name may have several.
    pub fn add(&mut self, addr: IpAddr, name: &str) {
        let addresses = self.by_name.entry(key(name)).or_default();
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }

    /// The addresses of a name, in the order in which they were added. Upper and lower case are the
    /// same.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.by_name.get(&key(name)).map_or(&[], Vec::as_slice)
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read() {
        let text = "127.0.0.1 localhost\n# 1.2.3.4 no\n10.0.0.7\tprinter Printer.example # no\n\
                    fd00::7 printer\n10.0.0.7 printer\nnonsense x\n10.0.0.8";
        let hosts = Hosts::parse(text);
        let addresses = |name| hosts.addresses(name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("PRINTER."), ["10.0.0.7", "fd00::7"]);
        assert_eq!(addresses("printer.example"), ["10.0.0.7"]);
        assert!(addresses("no").is_empty() && addresses("x").is_empty());
    }
}
