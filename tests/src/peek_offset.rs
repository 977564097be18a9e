//! SO_PEEK_OFF: random calls on two connected sockets, on the kernel and on Portolan. Each call
//! must return the same, and leave the same offset.
#![allow(unsafe_code, reason = "calls of the kernel that no crate has")]

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use portolan::{
    Config, Descriptor, Domain, Error, Instant, RecvFlags, Shutdown, SocketKind, SocketOption, Stack,
};

use crate::soak::dice::Dice;

const NOW: Instant = Instant::ZERO;
const CALLS: usize = 40;
/// The kinds of sockets that have the option.
pub const KINDS: [(Domain, SocketKind); 5] = [
    (Domain::V4, SocketKind::Stream),
    (Domain::V4, SocketKind::Datagram),
    (Domain::Unix, SocketKind::Stream),
    (Domain::Unix, SocketKind::Datagram),
    (Domain::Unix, SocketKind::SeqPacket),
];

/// A call; the first is one of the sender.
#[derive(Clone, Copy, Debug)]
enum Call {
    Send(usize),
    EndSending,
    /// `recv` of at most so many bytes.
    Recv(usize, RecvFlags),
    SetOffset(i32),
}

/// What a call has returned, an errno or a length and the whole buffer, and the offset after it.
type Answer = (Result<(usize, Vec<u8>), i32>, i32);

/// Plays the calls of a seed. The difference, if there is one: the calls, of which the last
/// differs, with the kernel's answers, and then Portolan's answer.
pub fn find_difference(domain: Domain, kind: SocketKind, seed: u64) -> io::Result<Option<String>> {
    let mut dice = Dice::new(seed, "peek offset", 0);
    let (mut kernel, mut ours) = (Kernel::new(domain, kind)?, Portolan::new(domain, kind));
    let mut text = String::new();
    for _ in 0..CALLS {
        let call = next(&mut dice);
        let (theirs, ours) = (kernel.make(call), ours.make(call));
        text += &format!("{call:?}: {theirs:?}\n");
        if theirs != ours {
            return Ok(Some(format!("{text}Portolan: {ours:?}")));
        }
    }
    Ok(None)
}

fn next(dice: &mut Dice) -> Call {
    let len = match dice.within(0, 4) {
        0 => 0,
        1 => 100,
        _ => dice.within(1, 12) as usize,
    };
    let truncate = if dice.one_in(4) { RecvFlags::TRUNCATE } else { RecvFlags::NONE };
    match dice.within(0, 20) {
        0..=6 => Call::Send(len.min(20)),
        7..=13 => Call::Recv(len, truncate | RecvFlags::PEEK),
        14..=17 => Call::Recv(len, truncate),
        18 if dice.one_in(3) => Call::EndSending,
        _ => Call::SetOffset(match dice.within(0, 9) {
            0 => -1,
            1 => i32::MAX,
            2 => -7,
            3..=5 => 0,
            _ => dice.within(1, 20) as i32,
        }),
    }
}

/// The bytes of a message. None is like those before.
#[derive(Default)]
struct Bytes(u8);

impl Bytes {
    fn next(&mut self, len: usize) -> Vec<u8> {
        self.0 = self.0.wrapping_add(len as u8);
        (0..len).map(|at| self.0.wrapping_add(at as u8) | 1 << 7).collect()
    }
}

struct Kernel {
    sender: OwnedFd,
    receiver: OwnedFd,
    bytes: Bytes,
}

