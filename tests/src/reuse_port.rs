//! Sockets that share a port and are chosen by a program (SO_ATTACH_REUSEPORT_CBPF), on the kernel
//! and on Portolan: who gets a datagram or a connection, and what the calls return.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

use portolan::{Config, Descriptor, Domain, Error, Instant, SocketKind, SocketOption, Stack};

const SOL_SOCKET: i32 = 1;
const ATTACH: i32 = 51;
const DETACH: i32 = 68;
const PORT: u16 = 5353;
const NOW: Instant = Instant::ZERO;

/// A program: code, jumps and operand of each instruction.
type Code = &'static [(u16, u8, u8, u32)];

/// Returns the first byte.
const FIRST_BYTE: Code = &[(0x30, 0, 0, 0), (0x16, 0, 0, 0)];
/// Returns the length.
const LENGTH: Code = &[(0x80, 0, 0, 0), (0x16, 0, 0, 0)];
/// Returns 1.
const ONE: Code = &[(0x06, 0, 0, 1)];

/// A step of the comparison.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Opens a socket on the port; whether it has SO_REUSEPORT.
    Open(bool),
    /// Opens a socket with SO_REUSEPORT, and attaches the program before it binds it. On Linux such
    /// a socket cannot join others.
    OpenWith(Code),
    /// Attaches a program to the n-th socket.
    Attach(usize, Code),
    /// Detaches it.
    Detach(usize),
    /// Closes the n-th socket, which may not have opened.
    Close(usize),
    /// Sends this, or for TCP connects. The answer is the socket that gets it.
    Send(&'static [u8]),
}

/// What a step returns: an errno, or for [`Step::Send`] the socket.
pub type Answer = Result<Option<usize>, i32>;

/// The steps, all of whose answers a program determines.
pub const STEPS: &[Step] = {
    use Step::{Attach, Close, Detach, Open, OpenWith, Send};
    &[
        Open(true),
        Open(true),
        Open(true),
        Detach(0),
        Attach(1, FIRST_BYTE),
        Send(&[0]),
        Send(&[1]),
        Send(&[2, 1]),
        // A load behind the end returns 0.
        Send(&[]),
        Attach(0, LENGTH),
        Send(&[9]),
        Send(&[9, 9]),
        Send(&[]),
        // The last one moves into the gap, and the program stays.
        Close(0),
        Send(&[]),
        Send(&[1]),
        Open(true),
        Send(&[0, 0]),
        Detach(2),
        Detach(1),
        Attach(3, ONE),
        Send(&[5, 5, 5]),
        OpenWith(LENGTH),
        Close(4),
        Send(&[5, 5, 5]),
        Close(3),
        Close(2),
        Close(1),
        // Of the first one, it does.
        OpenWith(ONE),
        Open(true),
        Send(&[7]),
        Close(5),
        Close(6),
        Open(false),
        Attach(7, ONE),
        Detach(7),
    ]
};

/// A host's sockets.
pub trait Sharers {
    /// Takes a step.
    fn step(&mut self, step: Step) -> Answer;
}

/// Whether the difference is meant: here a socket with a program of its own joins others.
pub fn is_meant(step: Step, linux: &Answer, portolan: &Answer) -> bool {
    matches!(step, Step::OpenWith(_)) && (linux, portolan) == (&Err(libc::EADDRINUSE), &Ok(None))
}

/// The answers of the kernel and of Portolan, for UDP and for TCP.
///
/// # Errors
///
/// If the system refuses a socket.
pub fn compare(kind: SocketKind) -> io::Result<Vec<(Step, Answer, Answer)>> {
    let mut kernel = Kernel { kind, sockets: Vec::new() };
    let mut portolan = Portolan::new(kind);
    Ok(STEPS.iter().map(|&step| (step, kernel.step(step), portolan.step(step))).collect())
}

/// The kernel, in the namespace of the thread.
struct Kernel {
    kind: SocketKind,
    sockets: Vec<Option<OwnedFd>>,
}

fn checked(result: libc::c_int) -> Result<libc::c_int, i32> {
    if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

fn set_int(fd: RawFd, option: i32, value: i32) -> Result<(), i32> {
    let len = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is an int, as its length says.
    checked(unsafe { libc::setsockopt(fd, SOL_SOCKET, option, (&raw const value).cast(), len) }).map(|_| ())
}

fn attach(fd: RawFd, code: Code) -> Result<(), i32> {
    let mut filter: Vec<libc::sock_filter> =
        code.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let len = mem::size_of_val(&program) as libc::socklen_t;
    // SAFETY: the program points to its instructions, and the kernel copies them.
    checked(unsafe { libc::setsockopt(fd, SOL_SOCKET, ATTACH, (&raw const program).cast(), len) }).map(|_| ())
}

impl Kernel {
    fn open(&self, reuse_port: bool, code: Option<Code>) -> Result<OwnedFd, i32> {
        let kind = if self.kind == SocketKind::Stream { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
        // SAFETY: a call without pointers.
        let fd = checked(unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_NONBLOCK, 0) })?;
        // SAFETY: the descriptor is new, and nobody else closes it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        set_int(fd, libc::SO_REUSEPORT, reuse_port.into())?;
        code.map_or(Ok(()), |code| attach(fd, code))?;
        // SAFETY: the struct is plain data, for which zero is valid.
        let mut addr: libc::sockaddr_in = unsafe { mem::zeroed() };
        addr.sin_family = libc::AF_INET as u16;
        addr.sin_port = PORT.to_be();
        addr.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
        let len = mem::size_of_val(&addr) as libc::socklen_t;
        // SAFETY: the address is as long as the length says.
        checked(unsafe { libc::bind(fd, (&raw const addr).cast(), len) })?;
        if self.kind == SocketKind::Stream {
            // SAFETY: a call without pointers.
            checked(unsafe { libc::listen(fd, 8) })?;
        }
        Ok(owned)
    }

    fn add(&mut self, reuse_port: bool, code: Option<Code>) -> Result<(), i32> {
        let socket = self.open(reuse_port, code);
        let result = socket.as_ref().map(drop).map_err(|&errno| errno);
        self.sockets.push(socket.ok());
        result
    }

    fn fd(&self, at: usize) -> Result<RawFd, i32> {
        self.sockets.get(at).and_then(|fd| fd.as_ref()).map(AsRawFd::as_raw_fd).ok_or(libc::EBADF)
    }

    fn send(&self, data: &[u8]) -> Result<(), i32> {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        if self.kind == SocketKind::Stream {
            return TcpStream::connect(to).map(drop).map_err(errno);
        }
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(errno)?;
        sender.send_to(data, to).map(drop).map_err(errno)
    }

    fn has(&self, fd: &OwnedFd) -> bool {
        let Ok(own) = fd.try_clone() else { return false };
        match self.kind {
            SocketKind::Stream => TcpListener::from(own).accept().is_ok(),
            _ => UdpSocket::from(own).recv(&mut [0; 9]).is_ok(),
        }
    }
}

