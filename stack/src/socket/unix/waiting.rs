//! How senders learn that a full queue has room again.
//!
//! A socket that finds the queue of a receiver full enters the receiver's list `stalled`, and is
//! woken once when there is room. So a datagram costs no more than the sockets that asked for room
//! since the last one, however many are connected to its receiver. A sender asks when it sends, and
//! when its readiness is asked for: another socket may have filled the queue.

use crate::id::SocketId;
use crate::memory::Account;
use crate::slab::Slab;
use crate::socket::record::Socket;

/// The peer of a datagram socket, if its queue takes no datagram from this socket.
pub(in crate::socket) fn full_peer(records: &Slab<SocketId, Socket>, id: SocketId) -> Option<SocketId> {
    let unix = records.get(id)?.unix().ok()?;
    let peer = unix.peer.filter(|_| !unix.is_connection_based())?;
    let other = records.get(peer)?.unix().ok()?;
    other.is_full_for(peer, id).then_some(peer)
}

/// Enters a datagram socket whose peer is full into the list of those that wait for room. Returns
/// whether its peer is full.
pub(in crate::socket) fn wait_for_peer(
    records: &mut Slab<SocketId, Socket>,
    account: &mut Account,
    id: SocketId,
) -> bool {
    let Some(peer) = full_peer(records, id) else { return false };
    wait_at(records, account, id, peer);
    true
}

/// Enters a socket into the list of those that wait for room in the queue of this receiver.
pub(in crate::socket) fn wait_at(
    records: &mut Slab<SocketId, Socket>,
    account: &mut Account,
    id: SocketId,
    receiver: SocketId,
) {
    if let Some(Ok(unix)) = records.get_mut(id).map(Socket::unix_mut) {
        unix.stalled_at.insert(receiver);
    }
    let Some(socket) = records.get_mut(receiver) else { return };
    if let Ok(unix) = socket.unix_mut()
        && unix.stalled.insert(id)
    {
        let bytes = socket.charge();
        account.renew(&mut socket.charged_bytes, bytes);
    }
}
