//! The kernel's sockets.

use std::collections::HashSet;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use portolan::{Shutdown, SocketKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionread};
use rustix::net::sockopt::socket_error;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, connect_unspec, getpeername, getsockname, listen, recv, recvmsg, sendmsg, sendto,
    shutdown, socket_with, socketpair,
};

use super::{Answer, Call, Machine, NAMES, Name, Readinesses, Shown};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What the kernel needs to collect a few sockets, mostly.
const COLLECTION_TIME: Duration = Duration::from_millis(20);

pub(super) struct Kernel {
    directory: PathBuf,
    /// Those that are closed are `None`.
    descriptors: Vec<Option<OwnedFd>>,
    sent: u8,
    /// The sockets that were passed on, by their inodes.
    passed: HashSet<u64>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn type_of(kind: SocketKind) -> SocketType {
    match kind {
        SocketKind::Stream => SocketType::STREAM,
        SocketKind::Datagram => SocketType::DGRAM,
        _ => SocketType::SEQPACKET,
    }
}

impl Kernel {
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("portolan-unix-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Kernel { directory, descriptors: Vec::new(), sent: 0, passed: HashSet::new() })
    }

    fn d(&self, name: usize) -> rustix::io::Result<&OwnedFd> {
        self.descriptors[name].as_ref().ok_or(Errno::BADF)
    }

    fn addr(&self, name: Name) -> rustix::io::Result<SocketAddrUnix> {
        match name {
            Name::Path(number) => SocketAddrUnix::new(self.directory.join(format!("n{number}"))),
            Name::Abstract(number) => {
                let text = format!("{}-{number}", self.directory.display());
                SocketAddrUnix::new_abstract_name(text.as_bytes())
            }
        }
    }

    fn shown(&self, addr: Option<SocketAddrAny>) -> Shown {
        let Some(Ok(addr)) = addr.map(SocketAddrUnix::try_from) else { return Shown::Unnamed };
        // Rustix makes an empty abstract name of an unnamed address.
        if addr.path().is_none() && addr.abstract_name().is_none_or(<[u8]>::is_empty) {
            return Shown::Unnamed;
        }
        let names = (0..NAMES).flat_map(|number| [Name::Path(number), Name::Abstract(number)]);
        let is_same = |name: &Name| {
            self.addr(*name).is_ok_and(|given| {
                given.path() == addr.path() && given.abstract_name() == addr.abstract_name()
            })
        };
        names.filter(is_same).map(Shown::Given).next().unwrap_or(Shown::Chosen)
    }