impl Kernel {
    fn new(domain: Domain, kind: SocketKind) -> io::Result<Kernel> {
        let (sender, receiver) = match (domain, kind) {
            (Domain::Unix, kind) => {
                let kind = match kind {
                    SocketKind::Stream => libc::SOCK_STREAM,
                    SocketKind::Datagram => libc::SOCK_DGRAM,
                    _ => libc::SOCK_SEQPACKET,
                };
                let mut ends = [0; 2];
                // SAFETY: the call writes two descriptors.
                check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } as isize)?;
                // SAFETY: the call has opened them.
                let [left, right] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                (left, right)
            }
            (_, SocketKind::Stream) => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let sender = TcpStream::connect(listener.local_addr()?)?;
                sender.set_nodelay(true)?;
                (sender.into(), listener.accept()?.0.into())
            }
            _ => {
                let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
                sender.connect(receiver.local_addr()?)?;
                (sender.into(), receiver.into())
            }
        };
        Ok(Kernel { sender, receiver, bytes: Bytes::default() })
    }

    fn make(&mut self, call: Call) -> Answer {
        let result = self.try_make(call).map_err(|error| error.raw_os_error().unwrap_or(0));
        let (mut offset, mut len) = (0_i32, 4);
        let value = (&raw mut offset).cast();
        // SAFETY: the call writes an int.
        unsafe {
            libc::getsockopt(self.receiver.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, &mut len);
        }
        (result, offset)
    }

    fn try_make(&mut self, call: Call) -> io::Result<(usize, Vec<u8>)> {
        let (sender, receiver) = (self.sender.as_raw_fd(), self.receiver.as_raw_fd());
        match call {
            Call::Send(len) => {
                let data = self.bytes.next(len);
                // SAFETY: the pointer is to `len` bytes.
                let sent = unsafe { libc::send(sender, data.as_ptr().cast(), len, libc::MSG_NOSIGNAL) };
                Ok((check(sent)?, Vec::new()))
            }
            Call::EndSending => {
                // SAFETY: the call takes two numbers.
                Ok((check(unsafe { libc::shutdown(sender, libc::SHUT_WR) } as isize)?, Vec::new()))
            }
            Call::Recv(len, flags) => {
                let mut buf = vec![0; len];
                let flag = |ours: RecvFlags, theirs: i32| if flags.contains(ours) { theirs } else { 0 };
                let flags =
                    flag(RecvFlags::PEEK, libc::MSG_PEEK) | flag(RecvFlags::TRUNCATE, libc::MSG_TRUNC);
                // SAFETY: the pointer is to `len` bytes.
                let received =
                    unsafe { libc::recv(receiver, buf.as_mut_ptr().cast(), len, flags | libc::MSG_DONTWAIT) };
                Ok((check(received)?, buf))
            }
            Call::SetOffset(offset) => {
                let value = (&raw const offset).cast();
                // SAFETY: the pointer is to an int.
                let set =
                    unsafe { libc::setsockopt(receiver, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, 4) };
                Ok((check(set as isize)?, Vec::new()))
            }
        }
    }
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

struct Portolan {
    stack: Stack,
    sender: Descriptor,
    receiver: Descriptor,
    bytes: Bytes,
}

impl Portolan {
    fn new(domain: Domain, kind: SocketKind) -> Portolan {
        let mut stack = Stack::new(Config::default(), [7; 32], NOW);
        let (sender, receiver) = match (domain, kind) {
            (Domain::Unix, kind) => stack.socket_pair(domain, kind).expect("a pair").into(),
            (_, SocketKind::Stream) => Portolan::connect(&mut stack).expect("a connection"),
            _ => Portolan::associate(&mut stack).expect("two sockets"),
        };
        Portolan { stack, sender, receiver, bytes: Bytes::default() }
    }

    fn connect(stack: &mut Stack) -> Result<(Descriptor, Descriptor), Error> {
        let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
        stack.bind(listener, ([127, 0, 0, 1], 80))?;
        stack.listen(listener, 1)?;
        let sender = stack.socket(Domain::V4, SocketKind::Stream)?;
        stack.set_option(NOW, sender, SocketOption::NoDelay(true))?;
        assert_eq!(stack.connect(NOW, sender, ([127, 0, 0, 1], 80)), Err(Error::InProgress));
        run(stack);
        Ok((sender, stack.accept(listener)?.0))
    }

    fn associate(stack: &mut Stack) -> Result<(Descriptor, Descriptor), Error> {
        let receiver = stack.socket(Domain::V4, SocketKind::Datagram)?;
        stack.bind(receiver, ([127, 0, 0, 1], 53))?;
        let sender = stack.socket(Domain::V4, SocketKind::Datagram)?;
        stack.connect(NOW, sender, ([127, 0, 0, 1], 53))?;
        Ok((sender, receiver))
    }

    fn make(&mut self, call: Call) -> Answer {
        let result = self.try_make(call).map_err(Error::errno);
        run(&mut self.stack);
        (result, self.stack.options(self.receiver).expect("it is open").peek_offset)
    }

    fn try_make(&mut self, call: Call) -> Result<(usize, Vec<u8>), Error> {
        let Portolan { stack, sender, receiver, bytes } = self;
        match call {
            Call::Send(len) => Ok((stack.send(NOW, *sender, &bytes.next(len))?, Vec::new())),
            Call::EndSending => stack.shutdown(NOW, *sender, Shutdown::Write).map(|()| (0, Vec::new())),
            Call::Recv(len, flags) => {
                let mut buf = vec![0; len];
                Ok((stack.recv_with(NOW, *receiver, &mut buf, flags)?, buf))
            }
            Call::SetOffset(offset) => {
                let value = offset.to_ne_bytes();
                stack.setsockopt(NOW, *receiver, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &value)?;
                Ok((0, Vec::new()))
            }
        }
    }
}

fn run(stack: &mut Stack) {
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
}
