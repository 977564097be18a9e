//! TCP_SAVE_SYN: what is kept of a SYN, and TCP_SAVED_SYN, which returns it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::TcpSockets;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::network::Datagram;
use crate::socket::common::Common;
use crate::socket::record::Protocol;
use crate::socket::saved_syns::SavedSyn;
use crate::tcp::Header;

impl TcpSockets {
    /// Keeps the headers of a SYN for the time in which it is handled.
    #[cold]
    pub(super) fn note_syn(&mut self, header: &Header, header_len: usize, datagram: &Datagram) {
        let headers = datagram.packet.get(..datagram.transport_at() + header_len);
        self.present_syn =
            headers.filter(|_| header.flags.is_first_syn()).map(|headers| Box::new(SavedSyn(headers.into())));
    }
}

impl Common {
    /// TCP_SAVED_SYN: takes the headers from the socket; nothing if it has none. EINVAL if they are
    /// longer than `max`. ENOPROTOOPT unless it is a TCP socket.
    pub(crate) fn take_saved_syn(&mut self, id: SocketId, max: usize) -> Result<Vec<u8>> {
        if !matches!(self.record(id)?.protocol, Protocol::Tcp(_)) {
            return Err(Error::ProtocolNotAvailable);
        }
        if self.saved_syns.get(id).is_some_and(|saved| saved.0.len() > max) {
            return Err(Error::InvalidArgument);
        }
        let saved = self.saved_syns.remove(&mut self.account, id);
        Ok(saved.map_or(Vec::new(), |saved| saved.0.into_vec()))
    }
}
