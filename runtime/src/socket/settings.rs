//! The methods that sockets have in common. They only pass calls on to [`Socket`](super::Socket).

/// The options of every socket, blocking or not, for a type whose field `socket` is an
/// `Arc<Socket>`.
macro_rules! socket_options {
    ($type:ident) => {
        /// Options that every socket has.
        impl $type {
            /// Takes the pending error (SO_ERROR).
            pub fn take_error(&self) -> ::std::io::Result<Option<::std::io::Error>> {
                self.socket.take_error()
            }

            /// Sets any option.
            pub fn set_option(&self, option: ::portolan::SocketOption) -> ::std::io::Result<()> {
                self.socket.set_option(option)
            }

            /// Returns all options.
            pub fn options(&self) -> ::std::io::Result<::portolan::SocketOptions> {
                self.socket.options()
            }

            /// Returns the handle of the runtime that the socket belongs to.
            pub fn handle(&self) -> $crate::Handle {
                self.socket.handle()
            }
        }
    };
}

/// Urgent data, for a type as in [`socket_options`].
macro_rules! urgent_calls {
    ($type:ident) => {
        /// Urgent data.
        impl $type {
            /// Writes with MSG_OOB: the last byte that is taken is urgent.
            pub fn send_oob(&self, data: &[u8]) -> ::std::io::Result<usize> {
                self.socket.calls().send_with(data, ::portolan::SendFlags::OOB)
            }

            /// MSG_OOB: returns the urgent byte that the peer sent last. Never waits: `WouldBlock`
            /// while the byte is announced and has not arrived, `InvalidInput` if there is none.
            pub fn recv_oob(&self) -> ::std::io::Result<u8> {
                let mut byte = [0];
                let oob = ::portolan::RecvFlags::OOB;
                self.socket.call(|stack, now, d| stack.recv_with(now, d, &mut byte, oob))?;
                Ok(byte[0])
            }

            /// SIOCATMARK: whether the next byte is the urgent one. A `read` ends before it.
            pub fn at_mark(&self) -> ::std::io::Result<bool> {
                self.socket.call(|stack, _, d| stack.at_mark(d))
            }
        }
    };
}

/// The settings of every blocking socket, for a type whose field `socket` is an `Arc<Socket>`.
/// Other fields are named after the type.
macro_rules! socket_settings {
    ($type:ident $(, $field:ident)*) => {
        $crate::socket::settings::socket_options!($type);

        /// Settings that every socket has. All clones share them.
        impl $type {
            /// Returns another handle to the same socket.
            pub fn try_clone(&self) -> ::std::io::Result<$type> {
                Ok($type { socket: self.socket.clone() $(, $field: self.$field)* })
            }

            /// Sets how long receiving waits before it returns `WouldBlock`; with `None` it waits
            /// for ever.
            pub fn set_read_timeout(&self, timeout: Option<::std::time::Duration>) -> ::std::io::Result<()> {
                self.socket.set_read_timeout(timeout)
            }

            /// Sets how long sending waits before it returns `WouldBlock`; with `None` it waits for
            /// ever.
            pub fn set_write_timeout(&self, timeout: Option<::std::time::Duration>) -> ::std::io::Result<()> {
                self.socket.set_write_timeout(timeout)
            }

            /// Returns how long receiving waits.
            pub fn read_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                Ok(self.socket.read_timeout())
            }

            /// Returns how long sending waits.
            pub fn write_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                Ok(self.socket.write_timeout())
            }

            /// Sets whether calls return `WouldBlock` instead of waiting.
            pub fn set_nonblocking(&self, nonblocking: bool) -> ::std::io::Result<()> {
                self.socket.set_nonblocking(nonblocking);
                Ok(())
            }

            /// SO_ATTACH_FILTER: receives only what this program chooses.
            pub fn attach_filter(&self, filter: ::portolan::bpf::Filter) -> ::std::io::Result<()> {
                self.socket.call(|owner, _, d| owner.attach_filter(d, filter))
            }

            /// SO_DETACH_FILTER.
            pub fn detach_filter(&self) -> ::std::io::Result<()> {
                self.socket.call(|owner, _, d| owner.detach_filter(d))
            }
        }
    };
}

