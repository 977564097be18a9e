//! Random packets, sent to the Linux kernel and to Portolan as routers between the same two links.
//! Both must send the same packets on, fragments included, and the same ICMP errors.
//!
//! Left out are the differences that the tour names (`docs/03-arp-and-routing.md`): source routes,
//! options that Linux changes on the way, link-local destinations, broadcast, unspecified and own
//! sources, and IPv6 sources on the far link (the errors to them come from the address of the link
//! that they leave through, on Linux from that of the other). So are broken IPv4 options: as RFC
//! 1122 asks, Portolan's error points at the length that is wrong, and Linux's at the option.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::process::Command;
use std::time::Duration;

use portolan::testing::{PacketBuilder, describe_packet, internet_checksum};
use portolan::{
    Cidr, Config, Forwarding, Frame, Instant, InterfaceConfig, InterfaceId, Medium, Route, Stack,
};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tun_tap::{Iface, Mode};

use crate::soak::dice::Dice;

/// The links: name, MTU, the router's addresses.
const LINKS: [(&str, usize, &[&str]); 2] = [
    ("near", 1500, &["10.0.0.1/24", "fd00::1/64", "fe80::1/64"]),
    ("far", 1300, &["10.1.0.1/24", "fd01::1/64"]),
];
/// The sources of packets, which come in through the near link.
const SOURCES: [&[&str]; 2] = [
    &["10.0.0.9", "10.0.0.10", "10.1.0.8", "10.0.0.1", "10.1.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.9"],
    &["fd00::9", "fd00::a", "fe80::9", "::1"],
];
/// The destinations: through the far link, back through the near one, and to nowhere.
const DESTINATIONS: [&[&str]; 2] = [
    &[
        "10.1.0.9",
        "10.1.0.77",
        "192.0.2.7",
        "10.0.0.77",
        "203.0.113.7",
        "224.0.0.251",
        "127.0.0.2",
        "255.255.255.255",
    ],
    &["fd01::9", "fd01::77", "2001:db8:2::7", "fd00::77", "2001:db8:9::7", "::1"],
];
/// Routes through the near link.
const BACK: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];

/// A packet that a router sent: the index of the link, and the bytes.
type Sent = (usize, Vec<u8>);

/// A packet of which the two routers made different things.
#[derive(Debug)]
pub struct Difference {
    packet: Vec<u8>,
    kernel: Vec<Sent>,
    portolan: Vec<Sent>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    {}\n      {:02x?}", describe_packet(&self.packet), self.packet)?;
        for (name, sent) in [("kernel", &self.kernel), ("Portolan", &self.portolan)] {
            for (link, bytes) in sent {
                let head = &bytes[..bytes.len().min(80)];
                writeln!(f, "    {name}, {}: {}\n      {head:02x?}", LINKS[*link].0, describe_packet(bytes))?;
            }
        }
        Ok(())
    }
}

/// Sends packets to both routers.
#[derive(Debug)]
pub struct Judge {
    devices: Vec<Iface>,
}

