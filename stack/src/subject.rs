//! [`Subject`]: the connection or packet that log lines name.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::demux::FourTuple;
use crate::interface_id::InterfaceId;

/// The subject of the current work. Log lines begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The stack as a whole.
    Stack,
    /// A frame whose addresses are not known yet.
    Frame(InterfaceId),
    /// A packet.
    Packet { src: IpAddr, dst: IpAddr, protocol: u8 },
    /// An ARP packet.
    Arp { sender: IpAddr, target: IpAddr },
    /// A TCP connection, its handshake or its TIME-WAIT record; or a segment that belongs to none.
    Tcp(FourTuple),
    /// A flow of UDP datagrams.
    Udp(FourTuple),
}

/// Writes `tcp #1f2e3d4c 10.0.0.1:80 <-> 10.0.0.2:5000`. The short id is computed from the
/// four-tuple, so that it is the same from the connection's first SYN to the end of TIME-WAIT.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Stack => f.write_str("stack"),
            Subject::Frame(iface) if *iface == InterfaceId::LOOPBACK => f.write_str("frame on the loopback"),
            Subject::Frame(iface) => write!(f, "frame on interface {}", iface.index()),
            Subject::Packet { src, dst, protocol } => write!(f, "{src} -> {dst} protocol {protocol}"),
            Subject::Arp { sender, target } => write!(f, "arp {sender} -> {target}"),
            Subject::Tcp(tuple) => {
                write!(f, "tcp #{:08x} {} <-> {}", short_id(tuple), tuple.local_addr(), tuple.remote_addr())
            }
            Subject::Udp(tuple) => write!(f, "udp {} <-> {}", tuple.local_addr(), tuple.remote_addr()),
        }
    }
}

/// FNV-1a over the four-tuple. It is only a name and used for no look-up, so an attacker gains
/// nothing from a collision.
fn short_id(tuple: &FourTuple) -> u32 {
    let mut id = 0x811c_9dc5_u32;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            id = (id ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    for end in [tuple.local_addr(), tuple.remote_addr()] {
        match end {
            SocketAddr::V4(v4) => add(&v4.ip().octets()),
            SocketAddr::V6(v6) => add(&v6.ip().octets()),
        }
        add(&end.port().to_be_bytes());
    }
    add(&tuple.scope.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Endpoint;
    use std::string::ToString;

    #[test]
    fn each_is_named_by_its_addresses() {
        let end = |addr: &str, port| Endpoint::new(addr.parse().unwrap(), port);
        let flow = FourTuple { local: end("10.0.0.1", 80), remote: end("10.0.0.2", 5000), scope: 0 };
        let told = Subject::Tcp(flow).to_string();
        let (id, ends) = told.strip_prefix("tcp #").unwrap().split_once(' ').unwrap();
        assert_eq!((id.len(), ends), (8, "10.0.0.1:80 <-> 10.0.0.2:5000"));
        let other = Subject::Tcp(FourTuple { remote: end("10.0.0.2", 5001), ..flow }).to_string();
        assert!(!other.contains(id));
        let local = FourTuple { local: end("fe80::1", 80), remote: end("fe80::2", 5000), scope: 2 };
        assert_eq!(Subject::Udp(local).to_string(), "udp [fe80::1%2]:80 <-> [fe80::2%2]:5000");
        let packet =
            Subject::Packet { src: end("10.0.0.1", 0).addr, dst: end("10.0.0.9", 0).addr, protocol: 17 };
        assert_eq!(packet.to_string(), "10.0.0.1 -> 10.0.0.9 protocol 17");
        assert_eq!(Subject::Frame(InterfaceId(1)).to_string(), "frame on interface 1");
    }
}
