//! Sets the interface up over rtnetlink(7). No program is started for that, because a `fork` copies
//! sockets, and would keep those open that a script on another thread closes.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::KernelSetting;
use crate::RawPeer;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWQDISC: u16 = 36;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
/// The index of the loopback in a new namespace.
const LOOPBACK_INDEX: u32 = 1;
/// The most packets that are queued for the test.
const QUEUE_LEN: u32 = 10_000;

/// Brings the interface up, and gives it the host's addresses, and the routes to the peer their
/// metrics.
pub(super) fn set_up(index: u32, mtu: u32, settings: &[KernelSetting]) -> io::Result<()> {
    let mut link = Link::open()?;
    link.bring_up(LOOPBACK_INDEX, &[])?;
    link.bring_up(
        index,
        &[attribute(4, &mtu.to_ne_bytes()), attribute(13, &QUEUE_LEN.to_ne_bytes())].concat(),
    )?;
    // Another queueing discipline might pace packets. `struct tcmsg`: at the root.
    let body = [[0; 4], index.to_ne_bytes(), [0; 4], u32::MAX.to_ne_bytes(), [0; 4]].concat();
    let options = [attribute(1, b"pfifo\0"), attribute(2, &QUEUE_LEN.to_ne_bytes())].concat();
    link.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &[body, options].concat())?;
    let metrics = metrics(settings);
    link.add_address(index, RawPeer::STACK_V4.into(), 24, &metrics)?;
    link.add_address(index, RawPeer::STACK_V6.into(), 64, &metrics)
}

/// RTA_METRICS. The congestion control is always set in this way, because the sysctl of a namespace
/// accepts only algorithms that every user may choose.
fn metrics(settings: &[KernelSetting]) -> Vec<u8> {
    let mut congestion = "cubic";
    let mut metrics = Vec::new();
    for setting in settings {
        match setting {
            KernelSetting::InitialWindow(segs) => metrics.extend(attribute(11, &segs.to_ne_bytes())),
            KernelSetting::QuickAcks => metrics.extend(attribute(15, &1u32.to_ne_bytes())),
            KernelSetting::Congestion(name) => congestion = name,
            KernelSetting::Sysctl { .. } | KernelSetting::DelayedAck(_) => {}
        }
    }
    metrics.extend(attribute(16, format!("{congestion}\0").as_bytes()));
    attribute(8, &metrics)
}

struct Link {
    socket: Socket,
    sequence: u32,
}

impl Link {
    fn open() -> io::Result<Link> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Link { socket, sequence: 0 })
    }

    /// `struct ifinfomsg`, with IFF_UP.
    fn bring_up(&mut self, index: u32, attributes: &[u8]) -> io::Result<()> {
        let up = 1u32.to_ne_bytes();
        self.request(RTM_NEWLINK, 0, &[&[0; 4], &index.to_ne_bytes(), &up, &up, attributes].concat())
    }

    /// Adds an address (`struct ifaddrmsg`), and replaces the route that it creates by one with
    /// metrics (`struct rtmsg`).
    fn add_address(&mut self, index: u32, addr: IpAddr, prefix_len: u8, metrics: &[u8]) -> io::Result<()> {
        let (family, bytes, net, scope) = match addr {
            IpAddr::V4(addr) => {
                let octets = addr.octets();
                (libc::AF_INET as u8, octets.to_vec(), [&octets[..3], &[0]].concat(), 253)
            }
            IpAddr::V6(addr) => {
                let octets = addr.octets();
                (libc::AF_INET6 as u8, octets.to_vec(), [&octets[..8], &[0; 8]].concat(), 0)
            }
        };
        // IFA_F_NODAD: no other host is on this link.
        let header = [family, prefix_len, 2, 0];
        let attributes = [attribute(2, &bytes), attribute(1, &bytes)].concat();
        self.request(RTM_NEWADDR, NLM_F_CREATE, &[&header, &index.to_ne_bytes()[..], &attributes].concat())?;
        // In the main table, of the protocol "kernel", unicast.
        let header = [family, prefix_len, 0, 0, 254, 2, scope, 1, 0, 0, 0, 0];
        let mut attributes = [attribute(1, &net), attribute(4, &index.to_ne_bytes())].concat();
        match addr {
            IpAddr::V4(_) => attributes.extend(attribute(7, &bytes)),
            // The priority of the kernel's own route.
            IpAddr::V6(_) => attributes.extend(attribute(6, &256u32.to_ne_bytes())),
        }
        attributes.extend(metrics);
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &[&header[..], &attributes].concat())
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let len = (16 + body.len()) as u32;
        let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        let message = [
            &len.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &self.sequence.to_ne_bytes(),
            &[0; 4],
            body,
        ];
        self.socket.send(&message.concat(), 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let word = |at: usize| answer.get(at..at + 4).map(|word| [word[0], word[1], word[2], word[3]]);
        match (answer.get(4..6), word(16).map(i32::from_ne_bytes)) {
            (Some(kind), Some(0)) if kind == NLMSG_ERROR.to_ne_bytes() => Ok(()),
            (_, Some(error)) => {
                let error = io::Error::from_raw_os_error(error.wrapping_neg());
                Err(io::Error::new(error.kind(), format!("rtnetlink request {kind}: {error}")))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// `struct rtattr` and its value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = (4 + value.len()) as u16;
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
