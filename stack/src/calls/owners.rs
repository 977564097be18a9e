//! The owners of descriptors: adding, removing, and their credentials.

use super::Owner;
use crate::error::Result;
use crate::id::OwnerId;
use crate::socket::Credentials;
use crate::stack::Stack;
use crate::time::Instant;

/// Owners of descriptors. An owner corresponds to a process: it has a descriptor table of its own,
/// and [`Credentials`].
impl Stack {
    /// Adds an owner of descriptors, with the default [`Credentials`].
    pub fn add_owner(&mut self) -> OwnerId {
        self.add_owner_with(Credentials::default())
    }

    /// Adds an owner of descriptors with these credentials.
    pub fn add_owner_with(&mut self, credentials: Credentials) -> OwnerId {
        self.sockets.common.owners.add(credentials)
    }

    /// The credentials of an owner. `InvalidArgument` if there is no such owner.
    pub fn credentials(&self, owner: OwnerId) -> Result<Credentials> {
        self.sockets.common.owners.credentials(owner)
    }

    /// Changes the credentials of an owner, [`OwnerId::FIRST`] included, as a process that changes
    /// its user does. Existing sockets keep the user for whom they were made. `InvalidArgument` if
    /// there is no such owner.
    pub fn set_credentials(&mut self, owner: OwnerId, credentials: Credentials) -> Result<()> {
        self.sockets.common.owners.set_credentials(owner, credentials)
    }

    /// Adds an owner that has all descriptors of another, with the same numbers and for the same
    /// sockets, and its credentials, as `fork` makes a process.
    /// [`descriptor`](Owner::descriptor) finds the copy of a descriptor by its number. Pollers are
    /// not copied. The work grows with the number of descriptors. `InvalidArgument` if there is no
    /// such owner, `TooManyDescriptorsInAll`.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, OwnerId, SocketKind, Stack};
    /// # let now = Instant::ZERO;
    /// # let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
    /// let child = stack.fork_owner(OwnerId::FIRST)?;
    /// stack.close(now, socket)?;
    /// let mut child = stack.owner(child).expect("just added");
    /// let copy = child.descriptor(socket.number())?;
    /// child.bind(copy, ([127, 0, 0, 1], 7))?; // the socket is still open
    /// # Ok::<(), Error>(())
    /// ```
    pub fn fork_owner(&mut self, owner: OwnerId) -> Result<OwnerId> {
        self.sockets.common.fork_owner(owner)
    }

    /// Removes an owner and closes its descriptors, as when a process ends. The owner is gone at
    /// once. Of its descriptors a first part is closed by this call, and the rest by the next calls
    /// of [`handle_timeout`](Stack::handle_timeout), a part each; until then
    /// [`poll_timeout`](Stack::poll_timeout) returns the present time. `InvalidArgument` for
    /// [`OwnerId::FIRST`], and if there is no such owner.
    pub fn remove_owner(&mut self, now: Instant, owner: OwnerId) -> Result<()> {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        kinds.remove_owner(&mut env, owner)
    }

    /// The calls of this owner. The calls of the stack itself are those of [`OwnerId::FIRST`].
    /// `None` if there is no such owner.
    pub fn owner(&mut self, owner: OwnerId) -> Option<Owner<'_>> {
        self.sockets.common.has_owner(owner).then_some(Owner { stack: self, id: owner })
    }
}

#[cfg(test)]
mod tests;