/// The settings of sockets whose datagrams are IP packets, for a type as in [`socket_settings`].
macro_rules! ip_settings {
    ($type:ident) => {
        /// Settings of the IP packets that it sends, and errors about them.
        impl $type {
            /// Returns the address of this end.
            pub fn local_addr(&self) -> ::std::io::Result<::std::net::SocketAddr> {
                self.socket.local_addr()
            }

            /// Returns the address of the connected peer.
            pub fn peer_addr(&self) -> ::std::io::Result<::std::net::SocketAddr> {
                self.socket.peer_addr()
            }

            /// Removes the peer: the socket receives from everybody again. It keeps the address and
            /// the port that were named when it was bound.
            pub fn disconnect(&self) -> ::std::io::Result<()> {
                self.socket.call(|owner, now, d| owner.disconnect(now, d))
            }

            /// SO_BINDTODEVICE: restricts the socket to the interface with this name, or with
            /// `None` to none.
            ///
            /// # Errors
            ///
            /// `NotFound` if there is no such interface.
            pub fn bind_device(&self, name: Option<&str>) -> ::std::io::Result<()> {
                let option = self.socket.device_option(name)?;
                self.socket.set_option(option)
            }

            /// The name of the interface that the socket is bound to.
            pub fn device(&self) -> ::std::io::Result<Option<String>> {
                self.socket.device()
            }

            /// IP_TTL and IPV6_UNICAST_HOPS, 1 to 255.
            pub fn set_ttl(&self, ttl: u32) -> ::std::io::Result<()> {
                self.socket.set_ttl(ttl)
            }

            /// IP_TTL and IPV6_UNICAST_HOPS: the value that was set, or the default of the stack.
            /// Datagrams to a group have another.
            pub fn ttl(&self) -> ::std::io::Result<u32> {
                self.socket.ttl()
            }

            /// IP_TOS and IPV6_TCLASS: DSCP and the ECN field.
            pub fn set_tos(&self, tos: u8) -> ::std::io::Result<()> {
                self.socket.set_option(::portolan::SocketOption::Tos(tos))
            }

            /// IP_TOS and IPV6_TCLASS.
            pub fn tos(&self) -> ::std::io::Result<u8> {
                Ok(self.socket.options()?.ip.tos)
            }

            /// SO_BROADCAST.
            pub fn set_broadcast(&self, broadcast: bool) -> ::std::io::Result<()> {
                self.socket.set_option(::portolan::SocketOption::Broadcast(broadcast))
            }

            /// SO_BROADCAST.
            pub fn broadcast(&self) -> ::std::io::Result<bool> {
                Ok(self.socket.options()?.broadcast)
            }

            /// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: whether packets may be fragmented, and which
            /// MTU counts.
            pub fn set_mtu_discover(&self, mode: ::portolan::MtuDiscover) -> ::std::io::Result<()> {
                self.socket.set_option(::portolan::SocketOption::MtuDiscover(mode))
            }

            /// IP_MTU and IPV6_MTU: returns the path MTU to the connected peer, IP header included.
            pub fn path_mtu(&self) -> ::std::io::Result<usize> {
                self.socket.call(|owner, now, d| owner.path_mtu(now, d))
            }

            /// IP_RECVERR and IPV6_RECVERR: whether all errors about packets of this socket are
            /// reported, and put into the queue of [`recv_error`](Self::recv_error).
            pub fn set_receive_errors(&self, on: bool) -> ::std::io::Result<()> {
                self.socket.set_option(::portolan::SocketOption::ReceiveErrors(on))
            }

            /// Takes the next error of the error queue, and the payload of the packet that it is
            /// about (MSG_ERRQUEUE). It never waits: `WouldBlock` if there is none.
            pub fn recv_error(&self) -> ::std::io::Result<(::portolan::QueuedError, ::bytes::Bytes)> {
                self.socket.recv_error()
            }
        }
    };
}

