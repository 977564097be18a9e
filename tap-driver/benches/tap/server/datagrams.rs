//! Portolan's UDP echo service, which handles all queued datagrams with one call.

use std::convert::Infallible;
use std::io;

use portolan::SendMeta;
use portolan_runtime::UdpSocket;

/// The most datagrams that one call takes.
const MAX_DATAGRAMS: usize = 64;

/// Sends every datagram back, until a call fails.
pub(super) fn echo(socket: &UdpSocket) -> io::Result<Infallible> {
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    loop {
        socket.recv_batch(&mut requests, MAX_DATAGRAMS)?;
        answers.extend(requests.drain(..).map(|(data, meta)| (data, SendMeta::to(meta.peer()))));
        socket.send_batch(&answers)?;
        answers.clear();
    }
}
