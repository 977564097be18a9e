//! The traits of futures-io.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use crate::task::halves::Stream;
use crate::task::stream_polls::{end_writing, poll_write, poll_write_vectored};
use crate::task::wait::poll_call;
use crate::task::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, UnixStream, WriteHalf};

/// `AsyncRead`, for a type with a method `socket`.
macro_rules! async_read {
    ($type:ident $(<$($life:lifetime,)? $param:ident>)?) => {
        impl $(<$($life,)? $param: Stream>)? AsyncRead for $type $(<$($life,)? $param>)? {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                poll_call(cx, self.socket(), |calls| calls.read(buf))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_call(cx, self.socket(), |calls| calls.read_vectored(bufs))
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

            /// Does nothing, because written data is not buffered here.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the half of the connection that writes, at once. Data can still be read.
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
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