/// Making a TCP socket and its settings before it connects or listens, for a type with the fields
/// of [`TcpSocket`](crate::TcpSocket).
macro_rules! tcp_socket_settings {
    ($type:ident) => {
        impl $type {
            /// Makes a socket for IPv4.
            pub fn new_v4(handle: &impl AsRef<$crate::Handle>) -> ::std::io::Result<$type> {
                $type::new(handle.as_ref(), ::portolan::Domain::V4)
            }

            /// Makes a socket for IPv6.
            pub fn new_v6(handle: &impl AsRef<$crate::Handle>) -> ::std::io::Result<$type> {
                $type::new(handle.as_ref(), ::portolan::Domain::V6)
            }

            fn new(handle: &$crate::Handle, domain: ::portolan::Domain) -> ::std::io::Result<$type> {
                let sockets = $crate::listening::sockets_on_each_stack(handle, domain, &[])?;
                Ok($type { sockets, turn: handle.stacks.any() })
            }

            /// Sets any option.
            pub fn set_option(&self, option: ::portolan::SocketOption) -> ::std::io::Result<()> {
                self.sockets.iter().try_for_each(|socket| socket.set_option(option))
            }

            /// Returns all options.
            pub fn options(&self) -> ::std::io::Result<::portolan::SocketOptions> {
                self.sockets[0].options()
            }

            /// SO_REUSEADDR: binding succeeds while old connections of the port are in TIME-WAIT.
            pub fn set_reuseaddr(&self, reuse: bool) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::ReuseAddr(reuse))
            }

            /// SO_REUSEPORT: several listeners share the port.
            pub fn set_reuseport(&self, reuse: bool) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::ReusePort(reuse))
            }

            /// IPV6_V6ONLY: an IPv6 listener takes no IPv4 connections.
            pub fn set_only_v6(&self, only_v6: bool) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::V6Only(only_v6))
            }

            /// SO_KEEPALIVE.
            pub fn set_keepalive(&self, keepalive: bool) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::KeepAlive(keepalive))
            }

            /// TCP_NODELAY.
            pub fn set_nodelay(&self, nodelay: bool) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::NoDelay(nodelay))
            }

            /// SO_SNDBUF.
            pub fn set_send_buffer_size(&self, bytes: u32) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::SendBuffer(bytes as usize))
            }

            /// SO_RCVBUF.
            pub fn set_recv_buffer_size(&self, bytes: u32) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::ReceiveBuffer(bytes as usize))
            }

            /// SO_LINGER: what dropping the stream does. With zero it resets the connection.
            pub fn set_linger(&self, linger: Option<::std::time::Duration>) -> ::std::io::Result<()> {
                self.set_option(::portolan::SocketOption::Linger(linger))
            }

            /// Makes dropping the stream reset the connection and discard unsent data.
            pub fn set_zero_linger(&self) -> ::std::io::Result<()> {
                self.set_linger(Some(::std::time::Duration::ZERO))
            }

            /// SO_BINDTODEVICE: restricts the socket to the interface with this name.
            ///
            /// # Errors
            ///
            /// `NotFound` if there is no such interface.
            pub fn bind_device(&self, name: Option<&str>) -> ::std::io::Result<()> {
                self.set_option(self.sockets[0].device_option(name)?)
            }

            /// Binds the socket to an address and port of the stack; with port 0 the stack chooses
            /// one.
            pub fn bind(&self, addr: impl Into<::std::net::SocketAddr>) -> ::std::io::Result<()> {
                $crate::listening::bind_all(&self.sockets, addr.into())
            }

            /// Returns the address that the socket is bound to.
            pub fn local_addr(&self) -> ::std::io::Result<::std::net::SocketAddr> {
                self.sockets[0].local_addr()
            }

            /// Takes the pending error (SO_ERROR).
            pub fn take_error(&self) -> ::std::io::Result<Option<::std::io::Error>> {
                self.sockets[0].take_error()
            }
        }
    };
}

pub(crate) use {ip_settings, socket_options, socket_settings, tcp_socket_settings, urgent_calls};