impl Judge {
    /// Makes a router of the kernel, in a network namespace for the calling thread only.
    pub fn new() -> io::Result<Judge> {
        // SAFETY: the flag takes nothing from other threads that they share.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        let mut devices = Vec::new();
        for (name, mtu, addresses) in LINKS {
            let device = Iface::without_packet_info(name, Mode::Tun)?;
            // SAFETY: the device is open for as long as this borrows it.
            fcntl_setfl(unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }, OFlags::NONBLOCK)?;
            for setting in ["disable_ipv6=0", "addr_gen_mode=1", "accept_dad=0"] {
                sysctl(&format!("ipv6.conf.{name}.{setting}"))?;
            }
            sysctl(&format!("ipv4.conf.{name}.forwarding=1"))?;
            sysctl(&format!("ipv4.conf.{name}.rp_filter=0"))?;
            sysctl(&format!("ipv4.conf.{name}.send_redirects=0"))?;
            ip(&format!("link set {name} mtu {mtu} up"))?;
            for address in addresses {
                ip(&format!("addr add {address} dev {name}"))?;
            }
            devices.push(device);
        }
        for setting in [
            "ipv4.conf.all.rp_filter=0",
            "ipv4.conf.all.send_redirects=0",
            "ipv4.icmp_ratelimit=0",
            "ipv4.icmp_msgs_per_sec=1000000",
            "ipv4.icmp_msgs_burst=1000000",
            "ipv6.icmp.ratelimit=0",
            "ipv6.conf.all.forwarding=1",
        ] {
            sysctl(setting)?;
        }
        for destination in BACK {
            ip(&format!("route add {destination} dev {}", LINKS[0].0))?;
        }
        let judge = Judge { devices };
        judge.receive();
        Ok(judge)
    }

    /// What the kernel has sent, except to groups, since it asks and reports by itself, and
    /// redirects, which it sends for IPv6 in any case.
    fn receive(&self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut buffer = [0; 2048];
        for (link, device) in self.devices.iter().enumerate() {
            while let Ok(len) = device.recv(&mut buffer) {
                sent.push((link, buffer[..len].to_vec()));
            }
        }
        let is_redirect = |packet: &[u8]| packet[6] == 58 && packet[7] == 255 && packet[40] == 137;
        sent.retain(|(_, packet)| packet[0] >> 4 != 6 || (packet[24] != 0xff && !is_redirect(packet)));
        sent
    }

    /// Sends the packets of a seed, and returns those of which the routers made different things.
    pub fn compare(&mut self, seed: u64, packets: usize) -> io::Result<Vec<Difference>> {
        let mut dice = Dice::new(seed, "forwarding", 0);
        let mut router = portolan();
        let mut differences = Vec::new();
        for _ in 0..packets {
            let packet = draw(&mut dice);
            self.devices[0].send(&packet)?;
            let mut kernel = self.receive();
            let mut portolan = through(&mut router, &packet);
            kernel.iter_mut().chain(&mut portolan).for_each(|(_, packet)| forget_choices(packet));
            let is_limited = kernel.is_empty() && is_net_unreachable(&portolan);
            if kernel != portolan && !is_limited {
                differences.push(Difference { packet, kernel, portolan });
            }
        }
        Ok(differences)
    }
}

/// Whether the answer is "net unreachable". Linux limits it to one a second for each sender, by
/// `net.ipv4.route.error_cost`, which exists outside of namespaces only.
fn is_net_unreachable(sent: &[Sent]) -> bool {
    matches!(sent, [(_, packet)] if packet[0] >> 4 == 4 && packet[9] == 1 && packet[20..22] == [3, 0])
}

fn sysctl(setting: &str) -> io::Result<()> {
    let (name, value) = setting.split_once('=').expect("a name and a value");
    std::fs::write(format!("/proc/sys/net/{}", name.replace('.', "/")), value)
        .map_err(|error| io::Error::other(format!("{setting}: {error}")))
}

fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("ip {arguments}: {complaint}")))
    }
}

/// Portolan as the router.
fn portolan() -> Stack {
    let mut config = Config::default();
    config.ip.icmp_error_interval_v4 = Duration::ZERO;
    config.ip.icmp_error_interval_v6 = Duration::ZERO;
    config.ip.icmp_error_burst = 1_000_000;
    let mut stack = Stack::new(config, [7; 32], Instant::ZERO);
    for (name, mtu, addresses) in LINKS {
        let link = InterfaceConfig::new(Medium::Ip).name(name).mtu(mtu).forwarding(Forwarding::ALL);
        let link = addresses.iter().fold(link, |link, address| link.address(cidr(address)));
        stack.add_interface(Instant::ZERO, link).expect("a link");
    }
    for destination in BACK {
        stack.add_route(Route::new(cidr(destination), InterfaceId::from_index(0))).expect("a route");
    }
    stack
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("an address")
}

fn through(router: &mut Stack, packet: &[u8]) -> Vec<Sent> {
    router.handle_frame(Instant::ZERO, InterfaceId::from_index(0), Frame::new(packet.to_vec()));
    let mut sent = Vec::new();
    while let Some(transmit) = router.poll_transmit(Instant::ZERO) {
        sent.push((transmit.iface().index(), transmit.to_vec()));
    }
    sent
}

/// Removes what a router may choose for the ICMP errors that it sends: identification, flow label.
fn forget_choices(packet: &mut [u8]) {
    let own = LINKS.iter().flat_map(|(_, _, addresses)| *addresses).map(|address| cidr(address).addr);
    let is_from = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => packet[0] >> 4 == 4 && packet[12..16] == addr.octets(),
        IpAddr::V6(addr) => packet[0] >> 4 == 6 && packet[8..24] == addr.octets(),
    };
    if !own.into_iter().any(is_from) {
        return;
    }
    if packet[0] >> 4 == 4 {
        assert_eq!(internet_checksum(&[&packet[..20]]), 0, "{packet:02x?}");
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    } else {
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
    }
}

