//! The trait `Stream` of futures-core.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::interceptor::Interceptors;
use crate::task::{PendingStream, TcpInterceptor, UdpInterceptor, UdpSocket};

/// The next item of a stream, which ends when the interceptor is closed or the runtime is over.
fn item<T>(sockets: &Interceptors, next: io::Result<T>) -> Option<io::Result<T>> {
    Some(next).filter(|next| next.is_ok() || !sockets.is_over())
}

/// The connections of [`TcpInterceptor::next`], until the interceptor is closed or the runtime is
/// over.
impl Stream for TcpInterceptor {
    type Item = io::Result<PendingStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        TcpInterceptor::poll_next(&self, cx).map(|next| item(&self.sockets, next))
    }
}

/// The flows of [`UdpInterceptor::accept`], each with its source, until the interceptor is closed
/// or the runtime is over.
impl Stream for UdpInterceptor {
    type Item = io::Result<(UdpSocket, SocketAddr)>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(|next| item(&self.sockets, next))
    }
}
