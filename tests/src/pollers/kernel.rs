//! The kernel's sockets and epoll.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use portolan::{Shutdown, SocketKind};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{
    accept_with, bind, connect, getsockname, listen, recv, send, shutdown, socket_with, sockopt::socket_error,
};

use super::{Answer, Call, Machine, POLLERS};
use crate::host::set_delayed_ack;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// How long an acknowledgement may be delayed: two ticks of a clock of 250 Hz, the least that the
/// kernel takes.
const DELAYED_ACK: Duration = Duration::from_millis(8);
/// An acknowledgement that was delayed has come by then.
const PATIENCE: Duration = Duration::from_millis(20);

pub(super) struct Kernel {
    pollers: [OwnedFd; POLLERS],
    /// Those that are closed are `None`.
    descriptors: Vec<Option<OwnedFd>>,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Self> {
        let poller = || epoll::create(CreateFlags::CLOEXEC);
        Ok(Kernel { pollers: [poller()?, poller()?], descriptors: Vec::new() })
    }

    fn d(&self, name: usize) -> rustix::io::Result<&OwnedFd> {
        self.descriptors[name].as_ref().ok_or(Errno::BADF)
    }

    fn make(&mut self, call: Call) -> rustix::io::Result<Answer> {
        let done = |()| Answer::Done(0);
        let opened = match call {
            Call::Socket(kind) => {
                let kind = match kind {
                    SocketKind::Stream => SocketType::STREAM,
                    _ => SocketType::DGRAM,
                };
                let socket = socket_with(AddressFamily::INET, kind, FLAGS, None)?;
                if kind == SocketType::STREAM {
                    set_delayed_ack(socket.as_raw_fd(), DELAYED_ACK)?;
                }
                socket
            }
            Call::Accept(listener) => accept_with(self.d(listener)?, FLAGS)?,
            Call::Duplicate(other) => fcntl_dupfd_cloexec(self.d(other)?, 0)?,
            Call::Bind(name) => {
                return bind(self.d(name)?, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map(done);
            }
            Call::Listen(name) => return listen(self.d(name)?, 8).map(done),
            Call::Connect(name, to) => {
                let to = SocketAddr::try_from(getsockname(self.d(to)?)?).map_err(|_| Errno::AFNOSUPPORT)?;
                return connect(self.d(name)?, &to).map(done);
            }
            Call::Send(name, len) => {
                return send(self.d(name)?, &[1; 64][..len], SendFlags::NOSIGNAL).map(Answer::Done);
            }
            Call::SendUrgent(name) => {
                return send(self.d(name)?, &[2], SendFlags::NOSIGNAL | SendFlags::OOB).map(Answer::Done);
            }
            Call::Recv(name, len) => {
                let received = recv(self.d(name)?, &mut [0; 64][..len], RecvFlags::empty());
                return received.map(|(len, _)| Answer::Done(len));
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
                self.d(name)?;
                self.descriptors[name] = None;
                return Ok(done(()));
            }
            Call::TakeError(name) => {
                let error = socket_error(self.d(name)?)?.err();
                return Ok(Answer::Done(error.map_or(0, |error| error.raw_os_error() as usize)));
            }
            Call::Add(poller, name, interest, token) => {
                let flags = EventFlags::from_bits_retain(interest.bits());
                let data = EventData::new_u64(token);
                return epoll::add(&self.pollers[poller], self.d(name)?, data, flags).map(done);
            }
            Call::Modify(poller, name, interest, token) => {
                let flags = EventFlags::from_bits_retain(interest.bits());
                let data = EventData::new_u64(token);
                return epoll::modify(&self.pollers[poller], self.d(name)?, data, flags).map(done);
            }
            Call::Delete(poller, name) => {
                return epoll::delete(&self.pollers[poller], self.d(name)?).map(done);
            }
            Call::Wait(poller, max) => {
                let mut events = vec![Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; max];
                let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                let count = epoll::wait(&self.pollers[poller], &mut events[..], Some(&at_once))?;
                let ready = events[..count].iter().map(|event| {
                    let Event { flags, data } = *event;
                    (data.u64(), flags.bits())
                });
                return Ok(Answer::Ready(ready.collect()));
            }
        };
        self.descriptors.push(Some(opened));
        Ok(Answer::Opened)
    }
}

impl Machine for Kernel {
    fn call(&mut self, call: Call) -> Answer {
        let answer = self.make(call).unwrap_or_else(|error| Answer::Failed(error.raw_os_error()));
        // The acknowledgement of a FIN is an event, and may be delayed.
        if matches!(call, Call::Shutdown(..) | Call::Close(_)) {
            thread::sleep(PATIENCE);
        }
        answer
    }
}
