//! [`lookup_host`]: looks names up in tasks.

use std::io;
use std::net::SocketAddr;

use crate::addrs::ToAddrs;
use crate::addrs::sealed::Addrs;
use crate::handle::Handle;
use crate::resolver::look_up;

/// Looks up the addresses of a name and port, modelled on `tokio::net::lookup_host`, with the
/// runtime's [resolver](Handle::resolver). They are in the order in which to try them. Addresses
/// are returned as they are. No thread waits meanwhile; dropping the future ends the lookup.
///
/// ```
/// use portolan_runtime::{Builder, ResolverConfig, device::memory_pair, task::lookup_host};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let mut config = ResolverConfig::default();
/// config.hosts.add("10.0.0.7".parse()?, "printer");
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).resolver(config).start()?;
///
/// let addresses: Vec<_> = lookup_host(&runtime, "printer:631").await?.collect();
/// assert_eq!(addresses, ["10.0.0.7:631".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn lookup_host<H: AsRef<Handle>, T: ToAddrs>(
    handle: &H,
    host: T,
) -> io::Result<impl Iterator<Item = SocketAddr> + use<H, T>> {
    let (handle, target) = (handle.as_ref(), host.to_addrs()?);
    let addresses = match target {
        Addrs::One(addr) => vec![addr],
        Addrs::Several(addresses) => addresses,
        Addrs::Name(name, port) => {
            let found = look_up(handle, &name).await?;
            found.into_iter().map(|addr| SocketAddr::new(addr, port)).collect()
        }
    };
    Ok(addresses.into_iter())
}
