//! The traits of tokio, and the functions that take its `ReadBuf`.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use portolan::UnixAddr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;
use crate::socket::stream::Slices;
use crate::task::halves::Stream;
use crate::task::stream_polls::{end_writing, poll_write, poll_write_vectored};
use crate::task::wait::poll_call;
use crate::task::{
    OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, UdpSocket, UnixDatagram, UnixStream, WriteHalf,
};

/// Polls for data, which it appends to the buffer.
fn poll_read(socket: &Socket, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let wanted = buf.remaining();
    if wanted == 0 {
        return Poll::Ready(Ok(()));
    }
    poll_call(cx, socket, |calls| calls.read_at_most(wanted))
        .map_ok(|slices: Slices| slices.iter().for_each(|slice| buf.put_slice(slice)))
}

fn poll_peek(socket: &Socket, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
    poll_call(cx, socket, |calls| calls.peek(buf.initialize_unfilled())).map_ok(|len| {
        buf.advance(len);
        len
    })
}

/// The functions with tokio's `ReadBuf`.
impl UdpSocket {
    /// Polls for a datagram from the connected peer. The last task that polled is woken.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(|_| ())
    }

    /// Polls for a datagram. Returns its sender; the part that does not fit into the buffer is
    /// lost. The last task that polled is woken.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        poll_call(cx, self.socket(), |calls| calls.recv_msg()).map_ok(|(data, meta)| {
            buf.put_slice(&data[..data.len().min(buf.remaining())]);
            meta.peer()
        })
    }

    /// Like [`poll_recv_from`](UdpSocket::poll_recv_from), but leaves the datagram in the queue.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let peeked = poll_call(cx, self.socket(), |calls| calls.peek_from(buf.initialize_unfilled()));
        peeked.map_ok(|(len, from)| {
            buf.advance(len);
            from
        })
    }
}

/// The functions with tokio's `ReadBuf`.
impl UnixDatagram {
    /// Polls for a datagram. The part that does not fit into the buffer is lost. The last task that
    /// polled is woken.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(|_| ())
    }

    /// Like [`poll_recv`](UnixDatagram::poll_recv). Returns the name of the sender.
    pub fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<UnixAddr>> {
        let received = poll_call(cx, self.socket(), |calls| calls.recv_unix(buf.initialize_unfilled()));
        received.map_ok(|(len, from)| {
            buf.advance(len);
            from
        })
    }
}

/// `AsyncRead`, for a type with a method `socket`.
macro_rules! async_read {
    ($type:ident $(<$($life:lifetime,)? $param:ident>)?) => {
        impl $(<$($life,)? $param: Stream>)? AsyncRead for $type $(<$($life,)? $param>)? {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read(self.socket(), cx, buf)
            }
        }

        impl $(<$($life,)? $param: Stream>)? $type $(<$($life,)? $param>)? {
            /// Polls for data, which it copies to the buffer and leaves in the receive queue. The
            /// last task that polled is woken.
            pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
                poll_peek(self.socket(), cx, buf)
            }
        }
    };
}

/// `AsyncWrite`, for a type with a method `socket`.
macro_rules! async_write {
    ($type:ident $(<$($life:lifetime,)? $param:ident>)?) => {
        impl $(<$($life,)? $param: Stream>)? AsyncWrite for $type $(<$($life,)? $param>)? {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                poll_write(self.socket(), cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_vectored(self.socket(), cx, data)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            /// Does nothing, because written data is not buffered here.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the half of the connection that writes, at once.
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(end_writing(self.socket()))
            }
        }
    };
}

async_read!(TcpStream);
async_read!(UnixStream);
async_read!(ReadHalf<'a, S>);
async_read!(OwnedReadHalf<S>);
async_write!(TcpStream);
async_write!(UnixStream);
async_write!(WriteHalf<'a, S>);
async_write!(OwnedWriteHalf<S>);
