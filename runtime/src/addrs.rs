//! [`ToAddrs`]: addresses and names that a program gives to sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::future::block_on;
use crate::handle::Handle;
use crate::plan::refused;

/// What a program may bind a socket to, or connect to: socket addresses, and names with a port. It
/// is modelled on `std::net::ToSocketAddrs`, but looks nothing up: that needs the runtime.
///
/// | type | example |
/// |---|---|
/// | `SocketAddr`, `SocketAddrV4`, `SocketAddrV6` | `"10.0.0.1:80".parse::<SocketAddr>()?` |
/// | an address and a port | `([10, 0, 0, 1], 80)`, `(Ipv6Addr::LOCALHOST, 80)` |
/// | a name and a port | `("example.com", 80)` |
/// | `&str`, `String` | `"example.com:80"`, `"10.0.0.1:80"`, `"[::1]:80"` |
/// | several addresses | `&[SocketAddr]`, `[SocketAddr; 2]`, `Vec<SocketAddr>`: each is tried |
/// | a reference to any of these | |
///
/// Names need the feature `resolver`, and a resolver that knows a DNS server or the name
/// ([`Builder::resolver`](crate::Builder)).
///
/// ```
/// use std::net::SocketAddr;
///
/// use portolan_runtime::{Builder, TcpListener, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let listener = TcpListener::bind(&runtime, "0.0.0.0:80")?;
/// let socket = UdpSocket::bind(&runtime, ("10.0.0.1", 53))?;
/// // 10.9.9.9 is no address of this host, so the second one is taken.
/// let addresses: [SocketAddr; 2] = ["10.9.9.9:7".parse()?, "10.0.0.1:7".parse()?];
/// assert_eq!(TcpListener::bind(&runtime, &addresses)?.local_addr()?, addresses[1]);
/// # drop((listener, socket));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only the types of this list implement this trait.
pub trait ToAddrs: sealed::Sealed {
    /// Takes it apart.
    #[doc(hidden)]
    fn to_addrs(&self) -> io::Result<sealed::Addrs>;
}

pub(crate) mod sealed {
    use std::net::SocketAddr;

    pub trait Sealed {}

    /// Addresses, or what has to be looked up first.
    // Exhaustive: nobody outside of this crate can name it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Addrs {
        One(SocketAddr),
        Several(Vec<SocketAddr>),
        Name(String, u16),
    }
}

use sealed::{Addrs, Sealed};

/// Types that are one socket address.
macro_rules! addresses {
    ($($type:ty),* $(,)?) => {
        $(
            impl Sealed for $type {}
            impl ToAddrs for $type {
                fn to_addrs(&self) -> io::Result<Addrs> {
                    Ok(Addrs::One((*self).into()))
                }
            }
        )*
    };
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16),
    ([u8; 16], u16),
    ([u16; 8], u16),
);

/// A name, or an address as text, with a port.
fn named(host: &str, port: u16) -> Addrs {
    match host.parse::<IpAddr>() {
        Ok(addr) => Addrs::One(SocketAddr::new(addr, port)),
        Err(_) => Addrs::Name(host.to_owned(), port),
    }
}

impl Sealed for (&str, u16) {}
impl ToAddrs for (&str, u16) {
    fn to_addrs(&self) -> io::Result<Addrs> {
        Ok(named(self.0, self.1))
    }
}

impl Sealed for (String, u16) {}
impl ToAddrs for (String, u16) {
    fn to_addrs(&self) -> io::Result<Addrs> {
        Ok(named(&self.0, self.1))
    }
}

impl Sealed for str {}
impl ToAddrs for str {
    fn to_addrs(&self) -> io::Result<Addrs> {
        if let Ok(addr) = self.parse::<SocketAddr>() {
            return Ok(Addrs::One(addr));
        }
        let parsed = self.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match parsed {
            Some((host, port)) if !host.is_empty() && !host.contains(':') => Ok(named(host, port)),
            _ => Err(refused(format!(
                "{self:?} is not an address: write a name or an address, a colon, and a port, such as \
                 \"example.com:80\", \"10.0.0.1:80\" or \"[::1]:80\""
            ))),
        }
    }
}

impl Sealed for String {}
impl ToAddrs for String {
    fn to_addrs(&self) -> io::Result<Addrs> {
        self.as_str().to_addrs()
    }
}

