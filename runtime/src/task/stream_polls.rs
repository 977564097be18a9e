//! The `poll` functions of streams that write, for the traits of tokio and of futures-io.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll};

use crate::socket::Socket;
use crate::task::wait::poll_call;

pub(super) fn poll_write(socket: &Socket, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    poll_call(cx, socket, |calls| calls.write_stream(data))
}

pub(super) fn poll_write_vectored(
    socket: &Socket,
    cx: &mut Context<'_>,
    data: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    poll_call(cx, socket, |calls| calls.write_slices(data))
}

/// Ends the half that writes. For one that has ended that is no error, as in tokio.
pub(super) fn end_writing(socket: &Socket) -> io::Result<()> {
    match socket.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
