//! Raw and echo sockets do what Linux's do (`portolan_tests::raw_sockets`), and raw sockets of both
//! exchange packets.
//!
//! More random calls: `cargo run --release -p portolan-tests --bin raw_sockets -- --seeds 10000`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use portolan::testing::PacketBuilder;
use portolan::{
    Config, Descriptor, Domain, Frame, IcmpFilter, Instant, InterfaceConfig, InterfaceId, Medium, Route,
    SendMeta, SocketKind, SocketOption, Stack,
};
use portolan_tests::host::{host_addr, is_judge, kernel_version, peer_addr};
use portolan_tests::raw_sockets::{Answer, Call, Kernel, compare};

/// For experiments (RFC 3692).
const PROTOCOL: u8 = 253;
const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];
const NOW: Instant = Instant::from_secs(1);
const SEQUENCES: u64 = 200;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: a command that one starts would hold the sockets that another closes.
    arguments.test_threads = Some(1);
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that calls were compared with", kernel_version());
    }
    if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("random_sequences_of_calls_find_no_difference", judge).with_ignored_flag(too_old),
        Trial::test("raw_sockets_of_the_kernel_and_of_portolan_understand_each_other", exchange),
        Trial::test("a_program_on_raw_sockets_traces_a_route_through_the_kernel", trace),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn judge() -> Result<(), Failed> {
    let mut kernel = Kernel::new()?;
    let mut different = String::new();
    for seed in 1..=SEQUENCES {
        if let Some(difference) = compare(&mut kernel, seed)? {
            different += &format!("seed {seed}:\n{difference}\n");
        }
    }
    if different.is_empty() { Ok(()) } else { Err(different.into()) }
}

/// The kernel, and stacks at the other end of its only link.
struct Link {
    kernel: Kernel,
    /// By the last byte of their addresses.
    stacks: BTreeMap<u8, (Stack, InterfaceId)>,
}

impl Link {
    /// A link with a stack of these addresses.
    fn new(addresses: &[&str]) -> Result<Link, Failed> {
        let mut link = Link { kernel: Kernel::new()?, stacks: BTreeMap::new() };
        link.add_stack(2, addresses)?;
        Ok(link)
    }

    fn add_stack(&mut self, number: u8, addresses: &[&str]) -> Result<(), Failed> {
        let mut stack = Stack::new(Config::default(), [number; 32], NOW);
        let mut config = InterfaceConfig::new(Medium::Ip);
        for address in addresses {
            config = config.address(address.parse()?);
        }
        let iface = stack.add_interface(NOW, config)?;
        for network in ["0.0.0.0/0", "::/0"] {
            stack.add_route(Route::new(network.parse()?, iface))?;
        }
        self.stacks.insert(number, (stack, iface));
        Ok(())
    }

    /// Delivers packets until nobody has more.
    fn settle(&mut self) {
        loop {
            let mut sent = Vec::new();
            for (stack, _) in self.stacks.values_mut() {
                while let Some(transmit) = stack.poll_transmit(NOW) {
                    sent.push(transmit.to_vec());
                }
            }
            sent.iter().for_each(|packet| self.kernel.send_packet(packet));
            let received = self.kernel.take_sent();
            if sent.is_empty() && received.is_empty() {
                return;
            }
            for packet in received {
                // The last byte of the destination.
                let at = if packet[0] >> 4 == 4 { 19 } else { 39 };
                if let Some((stack, iface)) = packet.get(at).and_then(|number| self.stacks.get_mut(number)) {
                    stack.handle_frame(NOW, *iface, Frame::new(packet));
                }
            }
        }
    }

    fn stack(&mut self, number: u8) -> &mut Stack {
        &mut self.stacks.get_mut(&number).expect("there is such a stack").0
    }
}