impl Sharers for Kernel {
    fn step(&mut self, step: Step) -> Answer {
        match step {
            Step::Open(reuse_port) => self.add(reuse_port, None)?,
            Step::OpenWith(code) => self.add(true, Some(code))?,
            Step::Attach(at, code) => attach(self.fd(at)?, code)?,
            Step::Detach(at) => set_int(self.fd(at)?, DETACH, 0)?,
            Step::Close(at) => self.sockets[at] = None,
            Step::Send(data) => {
                self.send(data)?;
                let has = |fd: &Option<OwnedFd>| fd.as_ref().is_some_and(|fd| self.has(fd));
                return Ok(self.sockets.iter().position(has));
            }
        }
        Ok(None)
    }
}

/// Portolan, on its loopback.
struct Portolan {
    kind: SocketKind,
    stack: Stack,
    sockets: Vec<Option<Descriptor>>,
}

fn bytes(code: Code) -> Vec<u8> {
    let instruction = |&(code, jt, jf, k): &(u16, u8, u8, u32)| {
        [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat()
    };
    code.iter().flat_map(instruction).collect()
}

impl Portolan {
    fn new(kind: SocketKind) -> Portolan {
        Portolan { kind, stack: Stack::new(Config::default(), [7; 32], NOW), sockets: Vec::new() }
    }

    fn run(&mut self) {
        while self.stack.poll_transmit(NOW).is_some() || self.stack.handle_loopback(NOW) {}
    }

    fn open(&mut self, reuse_port: bool, code: Option<Code>) -> Result<Descriptor, Error> {
        let d = self.stack.socket(Domain::V4, self.kind)?;
        self.stack.set_option(NOW, d, SocketOption::ReusePort(reuse_port))?;
        if let Some(code) = code {
            self.stack.setsockopt(NOW, d, SOL_SOCKET, ATTACH, &bytes(code))?;
        }
        self.stack.bind(d, (Ipv4Addr::LOCALHOST, PORT))?;
        if self.kind == SocketKind::Stream {
            self.stack.listen(d, 8)?;
        }
        Ok(d)
    }

    fn add(&mut self, reuse_port: bool, code: Option<Code>) -> Result<(), Error> {
        let socket = self.open(reuse_port, code);
        self.sockets.push(socket.ok());
        socket.map(drop)
    }

    fn has(&mut self, d: Descriptor) -> bool {
        match self.kind {
            SocketKind::Stream => {
                let accepted = self.stack.accept(d);
                accepted.is_ok_and(|(d, _)| self.stack.close(NOW, d).is_ok())
            }
            _ => self.stack.recv(NOW, d, &mut [0; 9]).is_ok(),
        }
    }

    fn try_step(&mut self, step: Step) -> Result<Option<usize>, Error> {
        let socket = |at: usize| self.sockets.get(at).copied().flatten().ok_or(Error::BadDescriptor);
        match step {
            Step::Open(reuse_port) => self.add(reuse_port, None)?,
            Step::OpenWith(code) => self.add(true, Some(code))?,
            Step::Attach(at, code) => {
                let d = socket(at)?;
                self.stack.setsockopt(NOW, d, SOL_SOCKET, ATTACH, &bytes(code))?;
            }
            Step::Detach(at) => {
                let d = socket(at)?;
                self.stack.setsockopt(NOW, d, SOL_SOCKET, DETACH, &[0; 4])?;
            }
            Step::Close(at) => {
                let d = socket(at)?;
                self.stack.close(NOW, d)?;
                self.sockets[at] = None;
                self.run();
            }
            Step::Send(data) => {
                let sender = self.stack.socket(Domain::V4, self.kind)?;
                let to = (Ipv4Addr::LOCALHOST, PORT);
                match self.kind {
                    SocketKind::Stream => match self.stack.connect(NOW, sender, to) {
                        Ok(()) | Err(Error::InProgress) => {}
                        Err(error) => return Err(error),
                    },
                    _ => drop(self.stack.send_to(NOW, sender, data, to)?),
                }
                self.run();
                self.stack.close(NOW, sender)?;
                self.run();
                let sockets = self.sockets.clone();
                let at = sockets.iter().position(|d| d.is_some_and(|d| self.has(d)));
                self.run();
                return Ok(at);
            }
        }
        Ok(None)
    }
}

impl Sharers for Portolan {
    fn step(&mut self, step: Step) -> Answer {
        self.try_step(step).map_err(Error::errno)
    }
}
