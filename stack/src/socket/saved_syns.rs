//! The headers of SYNs that accepted connections keep until they are read (TCP_SAVE_SYN).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::mem;

use crate::id::SocketId;
use crate::memory::Account;

/// The headers of a SYN, from that of IP to the options of TCP.
#[derive(Debug)]
pub(super) struct SavedSyn(pub(super) Box<[u8]>);

impl SavedSyn {
    /// The bytes that the account holds for the headers.
    pub(super) fn bytes(&self) -> usize {
        mem::size_of::<SavedSyn>() + self.0.len()
    }
}

/// The headers for connections that were accepted, or wait for that. Hardly any connection has
/// some, so they are not in its record.
#[derive(Debug, Default)]
pub(super) struct SavedSyns(BTreeMap<SocketId, Box<SavedSyn>>);

impl SavedSyns {
    pub(super) fn get(&self, id: SocketId) -> Option<&SavedSyn> {
        self.0.get(&id).map(|saved| &**saved)
    }

    pub(super) fn insert(&mut self, account: &mut Account, id: SocketId, saved: Box<SavedSyn>) {
        account.change(0, saved.bytes());
        self.0.insert(id, saved);
    }

    pub(super) fn remove(&mut self, account: &mut Account, id: SocketId) -> Option<Box<SavedSyn>> {
        let saved = self.0.remove(&id)?;
        account.change(saved.bytes(), 0);
        Some(saved)
    }
}
