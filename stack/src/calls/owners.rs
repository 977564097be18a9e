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

    /// Closes all descriptors of an owner, as when a process ends, and removes the owner. The work
    /// grows with their number. `InvalidArgument` for [`OwnerId::FIRST`], and if there is no such
    /// owner.
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
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::Error;
    use crate::socket::{Domain, SocketKind};
    use crate::testing::{Pair, PairConfig};

    #[test]
    fn credentials_are_those_of_the_owner_and_a_socket_keeps_its_user() {
        let mut stack = Stack::new(Config::default(), [1; 32], Instant::ZERO);
        let first = Credentials { pid: 7, uid: 1000, gid: 100 };
        let owner = stack.add_owner_with(first);
        assert_eq!(stack.credentials(owner), Ok(first));
        assert_eq!(stack.credentials(OwnerId::FIRST), Ok(Credentials::default()));
        let d = stack.owner(owner).unwrap().socket(Domain::V4, SocketKind::Datagram).unwrap();

        let second = Credentials { uid: 1001, ..first };
        stack.set_credentials(owner, second).unwrap();
        assert_eq!(stack.credentials(owner), Ok(second));
        let user = |stack: &Stack| stack.sockets.common.socket(owner, d).unwrap().1.uid;
        assert_eq!(user(&stack), 1000);

        stack.remove_owner(Instant::ZERO, owner).unwrap();
        assert_eq!(stack.credentials(owner), Err(Error::InvalidArgument));
        assert_eq!(stack.set_credentials(owner, first), Err(Error::InvalidArgument));
    }

    #[test]
    fn a_connection_is_of_the_user_who_accepts_it() {
        let mut pair = Pair::new(PairConfig::seeded(1));
        let listener = pair.listener(Domain::V4, 80);
        let of_other = Credentials { uid: 7, ..Credentials::default() };
        pair.b.stack.set_credentials(OwnerId::FIRST, of_other).unwrap();
        let (_, server) = pair.connect_to(Domain::V4, listener, 80);
        let user = |d| pair.b.stack.sockets.common.socket(OwnerId::FIRST, d).unwrap().1.uid;
        assert_eq!((user(listener), user(server)), (0, 7));
    }
}
