//! The interfaces and devices of a running stack: what happens to them, and changes.

use std::io;
use std::time::Duration;

use portolan::{Cidr, Interception, InterfaceId, LinkState, Medium, NetworkEvent, Stack, Zone};

use crate::clock::Clock;
use crate::device::Device;
use crate::engine::devices::AttachedDevice;
use crate::engine::locks::{Engine, Waited};
use crate::handle::{Handle, LONG_WAIT};
use crate::plan::{InterfaceSettings, PlannedInterface, check_link, refused};

/// Interfaces and devices while the stack runs.
///
/// A device that fails takes its interface down, and nothing else: see
/// [`Device`](crate::device::Device). A program learns of that from
/// [`wait_network_event`](Handle::wait_network_event), and may give the interface another device.
///
/// ```
/// use portolan::{Medium, NetworkEvent};
/// use portolan_runtime::device::PacketChannel;
/// use portolan_runtime::Builder;
///
/// let (device, _sender, _receiver) = PacketChannel::new(Medium::Ip).build();
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let iface = runtime.handle().interfaces()[0].id;
/// while runtime.handle().poll_network_event().is_some() {} // how it got its address
///
/// // The tunnel to the server has broken, and there is another one: connections go on.
/// let (device, _sender, _receiver) = PacketChannel::new(Medium::Ip).build();
/// runtime.handle().replace_device(iface, device)?;
/// let events: Vec<_> = std::iter::from_fn(|| runtime.handle().poll_network_event()).collect();
/// assert_eq!(events, [NetworkEvent::LinkDown { iface }, NetworkEvent::LinkUp { iface }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Handle {
    /// Returns the name of the device of an interface.
    pub fn device_name(&self, iface: InterfaceId) -> Option<String> {
        self.stacks.first().lock_core_anyway().device_record(iface).map(|record| record.name.clone())
    }

    /// Returns the error with which the device of an interface failed. `None` while the device
    /// works.
    pub fn device_error(&self, iface: InterfaceId) -> Option<io::Error> {
        let core = self.stacks.first().lock_core_anyway();
        core.device_record(iface)?.failure.as_ref().map(|failure| failure.to_error())
    }

    /// Returns the next event of the links, addresses and routes, oldest first: see
    /// [`Stack::poll_network_event`]. Each event is returned once, to whoever asks first.
    pub fn poll_network_event(&self) -> Option<NetworkEvent> {
        self.with_stack(Stack::poll_network_event)
    }

    /// Waits for the next event of the links, addresses and routes. Returns `None` after `timeout`;
    /// without one it waits for ever. Fails when the runtime is over.
    pub fn wait_network_event(&self, timeout: Option<Duration>) -> io::Result<Option<NetworkEvent>> {
        let give_up_at = timeout.map(|timeout| Clock::now() + timeout);
        let mut event = None;
        loop {
            let left = give_up_at.map_or(LONG_WAIT, Clock::until);
            let waited = self.stacks.first().wait_until(left, |stack| {
                event = stack.poll_network_event();
                event.is_some()
            })?;
            if waited == Waited::Woken || timeout.is_some() {
                return Ok(event);
            }
        }
    }

    /// Gives an interface another device, of the same kind of link, in place of the one that it has
    /// or that has failed. The old device is closed. Connections go on: what was lost is sent
    /// again. The interface has the MTU, the offloads and the MAC address of the new device from
    /// then on (see [`Stack::set_mtu`] and [`Stack::set_mac`]), and its neighbours are found anew.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no such interface, for a device of another kind of link, and for
    /// an MTU or MAC address that no interface may have. `Unsupported` if the interfaces have
    /// several queues. The error of the runtime if it is over.
    pub fn replace_device(&self, iface: InterfaceId, device: impl Device + 'static) -> io::Result<()> {
        let engine = self.only_engine()?;
        let (medium, mtu, offloads) = (device.medium(), device.mtu(), device.offloads());
        let name = device.name().to_owned();
        let mut attached = Some(AttachedDevice::attach(iface, Box::new(device))?);
        let replaced = engine.change_devices(|core, io, now| {
            let stack = &mut core.stack;
            check_replacement(stack, iface, &name, medium, mtu)?;
            let refuse = |error| refused(format!("{name} cannot serve this interface: {error}"));
            // What was made for the old device is dropped.
            stack.set_link(now, iface, LinkState::Down).map_err(refuse)?;
            stack.set_mtu(now, iface, mtu).map_err(refuse)?;
            if let Medium::Ethernet(mac) = medium {
                stack.set_mac(now, iface, mac).map_err(refuse)?;
            }
            stack.set_offloads(now, iface, offloads).map_err(refuse)?;
            let mut old = io.take(iface);
            old.iter_mut().for_each(|old| old.drop_queued(stack, now));
            attached.take().into_iter().for_each(|attached| io.add(iface, attached));
            stack.set_link(now, iface, LinkState::Up).map_err(refuse)?;
            core.record_device(iface, name.clone());
            Ok(old)
        })?;
        replaced.map(drop)
    }

    /// Adds an interface: a device, and the stack's addresses on it, of which there may be none
    /// yet. On Ethernet they are probed first: [`wait_ready`](Handle::wait_ready) waits for that.
    /// Routes are added with [`Stack::add_route`].
    ///
    /// ```
    /// use portolan::{Medium, Route};
    /// use portolan_runtime::device::{MemoryPair, PacketChannel};
    /// use portolan_runtime::Builder;
    ///
    /// let (uplink, _net) = MemoryPair::new().mediums(Medium::Ip, Medium::Ip).build()?;
    /// let runtime = Builder::new().interface(uplink, ["192.168.1.9/24".parse()?]).start()?;
    /// let handle = runtime.handle();
    ///
    /// // The VPN is up.
    /// let (device, _sender, _receiver) = PacketChannel::new(Medium::Ip).build();
    /// let vpn = handle.add_interface(device, ["10.0.0.2/32".parse()?])?;
    /// handle.with_stack(|stack| stack.add_route(Route::new("10.0.0.0/8".parse().unwrap(), vpn)))?;
    /// // The VPN is down.
    /// handle.remove_interface(vpn)?;
    /// assert_eq!(handle.interfaces().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a device or an address that no interface may have. `Unsupported` if the
    /// interfaces have several queues. The error of the runtime if it is over, and errors of the
    /// operating system if it has no descriptor left.
    pub fn add_interface(
        &self,
        device: impl Device + 'static,
        addresses: impl IntoIterator<Item = Cidr>,
    ) -> io::Result<InterfaceId> {
        self.add_planned(device, InterfaceSettings::of(addresses))
    }

    /// Like [`add_interface`](Handle::add_interface), in this zone (see [`Zone`]), with the packets
    /// for other hosts that it takes.
    pub fn add_interface_in(
        &self,
        zone: impl Into<Zone>,
        device: impl Device + 'static,
        addresses: impl IntoIterator<Item = Cidr>,
        interception: Interception,
    ) -> io::Result<InterfaceId> {
        let settings = InterfaceSettings::of(addresses);
        self.add_planned(device, InterfaceSettings { zone: zone.into(), interception, ..settings })
    }

    fn add_planned(
        &self,
        device: impl Device + 'static,
        settings: InterfaceSettings,
    ) -> io::Result<InterfaceId> {
        let engine = self.only_engine()?;
        let config = settings.config(&device);
        let planned = PlannedInterface { devices: vec![Box::new(device)], settings };
        planned.check()?;
        let mut attached = Vec::new();
        for device in planned.devices {
            let name = device.name().to_owned();
            // The interface gets its id later.
            attached.push((name, AttachedDevice::attach(InterfaceId::LOOPBACK, device)?));
        }
        engine.change_devices(|core, io, now| {
            let iface = core.stack.add_interface(now, config).map_err(|error| {
                refused(format!("the stack cannot take the device as an interface: {error}"))
            })?;
            for (name, attached) in attached.drain(..) {
                io.add(iface, attached);
                core.record_device(iface, name);
            }
            Ok(iface)
        })?
    }

    /// Removes an interface, with its addresses and routes, and closes its device. As on Linux,
    /// connections through it are not ended: see [`Stack::remove_interface`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no such interface. `Unsupported` if the interfaces have several
    /// queues. The error of the runtime if it is over.
    pub fn remove_interface(&self, iface: InterfaceId) -> io::Result<()> {
        let removed = self.only_engine()?.change_devices(|core, io, now| {
            core.stack.remove_interface(now, iface).map_err(|error| {
                refused(format!("the stack has no interface {iface:?} that could be removed: {error}"))
            })?;
            core.forget_device(iface);
            let mut old = io.take(iface);
            old.iter_mut().for_each(|old| old.drop_queued(&mut core.stack, now));
            Ok(old)
        })?;
        removed.map(drop)
    }

    /// The stack, if there is one only.
    fn only_engine(&self) -> io::Result<&Engine> {
        if self.stacks() == 1 {
            return Ok(self.stacks.first());
        }
        let message = "interfaces with several queues cannot be changed while the runtime runs";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

/// Checks that the stack has the interface, and that a device with this link can serve it.
fn check_replacement(
    stack: &Stack,
    iface: InterfaceId,
    name: &str,
    medium: Medium,
    mtu: usize,
) -> io::Result<()> {
    check_link(name, medium, mtu)?;
    let Some(interface) = stack.interfaces().into_iter().find(|interface| interface.id == iface) else {
        return Err(refused(format!("{name} is for {iface:?}, which the stack does not have")));
    };
    if interface.medium.mac().is_some() != medium.mac().is_some() {
        let kind = |medium: Medium| if medium.mac().is_some() { "Ethernet" } else { "IP packets" };
        return Err(refused(format!(
            "{name} carries {}, and the interface {} carries {}: add another interface for it",
            kind(medium),
            interface.name,
            kind(interface.medium)
        )));
    }
    Ok(())
}
