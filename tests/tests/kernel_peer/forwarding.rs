//! Portolan as the router between two kernels: this namespace, and another in which a second
//! thread lives.
#![allow(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan::{Config, Forwarding, Instant, InterfaceConfig, Stack};
use portolan_runtime::Runtime;
use portolan_runtime::device::Device;
use portolan_tap::{Offload, Tap, TapBuilder};
use portolan_tests::namespace::{beside_portolan, tool, tool_output};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::tcp::echo_through;

const FAR4: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 9);
const FAR6: Ipv6Addr = Ipv6Addr::new(0xfd0c, 0, 0, 0, 0, 0, 0, 9);
const ECHO: u16 = 7;
const FAR_MTU: usize = 1400;

/// A device whose kernel has the address 9 in a network, and the router the address 1.
fn open(name: &str, net4: &str, net6: &str, mtu: usize, offload: Offload) -> Tap {
    let cidr = |text: String| text.parse().expect("a CIDR");
    let builder = TapBuilder::new().name(name).mtu(mtu).offload(offload);
    let builder =
        builder.host_address(cidr(format!("{net4}.9/24"))).host_address(cidr(format!("{net6}::9/64")));
    builder.open().expect("a device")
}

/// The device of the far kernel, where a thread with a network namespace of its own serves echo.
fn far(offload: Offload) -> Tap {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        // SAFETY: the flag takes nothing from other threads that they share.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a namespace");
        let device = open("far", "10.12.0", "fd0c", FAR_MTU, offload);
        tool("ip route add default via 10.12.0.1");
        tool("ip -6 route add default via fd0c::1 dev far");
        let servers = [SocketAddr::from((FAR4, ECHO)), SocketAddr::from((FAR6, ECHO))];
        for server in servers.map(|addr| TcpListener::bind(addr).expect("an address")) {
            thread::spawn(move || {
                for mut stream in server.incoming().flatten() {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(len @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..len]).expect("the peer reads");
                    }
                    let _ = stream.shutdown(Shutdown::Write);
                }
            });
        }
        send.send(device).expect("it is waited for");
    });
    receive.recv().expect("a device")
}

fn router(near: Offload, far_offload: Offload) -> Runtime {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    // A neighbour that is silent for three times this long is unreachable.
    config.neighbor.retransmit_delay = Duration::from_millis(300);
    let mut stack = Stack::new(config, [7; 32], Instant::ZERO);
    let mut devices: Vec<(_, Box<dyn Device>)> = Vec::new();
    let near = open("near", "10.11.0", "fd0b", 1500, near);
    for (device, addresses) in
        [(near, ["10.11.0.1/24", "fd0b::1/64"]), (far(far_offload), ["10.12.0.1/24", "fd0c::1/64"])]
    {
        let interface = InterfaceConfig::new(device.medium())
            .mtu(device.mtu())
            .offloads(device.offloads())
            .forwarding(Forwarding::ALL);
        let cidrs = addresses.iter().map(|address| address.parse().expect("a CIDR"));
        let interface = cidrs.fold(interface, InterfaceConfig::address);
        let iface = stack.add_interface(Instant::ZERO, interface).expect("an interface");
        devices.push((iface, Box::new(device)));
    }
    let runtime = Runtime::start(stack, devices).expect("a stack");
    tool("ip route add 10.12.0.0/16 via 10.11.0.1");
    tool("ip route add 10.99.0.0/16 via 10.11.0.1");
    tool("ip -6 route add fd0c::/64 via fd0b::1 dev near");
    runtime
}

#[test]
fn two_kernels_talk_through_the_stack() {
    beside_portolan("forwarding::two_kernels_talk_through_the_stack", &[], || {
        let router = router(Offload::Auto, Offload::Auto);
        for (addr, gateway) in [(FAR4.to_string(), "10.11.0.1"), (FAR6.to_string(), "fd0b::1")] {
            tool(&format!("ping -n -c 2 -i 0.2 -W 5 {addr}"));
            let printed = tool(&format!("traceroute -n -q 1 -N 1 -w 5 -m 4 {addr}"));
            let hops: Vec<&str> = printed.lines().skip(1).collect();
            assert_eq!(hops.len(), 2, "{printed}");
            assert!(hops[0].contains(&format!("1  {gateway}  ")), "{printed}");
            assert!(hops[1].contains(&format!("2  {addr}  ")), "{printed}");
        }
        // RFC 1191, RFC 8201: the sender learns the MTU of the far link.
        let printed = tool_output(&format!("ping -n -c 1 -W 5 -M do -s 1450 {FAR4}"));
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        assert!(printed.contains("From 10.11.0.1") && printed.contains("mtu = 1400"), "{printed}");
        let printed = tool(&format!("ping -n -c 3 -i 0.2 -W 5 -s 1450 {FAR6}"));
        assert!(printed.contains("From fd0b::1") && printed.contains("mtu=1400"), "{printed}");
        assert!(printed.contains("bytes from fd0c::9"), "{printed}");
        // Fragments of 1,500 bytes are cut again.
        tool("ip route flush cache");
        tool(&format!("ping -n -c 2 -i 0.2 -W 5 -M dont -s 4000 {FAR4}"));
        assert!(router.handle().stats().ip.frag_creates > 0);
        let printed = tool_output("ping -n -c 1 -W 5 10.12.0.77");
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        assert!(printed.contains("From 10.11.0.1 icmp_seq=1 Destination Host Unreachable"), "{printed}");
        let printed = tool_output("ping -n -c 1 -W 5 10.99.0.77");
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        assert!(printed.contains("From 10.11.0.1 icmp_seq=1 Destination Net Unreachable"), "{printed}");
        drop(router);
    });
}

/// Runs of segments pass in one piece between devices with offloads, and are cut for a device
/// without.
#[test]
fn streams_pass_with_and_without_offloads() {
    beside_portolan("forwarding::streams_pass_with_and_without_offloads", &[], || {
        for (near, far) in
            [(Offload::Auto, Offload::Auto), (Offload::Auto, Offload::Off), (Offload::Off, Offload::Auto)]
        {
            let router = router(near, far);
            for addr in [SocketAddr::from((FAR4, ECHO)), SocketAddr::from((FAR6, ECHO))] {
                let before = router.handle().stats().ip.forw_datagrams;
                echo_through(addr, 3 << 20);
                let forwarded = router.handle().stats().ip.forw_datagrams - before;
                // 3 MiB there and back are more than 4,500 full segments.
                if (near, far) == (Offload::Auto, Offload::Auto) {
                    assert!(forwarded < 1500, "{addr}: {forwarded} packets");
                }
            }
            assert_eq!(router.handle().stats().drops(portolan::DropReason::BadOffload), 0);
            drop(router);
        }
    });
}
