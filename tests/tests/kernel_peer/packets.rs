//! Packet sockets of the stack beside `tcpdump` at the other end of the wire.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcap_file::pcap::PcapReader;
use portolan::bpf::{Filter, Instruction};
use portolan::{InterfaceId, LinkAddr, LinkHeader, MacAddr};
use portolan_runtime::UdpSocket as OwnSocket;
use portolan_tests::namespace::{beside_portolan, tool};

use super::wire::{
    DEVICE, KERNEL4, KERNEL6, OWN4, OWN6, Record, Seen, open_device, packet_socket, start, wait_for,
};

const PORT: u16 = 5000;
/// A datagram with this data goes in each direction before frames are compared: what came before
/// may have passed one end before it was watched.
const MARK: [u8; 100] = [0x4d; 100];

/// A `tcpdump` on the kernel's side of the device, which writes a file.
struct Dump {
    child: Child,
    path: PathBuf,
}

impl Dump {
    fn start(name: &str, filter: &str) -> Dump {
        let path = std::env::temp_dir().join(format!("portolan-{}-{name}.pcap", std::process::id()));
        let mut child = Command::new("tcpdump")
            .args(["-n", "-U", "--immediate-mode", "-Z", "root", "-s", "65535", "-i", DEVICE, "-w"])
            .arg(&path)
            .arg(filter)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        // It says when it listens.
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("its output"), 0, "tcpdump ended early");
        }
        // What it says later must have a reader.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Dump { child, path }
    }

    /// The frames in the file so far; an incomplete one at its end is left out.
    fn frames(&self) -> Vec<Vec<u8>> {
        let Ok(mut reader) = File::open(&self.path).map(PcapReader::new) else { return Vec::new() };
        let mut frames = Vec::new();
        if let Ok(reader) = &mut reader {
            while let Some(Ok(packet)) = reader.next_packet() {
                frames.push(packet.data.into_owned());
            }
        }
        frames
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Those that the stack has sent, and those that it has received: the two ends see them in another
/// order. In both what follows the mark.
fn by_direction(frames: impl IntoIterator<Item = Seen>) -> [Vec<Vec<u8>>; 2] {
    let (own, others): (Vec<Seen>, Vec<Seen>) = frames.into_iter().partition(|seen| seen.is_own);
    [own, others].map(|frames| {
        let frames = frames.into_iter().map(|seen| seen.frame).skip_while(|frame| !frame.ends_with(&MARK));
        frames.collect()
    })
}

/// Waits until the stack and `tcpdump` have seen the same frames, at least so many each way.
fn wait_until_equal(record: &Record, dump: &Dump, own_mac: MacAddr, at_least: usize) {
    wait_for("the same frames at both ends", || {
        let theirs = dump.frames().into_iter();
        let theirs = theirs.map(|frame| Seen { is_own: frame[6..12] == own_mac.0, frame });
        let (ours, theirs) = (by_direction(record.frames()), by_direction(theirs));
        let is_done = ours == theirs && ours.iter().all(|frames| frames.len() >= at_least);
        is_done.then_some(())
    });
}

/// Pings, datagrams of one frame and of several, and connections, over both families.
fn make_traffic() {
    for addr in [OWN4.to_string(), OWN6.to_string()] {
        tool(&format!("ping -n -c 2 -i 0.05 -W 5 {addr}"));
    }
    for (kernel, own) in pairs() {
        let socket = UdpSocket::bind((kernel, 0)).expect("a free port");
        for len in [0, 100, 4000] {
            socket.send_to(&vec![7; len], (own, PORT)).expect("sent");
        }
        // A port that is closed is unreachable, and a connection is refused.
        socket.send_to(b"anybody?", (own, PORT + 1)).expect("sent");
        TcpStream::connect((own, PORT)).expect_err("nobody listens");
    }
}

/// The kernel's address and ours, for both families.
fn pairs() -> [(IpAddr, IpAddr); 2] {
    [(KERNEL4.into(), OWN4.into()), (KERNEL6.into(), OWN6.into())]
}

/// What a packet socket sees is what `tcpdump` writes on the other end of the wire, frame for
/// frame. A program of classic BPF, which `tcpdump` has compiled, lets both see the same part of
/// it.
#[test]
fn packet_sockets_see_what_tcpdump_sees() {
    beside_portolan("packets::packet_sockets_see_what_tcpdump_sees", &[], || {
        const FILTER: &str = "(udp and len > 60) or icmp6";
        let device = open_device(&[KERNEL4.into(), KERNEL6.into()]);
        let own_mac = device.mac();
        let (all_dump, some_dump) = (Dump::start("all", ""), Dump::start("some", FILTER));
        let (runtime, all) = start(device);
        let filtered = packet_socket(&runtime, LinkHeader::Included, LinkAddr::ETH_P_ALL);
        filtered.attach_filter(compile(FILTER)).expect("a program that the kernel takes, too");
        let some = Record::of(filtered);
        let own = OwnSocket::bind(&runtime, ([0; 8], PORT)).expect("a free port");
        own.send_to(&MARK, (KERNEL4, PORT)).expect("sent");
        let socket = UdpSocket::bind((KERNEL4, 0)).expect("a free port");
        socket.send_to(&MARK, (OWN4, PORT)).expect("sent");
        make_traffic();
        // In fragments, too.
        for (kernel, _) in pairs() {
            own.send_to(&[8; 3000], (kernel, PORT)).expect("sent");
        }
        wait_until_equal(&some, &some_dump, own_mac, 8);
        wait_until_equal(&all, &all_dump, own_mac, 12);
        let (some, all) = (some.frames().len(), all.frames().len());
        assert!(some < all, "the filter passes {some} of {all} frames");
    });
}

/// The program that `tcpdump` would give to the kernel.
fn compile(filter: &str) -> Filter {
    let mut command = Command::new("tcpdump");
    let output = command.args(["-ddd", "-y", "EN10MB", "-i", DEVICE, filter]).output();
    let output = output.expect("tcpdump is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = |line: &str| -> Vec<u32> {
        line.split(' ').map(|number| number.parse().unwrap_or_else(|_| panic!("{output:?}"))).collect()
    };
    let instructions = text
        .lines()
        .skip(1)
        .map(numbers)
        .map(|fields| Instruction::new(fields[0] as u16, fields[1] as u8, fields[2] as u8, fields[3]));
    Filter::new(&instructions.collect::<Vec<_>>()).expect("a valid program")
}

/// A program asks for an address itself, and the kernel answers it.
#[test]
fn the_kernel_answers_an_arp_request_of_a_program() {
    beside_portolan("packets::the_kernel_answers_an_arp_request_of_a_program", &[], || {
        let device = open_device(&[KERNEL4.into()]);
        let (own_mac, kernel_mac) = (device.mac(), device.host_mac());
        let (runtime, _record) = start(device);
        let socket = packet_socket(&runtime, LinkHeader::Cooked, LinkAddr::ETH_P_ARP);
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
        let link = LinkAddr::new(InterfaceId::from_index(0), LinkAddr::ETH_P_ARP);
        let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
        request.extend(own_mac.0.iter().chain(&OWN4.octets()).chain(&[0; 6]).chain(&KERNEL4.octets()));
        socket.send_to(&request, &link.mac(MacAddr::BROADCAST)).expect("sent");
        let mut answer = vec![0, 1, 8, 0, 6, 4, 0, 2];
        answer.extend(kernel_mac.0.iter().chain(&KERNEL4.octets()).chain(&own_mac.0).chain(&OWN4.octets()));
        loop {
            let (packet, meta) = socket.recv_packet().expect("an answer");
            if packet[7] == 2 {
                assert_eq!((&packet[..28], meta.from.mac), (&answer[..], Some(kernel_mac)));
                break;
            }
        }
    });
}
