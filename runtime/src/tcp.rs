//! TCP in the likeness of `std::net`.

use std::io::{self, IoSlice, Read, Write};
use std::iter::FusedIterator;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan::{SendFlags, SocketKind, SocketOption, TcpInfo};

use crate::listening::Listening;
use crate::plan::refused;
use crate::runtime::Handle;
use crate::socket::{Socket, domain_of};

/// How many connections may wait for `accept`: Linux's `somaxconn`.
const BACKLOG: usize = 4096;

/// A socket that accepts connections, as `std::net::TcpListener`.
///
/// It may be shared between threads that all `accept`: each connection wakes one of them. In a runtime with several stacks
/// it listens on all of them, each with its part of the backlog.
#[derive(Debug)]
pub struct TcpListener {
    sockets: Arc<Listening>,
}

impl TcpListener {
    /// Listens on an address and port of the stack; port 0 draws one. As with std, SO_REUSEADDR is set. The unspecified
    /// IPv6 address takes IPv4 connections too.
    pub fn bind(handle: &impl AsRef<Handle>, addr: impl Into<SocketAddr>) -> io::Result<TcpListener> {
        TcpListener::bind_with(handle, addr, BACKLOG, &[])
    }

    /// The same with a backlog and with options that must be set before, such as SO_REUSEPORT or IPV6_V6ONLY.
    pub fn bind_with(
        handle: &impl AsRef<Handle>,
        addr: impl Into<SocketAddr>,
        backlog: usize,
        options: &[SocketOption],
    ) -> io::Result<TcpListener> {
        let listening = Listening::bind(handle.as_ref(), addr.into(), backlog, options)?;
        Ok(TcpListener { sockets: Arc::new(listening) })
    }

    /// The next connection and its peer; waits for one.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.sockets.accept()?;
        Ok((TcpStream { socket: Arc::new(socket) }, peer))
    }

    /// The connections as they come; it never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The connections as they come, from an iterator that owns the listener.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().local_addr()
    }

    /// Another handle to the same socket.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { sockets: self.sockets.clone() })
    }

    /// Whether `accept` returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.sockets.first().set_nonblocking(nonblocking);
        Ok(())
    }

    /// IP_TTL of the connections that it accepts.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.sockets.set_option(ttl_option(ttl)?)
    }

    /// IP_TTL, as set or as the stack's default has it.
    pub fn ttl(&self) -> io::Result<u32> {
        ttl(self.sockets.first())
    }

    /// Whether it takes connections over IPv6 only (IPV6_V6ONLY). To set it, give it to
    /// [`bind_with`](TcpListener::bind_with).
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(self.sockets.first().options()?.v6_only)
    }

    /// SO_ERROR, which this clears.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.sockets.take_error()
    }

    /// Stops listening, for all clones, although others may be in `accept`: they get EBADF. Connections that wait
    /// to be accepted are reset.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// Any other option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

/// See [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// See [`TcpListener::into_incoming`].
#[derive(Debug)]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for IntoIncoming {}

/// When a silent peer is asked whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// TCP_KEEPIDLE: silence before the first probe.
    pub idle: Duration,
    /// TCP_KEEPINTVL: between two probes.
    pub interval: Duration,
    /// TCP_KEEPCNT: unanswered probes before the connection is given up.
    pub count: u8,
}

/// A connection, as `std::net::TcpStream`.
///
/// Reading and writing go through `&TcpStream` too, so two threads can use both directions at once. When the last
/// clone is dropped the connection is closed: what was written is still delivered in the background, unless
/// SO_LINGER ([`set_linger`](TcpStream::set_linger)) says otherwise.
#[derive(Debug)]
pub struct TcpStream {
    socket: Arc<Socket>,
}

impl TcpStream {
    /// Opens a connection; waits until it is open, as long as the stack tries (two minutes).
    pub fn connect(handle: &impl AsRef<Handle>, addr: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        TcpStream::connect_with(handle, addr, None, &[])
    }