/// Packets of every size, fragmented in both directions, and headers that the programs make.
fn exchange() -> Result<(), Failed> {
    let mut link = Link::new(&["10.0.0.2/24", "fd00::2/64"])?;
    for (theirs, domain) in FAMILIES.into_iter().enumerate() {
        let [kernel_addr, stack_addr] =
            [host_addr(domain), peer_addr(domain)].map(|addr| SocketAddr::new(addr, 0));
        assert_eq!(link.kernel.answer(&Call::Socket(domain, SocketKind::Raw(PROTOCOL))), Answer::Opened);
        let ours = link.stack(2).socket(domain, SocketKind::Raw(PROTOCOL))?;
        for len in [0, 1, 8, 1440, 1460, 1461, 1480, 1481, 4000, 60_000] {
            let data: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
            let sent = link.kernel.answer(&Call::SendTo(theirs, stack_addr, data.clone()));
            assert_eq!(sent, Answer::Done(len), "{domain:?} {len}");
            link.settle();
            receive(link.stack(2), ours, kernel_addr, &data);
            link.stack(2).send_to(NOW, ours, &data, kernel_addr)?;
            link.settle();
            kernel_receives(&mut link.kernel, theirs, stack_addr, &data);
        }
        // With a header of the program on each side.
        let header = SocketOption::HeaderIncluded(true);
        assert_eq!(link.kernel.answer(&Call::Set(theirs, header)), Answer::Done(0));
        let made = PacketBuilder::new(kernel_addr.ip(), stack_addr.ip()).raw(PROTOCOL, b"made");
        assert_eq!(
            link.kernel.answer(&Call::SendTo(theirs, stack_addr, made.clone())),
            Answer::Done(made.len())
        );
        link.settle();
        receive(link.stack(2), ours, kernel_addr, b"made");
        link.stack(2).set_option(NOW, ours, header)?;
        let made = PacketBuilder::new(stack_addr.ip(), kernel_addr.ip()).raw(PROTOCOL, b"made here");
        link.stack(2).send_to(NOW, ours, &made, kernel_addr)?;
        link.settle();
        kernel_receives(&mut link.kernel, theirs, stack_addr, b"made here");
    }
    Ok(())
}

fn receive(stack: &mut Stack, d: Descriptor, from: SocketAddr, data: &[u8]) {
    let (packet, meta) = stack.recv_msg(NOW, d).expect("a packet of the kernel");
    assert_eq!(meta.peer(), from);
    let header_len = if from.is_ipv4() { 20 } else { 0 };
    assert_eq!(packet[header_len..], *data);
}

fn kernel_receives(kernel: &mut Kernel, name: usize, from: SocketAddr, data: &[u8]) {
    let Answer::Received(peer, packet) = kernel.answer(&Call::Recv(name, 70_000)) else {
        panic!("the kernel received nothing of {} bytes", data.len());
    };
    let header_len = if from.is_ipv4() { 20 } else { 0 };
    assert_eq!((peer, &packet[header_len..]), (from, data));
}

/// The kernel is the router between two stacks. The program sends echo requests whose packets live
/// for one hop, then for two.
fn trace() -> Result<(), Failed> {
    let mut link = Link::new(&["10.0.0.2/24", "fd00::2/64"])?;
    link.add_stack(9, &["10.2.0.9/24", "fd02::9/64"])?;
    link.kernel.forward()?;
    for line in ["route add 10.2.0.0/24 dev tun0", "-6 route add fd02::/64 dev tun0"] {
        let status = Command::new("ip").args(line.split(' ')).status()?;
        assert!(status.success(), "ip {line}");
    }
    for domain in FAMILIES {
        let (icmp, request, exceeded, reply, redirect) = match domain {
            Domain::V4 => (1, 8, 11, 0, 5),
            _ => (58, 128, 3, 129, 137),
        };
        let target: IpAddr = if domain == Domain::V4 { "10.2.0.9" } else { "fd02::9" }.parse()?;
        let stack = link.stack(2);
        let d = stack.socket(domain, SocketKind::Raw(icmp))?;
        // The kernel says that both are on one link.
        stack.set_option(NOW, d, SocketOption::IcmpFilter(IcmpFilter::PASS_ALL.block(redirect)))?;
        let mut hops = Vec::new();
        for hop_limit in 1..=2 {
            let mut message = vec![request, 0, 0, 0, 0x12, 0x34, 0, hop_limit];
            if domain == Domain::V4 {
                let sum = portolan::testing::internet_checksum(&[&message]);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            let meta = SendMeta::to(SocketAddr::new(target, 0)).hop_limit(hop_limit);
            link.stack(2).send_msg(NOW, d, message.into(), &meta)?;
            link.settle();
            let (packet, meta) = link.stack(2).recv_msg(NOW, d).expect("an answer");
            let header_len = if domain == Domain::V4 { 20 } else { 0 };
            hops.push((packet[header_len], meta.peer().ip()));
        }
        assert_eq!(hops, [(exceeded, host_addr(domain)), (reply, target)]);
    }
    Ok(())
}
