//! The small services of a host: echo, discard, daytime, chargen, and a status page over HTTP.
//!
//! | module | what it does |
//! |---|---|
//! | this one | the list of services, and the choice among them |
//! | [`stream`], [`datagram`] | the services over TCP and over UDP; `pattern` and `daytime` are parts of them |
//! | [`serve`] | runs the services on a stack: listeners, tasks and threads |
//! | [`share`] | the connections that each service may have open |
//! | [`http`], [`status`] | the status page: the protocol, and the content |

mod datagram;
mod daytime;
mod http;
mod pattern;
mod server;
mod share;
mod status;
mod stream;
#[cfg(test)]
mod testing;

use std::fmt;
use std::str::FromStr;

pub(crate) use daytime::daytime_line;
pub(crate) use server::serve;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Service {
    /// RFC 862, port 7, TCP and UDP: sends back what it receives.
    Echo,
    /// RFC 863, port 9, TCP and UDP: discards what it receives.
    Discard,
    /// RFC 867, port 13, TCP and UDP: sends the date and time.
    Daytime,
    /// RFC 864, port 19, TCP and UDP: sends lines of characters.
    Chargen,
    /// RFC 9112, port 80, TCP: a status page, and `/socket-table.json`.
    Http,
}

impl Service {
    /// All services, by port.
    pub(crate) const ALL: [Service; 5] =
        [Service::Echo, Service::Discard, Service::Daytime, Service::Chargen, Service::Http];

    /// Its standard port.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Service::Echo => 7,
            Service::Discard => 9,
            Service::Daytime => 13,
            Service::Chargen => 19,
            Service::Http => 80,
        }
    }

    /// Whether it exists over UDP, too.
    pub(crate) const fn has_udp(self) -> bool {
        !matches!(self, Service::Http)
    }

    /// Its name, as [`Services`] parses it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Discard => "discard",
            Service::Daytime => "daytime",
            Service::Chargen => "chargen",
            Service::Http => "http",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of services: `echo,http`, `all` or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Services(Vec<Service>);

impl Services {
    /// All services.
    pub(crate) fn all() -> Self {
        Services(Service::ALL.to_vec())
    }

    /// The chosen services, by port.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Service> + '_ {
        self.0.iter().copied()
    }

    /// Whether none was chosen.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Services {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Services::all()),
            "none" => return Ok(Services(Vec::new())),
            _ => {}
        }
        let choose =
            "choose from echo, discard, daytime, chargen and http, separated by commas, or write all or none";
        let mut chosen = Vec::new();
        for name in text.split(',').map(str::trim) {
            match Service::ALL.into_iter().find(|service| service.name() == name) {
                Some(service) => chosen.push(service),
                None if matches!(name, "all" | "none") => {
                    return Err(format!("{name} cannot be combined with other names; {choose}"));
                }
                None if name.is_empty() => return Err(format!("a name is empty; {choose}")),
                None => return Err(format!("there is no service {name:?}; {choose}")),
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(Services(chosen))
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, service) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{service}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_and_shown() {
        for (text, shown) in [
            ("all", "echo,discard,daytime,chargen,http"),
            ("none", "none"),
            ("http,echo", "echo,http"),
            ("echo, echo,chargen", "echo,chargen"),
        ] {
            let services: Services = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(services.to_string(), shown);
        }
        for (text, what) in [
            ("", "a name is empty"),
            ("echo,", "a name is empty"),
            ("ftp", "there is no service \"ftp\""),
            ("echo;http", "there is no service \"echo;http\""),
            ("ECHO", "there is no service \"ECHO\""),
            ("none,echo", "none cannot be combined with other names"),
            ("all,none", "all cannot be combined with other names"),
        ] {
            let error = text.parse::<Services>().expect_err(text);
            assert_eq!(
                error,
                format!(
                    "{what}; choose from echo, discard, daytime, chargen and http, separated by commas, or write all \
                     or none"
                )
            );
        }
    }
}
