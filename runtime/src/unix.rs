//! Unix-domain sockets, modelled on `std::os::unix::net`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use portolan::{Credentials, SocketKind, SocketOption, UnixAddr};

use crate::handle::Handle;
use crate::policy::BACKLOG;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::{socket_settings, urgent_calls};
use crate::socket::unix::path_name;

/// A Unix-domain socket that accepts connections, modelled on `std::os::unix::net::UnixListener`.
///
/// Unix-domain sockets connect the programs and [owners](crate::Owner) of one runtime: nothing that
/// they send leaves the stack. Paths are names in the stack, not files of the host. In a runtime
/// with several stacks they are all on the first.
///
/// ```
/// use std::io::{Read, Write};
///
/// use portolan_runtime::{Builder, UnixListener, UnixStream};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let listener = UnixListener::bind(&runtime, "/run/server")?;
/// let mut near = UnixStream::connect(&runtime, "/run/server")?;
/// let (mut far, _) = listener.accept()?;
/// near.write_all(b"hello")?;
/// drop(near);
/// let mut words = String::new();
/// far.read_to_string(&mut words)?;
/// assert_eq!(words, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixListener {
    pub(crate) socket: Arc<Socket>,
}

impl UnixListener {
    pub(crate) fn of(socket: Socket) -> UnixListener {
        UnixListener { socket: Arc::new(socket) }
    }

    /// Listens on a path, which stays when the listener is dropped, until it is
    /// [unlinked](Handle::unlink).
    pub fn bind(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(handle, &path_name(path)?)
    }

    /// Like [`bind`](UnixListener::bind), for any name. Without one the stack chooses an abstract
    /// name.
    pub fn bind_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixListener> {
        let socket = Socket::new_unix(handle.as_ref(), SocketKind::Stream)?;
        socket.bind_unix(name)?;
        socket.call(|stack, _, d| stack.listen(d, BACKLOG))?;
        Ok(UnixListener::of(socket))
    }

    /// Waits for the next connection. Returns it and the name of its peer.
    pub fn accept(&self) -> io::Result<(UnixStream, UnixAddr)> {
        let (socket, peer) = self.socket.calls().accept_unix()?;
        Ok((UnixStream::of(socket), peer))
    }

    /// Returns an endless iterator over the connections that are accepted.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// Returns the name that the listener listens on.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// Returns another handle to the same socket.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        Ok(UnixListener { socket: self.socket.clone() })
    }

    /// Sets whether `accept` returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Stops listening, for all clones. Threads in `accept` get EBADF, and the peers of connections
    /// that wait to be accepted get ECONNRESET.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.socket.set_option(option)
    }
}

impl HasSockets for UnixListener {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}

/// The iterator of [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for UnixIncoming<'_> {}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

/// A connection inside one host, modelled on `std::os::unix::net::UnixStream`.
///
/// `&UnixStream` reads and writes, too, so two threads can use both directions at once. When the
/// last clone is dropped the connection is closed. The peer can still read what was written before.
///
/// ```
/// use std::io::{Read, Write};
///
/// use portolan_runtime::{Builder, UnixStream};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let (mut near, mut far) = UnixStream::pair(&runtime)?;
/// near.write_all(b"hello")?;
/// let mut word = [0; 5];
/// far.read_exact(&mut word)?;
/// assert_eq!(&word, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixStream {
    pub(crate) socket: Arc<Socket>,
}

impl UnixStream {
    pub(crate) fn of(socket: Socket) -> UnixStream {
        UnixStream { socket: Arc::new(socket) }
    }

    /// Connects to the listener with this path. Waits while its backlog is full.
    pub fn connect(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(handle, &path_name(path)?)
    }

    /// Like [`connect`](UnixStream::connect), for any name.
    pub fn connect_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixStream> {
        let socket = Socket::new_unix(handle.as_ref(), SocketKind::Stream)?;
        socket.calls().connect_unix(name)?;
        Ok(UnixStream::of(socket))
    }

    /// Makes both ends of a connection without names (`socketpair`).
    pub fn pair(handle: &impl AsRef<Handle>) -> io::Result<(UnixStream, UnixStream)> {
        let pair = Socket::unix_pair(handle.as_ref(), SocketKind::Stream)?;
        let [near, far] = pair.map(UnixStream::of);
        Ok((near, far))
    }

    /// Returns the name of the peer.
    pub fn peer_addr(&self) -> io::Result<UnixAddr> {
        self.socket.peer_unix()
    }

    /// Returns the name of this end.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// SO_PEERCRED: the credentials of the peer's owner when it called `connect` or `listen`, or
    /// made the pair.
    pub fn peer_cred(&self) -> io::Result<Credentials> {
        self.socket.peer_credentials()
    }

