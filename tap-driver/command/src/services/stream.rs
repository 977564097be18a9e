//! The services over TCP: what each does with a connection.
//!
//! There may be a hundred thousand connections, so an idle one has a small future and no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use portolan_runtime::task::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::daytime::daytime_line;
use super::pattern::whole_periods;

#[cfg(test)]
mod tests;

/// The number of bytes that echo reads at once.
const BUFFER_BYTES: usize = 64 << 10;
/// A connection is given up if its peer sends nothing for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// A connection is given up if its peer reads nothing for this long.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// For how long, and how much, is read from a peer that still sends after its last answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 256 << 10;

thread_local! {
    /// All connections of a thread are read into the same memory.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// RFC 862: sends everything back, until the peer closes its half.
pub(super) async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let echoed = timeout(IDLE_TIMEOUT, poll_fn(|cx| poll_echo(&mut stream, cx))).await;
        match in_time(echoed)? {
            None => return Ok(()),
            Some(unsent) if unsent.is_empty() => {}
            // In a box, because it is large and few connections need it.
            Some(unsent) => Box::pin(send_all(&stream, unsent)).await?,
        }
    }
}

/// Polls for data, and sends it back. Returns what there was no room for; `None` at the end of the
/// stream.
fn poll_echo(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        let data = buffer.filled();
        if data.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let sent = match Pin::new(stream).poll_write(cx, data) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(Some(Bytes::copy_from_slice(&data[sent..]))))
    })
}

/// RFC 863: discards everything without copying it, until the peer closes its half.
pub(super) async fn discard(stream: TcpStream) -> io::Result<()> {
    while !in_time(timeout(IDLE_TIMEOUT, stream.recv_bytes(usize::MAX)).await)?.is_empty() {}
    Ok(())
}

/// RFC 867: sends the date and time, and ends the stream.
pub(super) async fn daytime(stream: TcpStream) -> io::Result<()> {
    send_all(&stream, daytime_line().into()).await?;
    finish(stream).await
}

/// RFC 864: sends lines of printing characters, as fast as the peer reads them, until it closes the
/// connection. All connections send the same memory.
pub(super) async fn chargen(stream: TcpStream) -> io::Result<()> {
    loop {
        send_all(&stream, whole_periods()).await?;
    }
}

pub(super) async fn send_all(stream: &TcpStream, mut bytes: Bytes) -> io::Result<()> {
    while bytes.has_remaining() {
        let sent = timeout(WRITE_TIMEOUT, stream.send_bytes(bytes.clone())).await;
        bytes.advance(in_time(sent)?);
    }
    Ok(())
}

/// Ends a connection in order after its last answer, although the peer may still be sending:
/// closing with unread data would be a reset (RFC 9293 §3.6.1 after RFC 1122 §4.2.2.13), which can
/// overtake the answer.
pub(super) async fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let drain = async {
        let mut left = DRAIN_BYTES;
        while left > 0 {
            match stream.recv_bytes(left).await {
                Ok(data) if !data.is_empty() => left -= data.len(),
                _ => break,
            }
        }
    };
    // What happens to the peer's data does not matter any more.
    let _ = timeout(DRAIN_TIMEOUT, drain).await;
    Ok(())
}

fn in_time<T>(result: Result<io::Result<T>, Elapsed>) -> io::Result<T> {
    result.unwrap_or_else(|elapsed| Err(elapsed.into()))
}
