//! The addresses of sockets of all families.

use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::packet::LinkAddr;
use crate::error::{Error, Result};

/// The address of a socket of any family (`struct sockaddr`).
///
/// Calls take anything that converts to it:
///
/// ```
/// use portolan::{SockAddr, UnixAddr};
///
/// let web = SockAddr::from(([10, 0, 0, 2], 80));
/// assert_eq!(web.to_string(), "10.0.0.2:80");
/// let log = SockAddr::from(UnixAddr::path("/run/log")?);
/// assert_eq!(log.to_string(), "/run/log");
/// # Ok::<(), portolan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SockAddr {
    /// AF_INET and AF_INET6.
    Ip(SocketAddr),
    /// AF_UNIX.
    Unix(UnixAddr),
    /// AF_PACKET.
    Link(LinkAddr),
}

impl SockAddr {
    /// The address of an IP socket; `None` for another family.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            SockAddr::Ip(addr) => Some(*addr),
            _ => None,
        }
    }

    /// The address of a Unix-domain socket; `None` for another family.
    pub fn unix(&self) -> Option<&UnixAddr> {
        match self {
            SockAddr::Unix(addr) => Some(addr),
            _ => None,
        }
    }

    /// The address of a packet socket; `None` for another family.
    pub fn link(&self) -> Option<LinkAddr> {
        match self {
            SockAddr::Link(addr) => Some(*addr),
            _ => None,
        }
    }

    /// The address that a program gave to a Unix-domain socket. EINVAL.
    pub(super) fn to_unix(&self) -> Result<&UnixAddr> {
        self.unix().ok_or(Error::InvalidArgument)
    }

    /// The address that a program gave to an IP socket. EAFNOSUPPORT.
    pub(super) fn to_ip(&self) -> Result<SocketAddr> {
        self.ip().ok_or(Error::AddressFamilyNotSupported)
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        SockAddr::Ip(addr)
    }
}

impl From<SocketAddrV4> for SockAddr {
    fn from(addr: SocketAddrV4) -> Self {
        SockAddr::Ip(addr.into())
    }
}

impl From<SocketAddrV6> for SockAddr {
    fn from(addr: SocketAddrV6) -> Self {
        SockAddr::Ip(addr.into())
    }
}

/// As for [`SocketAddr`]: an address and a port.
impl<I: Into<IpAddr>> From<(I, u16)> for SockAddr {
    fn from(pair: (I, u16)) -> Self {
        SockAddr::Ip(pair.into())
    }
}

impl From<UnixAddr> for SockAddr {
    fn from(addr: UnixAddr) -> Self {
        SockAddr::Unix(addr)
    }
}

impl From<LinkAddr> for SockAddr {
    fn from(addr: LinkAddr) -> Self {
        SockAddr::Link(addr)
    }
}

impl PartialEq<SocketAddr> for SockAddr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

impl fmt::Display for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SockAddr::Ip(addr) => addr.fmt(f),
            SockAddr::Unix(addr) => addr.fmt(f),
            SockAddr::Link(addr) => addr.fmt(f),
        }
    }
}

/// The name of a Unix-domain socket (`struct sockaddr_un`).
///
/// `Display` shows a path as it is, an abstract name with `@` for its NUL, as `ss` does, and
/// nothing for a socket without a name. Bytes that are not printable ASCII are escaped.
///
/// ```
/// use portolan::UnixAddr;
///
/// let path = UnixAddr::path("/run/server")?;
/// assert_eq!(path.as_path(), Some(&b"/run/server"[..]));
/// assert!(UnixAddr::abstract_name("server")?.as_path().is_none());
/// assert!(UnixAddr::UNNAMED.is_unnamed());
/// # Ok::<(), portolan::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixAddr(Name);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Unnamed,
    Path(Arc<[u8]>),
    Abstract(Arc<[u8]>),
}

impl UnixAddr {
    /// The address of a socket without a name. `bind` to it chooses an abstract name.
    pub const UNNAMED: UnixAddr = UnixAddr(Name::Unnamed);

    /// The longest path, and the longest abstract name with its NUL: `sizeof sun_path`.
    pub const MAX_LEN: usize = 108;

    /// A path, which stays until it is unlinked. A path is any sequence of bytes without NUL: the
    /// stack's own namespace has no directories. `InvalidArgument` if the path is empty, has a NUL,
    /// or is longer than [`MAX_LEN`](UnixAddr::MAX_LEN).
    pub fn path(path: impl AsRef<[u8]>) -> Result<UnixAddr> {
        let path = path.as_ref();
        if path.is_empty() || path.len() > UnixAddr::MAX_LEN || path.contains(&0) {
            return Err(Error::InvalidArgument);
        }
        Ok(UnixAddr(Name::Path(path.into())))
    }

    /// An abstract name, which vanishes with its socket. It is given without the NUL that begins
    /// it, and may contain any bytes. `InvalidArgument` if it is longer than
    /// [`MAX_LEN`](UnixAddr::MAX_LEN) less one.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Result<UnixAddr> {
        let name = name.as_ref();
        if name.len() >= UnixAddr::MAX_LEN {
            return Err(Error::InvalidArgument);
        }
        Ok(UnixAddr(Name::Abstract(name.into())))
    }

    /// The path; `None` for another name.
    pub fn as_path(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The abstract name, without its NUL; `None` for another name.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is the address of a socket without a name.
    pub fn is_unnamed(&self) -> bool {
        self.0 == Name::Unnamed
    }
}

impl fmt::Display for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Unnamed => Ok(()),
            Name::Path(path) => path.escape_ascii().fmt(f),
            Name::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl fmt::Debug for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[test]
    fn names_have_the_lengths_of_sockaddr_un() {
        for len in [1, 107, 108] {
            assert_eq!(UnixAddr::path(&vec![b'a'; len][..]).unwrap().as_path().unwrap().len(), len);
        }
        for len in [0, 107] {
            let name = UnixAddr::abstract_name(&vec![0; len][..]).unwrap();
            assert_eq!(name.as_abstract_name().unwrap().len(), len);
            assert!(!name.is_unnamed() && name.as_path().is_none());
        }
        for path in [&b""[..], &[b'a'; 109], b"a\0b"] {
            assert_eq!(UnixAddr::path(path), Err(Error::InvalidArgument));
        }
        assert_eq!(UnixAddr::abstract_name([b'a'; 108]), Err(Error::InvalidArgument));
    }

    #[test]
    fn addresses_are_shown_as_ss_shows_them() {
        let shown = |addr: SockAddr| addr.to_string();
        assert_eq!(shown(UnixAddr::UNNAMED.into()), "");
        assert_eq!(shown(UnixAddr::path("/run/a b\n").unwrap().into()), "/run/a b\\n");
        assert_eq!(shown(UnixAddr::abstract_name(b"x\0\xff").unwrap().into()), "@x\\x00\\xff");
        assert_eq!(shown(([10, 0, 0, 1], 7).into()), "10.0.0.1:7");
    }
}
