//! UDP echo of Portolan with the calls of commits before 4720a55.

use std::convert::Infallible;
use std::io;

use portolan_runtime::UdpSocket;

/// Datagrams that one call takes at most.
const MAX_DATAGRAMS: usize = 64;

/// Sends back what comes, until a call fails.
pub(super) fn echo(socket: &UdpSocket) -> io::Result<Infallible> {
    let mut batch = Vec::new();
    loop {
        socket.recv_batch_from(&mut batch, MAX_DATAGRAMS)?;
        socket.send_batch_to(&batch)?;
        batch.clear();
    }
}
