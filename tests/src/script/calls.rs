//! The calls of a script's program.

use std::net::SocketAddr;

use portolan::SocketOption;

use super::connection::{Connection, peer_byte, stack_byte};
use super::engine::Engine;
use super::syntax::{Call, Verb};
use crate::host::{CallResult, Host, host_addr, peer_addr};

/// The stack's port that scripts listen on, and the peer's that they connect to.
pub(super) const SERVICE_PORT: u16 = 80;
const LISTENER: &str = "listener";

/// A descriptor, and the positions in its streams in relative numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket<D> {
    pub(super) descriptor: D,
    sent: u32,
    received: u32,
}

impl<D> Socket<D> {
    /// The bytes that the program sends next.
    fn next_bytes(&self, len: usize) -> Vec<u8> {
        (0..len as u32).map(|at| stack_byte(self.sent.wrapping_add(at))).collect()
    }
}

impl<H: Host> Engine<'_, H> {
    /// Makes the call of a line. The error is the result that the program got instead.
    pub(super) fn call(&mut self, call: &Call) -> Result<(), String> {
        let got = match self.try_call(call)? {
            Ok(value) => value,
            Err(error) => error.to_string(),
        };
        if call.expected.as_deref() == Some("*") {
            self.note_result(&got);
            return Ok(());
        }
        let expected = match (&call.expected, &call.verb) {
            (Some(expected), _) if expected == "EOF" => "0".into(),
            (Some(expected), _) => expected.clone(),
            (None, Verb::Send { len, .. } | Verb::FastOpen(len) | Verb::Recv(len)) => len.to_string(),
            (None, Verb::Connect) => "EINPROGRESS".into(),
            (None, _) => "ok".into(),
        };
        if got == expected { Ok(()) } else { Err(format!("expected {expected}\ngot      {got}")) }
    }

    fn try_call(&mut self, call: &Call) -> Result<CallResult<String>, String> {
        let name = call.socket.as_str();
        let done = |result: CallResult<()>| Ok(result.map(|()| "ok".to_string()));
        match &call.verb {
            Verb::Listen { backlog } => {
                let socket =
                    self.socket_or_new(if name == super::syntax::DEFAULT_NAME { LISTENER } else { name });
                done(self.listen(socket, *backlog))
            }
            Verb::Accept => {
                let listener = self.socket(LISTENER)?;
                Ok(self.host.accept(listener.descriptor).map(|descriptor| {
                    self.sockets.insert(name.into(), Socket { descriptor, sent: 1, received: 1 });
                    "ok".into()
                }))
            }
            Verb::Connect => {
                let socket = self.socket_or_new(name);
                done(self.connect(name, socket))
            }
            Verb::Send { len, flags } => {
                let socket = self.socket(name)?;
                let data = socket.next_bytes(*len);
                let result = self.host.send_with(socket.descriptor, &data, *flags);
                Ok(self.note_sent(name, result))
            }
            Verb::FastOpen(len) => {
                let socket = self.socket_or_new(name);
                let (data, remote) = (socket.next_bytes(*len), self.remote());
                let result = self.host.connect_with_data(socket.descriptor, remote, &data);
                let has_begun = result.map(|_| ());
                self.note_connecting(name, socket, has_begun)?;
                Ok(self.note_sent(name, result))
            }
            Verb::Recv(len) => self.receive(name, *len),
            Verb::RecvOob => {
                let socket = self.socket(name)?;
                let result = self.host.recv_oob(socket.descriptor);
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
                done(self.host.shutdown(socket.descriptor, *how))
            }
            Verb::Close => {
                let socket = self.socket(name)?;
                self.sockets.remove(name);
                done(self.host.close(socket.descriptor))
            }
            Verb::SetOption(option) => {
                let socket = self.socket_or_new(name);
                done(self.host.set_option(socket.descriptor, *option))
            }
        }
    }

    /// Reads, and checks that the data is the peer's stream.
    fn receive(&mut self, name: &str, len: usize) -> Result<CallResult<String>, String> {
        let socket = self.socket(name)?;
        let mut buf = vec![0; len];
        let result = self.host.recv(socket.descriptor, &mut buf);
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

    fn listen(&mut self, socket: Socket<H::Descriptor>, backlog: usize) -> CallResult<()> {
        let (host, descriptor) = (&mut self.host, socket.descriptor);
        host.set_option(descriptor, SocketOption::ReuseAddr(true))?;
        if host.local_addr(descriptor)?.port() == 0 {
            host.bind(descriptor, (host_addr(self.domain), SERVICE_PORT).into())?;
        }
        host.listen(descriptor, backlog)
    }

    /// Advances the stream by the bytes that were taken.
    fn note_sent(&mut self, name: &str, result: CallResult<usize>) -> CallResult<String> {
        if let (Ok(len), Some(socket)) = (result, self.sockets.get_mut(name)) {
            socket.sent = socket.sent.wrapping_add(len as u32);
        }
        result.map(|len| len.to_string())
    }

    /// The address that the program connects to.
    fn remote(&self) -> SocketAddr {
        (peer_addr(self.domain), SERVICE_PORT).into()
    }

    fn connect(&mut self, name: &str, socket: Socket<H::Descriptor>) -> CallResult<()> {
        let result = self.host.connect(socket.descriptor, self.remote());
        self.note_connecting(name, socket, result)?;
        result
    }

    /// Records a new connection, so that its segments are recognized.
    fn note_connecting(
        &mut self,
        name: &str,
        socket: Socket<H::Descriptor>,
        result: CallResult<()>,
    ) -> CallResult<()> {
        if matches!(result, Ok(()) | Err("EINPROGRESS")) && !self.connections.contains_key(name) {
            let port = self.host.local_addr(socket.descriptor)?.port();
            let connection = Connection::new(self.domain, SERVICE_PORT, port, self.script.peer_isn);
            self.connections.insert(name.into(), connection);
        }
        Ok(())
    }

    pub(super) fn socket(&self, name: &str) -> Result<Socket<H::Descriptor>, String> {
        self.sockets.get(name).copied().ok_or_else(|| format!("there is no socket {name}"))
    }

    fn socket_or_new(&mut self, name: &str) -> Socket<H::Descriptor> {
        let (host, domain) = (&mut self.host, self.domain);
        *self.sockets.entry(name.into()).or_insert_with(|| {
            let descriptor = host.socket(domain).expect("a script opens few sockets");
            Socket { descriptor, sent: 1, received: 1 }
        })
    }
}