/// A packet that comes in through the near link.
fn draw(dice: &mut Dice) -> Vec<u8> {
    let family = dice.within(0, 1) as usize;
    let ordinary = !dice.one_in(4);
    let src = if ordinary { SOURCES[family][0] } else { dice.pick(SOURCES[family]) };
    let ordinary = !dice.one_in(3);
    let dst = if ordinary { DESTINATIONS[family][0] } else { dice.pick(DESTINATIONS[family]) };
    let (src, dst): (IpAddr, IpAddr) = (src.parse().expect("one"), dst.parse().expect("one"));
    let builder = PacketBuilder::new(src, dst).hop_limit(dice.pick(&[0, 1, 2, 64, 64, 64, 255]));
    let len = match dice.within(0, 3) {
        0 => dice.within(0, 100),
        1 => dice.within(1250, 1310),
        _ => dice.within(0, 1400),
    } as usize;
    let data = vec![len as u8; len];
    let packet = match dice.within(0, 5) {
        0 => builder.raw(dice.pick(&[6, 253]), &data),
        1 => builder.echo_request(1, 2, &data),
        // Errors, about which no error is sent.
        2 => builder.icmp(dice.pick(&[1, 2, 3, 4, 5, 11, 12, 133]), dice.within(0, 4) as u8, &data),
        3 => {
            let at = dice.pick(&[0, 8, 1480]);
            builder.fragment(17, at, &data[..len & !7], dice.one_in(2))
        }
        _ => builder.udp(1000, 2000, &data),
    };
    if src.is_ipv4() { change_v4(dice, packet) } else { change_v6(dice, packet) }
}

/// Options of an IPv4 header that Linux passes on unchanged.
const OPTIONS_V4: [&[u8]; 4] = [
    &[1, 1, 1, 0],
    &[148, 4, 0, 0],
    &[0x9e, 6, 1, 2, 3, 4, 0, 0],
    &[0x1e, 6, 1, 2, 3, 4, 0x9e, 6, 5, 6, 7, 8],
];

/// Sets bits and options of an IPv4 packet.
fn change_v4(dice: &mut Dice, mut packet: Vec<u8>) -> Vec<u8> {
    packet[1] = dice.pick(&[0, 0, 0x10, 0xb9, 0xff]);
    if dice.one_in(3) {
        packet[6] |= 0x40;
    }
    if dice.one_in(4) {
        let options = dice.pick(&OPTIONS_V4);
        packet.splice(20..20, options.iter().copied());
        packet[0] += options.len() as u8 / 4;
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
    }
    if packet.len() > LINKS[0].1 {
        return draw(dice);
    }
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = internet_checksum(&[&packet[..header_len]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Extension headers without their next header: hop-by-hop and destination options, and a routing
/// header.
const EXTENSIONS: [(u8, [u8; 7]); 8] = [
    (0, [0, 1, 4, 0, 0, 0, 0]),
    (0, [0, 0x1e, 4, 0, 0, 0, 0]),
    (0, [0, 0x5e, 4, 0, 0, 0, 0]),
    (0, [0, 0x9e, 4, 0, 0, 0, 0]),
    (0, [0, 0xde, 4, 0, 0, 0, 0]),
    (0, [0, 0x1e, 9, 0, 0, 0, 0]),
    (60, [0, 0x9e, 4, 0, 0, 0, 0]),
    (43, [0, 4, 1, 0, 0, 0, 0]),
];

/// Sets the labels of an IPv6 packet, and inserts extension headers.
fn change_v6(dice: &mut Dice, mut packet: Vec<u8>) -> Vec<u8> {
    let label = dice.within(0, 0xfff_ffff) as u32 | 6 << 28;
    packet[..4].copy_from_slice(&label.to_be_bytes());
    if dice.one_in(4) {
        let (kind, body) = dice.pick(&EXTENSIONS);
        let next = std::mem::replace(&mut packet[6], kind);
        packet.splice(40..40, [next].into_iter().chain(body));
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
    }
    if packet.len() > LINKS[0].1 {
        return draw(dice);
    }
    packet
}
