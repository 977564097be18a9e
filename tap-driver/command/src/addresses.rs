//! Addresses on the command line: which side of the link has which, and the checks on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan::{Cidr, MacAddr};

#[cfg(test)]
mod tests;

/// The addresses of both sides of a link, checked and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct AddressPlan {
    /// The kernel's side.
    pub(crate) host: Vec<Cidr>,
    /// The stack's side.
    pub(crate) stack: Vec<Cidr>,
    /// The stack's default routers: at most one of each family.
    pub(crate) gateways: Vec<IpAddr>,
}

impl AddressPlan {
    /// Completes and checks the given addresses.
    ///
    /// With neither side given, both get the defaults: 10.0.0.1/24 and fd10::1/64 for the kernel,
    /// 10.0.0.2/24 and fd10::2/64 for the stack; IPv6 only if `with_ipv6` is set. If some addresses
    /// are given, only their families are used, and a side without one gets the first free address
    /// of the other side's network. The default gateway of a family is the kernel's first address
    /// on the link.
    ///
    /// # Errors
    ///
    /// A message for people that says what is wrong with which address, and what to do.
    pub(crate) fn new(
        host: &[Cidr],
        stack: &[Cidr],
        gateways: &[IpAddr],
        with_ipv6: bool,
    ) -> Result<AddressPlan, String> {
        let (host, stack) = match (host, stack) {
            ([], []) => defaults(with_ipv6),
            _ => (host.to_vec(), stack.to_vec()),
        };
        for (option, cidrs) in [("--host", &host), ("--addr", &stack)] {
            for cidr in cidrs {
                check_usable(*cidr).map_err(|reason| format!("{option} {}: {reason}", cidr))?;
            }
        }
        let mut plan = AddressPlan { host, stack, gateways: Vec::new() };
        plan.check_distinct()?;
        plan.complete("--host", |plan| (&mut plan.host, &plan.stack))?;
        plan.complete("--addr", |plan| (&mut plan.stack, &plan.host))?;
        plan.check_overlaps()?;
        plan.check_shared_networks()?;
        plan.choose_gateways(gateways)?;
        Ok(plan)
    }

