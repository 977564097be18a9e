//! [`AutoAddresses`]: the addresses that an interface forms (RFC 4862 §5.5, RFC 7217, RFC 8981).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::effects::{Effects, SlaacChange};
use super::identifier;
use super::info::AutoAddressInfo;
use crate::iface::address::AddressLifetime;
use crate::iface::cidr::Cidr;
use crate::iface::slaac_config::{InterfaceIdentifiers, SlaacConfig, TemporaryAddresses};
use crate::link::mac::MacAddr;
use crate::link::router_advertisement::Lifetime;
use crate::rng::Rng;
use crate::time::Instant;

/// RFC 4862 §5.5.3 (e): an advertisement shortens the valid lifetime to this at most, because
/// advertisements are not authenticated.
const TWO_HOURS: Lifetime = Lifetime::Finite(Duration::from_secs(7200));
/// IDGEN_RETRIES and IDGEN_DELAY (RFC 7217 §7), and TEMP_IDGEN_RETRIES (RFC 8981 §3.8): how often
/// another address is tried after a duplicate, and when.
const MAX_DUPLICATES: u8 = 3;
const STABLE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// REGEN_ADVANCE less the time for probes (RFC 8981 §3.8).
const LEAST_REGEN_ADVANCE: Duration = Duration::from_secs(2);

/// What addresses are formed from.
pub(super) struct Forming<'a> {
    pub(super) config: &'a SlaacConfig,
    pub(super) key: &'a [u8; 16],
    pub(super) mac: MacAddr,
    pub(super) rng: &'a mut Rng,
    /// How many addresses the interface has.
    pub(super) taken: usize,
    /// How long an address is probed.
    pub(super) probing_time: Duration,
}

