//! Filters of sockets (SO_ATTACH_FILTER), and what they see of an IP packet.

use super::common::{Common, Env};
use super::rare_settings::RareSettings;
use super::scope::scope_id;
use crate::bpf::{Filter, PacketView};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::link::packet_type::PacketType;
use crate::network::{Cast, Datagram};

impl Common {
    /// SO_ATTACH_FILTER. EPERM.
    pub(crate) fn attach_filter(&mut self, id: SocketId, program: Filter) -> Result<()> {
        let options = &mut self.record_mut(id)?.options;
        if options.is_filter_locked {
            return Err(Error::NotPermitted);
        }
        options.filter = Some(program);
        self.rare.add(RareSettings::FILTERS);
        Ok(())
    }

    /// SO_DETACH_FILTER. EPERM, ENOENT.
    pub(crate) fn detach_filter(&mut self, id: SocketId) -> Result<()> {
        let options = &mut self.record_mut(id)?.options;
        if options.is_filter_locked {
            return Err(Error::NotPermitted);
        }
        if options.filter.is_none() {
            return Err(Error::NotFound);
        }
        options.filter = None;
        Ok(())
    }

    /// The filter of a socket, if it has one.
    pub(super) fn filter_of(&self, id: SocketId) -> Option<Filter> {
        self.records.get(id)?.options.filter.clone()
    }
}

impl Env<'_> {
    /// Runs a program that selects a socket. As on Linux it sees what follows the transport header.
    #[cold]
    pub(super) fn run_selector(&mut self, program: &Filter, is_v4: bool, data: &[u8]) -> u32 {
        let packet = PacketView {
            protocol: if is_v4 { 0x0800 } else { 0x86dd },
            // No program reads behind this.
            network_at: data.len(),
            ..PacketView::new(data)
        };
        program.run(&packet, &mut || self.ctx.rng.next_u32())
    }

    /// Runs a filter on a packet, of which it sees what begins at `start`. Returns how many bytes
    /// of that it keeps; `None` if it drops the packet.
    #[cold]
    pub(super) fn run_filter(&mut self, filter: &Filter, datagram: &Datagram, start: usize) -> Option<usize> {
        let packet = PacketView {
            start,
            protocol: if datagram.src.is_ipv4() { 0x0800 } else { 0x86dd },
            packet_type: match datagram.cast {
                Cast::Unicast => PacketType::Host,
                Cast::Broadcast => PacketType::Broadcast,
                Cast::Multicast => PacketType::Multicast,
            },
            interface_index: u32::from(scope_id(datagram.iface)),
            hardware_type: self.network.link(datagram.iface).map_or(0, |link| link.hardware_type),
            ..PacketView::new(&datagram.packet)
        };
        match filter.run(&packet, &mut || self.ctx.rng.next_u32()) {
            0 => None,
            kept => Some(kept as usize),
        }
    }
}

#[cfg(test)]
mod tests;