    /// Whether either side has an IPv6 address.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.host.iter().chain(&self.stack).any(|cidr| cidr.addr.is_ipv6())
    }

    /// The plan of a stack that gets its IPv4 address and router from the network.
    pub(crate) fn without_own_ipv4(mut self) -> AddressPlan {
        self.stack.retain(|cidr| cidr.addr.is_ipv6());
        self.gateways.retain(IpAddr::is_ipv6);
        self
    }

    fn check_distinct(&self) -> Result<(), String> {
        for (option, cidrs) in [("--host", &self.host), ("--addr", &self.stack)] {
            for (index, cidr) in cidrs.iter().enumerate() {
                if cidrs.iter().take(index).any(|earlier| earlier.addr == cidr.addr) {
                    return Err(format!("{option} {}: given twice; leave one out", cidr.addr));
                }
            }
        }
        match self.stack.iter().find(|ours| self.host.iter().any(|host| host.addr == ours.addr)) {
            Some(both) => Err(format!(
                "{} is given both as --host and as --addr: the kernel and the stack are two hosts on one link, so \
                 give each its own address",
                both.addr
            )),
            None => Ok(()),
        }
    }

    /// Gives the side that `sides` names first an address in each network of the other side, for
    /// each family in which it has none.
    fn complete(
        &mut self,
        option: &str,
        sides: impl for<'a> Fn(&'a mut AddressPlan) -> (&'a mut Vec<Cidr>, &'a Vec<Cidr>),
    ) -> Result<(), String> {
        let (missing, given) = sides(self);
        for ipv6 in [false, true] {
            if missing.iter().any(|cidr| cidr.addr.is_ipv6() == ipv6) {
                continue;
            }
            for &cidr in given.iter().filter(|cidr| cidr.addr.is_ipv6() == ipv6) {
                if missing.iter().any(|have| have.contains(cidr.addr)) {
                    continue;
                }
                let free = first_free(cidr, given).ok_or_else(|| {
                    format!("{} leaves no room for the other side of the link; give {option} too", cidr)
                })?;
                missing.push(free);
            }
        }
        Ok(())
    }

    /// Checks that networks on the link do not overlap unless they are the same. The address of a
    /// single host (/32, /128) may be in any network.
    fn check_overlaps(&self) -> Result<(), String> {
        let all: Vec<Cidr> = self.host.iter().chain(&self.stack).copied().collect();
        for (index, &one) in all.iter().enumerate() {
            for &other in all.iter().take(index) {
                let single = is_single_host(one) || is_single_host(other);
                if !single && one.prefix_len != other.prefix_len && overlap(one, other) {
                    return Err(format!(
                        "{} and {} overlap but are not the same network; give both the same prefix length, or use \
                         networks that are apart",
                        other, one
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks for each family that the two sides share at least one network. Without one they could
    /// not reach each other.
    fn check_shared_networks(&self) -> Result<(), String> {
        for ipv6 in [false, true] {
            let of_family = |cidrs: &[Cidr]| -> Vec<Cidr> {
                cidrs.iter().copied().filter(|cidr| cidr.addr.is_ipv6() == ipv6).collect()
            };
            let (host, stack) = (of_family(&self.host), of_family(&self.stack));
            let is_shared =
                |host: &Cidr| stack.iter().any(|ours| ours.contains(host.addr) && host.contains(ours.addr));
            if let (Some(first_host), Some(first_stack)) = (host.first(), stack.first())
                && !host.iter().any(is_shared)
            {
                let advice = match first_free(*first_host, &[*first_host]) {
                    Some(free) => format!("as in --host {first_host} --addr {free}"),
                    None => "with a prefix that is shorter".to_owned(),
                };
                return Err(format!(
                    "--host {first_host} and --addr {first_stack} share no network, so the kernel and the stack cannot \
                     reach each other; give both an address in one network, {advice}"
                ));
            }
        }
        Ok(())
    }

    fn choose_gateways(&mut self, asked: &[IpAddr]) -> Result<(), String> {
        for ipv6 in [false, true] {
            let mut of_family = asked.iter().filter(|gateway| gateway.is_ipv6() == ipv6);
            let gateway = match (of_family.next(), of_family.next()) {
                (Some(_), Some(second)) => {
                    let family = if ipv6 { "IPv6" } else { "IPv4" };
                    return Err(format!(
                        "--gateway {second}: a second {family} gateway; give one of each family"
                    ));
                }
                (Some(&gateway), None) => {
                    self.check_gateway(gateway)?;
                    Some(gateway)
                }
                (None, _) => self
                    .host
                    .iter()
                    .map(|host| host.addr)
                    .filter(|host| host.is_ipv6() == ipv6)
                    .find(|&host| self.stack.iter().any(|ours| ours.contains(host))),
            };
            self.gateways.extend(gateway);
        }
        Ok(())
    }

    fn check_gateway(&self, gateway: IpAddr) -> Result<(), String> {
        if self.stack.iter().any(|ours| ours.addr == gateway) {
            return Err(format!(
                "--gateway {gateway} is the stack's own address; give that of another host on the link, such as \
                 --host's"
            ));
        }
        let on_link = match gateway {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
            _ => self.stack.iter().any(|ours| ours.contains(gateway)),
        };
        if on_link {
            return Ok(());
        }
        let networks: Vec<String> = self.stack.iter().map(|ours| ours.network().to_string()).collect();
        Err(format!(
            "--gateway {gateway} is not on the link: the stack's networks are {}; give a gateway in one of them, or \
             an --addr in its network",
            networks.join(", ")
        ))
    }
}

fn defaults(with_ipv6: bool) -> (Vec<Cidr>, Vec<Cidr>) {
    let v4 = |last| Cidr { addr: Ipv4Addr::new(10, 0, 0, last).into(), prefix_len: 24 };
    // RFC 4193: a unique local address. Its global id should be random, but this one is meant to be
    // typed, and does not leave the link.
    let v6 = |last| Cidr { addr: Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, last).into(), prefix_len: 64 };
    match with_ipv6 {
        true => (vec![v4(1), v6(1)], vec![v4(2), v6(2)]),
        false => (vec![v4(1)], vec![v4(2)]),
    }
}

/// Parses `02:00:5e:10:00:01`, the address of one station.
///
/// # Errors
///
/// A message for people.
pub(crate) fn parse_mac(text: &str) -> Result<MacAddr, String> {
    let example = "write six pairs of hexadecimal digits, like 02:00:5e:10:00:01";
    let mut octets = [0; 6];
    let mut pairs = text.split([':', '-']);
    for octet in &mut octets {
        let pair = pairs.next().unwrap_or_default();
        if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("not a MAC address; {example}"));
        }
        *octet = u8::from_str_radix(pair, 16).map_err(|_| format!("not a MAC address; {example}"))?;
    }
    let mac = MacAddr(octets);
    match () {
        () if pairs.next().is_some() => Err(format!("not a MAC address; {example}")),
        () if mac.is_group() => {
            Err("a group address (the first octet is odd), which no station can have; make the \
                                     first octet even, as in 02:00:5e:10:00:01"
                .to_owned())
        }
        () if octets == [0; 6] => Err(format!("all zeros, which no station can have; {example}")),
        () => Ok(mac),
    }
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(one: Cidr, other: Cidr) -> bool {
    if one.prefix_len <= other.prefix_len { one.contains(other.addr) } else { other.contains(one.addr) }
}

fn is_single_host(cidr: Cidr) -> bool {
    cidr.prefix_len == Cidr::max_prefix_len(cidr.addr)
}

/// Checks that a host can have this address on an Ethernet link.
fn check_usable(cidr: Cidr) -> Result<(), String> {
    let reason = match cidr.addr {
        _ if cidr.prefix_len == 0 => "a prefix of 0 bits is the whole Internet, not a link",
        IpAddr::V4(addr) if addr.octets()[0] == 0 => "addresses that begin with 0 mean \"this network\"",
        IpAddr::V4(addr) if addr.is_loopback() => "loopback addresses do not leave a host",
        IpAddr::V4(addr) if addr.is_multicast() => "a multicast address is a group's, not a host's",
        IpAddr::V4(addr) if addr.octets()[0] >= 240 => "that range is reserved",
        IpAddr::V4(addr) if cidr.broadcast() == Some(addr) => "that is the network's broadcast address",
        IpAddr::V4(_) if cidr.prefix_len < 31 && cidr.network() == cidr => {
            "that is the network's own address, not a host's"
        }
        IpAddr::V4(_) => return Ok(()),
        IpAddr::V6(addr) if addr.is_unspecified() => "the unspecified address is no host's",
        IpAddr::V6(addr) if addr.is_loopback() => "loopback addresses do not leave a host",
        IpAddr::V6(addr) if addr.is_multicast() => "a multicast address is a group's, not a host's",
        IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some() => "write it as the IPv4 address that it is",
        // RFC 4291 §2.6.1: the subnet-router anycast address.
        IpAddr::V6(_) if cidr.prefix_len < 127 && cidr.network() == cidr => {
            "that is the network's own address (subnet-router anycast), not a host's"
        }
        IpAddr::V6(_) => return Ok(()),
    };
    let example = if cidr.addr.is_ipv4() { "10.0.0.2/24" } else { "fd10::2/64" };
    Err(format!("{reason}; give a host's address, like {example}"))
}

/// The first address in the network of `cidr` that a host can have and that is not in `taken`.
fn first_free(cidr: Cidr, taken: &[Cidr]) -> Option<Cidr> {
    let base = cidr.network().addr;
    (0..=taken.len() as u32 + 2)
        .filter_map(|offset| match base {
            IpAddr::V4(base) => Some(Ipv4Addr::from_bits(base.to_bits().checked_add(offset)?).into()),
            IpAddr::V6(base) => Some(Ipv6Addr::from_bits(base.to_bits().checked_add(offset.into())?).into()),
        })
        .map(|addr| Cidr { addr, prefix_len: cidr.prefix_len })
        .find(|&free| {
            cidr.contains(free.addr)
                && check_usable(free).is_ok()
                && taken.iter().all(|taken| taken.addr != free.addr)
        })
}
