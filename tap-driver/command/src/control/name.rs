//! The name of one end of a socket: an address and a port, or what its family has instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

/// The name of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// An address and a port; 0 is any port. Of a raw socket's own end the port is its protocol.
    Ip { addr: IpAddr, port: u16, interface: Option<String> },
    /// The EtherType and the interface of a packet socket; 0 is no EtherType, 3 is all of them.
    Link { protocol: u16, interface: Option<String> },
    /// The name of a Unix socket, if it has one.
    Unix(Option<String>),
    /// The peer of a socket that cannot have one.
    None,
}

impl Name {
    /// The address in which nothing is said.
    pub(crate) fn any(is_ipv4: bool, port: u16) -> Name {
        let addr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Name::Ip { addr, port, interface: None }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Name::Ip { addr, port, interface } => {
                json!({ "address": addr.to_string(), "port": port, "interface": interface })
            }
            Name::Link { protocol, interface } => json!({ "protocol": protocol, "interface": interface }),
            Name::Unix(path) => json!({ "path": path }),
            Name::None => Value::Null,
        }
    }

    pub(crate) fn from_json(value: &Value) -> Option<Name> {
        let number = |key: &str| u16::try_from(value[key].as_u64()?).ok();
        let interface = value["interface"].as_str().map(str::to_owned);
        if value.is_null() {
            return Some(Name::None);
        }
        if let Some(path) = value.get("path") {
            return Some(Name::Unix(path.as_str().map(str::to_owned)));
        }
        match value["address"].as_str() {
            Some(addr) => Some(Name::Ip { addr: addr.parse().ok()?, port: number("port")?, interface }),
            None => Some(Name::Link { protocol: number("protocol")?, interface }),
        }
    }
}
