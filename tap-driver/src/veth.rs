//! [`VethPair`]: a veth pair for a stack, where there is no TAP device.

use std::io;

use portolan::{Cidr, MacAddr};

use crate::Error;
use crate::error::refused_address;
use crate::limits::MAX_NAME_LEN;
use crate::mac::derive_mac;
use crate::netlink::{Link, Netlink};

/// The name of the stack's end is that of the kernel's end with this at its end.
const SUFFIX: &str = "-s";
/// How many names are tried for `%d`.
const MAX_NUMBERS: usize = 1000;

/// A veth pair: one end for the kernel, one for the stack. It is removed when this value is
/// dropped, or with its network namespace.
#[derive(Debug)]
pub(crate) struct VethPair {
    name: String,
}

/// The settings of a pair.
pub(crate) struct VethSettings<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    pub(crate) host_addresses: &'a [Cidr],
}

impl VethPair {
    /// The name of the kernel's end.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a pair, and brings both ends up. Returns also the name of the stack's end, and the MAC
    /// address for the stack.
    pub(crate) fn make(
        netlink: &mut Netlink,
        settings: &VethSettings<'_>,
    ) -> Result<(VethPair, String, MacAddr), Error> {
        let (pair, theirs, ours) = VethPair::create(netlink, settings.name)?;
        let name = &theirs.name;
        let failed = |doing: String| move |source| Error::changing(doing, source);
        for link in [&theirs, &ours] {
            let doing = format!("set the MTU of {} to {}", link.name, settings.mtu);
            netlink.set_mtu(link.index, settings.mtu).map_err(failed(doing))?;
        }
        // The kernel is to be one station on the link, and not two.
        if let Err(error) = netlink.set_no_link_local(ours.index) {
            log::debug!("{} has a link-local address of the kernel's: {error}", ours.name);
        }
        for &cidr in settings.host_addresses {
            netlink.add_address(theirs.index, cidr).map_err(|source| refused_address(name, cidr, source))?;
        }
        for link in [&theirs, &ours] {
            netlink.set_up(link.index).map_err(failed(format!("bring {} up", link.name)))?;
        }
        let host = theirs.mac.unwrap_or(MacAddr([0; 6]));
        let mac = settings.mac.unwrap_or_else(|| derive_mac(name, settings.host_addresses, host));
        Ok((pair, ours.name, mac))
    }

    fn create(netlink: &mut Netlink, wanted: &str) -> Result<(VethPair, Link, Link), Error> {
        for number in 0..MAX_NUMBERS {
            let name = wanted.replace("%d", &number.to_string());
            let ours = stacks_end(&name);
            match netlink.add_veth(&name, &ours) {
                Ok(()) => {
                    let pair = VethPair { name };
                    let mut find = |name: &str| {
                        netlink
                            .link(name)
                            .and_then(|link| link.ok_or_else(|| io::ErrorKind::NotFound.into()))
                            .map_err(|source| Error::Io {
                                doing: format!("find the new interface {name}"),
                                source,
                            })
                    };
                    let (theirs, ours) = (find(&pair.name)?, find(&ours)?);
                    return Ok((pair, theirs, ours));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !wanted.contains("%d") {
                        return Err(Error::NameTaken { name, is_tun: false });
                    }
                }
                Err(source) => return Err(Error::changing(format!("create the veth pair {name}"), source)),
            }
        }
        Err(Error::NameTaken { name: wanted.to_owned(), is_tun: false })
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        let removed = Netlink::open().and_then(|mut netlink| match netlink.link(&self.name)? {
            Some(link) => netlink.delete(link.index),
            None => Ok(()),
        });
        if let Err(error) = removed {
            log::debug!("{} could not be removed: {error}", self.name);
        }
    }
}

/// The name of the stack's end.
fn stacks_end(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME_LEN - SUFFIX.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_names_that_fit() {
        assert_eq!(stacks_end("portolan0"), "portolan0-s");
        assert_eq!(stacks_end("fifteen-bytes-a"), "fifteen-bytes-s");
        assert_eq!(stacks_end("twelve-bytes\u{fc}x").len(), 14);
    }
}
