//! Multicast with the kernel as a snooping bridge, as a querier, and as another member.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread;
use std::time::Duration;

use portolan_runtime::{Runtime, UdpSocket as OwnSocket};
use portolan_tests::namespace::{beside_portolan, tool, tool_output};

use super::wire::{DEVICE, KERNEL4, KERNEL6, OWN4, Record, open_device, start, wait_for};

const BRIDGE: &str = "br0";
/// A bridge forwards everything until all members have had time to answer its first query, 300 ms.
const ANSWER_TIME: Duration = Duration::from_millis(400);
const PORT: u16 = 5000;
/// Our scope id of the device.
const SCOPE: u32 = 1;

const QUERY: u8 = 0x11;
const V2_REPORT: u8 = 0x16;
const LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;
const MLD_QUERY: u8 = 130;
const MLD_V1_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const MLD_V2_REPORT: u8 = 143;

fn group(is_v6: bool, number: u8) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 7, number.into()).into()
    } else {
        Ipv4Addr::new(239, 1, 2, number).into()
    }
}

/// A bridge with the stack on a port and the kernel's host on the bridge itself. The bridge snoops,
/// and is the querier.
struct Bridge {
    runtime: Runtime,
    record: Record,
    /// The kernel's index of the bridge.
    index: u32,
}

impl Bridge {
    /// With a querier of these versions. `None` where the kernel has no bridges, unless the
    /// environment says that it must (`.ci/run` does).
    fn new(igmp: u8, mld: u8) -> Option<Bridge> {
        let options = "forward_delay 0 mcast_snooping 1 mcast_query_response_interval 30 \
                       mcast_last_member_interval 20 mcast_startup_query_interval 100 mcast_query_interval 100";
        let made = tool_output(&format!(
            "ip link add {BRIDGE} type bridge {options} mcast_igmp_version {igmp} mcast_mld_version {mld}"
        ));
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            assert!(
                std::env::var_os("REQUIRE_BRIDGE").is_none(),
                "no bridge can be made here, and these tests must not be left out: load the module `bridge` ({why})"
            );
            println!("no bridge can be made here: {why}");
            return None;
        }
        // The querier of MLD needs a link-local address, which is used at once.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{BRIDGE}/accept_dad"), "0").expect("a sysctl");
        let device = open_device(&[]);
        tool(&format!("ip link set {DEVICE} master {BRIDGE}"));
        tool(&format!("ip addr add {KERNEL4}/24 dev {BRIDGE}"));
        tool(&format!("ip addr add {KERNEL6}/64 nodad dev {BRIDGE}"));
        tool(&format!("ip link set {BRIDGE} up"));
        let index = tool(&format!("ip -o link show {BRIDGE}"));
        let index = index.split(':').next().and_then(|index| index.parse().ok()).expect("an index");
        let (runtime, record) = start(device);
        let bridge = Bridge { runtime, record, index };
        bridge.ask();
        for kind in [QUERY, MLD_QUERY] {
            bridge.wait_for_message("the first query", 0, |message| message.kind == kind);
        }
        Some(bridge)
    }

    /// Lets the querier ask at once.
    fn ask(&self) {
        for value in [0, 1] {
            tool(&format!("ip link set {BRIDGE} type bridge mcast_querier {value}"));
        }
    }

    /// Waits until the bridge forwards a group to our port, or does so no longer.
    fn wait_for_entry(&self, group: IpAddr, is_there: bool) {
        wait_for(&format!("an entry for {group}: {is_there}"), || {
            let entries = tool(&format!("bridge mdb show dev {BRIDGE}"));
            let entry = format!(" port {DEVICE} grp {group} ");
            (entries.lines().any(|line| line.contains(&entry)) == is_there).then_some(())
        });
    }

    /// The messages about groups that the stack has sent and received.
    fn messages(&self) -> Vec<Message> {
        self.record.frames().iter().filter_map(|seen| Message::parse(seen.is_own, &seen.frame)).collect()
    }

    /// Waits for a message after the first `from` ones, and returns the number of those up to it.
    fn wait_for_message(&self, what: &str, from: usize, is_it: impl Fn(&Message) -> bool) -> usize {
        wait_for(what, || self.messages().iter().skip(from).position(&is_it).map(|at| from + at + 1))
    }

    /// The address of a group for the kernel.
    fn to(&self, group: IpAddr, port: u16) -> SocketAddr {
        match group {
            IpAddr::V4(_) => (group, port).into(),
            IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, self.index).into(),
        }
    }

    /// A socket of the kernel on the bridge.
    fn kernel_socket(&self, is_v6: bool, port: u16) -> UdpSocket {
        let addr: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((addr, port)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
        socket
    }

    fn kernel_joins(&self, socket: &UdpSocket, group: IpAddr) {
        let joined = match group {
            IpAddr::V4(group) => socket.join_multicast_v4(&group, &KERNEL4),
            IpAddr::V6(group) => socket.join_multicast_v6(&group, self.index),
        };
        joined.expect("joined");
    }

    fn kernel_leaves(&self, socket: &UdpSocket, group: IpAddr) {
        let left = match group {
            IpAddr::V4(group) => socket.leave_multicast_v4(&group, &KERNEL4),
            IpAddr::V6(group) => socket.leave_multicast_v6(&group, self.index),
        };
        left.expect("left");
    }

    /// A socket of the stack.
    fn own_socket(&self, is_v6: bool) -> OwnSocket {
        let addr: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = OwnSocket::bind(&self.runtime, (addr, PORT)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
        socket
    }

    /// The kernel sends a datagram to a group.
    fn kernel_sends(&self, group: IpAddr, data: &[u8]) {
        let from: IpAddr = if group.is_ipv4() { KERNEL4.into() } else { KERNEL6.into() };
        let socket = UdpSocket::bind((from, 0)).expect("a free port");
        socket.send_to(data, self.to(group, PORT)).expect("sent");
    }
}

fn join(socket: &OwnSocket, group: IpAddr) {
    let joined = match group {
        IpAddr::V4(group) => socket.join_multicast_v4(&group, &OWN4),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, SCOPE),
    };
    joined.expect("joined");
}

