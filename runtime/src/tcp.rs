//! TCP sockets, modelled on `std::net`.

pub(crate) mod connect;
pub(crate) mod socket;

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan::{RecvFlags, SendFlags, SocketOption, TcpInfo};

use crate::addrs::{self, ToAddrs};
use crate::handle::Handle;
use crate::listening::Listening;
use crate::plan::refused;
use crate::policy::BACKLOG;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::settings::{socket_options, urgent_calls};
use crate::socket::{Socket, ttl_option};

pub use socket::TcpSocket;

/// A socket that accepts connections, modelled on `std::net::TcpListener`.
///
/// Several threads may call `accept` at the same time: each connection wakes one of them. In a
/// runtime with several stacks the listener listens on all of them, each with its part of the
/// backlog.
///
/// ```
/// use std::io::Write;
///
/// use portolan_runtime::{Builder, TcpListener, TcpStream};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, "10.0.0.1:13")?;
/// let accepting = listener.try_clone()?;
/// let serving = std::thread::spawn(move || {
///     // Ends when the listener is closed.
///     accepting.incoming().map_while(Result::ok).for_each(|mut stream| {
///         let _ = stream.write_all(b"noon");
///     });
/// });
/// assert_eq!(std::io::read_to_string(TcpStream::connect(&runtime, "10.0.0.1:13")?)?, "noon");
/// listener.close()?;
/// serving.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    pub(crate) sockets: Arc<Listening>,
}

impl TcpListener {
    pub(crate) fn of(socket: Socket) -> TcpListener {
        TcpListener { sockets: Arc::new(Listening::of(socket)) }
    }

    /// Listens on an address and port of the stack; with port 0 the stack chooses one. Of several
    /// addresses ([`ToAddrs`]) it takes the first that can be bound. As with std, SO_REUSEADDR is
    /// set. The unspecified IPv6 address takes IPv4 connections, too.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use portolan_runtime::{Builder, TcpListener, TcpStream};
    ///
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    ///
    /// let listener = TcpListener::bind(&runtime, "0.0.0.0:80")?;
    /// TcpStream::connect(&runtime, "10.0.0.1:80")?.write_all(b"hello")?;
    /// let (stream, peer) = listener.accept()?;
    /// assert_eq!(std::io::read_to_string(stream)?, "hello");
    /// assert_eq!(peer.ip().to_string(), "10.0.0.1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bind(handle: &impl AsRef<Handle>, addr: impl ToAddrs) -> io::Result<TcpListener> {
        TcpListener::bind_with(handle, addr, BACKLOG, &[])
    }

    /// Like [`bind`](TcpListener::bind), with a backlog and with options that must be set before,
    /// such as SO_REUSEPORT or IPV6_V6ONLY. [`TcpSocket`] sets options one by one.
    pub fn bind_with(
        handle: &impl AsRef<Handle>,
        addr: impl ToAddrs,
        backlog: usize,
        options: &[SocketOption],
    ) -> io::Result<TcpListener> {
        let handle = handle.as_ref();
        let bind = |addr| Listening::bind(handle, addr, backlog, options);
        Ok(TcpListener { sockets: Arc::new(addrs::try_each(handle, &addr, bind)?) })
    }

    /// Waits for the next connection. Returns it and the address of its peer.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.sockets.accept()?;
        Ok((TcpStream { socket: Arc::new(socket) }, peer))
    }

    /// Returns an endless iterator over the connections that are accepted.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Like [`incoming`](TcpListener::incoming), with an iterator that owns the listener.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Returns the address and port that the listener listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().local_addr()
    }

    /// Returns another handle to the same socket.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { sockets: self.sockets.clone() })
    }

    /// Sets whether `accept` returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.sockets.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Sets IP_TTL of the connections that are accepted.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.sockets.set_option(ttl_option(ttl)?)
    }

    /// IP_TTL: the value that was set, or the default of the stack.
    pub fn ttl(&self) -> io::Result<u32> {
        self.sockets.first().ttl()
    }

    /// IPV6_V6ONLY: whether the listener takes connections over IPv6 only.
    /// [`bind_with`](TcpListener::bind_with) can set this option.
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(self.sockets.first().options()?.ip.v6_only)
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.sockets.take_error()
    }

    /// Stops listening, for all clones. Threads in `accept` get EBADF, and connections that wait to
    /// be accepted are reset.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// SO_BINDTODEVICE: restricts the socket to the interface with this name, or with `None` to
    /// none. To have it before the socket is bound, pass
    /// [`SocketOption::BindToDevice`] where the socket is made.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such interface.
    pub fn bind_device(&self, name: Option<&str>) -> io::Result<()> {
        let option = self.sockets.first().device_option(name)?;
        self.sockets.set_option(option)
    }

    /// The name of the interface that the socket is bound to.
    pub fn device(&self) -> io::Result<Option<String>> {
        self.sockets.first().device()
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

/// The iterator of [`TcpListener::incoming`].
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

/// The iterator of [`TcpListener::into_incoming`].
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

/// The timing of keep-alive probes to a silent peer.
// Exhaustive: programs construct it, and every system has these three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// TCP_KEEPIDLE: the silence before the first probe.
    pub idle: Duration,
    /// TCP_KEEPINTVL: the time between two probes.
    pub interval: Duration,
    /// TCP_KEEPCNT: the unanswered probes before the connection is given up.
    pub count: u8,
}

