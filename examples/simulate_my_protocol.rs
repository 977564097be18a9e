//! A protocol of one's own, tried on a network that loses, repeats and reorders packets. The
//! network is simulated, with a clock of its own: minutes take milliseconds, and the same seed
//! gives the same run, so that every failure can be repeated.
//!
//! `cargo run -p portolan-examples --example simulate_my_protocol -- 7`
//!
//! The protocol delivers numbered letters over UDP, in order and each once. The receiver answers
//! each with the number of the next one that it wants. The sender repeats a letter until that is
//! acknowledged, and waits twice as long each time.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::PathConfig;
use portolan::testing::sim::{Next, NodeId, OnHost, Program, SimNet};
use portolan::{Config, Descriptor, Domain, Instant, SocketKind};

const LETTERS: u32 = 50;
const PATIENCE: Duration = Duration::from_millis(100);

struct Sender {
    socket: Descriptor,
    to: SocketAddr,
    /// The number of the letter that is on its way.
    number: u32,
    repeat_at: Instant,
    patience: Duration,
    sent: u32,
}

/// A program is called when its stack has an event, and at the time that it asks for.
impl Program for Sender {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        // Every call returns at once; take all that is there.
        while let Ok((answer, _)) = host.stack.recv_msg(host.now, self.socket) {
            let wanted = number(&answer);
            if wanted == Some(self.number + 1) {
                self.number += 1;
                (self.repeat_at, self.patience) = (host.now, PATIENCE);
            }
        }
        if self.number == LETTERS {
            return Next::Done;
        }
        if self.repeat_at <= host.now {
            let letter = format!("{:08x}letter {}", self.number, self.number);
            if let Err(error) = host.stack.send_to(host.now, self.socket, letter.as_bytes(), self.to) {
                host.fail(format!("letter {}: {error}", self.number));
            }
            self.sent += 1;
            self.repeat_at = host.now + self.patience;
            self.patience *= 2;
        }
        Next::At(self.repeat_at)
    }
}

struct Receiver {
    socket: Descriptor,
    letters: Vec<String>,
    repeated: u32,
}

impl Program for Receiver {
    fn step(&mut self, host: &mut OnHost<'_>) -> Next {
        while let Ok((letter, meta)) = host.stack.recv_msg(host.now, self.socket) {
            let wanted = self.letters.len() as u32;
            if number(&letter) == Some(wanted) {
                let text = String::from_utf8_lossy(&letter[8..]).into_owned();
                if text != format!("letter {wanted}") {
                    host.fail(format!("letter {wanted} says {text:?}")); // ends the run, with its seed
                }
                self.letters.push(text);
            } else {
                self.repeated += 1;
            }
            let wanted = format!("{:08x}", self.letters.len());
            let _ = host.stack.send_to(host.now, self.socket, wanted.as_bytes(), meta.peer());
        }
        Next::Event
    }
}

/// The number that a message begins with: eight hexadecimal digits.
fn number(message: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(message.get(..8)?).ok()?, 16).ok()
}

/// A UDP socket on a host of the network.
fn socket(net: &mut SimNet, host: NodeId, port: u16) -> Result<(Descriptor, SocketAddr), Box<dyn Error>> {
    let addr = SocketAddr::new(net.addr(host, Domain::V4), port);
    let socket = net.stack(host).socket(Domain::V4, SocketKind::Datagram)?;
    net.stack(host).bind(socket, addr)?;
    Ok((socket, addr))
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).unwrap_or("1".into()).parse()?;
    let mut net = SimNet::new(seed);
    let (a, b) = (net.add_host(Config::default()), net.add_host(Config::default()));
    let path = PathConfig::delayed(Duration::from_millis(20));
    net.connect(a, b, PathConfig { loss: 0.2, duplicate: 0.05, reorder: 0.1, ..path });

    let ((from, _), (at, to)) = (socket(&mut net, a, 0)?, socket(&mut net, b, 4000)?);
    let receiver = net.spawn(b, Receiver { socket: at, letters: Vec::new(), repeated: 0 });
    let now = net.now();
    let sender = Sender { socket: from, to, number: 0, repeat_at: now, patience: PATIENCE, sent: 0 };
    let sender = net.spawn(a, sender);
    let is_done = net.run_until(Duration::from_secs(600), |net| net.program(sender).number == LETTERS);

    let (sender, receiver) = (net.program(sender), net.program(receiver));
    println!("seed {seed}: {} of {LETTERS} letters after {}", receiver.letters.len(), net.now());
    println!("{} were sent, {} came twice or more often", sender.sent, receiver.repeated);
    println!("digest of all packets: {:016x}", net.digest());
    if is_done { Ok(()) } else { Err("the time was not enough".into()) }
}