    /// Ends one half of the connection, or both. Threads that wait in `read` or `write` are woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Reads data and leaves it in the receive queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().peek(buf)
    }

    /// Reads without a copy: waits, and takes the next piece of what was written, at most `max`
    /// bytes. An empty slice is the end of the stream.
    pub fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        self.socket.calls().recv_bytes(max)
    }

    /// Writes without a copy: the reader gets the same bytes. Waits until all of them are taken, as
    /// [`TcpStream::send_bytes`](crate::TcpStream::send_bytes) does.
    pub fn send_bytes(&self, bytes: Bytes) -> io::Result<usize> {
        self.socket.calls().write_bytes(bytes)
    }
}

socket_settings!(UnixStream);
urgent_calls!(UnixStream);

impl Read for &UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.calls().read_vectored(bufs)
    }
}

impl Write for &UnixStream {
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

impl Read for UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for UnixStream {
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

impl HasSockets for UnixStream {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}

/// A datagram socket inside one host, modelled on `std::os::unix::net::UnixDatagram`. Datagrams are
/// neither lost nor reordered: a sender waits while the receiver's queue is full.
///
/// ```
/// use portolan_runtime::{Builder, UnixDatagram};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let log = UnixDatagram::bind(&runtime, "/dev/log")?;
/// let program = UnixDatagram::unbound(&runtime)?;
/// program.send_to(b"started", "/dev/log")?;
/// let mut line = [0; 1000];
/// let (len, from) = log.recv_from(&mut line)?;
/// assert_eq!(&line[..len], b"started");
/// assert!(from.is_unnamed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixDatagram {
    pub(crate) socket: Arc<Socket>,
}

impl UnixDatagram {
    pub(crate) fn of(socket: Socket) -> UnixDatagram {
        UnixDatagram { socket: Arc::new(socket) }
    }

    /// Makes a socket with a path, which stays when the socket is dropped, until it is
    /// [unlinked](Handle::unlink).
    pub fn bind(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(handle, &path_name(path)?)
    }

    /// Like [`bind`](UnixDatagram::bind), for any name. Without one the stack chooses an abstract
    /// name.
    pub fn bind_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixDatagram> {
        let new = UnixDatagram::unbound(handle)?;
        new.socket.bind_unix(name)?;
        Ok(new)
    }

    /// Makes a socket without a name, which can send.
    pub fn unbound(handle: &impl AsRef<Handle>) -> io::Result<UnixDatagram> {
        let socket = Socket::new_unix(handle.as_ref(), SocketKind::Datagram)?;
        Ok(UnixDatagram::of(socket))
    }

    /// Makes two sockets without names that send to each other (`socketpair`).
    pub fn pair(handle: &impl AsRef<Handle>) -> io::Result<(UnixDatagram, UnixDatagram)> {
        let pair = Socket::unix_pair(handle.as_ref(), SocketKind::Datagram)?;
        let [near, far] = pair.map(UnixDatagram::of);
        Ok((near, far))
    }

    /// Sets the peer: `send` sends to it, and only its datagrams are received.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&path_name(path)?)
    }

    /// Like [`connect`](UnixDatagram::connect), for any name.
    pub fn connect_addr(&self, name: &UnixAddr) -> io::Result<()> {
        self.socket.calls().connect_unix(name)
    }

    /// Sends a datagram to a path. Waits while the receiver's queue is full.
    pub fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(data, &path_name(path)?)
    }

    /// Like [`send_to`](UnixDatagram::send_to), for any name.
    pub fn send_to_addr(&self, data: &[u8], name: &UnixAddr) -> io::Result<usize> {
        self.socket.calls().send_to_unix(data, name)
    }

    /// Sends a datagram to the peer. Waits while its queue is full.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.calls().write(data)
    }

    /// Waits for a datagram. Returns its length and the name of its sender; the part that does not
    /// fit into the buffer is lost.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, UnixAddr)> {
        self.socket.calls().recv_unix(buf)
    }

    /// Like [`recv_from`](UnixDatagram::recv_from), without the name.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().recv_unix(buf).map(|(len, _)| len)
    }

    /// Like [`recv`](UnixDatagram::recv), but leaves the datagram in the queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().peek(buf)
    }

    /// Returns the name of the peer.
    pub fn peer_addr(&self) -> io::Result<UnixAddr> {
        self.socket.peer_unix()
    }

    /// Returns the name of this end.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// Ends receiving, sending, or both. Threads that wait are woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

socket_settings!(UnixDatagram);

impl HasSockets for UnixDatagram {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