    fn make(&mut self, call: Call) -> rustix::io::Result<Answer> {
        let done = |()| Answer::Done(0);
        let opened = match call {
            Call::Socket(kind) => vec![socket_with(AddressFamily::UNIX, type_of(kind), FLAGS, None)?],
            Call::Pair(kind) => {
                let (first, second) = socketpair(AddressFamily::UNIX, type_of(kind), FLAGS, None)?;
                vec![first, second]
            }
            Call::Accept(listener) => vec![accept_with(self.d(listener)?, FLAGS)?],
            Call::Duplicate(other) => vec![fcntl_dupfd_cloexec(self.d(other)?, 0)?],
            Call::Bind(name, Some(to)) => return bind(self.d(name)?, &self.addr(to)?).map(done),
            Call::Bind(name, None) => {
                return bind(self.d(name)?, &SocketAddrUnix::new_unnamed()).map(done);
            }
            Call::Unlink(number) => {
                return rustix::fs::unlink(self.directory.join(format!("n{number}"))).map(done);
            }
            Call::Listen(name, backlog) => return listen(self.d(name)?, backlog as i32).map(done),
            Call::Connect(name, Some(to)) => return connect(self.d(name)?, &self.addr(to)?).map(done),
            Call::Connect(name, None) => return connect_unspec(self.d(name)?).map(done),
            Call::Send(name, len, passed) => return self.send(name, len, passed),
            Call::SendTo(name, len, to) => {
                self.sent = self.sent.wrapping_add(1);
                let data = vec![self.sent; len];
                let sent = sendto(self.d(name)?, &data, SendFlags::NOSIGNAL, &self.addr(to)?);
                return sent.map(Answer::Done);
            }
            Call::Recv(name, len, max_rights) => return self.receive(name, len, max_rights),
            Call::Peek(name, len) => {
                let peeked = recv(self.d(name)?, &mut vec![0; len][..], RecvFlags::PEEK)?;
                return Ok(Answer::Done(peeked.0));
            }
            Call::Shutdown(name, how) => {
                let how = match how {
                    Shutdown::Read => rustix::net::Shutdown::Read,
                    Shutdown::Write => rustix::net::Shutdown::Write,
                    Shutdown::Both => rustix::net::Shutdown::Both,
                };
                return shutdown(self.d(name)?, how).map(done);
            }
            Call::Close(name) => {
                let socket = fstat(self.d(name)?)?.st_ino;
                self.descriptors[name] = None;
                // Nothing may show that the kernel has yet to collect the socket.
                if self.passed.contains(&socket) {
                    self.collect(COLLECTION_TIME);
                }
                return Ok(done(()));
            }
            Call::TakeError(name) => {
                let error = socket_error(self.d(name)?)?.err();
                return Ok(Answer::Done(error.map_or(0, |error| error.raw_os_error() as usize)));
            }
            Call::LocalName(name) => {
                return Ok(Answer::Named(self.shown(Some(getsockname(self.d(name)?)?))));
            }
            Call::PeerName(name) => {
                let addr = getpeername(self.d(name)?)?;
                return Ok(Answer::Named(self.shown(addr)));
            }
            Call::Queued(name) => {
                return Ok(Answer::Done(ioctl_fionread(self.d(name)?)? as usize));
            }
        };
        let count = opened.len();
        self.descriptors.extend(opened.into_iter().map(Some));
        Ok(Answer::Opened(count))
    }

    /// Gives the kernel this time to collect the sockets that nobody can reach. A thread of the
    /// kernel does it, and starts when any socket is closed.
    pub(super) fn collect(&self, time: Duration) {
        drop(socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None));
        thread::sleep(time);
    }

    fn send(&mut self, name: usize, len: usize, passed: Option<usize>) -> rustix::io::Result<Answer> {
        self.sent = self.sent.wrapping_add(1);
        if let Some(passed) = passed {
            let socket = fstat(self.d(passed)?)?.st_ino;
            self.passed.insert(socket);
        }
        let d = self.d(name)?;
        let passed = passed.map(|passed| self.d(passed)).transpose()?.map(|passed| [passed.as_fd()]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(passed) = &passed {
            assert!(control.push(SendAncillaryMessage::ScmRights(passed)));
        }
        let data = vec![self.sent; len];
        sendmsg(d, &[IoSlice::new(&data)], &mut control, SendFlags::NOSIGNAL).map(Answer::Done)
    }

    fn receive(&mut self, name: usize, len: usize, max_rights: usize) -> rustix::io::Result<Answer> {
        let mut data = vec![0; len];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let room = if max_rights == 0 { 0 } else { space.len() };
        let mut control = RecvAncillaryBuffer::new(&mut space[..room]);
        let d = self.d(name)?;
        let message = recvmsg(d, &mut [IoSliceMut::new(&mut data)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        data.truncate(message.bytes);
        let from = self.shown(message.address);
        let mut rights = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                rights.extend(passed);
            }
        }
        let count = rights.len();
        self.descriptors.extend(rights.into_iter().map(Some));
        Ok(Answer::Received(data, Some(from), count, message.flags.contains(ReturnFlags::CTRUNC)))
    }
}

impl Machine for Kernel {
    fn call(&mut self, call: Call) -> Answer {
        self.make(call).unwrap_or_else(|error| Answer::Failed(error.raw_os_error()))
    }

    fn readinesses(&self) -> Readinesses {
        let wanted = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
        let bits = |d: &OwnedFd| {
            let mut polled = [PollFd::new(d, wanted)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut polled, Some(&at_once)).map(|_| polled[0].revents().bits()).unwrap_or(0)
        };
        self.descriptors.iter().map(|d| d.as_ref().map(bits)).collect()
    }
}
