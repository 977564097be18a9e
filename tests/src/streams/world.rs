//! A host whose sockets are connected to each other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portolan::Domain;

use super::{Address, Call, PORTS};
use crate::host::{CallResult, Found, Host};

/// The backlog of listeners.
const BACKLOG: usize = 8;
/// The time after a call. Within the longer one an acknowledgement that is delayed has come, and
/// what has waited for it.
const MOMENT: Duration = Duration::from_millis(2);
const DELAY: Duration = Duration::from_millis(25);
/// The same in virtual time, where an acknowledgement is delayed by up to 40 ms.
const VIRTUAL_DELAY: Duration = Duration::from_millis(200);

pub(super) struct World<'a, H: Host> {
    host: &'a mut H,
    /// The sockets by name. Those that are closed, or that no call has made, are `None`.
    sockets: Vec<Option<H::Descriptor>>,
    /// The first port.
    port: u16,
}

impl<'a, H: Host> World<'a, H> {
    pub(super) fn new(host: &'a mut H, port: u16) -> Self {
        World { host, sockets: Vec::new(), port }
    }

    /// Makes the calls, then closes the sockets.
    pub(super) fn play(mut self, calls: &[Call]) -> Vec<String> {
        let answers = calls.iter().map(|&call| self.call(call)).collect();
        for socket in self.sockets.into_iter().flatten() {
            let _ = self.host.close(socket);
        }
        let _ = self.host.take_sent();
        answers
    }

    /// Makes a call. Returns its result, and the readiness and the state of the open sockets.
    fn call(&mut self, call: Call) -> String {
        let result = self.make(call).unwrap_or_else(str::to_owned);
        let may_wait =
            matches!(call, Call::Send(..) | Call::Shutdown(..) | Call::Close(_) | Call::Disconnect(_));
        self.host.pass(match H::REAL_TIME {
            true if may_wait => DELAY,
            true => MOMENT,
            false => VIRTUAL_DELAY,
        });
        let sockets: Vec<String> = (0..self.sockets.len()).filter_map(|name| self.look_at(name)).collect();
        format!("{result}; {}", sockets.join(" | "))
    }

    fn make(&mut self, call: Call) -> CallResult<String> {
        if call == Call::Socket {
            let socket = self.host.socket(Domain::V4)?;
            self.sockets.push(Some(socket));
            return Ok("ok".into());
        }
        let name = call.socket().ok_or("no socket")?;
        if let Call::Accept(_) = call {
            // It has its name even if there is none.
            let listener = self.sockets.get(name).copied().flatten();
            let accepted = listener.ok_or("EBADF").and_then(|listener| self.host.accept(listener));
            if accepted.is_ok() {
                self.sockets.push(accepted.ok());
            }
            return accepted.map(|_| "ok".into());
        }
        let d = self.sockets.get(name).copied().flatten().ok_or("EBADF")?;
        let addr = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let port = |number: usize| self.port + number as u16;
        match call {
            Call::Bind(_, address, number) => {
                let ip = match address {
                    Address::Any => Ipv4Addr::UNSPECIFIED,
                    Address::Loopback => Ipv4Addr::LOCALHOST,
                };
                self.host.bind(d, (ip, number.map_or(0, port)).into()).map(ok)
            }
            Call::Listen(_) => self.host.listen(d, BACKLOG).map(ok),
            Call::Connect(_, number) => self.host.connect(d, addr(port(number))).map(ok),
            Call::Disconnect(_) => self.host.disconnect(d).map(ok),
            Call::Send(_, len, flags) => self.host.send_with(d, &vec![1; len], flags).map(told),
            Call::Recv(_, len) => self.host.recv(d, &mut vec![0; len]).map(told),
            Call::Shutdown(_, how) => self.host.shutdown(d, how).map(ok),
            Call::Close(_) => {
                self.sockets[name] = None;
                self.host.close(d).map(ok)
            }
            Call::Set(_, option) => self.host.set_option(d, option).map(ok),
            Call::TakeError(_) => Ok(self.host.take_error(d)?.unwrap_or("no error").into()),
            Call::LocalAddr(_) => self.host.local_addr(d).map(|addr| self.told_addr(addr)),
            Call::PeerAddr(_) => self.host.peer_addr(d).map(|addr| self.told_addr(addr)),
            Call::Unread(_) => self.host.unread_bytes(d).map(told),
            Call::Socket | Call::Accept(_) => Err("made above"),
        }
    }

    /// An address as text, without ports that a host chooses.
    fn told_addr(&self, addr: SocketAddr) -> String {
        match addr.port() {
            0 => format!("{} 0", addr.ip()),
            port if (self.port..self.port + PORTS as u16).contains(&port) => {
                format!("{} port {}", addr.ip(), port - self.port)
            }
            _ => format!("{} some", addr.ip()),
        }
    }

    fn look_at(&mut self, name: usize) -> Option<String> {
        let d = self.sockets[name]?;
        let Ok(readiness) = self.host.readiness(d) else { return Some(format!("{name} none")) };
        let flags = [
            ("in", readiness.readable),
            ("out", readiness.writable),
            ("rdhup", readiness.peer_closed),
            ("hup", readiness.hung_up),
            ("err", readiness.error),
            ("pri", readiness.urgent),
        ];
        let set: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
        let state = match self.host.info(d, "state") {
            // The kernel's socket has no part in TIME-WAIT any more.
            Ok(Found::Value(state)) if state != "TIME-WAIT" => state,
            _ => "CLOSED".into(),
        };
        Some(format!("{name} {state} {}", set.join(" ")))
    }
}

fn ok(_: ()) -> String {
    "ok".into()
}

fn told(number: usize) -> String {
    number.to_string()
}