    /// The same, and gives up with `TimedOut` after `timeout`.
    pub fn connect_timeout(
        handle: &impl AsRef<Handle>,
        addr: impl Into<SocketAddr>,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(refused(
                "a time-out of zero: give a longer one, or use TcpStream::connect to wait as long as the stack tries",
            ));
        }
        TcpStream::connect_with(handle, addr, Some(timeout), &[])
    }

    /// The same with options that must be set before, such as TCP_MAXSEG or SO_RCVBUF.
    pub fn connect_with(
        handle: &impl AsRef<Handle>,
        addr: impl Into<SocketAddr>,
        timeout: Option<Duration>,
        options: &[SocketOption],
    ) -> io::Result<TcpStream> {
        let (handle, addr) = (handle.as_ref(), addr.into());
        let socket =
            Socket::new(&handle.stacks, handle.stacks.any(), domain_of(addr), SocketKind::Stream, options)?;
        socket.connect_stream(addr, timeout)?;
        Ok(TcpStream { socket: Arc::new(socket) })
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Ends one half of the connection, or both. Whoever waits in `read` or `write` is woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Another handle to the same connection.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream { socket: self.socket.clone() })
    }

    /// How long `read` waits before it returns `WouldBlock`; `None` is for ever. Shared by all clones.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// How long `write` waits before it returns `WouldBlock`; `None` is for ever. Shared by all clones.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// What [`set_read_timeout`](TcpStream::set_read_timeout) set.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.read_timeout())
    }

    /// What [`set_write_timeout`](TcpStream::set_write_timeout) set.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.write_timeout())
    }

    /// As `read`, and leaves the data there.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buf)
    }

    /// As `read`, without a copy: waits, and takes the next slice of what was received, at most `max` bytes; an empty one
    /// is the end of the stream.
    ///
    /// A slice is what arrived in one frame, or a part of it, so it may be shorter than what could be read; and it holds
    /// the buffer of that frame in memory. The read time-out, [`set_nonblocking`](TcpStream::set_nonblocking) and
    /// SO_RCVLOWAT mean what they mean for `read`.
    pub fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        self.socket.recv_bytes(max)
    }

    /// As `write`, without a copy: the stream shares the bytes until the peer has acknowledged them. Returns how many it
    /// took.
    ///
    /// It waits until the send buffer has taken all of them, as `send` does on a blocking socket of Linux. Fewer are
    /// taken only when the stream is nonblocking, its write time-out passes, or the connection ends; what ended it is
    /// told by the next call.
    pub fn send_bytes(&self, bytes: Bytes) -> io::Result<usize> {
        self.socket.write_bytes(bytes)
    }

    /// Whether calls return `WouldBlock` instead of waiting. Shared by all clones.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// TCP_NODELAY: small writes are sent at once, although earlier ones are not acknowledged (no Nagle).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::NoDelay(nodelay))
    }

    /// TCP_NODELAY.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.nodelay)
    }

    /// SO_LINGER. `None`: dropping the last clone returns at once and what was written is delivered in the background.
    /// Zero: it resets the connection and forgets what was written. A longer time: it waits until the peer has
    /// acknowledged everything, or for that time, unless the socket is nonblocking.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(SocketOption::Linger(linger))
    }

    /// SO_LINGER.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.options()?.linger)
    }

    /// IP_TTL, 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        set_ttl(&self.socket, ttl)
    }

    /// IP_TTL, as set or as the stack's default has it.
    pub fn ttl(&self) -> io::Result<u32> {
        ttl(&self.socket)
    }

    /// IP_TOS and IPV6_TCLASS: the DSCP in the upper six bits. The lower two are TCP's own, and not set.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.socket.set_option(SocketOption::Tos(tos))
    }

    /// IP_TOS and IPV6_TCLASS.
    pub fn tos(&self) -> io::Result<u8> {
        Ok(self.socket.options()?.tos)
    }

    /// SO_KEEPALIVE with its three times, or none.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        if let Some(Keepalive { idle, interval, count }) = keepalive {
            self.socket.set_option(SocketOption::KeepIdle(idle))?;
            self.socket.set_option(SocketOption::KeepInterval(interval))?;
            self.socket.set_option(SocketOption::KeepCount(count))?;
        }
        self.socket.set_option(SocketOption::KeepAlive(keepalive.is_some()))
    }

    /// SO_KEEPALIVE, if it is on.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        let options = self.socket.options()?;
        Ok(options.keepalive.then_some(Keepalive {
            idle: options.keepalive_idle,
            interval: options.keepalive_interval,
            count: options.keepalive_count,
        }))
    }

    /// SO_ERROR, which this clears.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Any other option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.socket.set_option(option)
    }

    /// TCP_CORK: only full segments are sent until it is taken off, or for a moment (200 ms or a little more).
    pub fn set_cork(&self, cork: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::Cork(cork))
    }

    /// TCP_CORK.
    pub fn cork(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.cork)
    }

    /// TCP_QUICKACK: acknowledge at once for a while, or from now on late. It does not stay.
    pub fn set_quick_ack(&self, quick: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::QuickAck(quick))
    }

    /// TCP_USER_TIMEOUT: how long data may stay unacknowledged before the connection ends as timed out.
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(SocketOption::UserTimeout(timeout))
    }

    /// TCP_USER_TIMEOUT, if set.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.options()?.user_timeout)
    }

    /// TCP_NOTSENT_LOWAT: how much `write` takes beyond what is sent; `usize::MAX` for as much as the send buffer.
    pub fn set_unsent_low_water(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_option(SocketOption::UnsentLowWater(bytes))
    }

    /// SO_RCVLOWAT: `read` waits until this much is there, or all it was asked for, or the end.
    pub fn set_receive_low_water(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_option(SocketOption::ReceiveLowWater(bytes))
    }

    /// SO_OOBINLINE: urgent data is read as the rest.
    pub fn set_oob_inline(&self, inline: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::OobInline(inline))
    }

    /// SO_OOBINLINE.
    pub fn oob_inline(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.oob_inline)
    }

    /// MSG_MORE and MSG_EOR: as `write`, and more data follows at once, or a record ends. Takes as much as the send buffer has room
    /// for, and the flags count only if that is all of `data`.
    pub fn send_with(&self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        self.socket.send_with(data, flags)
    }

    /// MSG_OOB: as `write`, and the last byte that is taken is urgent.
    pub fn send_oob(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send_oob(data)
    }

    /// MSG_OOB: the byte of urgent data that the peer sent last. It never waits: `WouldBlock` while the byte is announced
    /// and not here, `InvalidInput` if there is none.
    pub fn recv_oob(&self) -> io::Result<u8> {
        self.socket.call(|stack, now, d| stack.recv_oob(now, d))
    }

    /// SIOCATMARK: whether the next byte is the urgent one. No `read` goes across it.
    pub fn at_mark(&self) -> io::Result<bool> {
        self.socket.call(|stack, _, d| stack.at_mark(d))
    }

    /// What can be known of the connection: round trips, windows, losses, rates (TCP_INFO).
    pub fn info(&self) -> io::Result<TcpInfo> {
        self.socket.call(|stack, now, d| stack.info(now, d))
    }

    /// The stack that it belongs to.
    pub fn handle(&self) -> Handle {
        self.socket.handle()
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf)
    }
}

impl Write for &TcpStream {
    /// Takes at most 128 KiB at once; `write_all` goes on.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write_stream(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_slices(bufs)
    }

    /// Nothing to do: what was written is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// IP_TTL.
pub(crate) fn ttl(socket: &Socket) -> io::Result<u32> {
    let (set, default) =
        socket.call(|stack, _, d| Ok((stack.options(d)?.ttl, stack.config().ip.hop_limit)))?;
    Ok(u32::from(set.unwrap_or(default)))
}

pub(crate) fn set_ttl(socket: &Socket, ttl: u32) -> io::Result<()> {
    socket.set_option(ttl_option(ttl)?)
}

fn ttl_option(ttl: u32) -> io::Result<SocketOption> {
    match u8::try_from(ttl) {
        Ok(ttl @ 1..) => Ok(SocketOption::Ttl(ttl)),
        _ => Err(refused(format!("a TTL of {ttl}: give 1 to 255"))),
    }
}
