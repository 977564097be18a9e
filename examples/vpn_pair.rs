//! A VPN: two stacks joined by a tunnel of encrypted datagrams between ordinary UDP sockets of the
//! host. A program in the middle forwards them, repeats them and changes them.
//!
//! `cargo run -p portolan-examples --example vpn_pair`
//!
//! A datagram is a counter, the packet as ChaCha20-Poly1305 encrypts it with that counter as the
//! nonce, and the tag. Both ends know the keys; a real VPN agrees on new ones before long.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portolan::{Frame, Medium};
use portolan_runtime::device::{ChannelDevice, PacketChannel};
use portolan_runtime::{Builder, TcpListener, TcpStream};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const SECRET: &str = "nobody else can read this";
const COUNTER_LEN: usize = 8;
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn nonce(counter: [u8; COUNTER_LEN]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - COUNTER_LEN..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(nonce)
}

/// A device whose packets cross this socket, which is connected to the other end of the tunnel. No
/// counter may be used twice with a key, so each direction has a key of its own.
fn tunnel(socket: UdpSocket, keys: [[u8; 32]; 2]) -> io::Result<ChannelDevice> {
    // 1500 bytes less IPv4 and UDP headers, counter and tag.
    let tag_len = CHACHA20_POLY1305.tag_len();
    let channel = PacketChannel::new(Medium::Ip).mtu(1500 - 28 - COUNTER_LEN - tag_len);
    let (device, mut to_stack, mut from_stack) = channel.head_room(COUNTER_LEN).tail_room(tag_len).build();
    let [sending, receiving] =
        keys.map(|key| UnboundKey::new(&CHACHA20_POLY1305, &key).map(LessSafeKey::new).expect("32 bytes"));
    let outer = socket.try_clone()?;
    thread::spawn(move || {
        let (mut packets, mut counter) = (Vec::new(), 0_u64);
        while from_stack.recv(&mut packets, 32) > 0 {
            for mut packet in packets.drain(..) {
                counter += 1;
                let count = counter.to_be_bytes();
                let tag = sending.seal_in_place_separate_tag(nonce(count), Aad::empty(), packet.bytes_mut());
                packet.append(tag.expect("a packet is not too long").as_ref());
                packet.prepend(&count);
                let _ = outer.send(packet.bytes()); // a datagram may be lost, as in any network
            }
        }
    });
    thread::spawn(move || {
        let (mut datagram, mut newest, mut packets) = ([0; 2048], 0, VecDeque::new());
        while let Ok(len) = socket.recv(&mut datagram) {
            match open(&receiving, &mut datagram[..len], &mut newest) {
                Some(packet) => packets.push_back(Frame::new(packet.to_vec())),
                None => drop(REFUSED.fetch_add(1, Ordering::Relaxed)),
            }
            if to_stack.send(&mut packets).is_err() {
                return; // the stack has ended
            }
        }
    });
    Ok(device)
}

/// Decrypts a datagram where it is, and returns the packet. Refuses a datagram that is not newer
/// than all before it, which is strict: UDP may reorder.
fn open<'a>(key: &LessSafeKey, datagram: &'a mut [u8], newest: &mut u64) -> Option<&'a [u8]> {
    let (count, sealed) = datagram.split_first_chunk_mut()?;
    let counter = u64::from_be_bytes(*count);
    if counter <= *newest {
        return None;
    }
    let packet = key.open_in_place(nonce(*count), Aad::empty(), sealed).ok()?;
    *newest = counter;
    Some(packet)
}

fn main() -> Result<(), Box<dyn Error>> {
    let socket = || UdpSocket::bind("127.0.0.1:0");
    let (left, right, middle) = (socket()?, socket()?, socket()?);
    let ends = [left.local_addr()?, right.local_addr()?];
    left.connect(middle.local_addr()?)?;
    right.connect(middle.local_addr()?)?;
    thread::spawn(move || meddle(&middle, ends));

    let mut keys = [[0; 32]; 2];
    SystemRandom::new().fill(keys.as_flattened_mut()).map_err(|_| "there is no randomness")?;
    let server = Builder::new().interface(tunnel(left, keys)?, ["10.7.0.1/24".parse()?]).start()?;
    keys.reverse();
    let client = Builder::new().interface(tunnel(right, keys)?, ["10.7.0.2/24".parse()?]).start()?;
    let listener = TcpListener::bind(&server, ([10, 7, 0, 1], 7))?;
    TcpStream::connect(&client, ([10, 7, 0, 1], 7))?.write_all(SECRET.as_bytes())?;
    println!("through the tunnel: {}", io::read_to_string(listener.accept()?.0)?);
    println!("datagrams refused: {}", REFUSED.load(Ordering::Relaxed));
    Ok(())
}

/// Forwards datagrams between the ends, and sends each twice more: once changed, once repeated.
fn meddle(socket: &UdpSocket, [left, right]: [SocketAddr; 2]) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        let to = if from == left { right } else { left };
        let datagram = &mut buffer[..len];
        if datagram.windows(SECRET.len()).any(|text| text == SECRET.as_bytes()) {
            println!("the middle can read it");
        }
        for change in [1, 0, 0] {
            datagram[len - 1] ^= change;
            socket.send_to(datagram, to)?;
            datagram[len - 1] ^= change;
        }
    }
}