fn leave(socket: &OwnSocket, group: IpAddr) {
    let left = match group {
        IpAddr::V4(group) => socket.leave_multicast_v4(&group, &OWN4),
        IpAddr::V6(group) => socket.leave_multicast_v6(&group, SCOPE),
    };
    left.expect("left");
}

/// The datagram that a call receives.
fn received(recv: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> Vec<u8> {
    let mut buf = [0; 100];
    let len = recv(&mut buf).expect("a datagram");
    buf[..len].to_vec()
}

/// A message of IGMP or MLD.
#[derive(Debug)]
struct Message {
    is_own: bool,
    kind: u8,
    /// The groups that it names.
    groups: Vec<IpAddr>,
}

impl Message {
    fn parse(is_own: bool, frame: &[u8]) -> Option<Message> {
        let ethertype = frame.get(12..14)?;
        let (message, addr_len, group_at) = match ethertype {
            [8, 0] if frame.get(23) == Some(&2) => (frame.get(14 + usize::from(frame[14] & 15) * 4..)?, 4, 4),
            // Behind a header with router alert.
            [0x86, 0xdd] if frame.get(20) == Some(&0) && frame.get(54) == Some(&58) => {
                (frame.get(62..)?, 16, 8)
            }
            _ => return None,
        };
        let addr_at = |at: usize| {
            let bytes = message.get(at..at + addr_len)?;
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
            v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
        };
        let kind = *message.first()?;
        let mut groups = Vec::new();
        if matches!(kind, V3_REPORT | MLD_V2_REPORT) {
            let mut at = 8;
            for _ in 0..u16::from_be_bytes([message[6], message[7]]) {
                let sources = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
                groups.extend(addr_at(at + 4));
                at += 4 + addr_len * (1 + sources);
            }
        } else {
            groups.extend(addr_at(group_at).filter(|group| !group.is_unspecified()));
        }
        Some(Message { is_own, kind, groups })
    }

    fn is_about(&self, is_own: bool, kind: u8, group: IpAddr) -> bool {
        self.is_own == is_own && self.kind == kind && self.groups.contains(&group)
    }

    /// Whether it asks about all groups.
    fn is_general(&self, kind: u8) -> bool {
        self.kind == kind && self.groups.is_empty()
    }
}

/// IGMPv3 and MLDv2: what is joined reaches us through the bridge, and what is not does not.
#[test]
fn a_snooping_bridge_forwards_the_groups_that_we_join() {
    beside_portolan("multicast::a_snooping_bridge_forwards_the_groups_that_we_join", &[], || {
        let Some(bridge) = Bridge::new(3, 2) else { return };
        for is_v6 in [false, true] {
            thread::sleep(ANSWER_TIME);
            let [ours, both, theirs] = [3, 4, 5].map(|number| group(is_v6, number));
            let socket = bridge.own_socket(is_v6);
            join(&socket, ours);
            join(&socket, both);
            bridge.wait_for_entry(ours, true);
            bridge.wait_for_entry(both, true);
            bridge.kernel_sends(theirs, b"to nobody");
            bridge.kernel_sends(ours, b"to us");
            assert_eq!(received(|buf| socket.recv(buf)), b"to us");
            // A member on the kernel's host: each side gets the other's datagrams.
            let receiver = bridge.kernel_socket(is_v6, PORT + 1);
            bridge.kernel_joins(&receiver, both);
            bridge.kernel_joins(&receiver, theirs);
            let report = if is_v6 { MLD_V2_REPORT } else { V3_REPORT };
            bridge.wait_for_message("the kernel's report", 0, |one| one.is_about(false, report, theirs));
            for group in [both, theirs] {
                socket.send_to(b"from us", (group, PORT + 1)).expect("sent");
                assert_eq!(received(|buf| receiver.recv(buf)), b"from us");
            }
            // Another member's report does not keep us from reporting.
            let from = bridge.messages().len();
            bridge.ask();
            let query = if is_v6 { MLD_QUERY } else { QUERY };
            let from = bridge.wait_for_message("a query", from, |one| one.is_general(query));
            for is_own in [true, false] {
                bridge.wait_for_message("a report", from, |one| one.is_about(is_own, report, both));
            }
            leave(&socket, ours);
            bridge.wait_for_entry(ours, false);
            bridge.kernel_sends(ours, b"to those who left");
            bridge.kernel_sends(both, b"to members");
            assert_eq!(received(|buf| socket.recv(buf)), b"to members");
        }
        for data in ["to nobody", "to those who left"] {
            let is_it = |frame: &[u8]| frame.windows(data.len()).any(|window| window == data.as_bytes());
            let seen = bridge.record.frames();
            assert!(!seen.iter().any(|seen| is_it(&seen.frame)), "{data}: the bridge forwards everything");
        }
    });
}

/// IGMPv2 and MLDv1: a group that another member has reported is not reported again, and the member
/// that reported last says that it leaves.
#[test]
fn an_old_querier_is_spoken_to_in_its_version() {
    beside_portolan("multicast::an_old_querier_is_spoken_to_in_its_version", &[], || {
        let Some(bridge) = Bridge::new(2, 1) else { return };
        // Reports of these versions go to ports with routers only.
        tool(&format!("ip link set {DEVICE} type bridge_slave mcast_router 2"));
        for is_v6 in [false, true] {
            let group = group(is_v6, 3);
            let [query, report, goodbye, newer] = if is_v6 {
                [MLD_QUERY, MLD_V1_REPORT, MLD_DONE, MLD_V2_REPORT]
            } else {
                [QUERY, V2_REPORT, LEAVE, V3_REPORT]
            };
            let from = bridge.messages().len();
            let socket = bridge.own_socket(is_v6);
            join(&socket, group);
            bridge.wait_for_message("our report", from, |one| one.is_about(true, report, group));
            bridge.wait_for_entry(group, true);
            let other = bridge.kernel_socket(is_v6, PORT + 1);
            bridge.kernel_joins(&other, group);
            bridge.wait_for_message("the kernel's report", from, |one| one.is_about(false, report, group));
            // Whoever draws the shorter delay answers first. Ask until that is the other member.
            let mut is_silent = false;
            while !is_silent {
                let from = bridge.messages().len();
                bridge.ask();
                let from = bridge.wait_for_message("a query", from, |one| one.is_general(query));
                bridge.wait_for_message("a report", from, |one| one.is_about(false, report, group));
                let is_report = |one: &&Message| one.kind == report && one.groups.contains(&group);
                let is_own = bridge.messages()[from..].iter().find(is_report).map(|first| first.is_own);
                is_silent = is_own == Some(false);
            }
            check_suppression(&bridge.messages(), query, report, group);
            bridge.kernel_leaves(&other, group);
            let from = bridge.messages().len();
            bridge.ask();
            bridge.wait_for_message("our report", from, |one| one.is_about(true, report, group));
            leave(&socket, group);
            bridge.wait_for_message("our goodbye", from, |one| one.is_about(true, goodbye, group));
            bridge.wait_for_entry(group, false);
            let messages = bridge.messages();
            let is_newer = |one: &Message| one.is_about(true, newer, group);
            assert!(!messages.iter().any(is_newer), "of a newer version: {messages:?}");
        }
    });
}

/// Checks that the stack does not answer a query after it has heard another member's answer.
fn check_suppression(messages: &[Message], query: u8, report: u8, group: IpAddr) {
    let mut has_heard = false;
    for message in messages {
        if message.is_general(query) {
            has_heard = false;
        } else if message.is_about(false, report, group) {
            has_heard = true;
        } else {
            let is_own = message.is_about(true, report, group);
            assert!(!(is_own && has_heard), "reported after another: {messages:#?}");
        }
    }
}
