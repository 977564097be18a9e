//! [`HostEnd`]: a stream of the host as one end of a relay that a thread drives.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll};

use super::host_stream::{io_slices, read_slices};
use super::machine::{End, advance};
use crate::platform::host_tcp;
use crate::platform::poll::{AsFd, PollFd, PollFlags};
use crate::socket::stream::Slices;

/// A stream of the host. It wakes nobody: the thread polls its descriptor for what
/// [`poll_fd`](HostEnd::poll_fd) says.
#[derive(Debug)]
pub struct HostEnd {
    stream: TcpStream,
    /// What a call had to wait for since the last wait.
    waits_for: PollFlags,
    /// Whether the system has said that both halves are over, or that the connection has failed. It
    /// says so at once each time it is asked, and calls do not wait any more.
    is_over: bool,
}

impl HostEnd {
    pub(crate) fn new(stream: TcpStream) -> io::Result<HostEnd> {
        stream.set_nonblocking(true)?;
        host_tcp::set_nodelay(&stream);
        Ok(HostEnd { stream, waits_for: PollFlags::empty(), is_over: false })
    }

    /// What to poll. Failures are reported even if a call waits for nothing.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let is_polled = !self.is_over || !self.waits_for.is_empty();
        is_polled.then(|| PollFd::from_borrowed_fd(self.stream.as_fd(), self.waits_for))
    }

    pub(crate) fn on_polled(&mut self, flags: PollFlags) {
        self.is_over |= flags.intersects(PollFlags::ERR | PollFlags::HUP);
        self.waits_for = PollFlags::empty();
    }

    /// The result of a call, repeated if a signal handler has interrupted it.
    fn call<R>(
        &mut self,
        waits_for: PollFlags,
        mut call: impl FnMut(&mut TcpStream) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            match call(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waits_for |= waits_for;
                    return Poll::Pending;
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

impl End for HostEnd {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Slices>> {
        self.call(PollFlags::IN, |stream| read_slices(|buf| stream.read(buf)))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, data: &mut Slices) -> Poll<io::Result<usize>> {
        let sent = self.call(PollFlags::OUT, |stream| stream.write_vectored(&io_slices(data)));
        if let Poll::Ready(Ok(count)) = sent {
            advance(data, count);
        }
        sent
    }

    fn poll_failed(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_over {
            return Poll::Pending;
        }
        self.stream.take_error().unwrap_or_else(Some).map_or(Poll::Pending, Poll::Ready)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        host_tcp::unacknowledged_bytes(&self.stream)
    }

    fn reset(&mut self) {
        host_tcp::reset_on_close(&self.stream);
    }
}