impl Sealed for [SocketAddr] {}
impl ToAddrs for [SocketAddr] {
    fn to_addrs(&self) -> io::Result<Addrs> {
        match self {
            [] => Err(refused("there is no address: the list is empty")),
            [addr] => Ok(Addrs::One(*addr)),
            several => Ok(Addrs::Several(several.to_vec())),
        }
    }
}

impl<const N: usize> Sealed for [SocketAddr; N] {}
impl<const N: usize> ToAddrs for [SocketAddr; N] {
    fn to_addrs(&self) -> io::Result<Addrs> {
        self.as_slice().to_addrs()
    }
}

impl Sealed for Vec<SocketAddr> {}
impl ToAddrs for Vec<SocketAddr> {
    fn to_addrs(&self) -> io::Result<Addrs> {
        self.as_slice().to_addrs()
    }
}

impl<T: ToAddrs + ?Sized> Sealed for &T {}
impl<T: ToAddrs + ?Sized> ToAddrs for &T {
    fn to_addrs(&self) -> io::Result<Addrs> {
        (**self).to_addrs()
    }
}

/// Calls `f` with the address, or with each of several until one call succeeds, as std does.
/// Returns the error of the last call.
pub(crate) fn try_each<R>(
    handle: &Handle,
    target: &impl ToAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let addresses = match target.to_addrs()? {
        Addrs::One(addr) => return f(addr),
        Addrs::Several(addresses) => addresses,
        Addrs::Name(name, port) => block_on(look_up(handle, &name, port))?,
    };
    let mut result = Err(io::ErrorKind::NotFound.into());
    for addr in addresses {
        result = f(addr);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The address, or the first of several, as std's `UdpSocket::send_to` takes it. `handle` is called
/// for a name only.
pub(crate) fn first(target: &impl ToAddrs, handle: impl FnOnce() -> Handle) -> io::Result<SocketAddr> {
    let addresses = match target.to_addrs()? {
        Addrs::One(addr) => return Ok(addr),
        Addrs::Several(addresses) => addresses,
        Addrs::Name(name, port) => block_on(look_up(&handle(), &name, port))?,
    };
    addresses.first().copied().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The addresses of a name, in the order of RFC 6724.
#[cfg(feature = "resolver")]
pub(crate) async fn look_up(handle: &Handle, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = crate::resolver::look_up_to_connect(handle, name).await?;
    Ok(addresses.into_iter().map(|addr| SocketAddr::new(addr, port)).collect())
}

#[cfg(not(feature = "resolver"))]
pub(crate) async fn look_up(_: &Handle, name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    let message = format!(
        "{name} is a name, and portolan-runtime was built without its feature `resolver`: switch the feature on, or give \
         an address"
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, port: u16) -> Addrs {
        Addrs::Name(host.to_owned(), port)
    }

    #[test]
    fn texts_are_names_or_addresses() {
        let one = |text: &str| Addrs::One(text.parse().unwrap());
        assert_eq!("10.0.0.1:80".to_addrs().unwrap(), one("10.0.0.1:80"));
        assert_eq!("[::1]:80".to_addrs().unwrap(), one("[::1]:80"));
        assert_eq!("example.com:80".to_addrs().unwrap(), name("example.com", 80));
        assert_eq!(String::from("a.:1").to_addrs().unwrap(), name("a.", 1));
        assert_eq!(("::1", 80).to_addrs().unwrap(), one("[::1]:80"));
        assert_eq!(("host".to_string(), 80).to_addrs().unwrap(), name("host", 80));
        for wrong in ["", "example.com", ":80", "::1:80", "example.com:", "example.com:70000", "[::1]"] {
            let error = wrong.to_addrs().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn addresses_and_lists_are_taken_as_they_are() {
        let [a, b]: [SocketAddr; 2] = ["10.0.0.1:1", "[fd00::1]:2"].map(|text| text.parse().unwrap());
        assert_eq!(([10, 0, 0, 1], 1).to_addrs().unwrap(), Addrs::One(a));
        assert_eq!([a, b][..].to_addrs().unwrap(), Addrs::Several(vec![a, b]));
        assert_eq!([a, b].to_addrs().unwrap(), Addrs::Several(vec![a, b]));
        assert_eq!(vec![b].to_addrs().unwrap(), Addrs::One(b));
        assert!(<[SocketAddr]>::to_addrs(&[]).is_err());
    }
}