impl Forming<'_> {
    fn has_room(&self, effects: &Effects) -> bool {
        self.taken + effects.added_addresses() < self.config.max_addresses
    }

    fn identifier(&mut self, prefix: Ipv6Addr, duplicates: u8) -> u64 {
        match self.config.identifiers {
            InterfaceIdentifiers::Stable => identifier::stable(self.key, prefix, self.mac, duplicates),
            InterfaceIdentifiers::Eui64 => identifier::eui64(self.mac),
        }
    }

    /// REGEN_ADVANCE (RFC 8981 §3.8): how long before the end of a temporary address the next one
    /// is formed.
    fn regen_advance(&self) -> Duration {
        LEAST_REGEN_ADVANCE + self.probing_time * u32::from(MAX_DUPLICATES)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressKind {
    Stable {
        /// The DAD counter of RFC 7217.
        duplicates: u8,
    },
    Temporary {
        created_at: Instant,
        desync: Duration,
        /// When the next one is formed; `None` if that was tried.
        regenerate_at: Option<Instant>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressStage {
    /// The interface has it.
    Assigned,
    /// The interface gets it at this time: the one before was a duplicate.
    Waiting(Instant),
    /// All that were tried were duplicates.
    GivenUp,
}

#[derive(Clone, Copy, Debug)]
struct AutoAddress {
    addr: Ipv6Addr,
    kind: AddressKind,
    stage: AddressStage,
    preferred_until: Option<Instant>,
    valid_until: Option<Instant>,
}

impl AutoAddress {
    fn cidr(&self) -> Cidr {
        Cidr::new(IpAddr::V6(self.addr), 64)
    }

    fn is_temporary(&self) -> bool {
        matches!(self.kind, AddressKind::Temporary { .. })
    }

    fn is_in(&self, network: Ipv6Addr) -> bool {
        identifier::network(self.addr) == network
    }

    fn lifetime(&self, now: Instant) -> AddressLifetime {
        let mut lifetime = AddressLifetime::FOREVER;
        lifetime.valid = self.valid_until.map(|at| at - now);
        lifetime.preferred = self.preferred_until.map(|at| at - now);
        lifetime
    }

    fn addition(&self, now: Instant) -> SlaacChange {
        let lifetime = self.lifetime(now);
        SlaacChange::AddAddress { cidr: self.cidr(), lifetime, is_temporary: self.is_temporary() }
    }

    fn timer(&self) -> Option<Instant> {
        match (self.stage, self.kind) {
            (AddressStage::Waiting(at), _) => Some(self.valid_until.map_or(at, |end| end.min(at))),
            (AddressStage::GivenUp, _) => self.valid_until,
            (AddressStage::Assigned, AddressKind::Temporary { regenerate_at, .. }) => regenerate_at,
            (AddressStage::Assigned, AddressKind::Stable { .. }) => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct AutoAddresses {
    addresses: Vec<AutoAddress>,
    /// Duplicates that the interface still has, and since when.
    discarded: Vec<(Instant, Ipv6Addr)>,
    /// How many temporary addresses in a row were duplicates.
    temporary_duplicates: u8,
}

impl AutoAddresses {
    /// Handles a prefix in which addresses are formed (RFC 4862 §5.5.3). `valid` is not less than
    /// `preferred`.
    pub(super) fn on_prefix(
        &mut self,
        now: Instant,
        forming: &mut Forming<'_>,
        network: Ipv6Addr,
        valid: Lifetime,
        preferred: Lifetime,
        effects: &mut Effects,
    ) {
        let found = self.addresses.iter_mut().find(|a| a.is_in(network) && !a.is_temporary());
        let is_new = found.is_none();
        let stable = match found {
            None if valid == Lifetime::ZERO => return,
            None if !forming.has_room(effects) => {
                effects.without_room += 1;
                return;
            }
            None => {
                let address = AutoAddress {
                    addr: identifier::address(network, forming.identifier(network, 0)),
                    kind: AddressKind::Stable { duplicates: 0 },
                    stage: AddressStage::Assigned,
                    preferred_until: preferred.end(now),
                    valid_until: valid.end(now),
                };
                self.addresses.push(address);
                effects.changes.push(address.addition(now));
                address
            }
            Some(address) => {
                // RFC 4862 §5.5.3 (RFC4862-5.5.3-e).
                let remaining =
                    address.valid_until.map_or(Lifetime::Infinite, |at| Lifetime::Finite(at - now));
                address.valid_until = valid.max(remaining.min(TWO_HOURS)).end(now);
                address.preferred_until = preferred.end(now);
                effects.changes.extend(renewal(now, address));
                *address
            }
        };
        self.renew_temporary(now, forming, &stable, effects);
        let has_temporary = self.addresses.iter().any(|a| a.is_in(network) && a.is_temporary());
        if is_new || !has_temporary {
            self.create_temporary(now, forming, &stable, effects);
        }
    }

    /// RFC 8981 §3.4 (RFC8981-3.4-a): the temporary addresses live as long as the prefix, but no
    /// longer than their own limits.
    fn renew_temporary(
        &mut self,
        now: Instant,
        forming: &Forming<'_>,
        stable: &AutoAddress,
        effects: &mut Effects,
    ) {
        let network = identifier::network(stable.addr);
        let newest = self.newest_temporary(network);
        let advance = forming.regen_advance();
        for (index, address) in self.addresses.iter_mut().enumerate() {
            let AddressKind::Temporary { created_at, desync, regenerate_at } = &mut address.kind else {
                continue;
            };
            if identifier::network(address.addr) != network {
                continue;
            }
            let config = forming.config;
            let preferred_until = *created_at + config.temporary_preferred.saturating_sub(*desync);
            let valid_until = *created_at + config.temporary_valid;
            let preferred_until =
                stable.preferred_until.map_or(preferred_until, |at| at.min(preferred_until));
            let valid_until = stable.valid_until.map_or(valid_until, |at| at.min(valid_until));
            if newest == Some(index) {
                *regenerate_at = Some((preferred_until - advance).max(now));
            }
            address.preferred_until = Some(preferred_until);
            address.valid_until = Some(valid_until);
            effects.changes.extend(renewal(now, address));
        }
    }

    /// The place of the temporary address that was formed last in this network.
    fn newest_temporary(&self, network: Ipv6Addr) -> Option<usize> {
        self.addresses.iter().rposition(|address| address.is_in(network) && address.is_temporary())
    }

    /// Forms a temporary address (RFC 8981 §3.4).
    fn create_temporary(
        &mut self,
        now: Instant,
        forming: &mut Forming<'_>,
        stable: &AutoAddress,
        effects: &mut Effects,
    ) {
        let config = forming.config;
        if config.temporary == TemporaryAddresses::Off || self.temporary_duplicates > MAX_DUPLICATES {
            return;
        }
        let advance = forming.regen_advance();
        // RFC 8981 §3.8 (RFC8981-3.8): DESYNC_FACTOR is below TEMP_PREFERRED_LIFETIME -
        // REGEN_ADVANCE.
        let longest = config.max_desync.min(config.temporary_preferred.saturating_sub(advance));
        let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let desync = Duration::from_nanos(forming.rng.below(longest.max(1)));
        let preferred_until = now + config.temporary_preferred.saturating_sub(desync);
        let valid_until = now + config.temporary_valid;
        let preferred_until = stable.preferred_until.map_or(preferred_until, |at| at.min(preferred_until));
        let valid_until = stable.valid_until.map_or(valid_until, |at| at.min(valid_until));
        // RFC 8981 §3.4 (RFC8981-3.4-c).
        if preferred_until <= now + advance {
            return;
        }
        if !forming.has_room(effects) {
            effects.without_room += 1;
            return;
        }
        let regenerate_at = Some(preferred_until - advance);
        let address = AutoAddress {
            addr: self.random_address(stable.addr, forming.rng),
            kind: AddressKind::Temporary { created_at: now, desync, regenerate_at },
            stage: AddressStage::Assigned,
            preferred_until: Some(preferred_until),
            valid_until: Some(valid_until),
        };
        self.addresses.push(address);
        effects.changes.push(address.addition(now));
    }

    fn random_address(&self, like: Ipv6Addr, rng: &mut Rng) -> Ipv6Addr {
        loop {
            let addr = identifier::address(like, identifier::random(rng));
            if !self.addresses.iter().any(|address| address.addr == addr) {
                return addr;
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, forming: &mut Forming<'_>, effects: &mut Effects) {
        let discarded = self.discarded.drain(..);
        effects.changes.extend(discarded.map(|(_, addr)| SlaacChange::RemoveAddress(IpAddr::V6(addr))));
        // The interface removes those that it has.
        let is_over = |address: &AutoAddress| address.valid_until.is_some_and(|at| at <= now);
        self.addresses.retain(|address| address.stage == AddressStage::Assigned || !is_over(address));
        let mut ending = Vec::new();
        for address in &mut self.addresses {
            if address.timer().is_none_or(|at| now < at) {
                continue;
            }
            match &mut address.kind {
                _ if matches!(address.stage, AddressStage::Waiting(_)) => {
                    address.stage = AddressStage::Assigned;
                    effects.changes.push(address.addition(now));
                }
                AddressKind::Temporary { regenerate_at, .. } => {
                    *regenerate_at = None;
                    ending.push(identifier::network(address.addr));
                }
                AddressKind::Stable { .. } => {}
            }
        }
        // RFC 8981 §3.6 (RFC8981-3.6): the next one is there before the last one ends.
        for network in ending {
            let is_stable = |address: &&AutoAddress| address.is_in(network) && !address.is_temporary();
            if let Some(&stable) = self.addresses.iter().find(is_stable) {
                self.create_temporary(now, forming, &stable, effects);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let discarded = self.discarded.iter().map(|&(since, _)| since);
        discarded.chain(self.addresses.iter().filter_map(AutoAddress::timer)).min()
    }

    /// Notes that no other station has an address.
    pub(super) fn on_usable(&mut self, addr: Ipv6Addr) {
        if self.addresses.iter().any(|address| address.addr == addr && address.is_temporary()) {
            self.temporary_duplicates = 0;
        }
    }

    /// Notes that the interface has an address no more.
    pub(super) fn on_removed(&mut self, addr: Ipv6Addr) {
        self.addresses.retain(|address| address.addr != addr || address.stage != AddressStage::Assigned);
    }

    /// Notes that another station has an address: another one is tried a few times.
    pub(super) fn on_duplicate(&mut self, now: Instant, forming: &mut Forming<'_>, addr: Ipv6Addr) {
        let Some(index) = self.addresses.iter().position(|address| address.addr == addr) else { return };
        let Some(&AutoAddress { kind, .. }) = self.addresses.get(index) else { return };
        let network = identifier::network(addr);
        let (next, kind, stage) = match kind {
            // RFC 4862 §5.4.5: there is no other one.
            AddressKind::Stable { .. } if forming.config.identifiers == InterfaceIdentifiers::Eui64 => return,
            // RFC 7217 §6 (RFC7217-6).
            AddressKind::Stable { duplicates } if duplicates < MAX_DUPLICATES => {
                let duplicates = duplicates + 1;
                let next = identifier::address(network, forming.identifier(network, duplicates));
                (next, AddressKind::Stable { duplicates }, AddressStage::Waiting(now + STABLE_RETRY_DELAY))
            }
            AddressKind::Stable { .. } => {
                log::warn!("every address that was tried in {network}/64 is in use by another station");
                (addr, kind, AddressStage::GivenUp)
            }
            AddressKind::Temporary { .. } => {
                self.temporary_duplicates = self.temporary_duplicates.saturating_add(1);
                match self.temporary_duplicates > MAX_DUPLICATES {
                    // RFC 8981 §3.4 (RFC8981-3.4-d).
                    true => {
                        log::warn!("{MAX_DUPLICATES} temporary addresses in a row were duplicates: no more");
                        (addr, kind, AddressStage::GivenUp)
                    }
                    false => (self.random_address(addr, forming.rng), kind, AddressStage::Waiting(now)),
                }
            }
        };
        if let Some(address) = self.addresses.get_mut(index) {
            (address.addr, address.kind, address.stage) = (next, kind, stage);
        }
        self.discarded.push((now, addr));
    }

    pub(super) fn clear(&mut self, effects: &mut Effects) {
        let assigned = self.addresses.iter().filter(|address| address.stage == AddressStage::Assigned);
        let discarded = self.discarded.iter().map(|&(_, addr)| addr);
        let all = assigned.map(|address| address.addr).chain(discarded);
        effects.changes.extend(all.map(|addr| SlaacChange::RemoveAddress(IpAddr::V6(addr))));
        *self = AutoAddresses::default();
    }

    pub(super) fn infos(&self) -> Vec<AutoAddressInfo> {
        let assigned = self.addresses.iter().filter(|address| address.stage == AddressStage::Assigned);
        let info = |address: &AutoAddress| AutoAddressInfo {
            cidr: address.cidr(),
            is_temporary: address.is_temporary(),
            preferred_until: address.preferred_until,
            valid_until: address.valid_until,
        };
        assigned.map(info).collect()
    }
}

/// The change to the lifetime of an address, if the interface has it.
fn renewal(now: Instant, address: &AutoAddress) -> Option<SlaacChange> {
    let lifetime = address.lifetime(now);
    (address.stage == AddressStage::Assigned)
        .then_some(SlaacChange::SetLifetime { addr: IpAddr::V6(address.addr), lifetime })
}
