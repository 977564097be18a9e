//! The methods that blocking sockets have in common. They only pass calls on to
//! [`Socket`](super::Socket).

/// The settings of every blocking socket, for a type whose field `socket` is an `Arc<Socket>`.
/// Other fields are named after the type.
macro_rules! socket_settings {
    ($type:ident $(, $field:ident)*) => {
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

            /// SO_ATTACH_FILTER: receives only what this program chooses.
            pub fn attach_filter(&self, filter: ::portolan::bpf::Filter) -> ::std::io::Result<()> {
                self.socket.call(|owner, _, d| owner.attach_filter(d, filter))
            }

            /// SO_DETACH_FILTER.
            pub fn detach_filter(&self) -> ::std::io::Result<()> {
                self.socket.call(|owner, _, d| owner.detach_filter(d))
            }

            /// Returns the handle of the runtime that the socket belongs to.
            pub fn handle(&self) -> $crate::Handle {
                self.socket.handle()
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

pub(crate) use {ip_settings, socket_settings};
