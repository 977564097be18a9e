//! What the program of a script does.

use std::net::SocketAddr;

use portolan::{Descriptor, Domain, Error, SocketKind, SocketOption};

use super::connection::{Connection, peer_byte, stack_byte};
use super::engine::Engine;
use super::syntax::{Call, Verb};
use crate::RawPeer;

/// The stack's port that scripts listen on, and the peer's that they connect to.
pub(super) const SERVICE_PORT: u16 = 80;
const LISTENER: &str = "listener";

/// A descriptor and how far its streams have got, in relative numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    pub(super) descriptor: Descriptor,
    sent: u32,
    received: u32,
}

impl Socket {
    /// What the program sends next.
    fn next_bytes(&self, len: usize) -> Vec<u8> {
        (0..len as u32).map(|at| stack_byte(self.sent.wrapping_add(at))).collect()
    }
}

impl Engine<'_> {
    /// Does what the line says; an error is what the program got instead.
    pub(super) fn call(&mut self, call: &Call) -> Result<(), String> {
        let got = match self.try_call(call)? {
            Ok(value) => value,
            Err(error) => error.name().to_string(),
        };
        let expected = match (&call.expected, &call.verb) {
            (Some(expected), _) if expected == "EOF" => "0".into(),
            (Some(expected), _) => expected.clone(),
            (None, Verb::Send(len) | Verb::FastOpen(len) | Verb::Recv(len)) => len.to_string(),
            (None, Verb::Connect) => Error::InProgress.name().into(),
            (None, _) => "ok".into(),
        };
        if got == expected { Ok(()) } else { Err(format!("expected {expected}\ngot      {got}")) }
    }

    fn try_call(&mut self, call: &Call) -> Result<portolan::Result<String>, String> {
        let name = call.socket.as_str();
        let done = |result: portolan::Result<()>| Ok(result.map(|()| "ok".to_string()));
        match &call.verb {
            Verb::Listen { backlog } => {
                let socket =
                    self.socket_or_new(if name == super::syntax::DEFAULT_NAME { LISTENER } else { name });
                done(self.listen(socket, *backlog))
            }
            Verb::Accept => {
                let listener = self.socket(LISTENER)?;
                Ok(self.peer.stack.accept(listener.descriptor).map(|(descriptor, _)| {
                    self.sockets.insert(name.into(), Socket { descriptor, sent: 1, received: 1 });
                    "ok".into()
                }))
            }
            Verb::Connect => {
                let socket = self.socket_or_new(name);
                done(self.connect(name, socket))
            }
            Verb::Send(len) => {
                let socket = self.socket(name)?;
                let data = socket.next_bytes(*len);
                let result = self.peer.stack.send(self.peer.now, socket.descriptor, &data);
                Ok(self.note_sent(name, result))
            }
            Verb::FastOpen(len) => {
                let socket = self.socket_or_new(name);
                let (data, remote) = (socket.next_bytes(*len), self.remote());
                let result = self.peer.stack.connect_with(self.peer.now, socket.descriptor, remote, &data);
                let has_begun = result.map(|_| ());
                self.note_connecting(name, socket, has_begun).map_err(|error| error.to_string())?;
                Ok(self.note_sent(name, result))
            }
            Verb::Recv(len) => self.receive(name, *len),
            Verb::RecvOob => {
                let socket = self.socket(name)?;
                let result = self.peer.stack.recv_oob(self.peer.now, socket.descriptor);
                if result.is_ok_and(|byte| byte != peer_byte(socket.received)) {
                    return Err(format!(
                        "byte {} of the peer's stream came out as another one",
                        socket.received
                    ));
                }
                if let (Ok(_), Some(socket)) = (result, self.sockets.get_mut(name)) {
                    socket.received = socket.received.wrapping_add(1);
                }
                done(result.map(|_| ()))
            }
            Verb::Shutdown(how) => {
                let socket = self.socket(name)?;
                done(self.peer.stack.shutdown(self.peer.now, socket.descriptor, *how))
            }
            Verb::Close => {
                let socket = self.socket(name)?;
                self.sockets.remove(name);
                done(self.peer.stack.close(self.peer.now, socket.descriptor))
            }
            Verb::SetOption(option) => {
                let socket = self.socket_or_new(name);
                done(self.peer.stack.set_option(self.peer.now, socket.descriptor, *option))
            }
        }
    }

    /// The program reads, and what it gets must be the peer's stream.
    fn receive(&mut self, name: &str, len: usize) -> Result<portolan::Result<String>, String> {
        let socket = self.socket(name)?;
        let mut buf = vec![0; len];
        let result = self.peer.stack.recv(self.peer.now, socket.descriptor, &mut buf);
        let Ok(got) = result else { return Ok(result.map(|_| String::new())) };
        for (at, &byte) in (0u32..).zip(&buf[..got]) {
            let seq = socket.received.wrapping_add(at);
            if byte != peer_byte(seq) {
                return Err(format!("byte {seq} of the peer's stream came out as another one"));
            }
        }
        if let Some(socket) = self.sockets.get_mut(name) {
            socket.received = socket.received.wrapping_add(got as u32);
        }
        Ok(Ok(got.to_string()))
    }

    fn listen(&mut self, socket: Socket, backlog: usize) -> portolan::Result<()> {
        let stack = &mut self.peer.stack;
        stack.set_option(self.peer.now, socket.descriptor, SocketOption::ReuseAddr(true))?;
        if stack.local_addr(socket.descriptor)?.port() == 0 {
            let addr: SocketAddr = match self.domain {
                Domain::V4 => (RawPeer::STACK_V4, SERVICE_PORT).into(),
                Domain::V6 => (RawPeer::STACK_V6, SERVICE_PORT).into(),
            };
            stack.bind(socket.descriptor, addr)?;
        }
        stack.listen(socket.descriptor, backlog)
    }

    /// The stream goes on behind what was taken.
    fn note_sent(&mut self, name: &str, result: portolan::Result<usize>) -> portolan::Result<String> {
        if let (Ok(len), Some(socket)) = (result, self.sockets.get_mut(name)) {
            socket.sent = socket.sent.wrapping_add(len as u32);
        }
        result.map(|len| len.to_string())
    }

    /// Where the program connects to.
    fn remote(&self) -> SocketAddr {
        match self.domain {
            Domain::V4 => (RawPeer::PEER_V4, SERVICE_PORT).into(),
            Domain::V6 => (RawPeer::PEER_V6, SERVICE_PORT).into(),
        }
    }

    fn connect(&mut self, name: &str, socket: Socket) -> portolan::Result<()> {
        let result = self.peer.stack.connect(self.peer.now, socket.descriptor, self.remote());
        self.note_connecting(name, socket, result)?;
        result
    }

    /// From now on segments of the new connection are known.
    fn note_connecting(
        &mut self,
        name: &str,
        socket: Socket,
        result: portolan::Result<()>,
    ) -> portolan::Result<()> {
        if matches!(result, Ok(()) | Err(Error::InProgress)) && !self.connections.contains_key(name) {
            let port = self.peer.stack.local_addr(socket.descriptor)?.port();
            let connection = Connection::new(self.domain, SERVICE_PORT, port, self.script.peer_isn);
            self.connections.insert(name.into(), connection);
        }
        Ok(())
    }

    pub(super) fn socket(&self, name: &str) -> Result<Socket, String> {
        self.sockets.get(name).copied().ok_or_else(|| format!("there is no socket {name}"))
    }

    fn socket_or_new(&mut self, name: &str) -> Socket {
        let (stack, domain) = (&mut self.peer.stack, self.domain);
        *self.sockets.entry(name.into()).or_insert_with(|| {
            let descriptor = stack.socket(domain, SocketKind::Stream).expect("a script opens few sockets");
            Socket { descriptor, sent: 1, received: 1 }
        })
    }
}
