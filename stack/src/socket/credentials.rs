//! [`Credentials`]: whom an owner of descriptors acts for.

/// The process, user and group of an owner, as in Linux's `struct ucred`.
///
/// The stack does not interpret them, and no user is privileged: whoever embeds the stack sets them
/// ([`Stack::set_credentials`](crate::Stack::set_credentials)), and sockets show them to others.
/// The default is all zeros.
// Exhaustive: programs construct it, and struct ucred has these three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The process id.
    pub pid: u32,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}
