//! Explanations of why an address of the stack cannot be used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan::{AddressState, Cidr, Stack};

/// The unspecified address of the same family, which stands for any of the stack's own.
pub(super) fn any_of(addr: SocketAddr) -> IpAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Explains why `wanted` cannot be used. Returns `None` if there is another reason than the
/// address, such as that no ephemeral port is free.
pub(super) fn why_not_available(stack: &Stack, wanted: IpAddr) -> Option<String> {
    let interfaces = stack.interfaces();
    let addresses: Vec<(Cidr, AddressState)> =
        interfaces.into_iter().flat_map(|interface| interface.addresses).collect();
    if wanted.is_unspecified() {
        let mut of_family = addresses.iter().filter(|(cidr, _)| cidr.addr.is_ipv4() == wanted.is_ipv4());
        let probed = of_family.find(|(_, state)| *state == AddressState::Tentative)?;
        return Some(format!(
            "no address of the stack can be used for it yet: {}",
            being_probed(probed.0.addr)
        ));
    }
    match addresses.iter().find(|(cidr, _)| cidr.addr == wanted) {
        Some((_, AddressState::Tentative)) => {
            Some(format!("{wanted} cannot be used yet: {}", being_probed(wanted)))
        }
        Some((_, AddressState::Duplicated)) => Some(format!(
            "{wanted} cannot be used: another host on the link has it; give the stack an address of its own"
        )),
        Some(_) => None,
        None => {
            let own: Vec<String> = addresses.iter().map(|(cidr, _)| cidr.addr.to_string()).collect();
            Some(format!(
                "{wanted} is not an address of this stack, which has {}: bind to one of them, or to 0.0.0.0 or :: for \
                 all",
                own.join(", ")
            ))
        }
    }
}

fn being_probed(addr: IpAddr) -> String {
    format!(
        "the stack is still asking whether another host on the link has {addr}; call Handle::wait_ready first, or start \
         it with Builder::start, which waits for that"
    )
}
