//! SO_PEEK_OFF, and urgent data of Unix-domain streams: random calls on two connected sockets, on
//! the kernel and on Portolan. Each call must return the same, and leave the receiver in the same
//! state.
#![allow(unsafe_code, reason = "calls of the kernel that no crate has")]

use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use portolan::{
    Config, Descriptor, Domain, Error, Instant, RecvFlags, SendFlags, Shutdown, SocketKind, SocketOption,
    Stack,
};

use crate::soak::dice::Dice;

/// What libc does not have.
const SIOCATMARK: libc::Ioctl = 0x8905;

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
    /// `send` with MSG_OOB.
    SendUrgent(usize),
    EndSending,
    /// `recv` of at most so many bytes.
    Recv(usize, RecvFlags),
    SetOffset(i32),
    /// SO_OOBINLINE.
    SetInline(bool),
}

/// What a call has returned, an errno or a length and the whole buffer, and the receiver after it.
type Answer = (Result<(usize, Vec<u8>), i32>, Receiver);

#[derive(Debug, PartialEq, Eq)]
struct Receiver {
    /// SO_PEEK_OFF.
    offset: i32,
    /// SIOCATMARK, if it is a stream.
    is_at_mark: bool,
    /// FIONREAD.
    unread: usize,
    is_readable: bool,
    /// POLLPRI.
    is_urgent: bool,
}

/// Plays the calls of a seed. The difference, if there is one: the calls, of which the last
/// differs, with the kernel's answers, and then Portolan's answer. `has_urgent`: some data is
/// urgent.
pub fn find_difference(
    domain: Domain,
    kind: SocketKind,
    has_urgent: bool,
    seed: u64,
) -> io::Result<Option<String>> {
    let mut dice = Dice::new(seed, "peek offset", 0);
    let (mut kernel, mut ours) = (Kernel::new(domain, kind)?, Portolan::new(domain, kind));
    let mut text = String::new();
    for _ in 0..CALLS {
        let call = match next(&mut dice) {
            _ if has_urgent && dice.one_in(3) => next_urgent(&mut dice),
            // With MSG_PEEK and no room Linux looks through the whole queue, and is EAGAIN if its
            // last byte is urgent.
            Call::Recv(0, flags) if has_urgent => Call::Recv(1, flags),
            call => call,
        };
        let (mut theirs, mut ours) = (kernel.make(call), ours.make(call));
        if has_urgent {
            // Linux 6.18 goes on counting an urgent byte that a read has passed over.
            [theirs.1.unread, ours.1.unread] = [0; 2];
        }
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

fn next_urgent(dice: &mut Dice) -> Call {
    match dice.within(0, 9) {
        0..=4 => Call::SendUrgent(dice.within(0, 3) as usize),
        5 | 6 => Call::Recv(dice.within(1, 3) as usize, RecvFlags::OOB),
        7 => Call::Recv(1, RecvFlags::OOB | RecvFlags::PEEK),
        _ => Call::SetInline(dice.one_in(2)),
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
        (result, self.receiver())
    }

    fn receiver(&self) -> Receiver {
        let fd = self.receiver.as_raw_fd();
        let [mut offset, mut is_at_mark, mut unread] = [0_i32; 3];
        let mut len = mem::size_of::<i32>() as u32;
        let mut polled = libc::pollfd { fd, events: libc::POLLIN | libc::POLLPRI, revents: 0 };
        // SAFETY: each call writes an int, and the last one the record of one descriptor.
        unsafe {
            let value = (&raw mut offset).cast();
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, &raw mut len);
            libc::ioctl(fd, SIOCATMARK, &raw mut is_at_mark);
            libc::ioctl(fd, libc::FIONREAD, &raw mut unread);
            libc::poll(&raw mut polled, 1, 0);
        }
        Receiver {
            offset,
            is_at_mark: is_at_mark == 1,
            unread: unread as usize,
            is_readable: polled.revents & libc::POLLIN != 0,
            is_urgent: polled.revents & libc::POLLPRI != 0,
        }
    }

    fn try_make(&mut self, call: Call) -> io::Result<(usize, Vec<u8>)> {
        let (sender, receiver) = (self.sender.as_raw_fd(), self.receiver.as_raw_fd());
        match call {
            Call::Send(len) | Call::SendUrgent(len) => {
                let data = self.bytes.next(len);
                let urgent = if matches!(call, Call::SendUrgent(_)) { libc::MSG_OOB } else { 0 };
                let flags = libc::MSG_NOSIGNAL | urgent;
                // SAFETY: the pointer is to `len` bytes.
                let sent = unsafe { libc::send(sender, data.as_ptr().cast(), len, flags) };
                Ok((check(sent)?, Vec::new()))
            }
            Call::EndSending => {
                // SAFETY: the call takes two numbers.
                Ok((check(unsafe { libc::shutdown(sender, libc::SHUT_WR) } as isize)?, Vec::new()))
            }
            Call::Recv(len, flags) => {
                let mut buf = vec![0; len];
                let flag = |ours: RecvFlags, theirs: i32| if flags.contains(ours) { theirs } else { 0 };
                let flags = flag(RecvFlags::PEEK, libc::MSG_PEEK)
                    | flag(RecvFlags::TRUNCATE, libc::MSG_TRUNC)
                    | flag(RecvFlags::OOB, libc::MSG_OOB);
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
            Call::SetInline(is_inline) => {
                let is_inline = i32::from(is_inline);
                let value = (&raw const is_inline).cast();
                // SAFETY: the pointer is to an int.
                let set =
                    unsafe { libc::setsockopt(receiver, libc::SOL_SOCKET, libc::SO_OOBINLINE, value, 4) };
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
        let Portolan { stack, receiver: d, .. } = self;
        let readiness = stack.readiness(*d).expect("it is open");
        let receiver = Receiver {
            offset: stack.options(*d).expect("it is open").peek_offset,
            is_at_mark: stack.at_mark(*d) == Ok(true),
            unread: stack.unread_bytes(*d).expect("it is no listener"),
            is_readable: readiness.readable,
            is_urgent: readiness.urgent,
        };
        (result, receiver)
    }

    fn try_make(&mut self, call: Call) -> Result<(usize, Vec<u8>), Error> {
        let Portolan { stack, sender, receiver, bytes } = self;
        match call {
            Call::Send(len) => Ok((stack.send(NOW, *sender, &bytes.next(len))?, Vec::new())),
            Call::SendUrgent(len) => {
                let data = bytes.next(len);
                Ok((stack.send_with(NOW, *sender, &data, SendFlags::OOB)?, Vec::new()))
            }
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
            Call::SetInline(on) => {
                stack.set_option(NOW, *receiver, SocketOption::OobInline(on))?;
                Ok((0, Vec::new()))
            }
        }
    }
}

fn run(stack: &mut Stack) {
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
}