/// A connection, modelled on `std::net::TcpStream`.
///
/// `&TcpStream` reads and writes, too, so two threads can use both directions at once. When the
/// last clone is dropped the connection is closed: written data is still delivered in the
/// background, unless SO_LINGER ([`set_linger`](TcpStream::set_linger)) says otherwise.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
///
/// use portolan_runtime::{Builder, TcpListener, TcpStream};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, "10.0.0.1:7")?;
/// let echo = std::thread::spawn(move || {
///     let (stream, _peer) = listener.accept()?;
///     std::io::copy(&mut &stream, &mut &stream)
/// });
///
/// let mut stream = TcpStream::connect(&runtime, "10.0.0.1:7")?;
/// stream.set_nodelay(true)?;
/// stream.write_all(b"there and back")?;
/// stream.shutdown(Shutdown::Write)?;
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "there and back");
/// assert_eq!(echo.join().unwrap()?, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpStream {
    pub(crate) socket: Arc<Socket>,
}

impl TcpStream {
    pub(crate) fn of(socket: Socket) -> TcpStream {
        TcpStream { socket: Arc::new(socket) }
    }

    /// Opens a connection to an address or a name ([`ToAddrs`]). Waits until it is open, for as
    /// long as the stack tries (two minutes).
    ///
    /// A name is looked up with the runtime's resolver. If it has several addresses, or several are
    /// given, they are tried as RFC 8305 says (Happy Eyeballs): IPv6 and IPv4 in turn, the next one
    /// a quarter of a second after the one before or when that has failed. The first connection
    /// that opens is returned, and the other attempts are given up. An error then names every
    /// attempt, and has the kind of the last one.
    ///
    /// ```no_run
    /// # fn connect(runtime: &portolan_runtime::Runtime) -> std::io::Result<()> {
    /// use portolan_runtime::TcpStream;
    ///
    /// TcpStream::connect(runtime, ([10, 0, 0, 1], 80))?;
    /// TcpStream::connect(runtime, "[fd00::1]:80")?;
    /// TcpStream::connect(runtime, "example.com:80")?;
    /// TcpStream::connect(runtime, ("example.com", 80))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(handle: &impl AsRef<Handle>, addr: impl ToAddrs) -> io::Result<TcpStream> {
        TcpStream::connect_with(handle, addr, None, &[])
    }

    /// Like [`connect`](TcpStream::connect), but fails with `TimedOut` after `timeout`. Looking up
    /// a name takes as long as the resolver's settings say beside that.
    pub fn connect_timeout(
        handle: &impl AsRef<Handle>,
        addr: impl ToAddrs,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(refused(
                "a time-out of zero: give a longer one, or use TcpStream::connect to wait as long as the stack tries",
            ));
        }
        TcpStream::connect_with(handle, addr, Some(timeout), &[])
    }

    /// Like [`connect`](TcpStream::connect), with options that must be set before, such as
    /// TCP_MAXSEG or SO_RCVBUF. [`TcpSocket`] sets options one by one.
    pub fn connect_with(
        handle: &impl AsRef<Handle>,
        addr: impl ToAddrs,
        timeout: Option<Duration>,
        options: &[SocketOption],
    ) -> io::Result<TcpStream> {
        connect::connect(handle.as_ref(), &addr, timeout, options).map(TcpStream::of)
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Ends one half of the connection, or both. Threads that wait in `read` or `write` are woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Returns another handle to the same connection.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream { socket: self.socket.clone() })
    }

    /// Sets how long `read` waits before it returns `WouldBlock`; with `None` it waits for ever.
    /// All clones share this setting.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Sets how long `write` waits before it returns `WouldBlock`; with `None` it waits for ever.
    /// All clones share this setting.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// Returns what [`set_read_timeout`](TcpStream::set_read_timeout) set.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.read_timeout())
    }

    /// Returns what [`set_write_timeout`](TcpStream::set_write_timeout) set.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.write_timeout())
    }

    /// Reads data and leaves it in the receive queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().peek(buf)
    }

    /// Reads without a copy: waits, and takes the next slice of received data, at most `max` bytes.
    /// An empty slice is the end of the stream.
    ///
    /// A slice is the data of one frame, or a part of that. So it may be shorter than the result of
    /// `read`, and it keeps the buffer of that frame in memory. The read time-out,
    /// [`set_nonblocking`](TcpStream::set_nonblocking) and SO_RCVLOWAT have the same meaning as for
    /// `read`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use portolan_runtime::{Builder, TcpListener, TcpStream};
    ///
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    /// let listener = TcpListener::bind(&runtime, "10.0.0.1:80")?;
    /// let near = TcpStream::connect(&runtime, "10.0.0.1:80")?;
    /// let (far, _) = listener.accept()?;
    ///
    /// near.send_bytes(Bytes::from_static(b"hello"))?;
    /// assert_eq!(&far.recv_bytes(usize::MAX)?[..], b"hello");
    /// drop(near);
    /// assert!(far.recv_bytes(usize::MAX)?.is_empty()); // the end
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        self.socket.calls().recv_bytes(max)
    }

    /// Writes without a copy: the stream shares the bytes until the peer has acknowledged them.
    /// Returns how many bytes were taken.
    ///
    /// This waits until the send buffer has taken all bytes, as `send` does on a blocking socket of
    /// Linux. Fewer are taken only when the stream is nonblocking, its write time-out passes, or
    /// the connection ends; the next call returns the error.
    pub fn send_bytes(&self, bytes: Bytes) -> io::Result<usize> {
        self.socket.calls().write_bytes(bytes)
    }

    /// Sets whether calls return `WouldBlock` instead of waiting. All clones share this setting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// TCP_NODELAY: sends small writes at once, even if earlier ones are not acknowledged (no Nagle
    /// algorithm).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::NoDelay(nodelay))
    }

    /// TCP_NODELAY.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.tcp.nodelay)
    }

    /// SO_LINGER: what dropping the last clone does. With `None` the drop returns at once, and
    /// written data is delivered in the background. With zero it resets the connection and discards
    /// unsent data. With a longer time it waits until the peer has acknowledged everything, for at
    /// most that time, unless the socket is nonblocking.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(SocketOption::Linger(linger))
    }

    /// SO_LINGER.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.options()?.linger)
    }

    /// IP_TTL, 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// IP_TTL: the value that was set, or the default of the stack.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// IP_TOS and IPV6_TCLASS: sets the DSCP in the upper six bits. TCP sets the lower two itself.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.socket.set_option(SocketOption::Tos(tos))
    }

    /// IP_TOS and IPV6_TCLASS.
    pub fn tos(&self) -> io::Result<u8> {
        Ok(self.socket.options()?.ip.tos)
    }

    /// SO_KEEPALIVE: sets when keep-alive probes are sent; `None` switches them off.
    ///
    /// ```
    /// # use portolan_runtime::{Builder, TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// use portolan_runtime::Keepalive;
    ///
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// # let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    /// # let listener = TcpListener::bind(&runtime, "10.0.0.1:7")?;
    /// # let stream = TcpStream::connect(&runtime, "10.0.0.1:7")?;
    /// // A peer that is silent for a minute, and then does not answer three probes, is gone.
    /// let keepalive = Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 };
    /// stream.set_keepalive(Some(keepalive))?;
    /// assert_eq!(stream.keepalive()?, Some(keepalive));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        if let Some(Keepalive { idle, interval, count }) = keepalive {
            self.socket.set_option(SocketOption::KeepIdle(idle))?;
            self.socket.set_option(SocketOption::KeepInterval(interval))?;
            self.socket.set_option(SocketOption::KeepCount(count))?;
        }
        self.socket.set_option(SocketOption::KeepAlive(keepalive.is_some()))
    }

    /// SO_KEEPALIVE: returns `None` if no probes are sent.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        let options = self.socket.options()?;
        Ok(options.keepalive.then_some(Keepalive {
            idle: options.tcp.keepalive_idle,
            interval: options.tcp.keepalive_interval,
            count: options.tcp.keepalive_count,
        }))
    }

    /// SO_BINDTODEVICE: restricts the socket to the interface with this name, or with `None` to
    /// none. To have it before the socket is bound, pass
    /// [`SocketOption::BindToDevice`] where the socket is made.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such interface.
    pub fn bind_device(&self, name: Option<&str>) -> io::Result<()> {
        let option = self.socket.device_option(name)?;
        self.socket.set_option(option)
    }

    /// The name of the interface that the socket is bound to.
    pub fn device(&self) -> io::Result<Option<String>> {
        self.socket.device()
    }

    /// TCP_CORK: sends only full segments while it is set, for at most about 200 ms.
    pub fn set_cork(&self, cork: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::Cork(cork))
    }

    /// TCP_CORK.
    pub fn cork(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.tcp.cork)
    }

    /// TCP_QUICKACK: whether acknowledgements are sent at once or delayed from now on. The setting
    /// does not last.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::QuickAck(quickack))
    }

    /// TCP_QUICKACK: whether acknowledgements are sent at once now.
    pub fn quickack(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.tcp.quick_ack)
    }

    /// TCP_USER_TIMEOUT: sets how long data may stay unacknowledged before the connection ends with
    /// `TimedOut`.
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(SocketOption::UserTimeout(timeout))
    }

    /// TCP_USER_TIMEOUT, if set.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.options()?.tcp.user_timeout)
    }

    /// TCP_NOTSENT_LOWAT: sets how many unsent bytes `write` takes; with `usize::MAX`, as many as
    /// the send buffer.
    pub fn set_unsent_low_water(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_option(SocketOption::UnsentLowWater(bytes))
    }

    /// SO_RCVLOWAT: `read` waits until this many bytes have arrived, or as many as it was asked
    /// for, or the end.
    pub fn set_receive_low_water(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_option(SocketOption::ReceiveLowWater(bytes))
    }

    /// SO_OOBINLINE: urgent data is read with the rest of the stream.
    pub fn set_oob_inline(&self, inline: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::OobInline(inline))
    }

    /// SO_OOBINLINE.
    pub fn oob_inline(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.oob_inline)
    }

    /// Reads with flags. With [`RecvFlags::WAIT_ALL`] it waits until the whole buffer is full, the
    /// stream ends, an error comes or the time-out is over, and returns what it has.
    pub fn recv_with(&self, buf: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        self.socket.calls().recv_with(buf, flags)
    }

    /// Writes with MSG_MORE (more data follows at once) or MSG_EOR (a record ends here). Takes as
    /// much as the send buffer has room for; the flags count only if that is all of `data`.
    pub fn send_with(&self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        self.socket.calls().send_with(data, flags)
    }

    /// TCP_INFO: returns round-trip times, windows, losses, rates and more.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # use portolan_runtime::{Builder, TcpListener, TcpStream};
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// # let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    /// # let listener = TcpListener::bind(&runtime, "10.0.0.1:7")?;
    /// # let mut stream = TcpStream::connect(&runtime, "10.0.0.1:7")?;
    /// stream.write_all(b"hello")?;
    /// # listener.accept()?.0.read_exact(&mut [0; 5])?;
    /// let info = stream.info()?;
    /// println!("{info:?}");
    /// assert_eq!(info.total_retrans, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> io::Result<TcpInfo> {
        self.socket.call(|stack, now, d| stack.info(now, d))
    }
}

socket_options!(TcpStream);
urgent_calls!(TcpStream);

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.calls().read_vectored(bufs)
    }
}

impl Write for &TcpStream {
    /// Takes at most 128 KiB at once; `write_all` repeats the call.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.calls().write_stream(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.calls().write_slices(bufs)
    }

    /// Does nothing, because written data is not buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
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

impl HasSockets for TcpStream {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}

impl HasSockets for TcpListener {
    fn sockets(&self) -> SocketsOf<'_> {
        self.sockets.sockets()
    }
}
