//! The measured peers, in a process that the client's process starts in its network namespace.
//!
//! | file | content |
//! |---|---|
//! | `services` | the services of all peers |
//! | `kernel` | the kernel in its own namespace |
//! | `portolan`, `datagrams` | Portolan |
//! | `smoltcp` | smoltcp |
//! | `limit` | the limit: a pump without TCP |

mod datagrams;
pub(crate) mod kernel;
mod limit;
mod portolan;
pub(crate) mod services;
mod smoltcp;

use std::io;

use self::services::Service;
use crate::child::{self, Child};
use crate::link;
use crate::peers::Peer;

/// What a server is started for. All peers but smoltcp serve everything; smoltcp needs to know
/// this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) service: Service,
    pub(crate) streams: usize,
    /// The number of open connections beside the measured ones.
    pub(crate) idle: usize,
}

/// Called in the client: starts a server, and sets up the client's end of the cable.
pub(crate) fn start(peer: Peer, purpose: Purpose) -> io::Result<Child> {
    let (streams, idle) = (purpose.streams.to_string(), purpose.idle.to_string());
    let child = Child::start(&["server", peer.name(), purpose.service.name(), &streams, &idle])?;
    if peer.is_kernel() {
        if peer.is_plain() {
            link::switch_offloads_off(link::CLIENT_DEVICE)?;
        }
        link::bring_up(link::CLIENT_DEVICE, link::CLIENT)?;
    }
    Ok(child)
}

/// Runs in the server's process.
pub(crate) fn run(peer: Peer, purpose: Purpose) -> io::Result<()> {
    let note = match peer {
        Peer::Kernel | Peer::KernelPlain => kernel::start(peer.is_plain(), purpose.idle)?,
        Peer::Limit | Peer::LimitPlain => limit::start(peer.is_plain())?,
        Peer::Portolan | Peer::PortolanCopies | Peer::PortolanPlain | Peer::PortolanQueues => {
            portolan::start(peer, purpose.idle)?
        }
        Peer::Smoltcp => smoltcp::start(purpose.service, purpose.streams)?,
    };
    child::ready(&note)
}
