//! Changes of interfaces while connections use them.

use crate::drop_reason::DropReason;
use crate::error::Result;
use crate::frame::Transmit;
use crate::interface_id::InterfaceId;
use crate::network::{LinkState, MacAddr};
use crate::offload::Offloads;
use crate::stack::Stack;
use crate::time::Instant;

impl Stack {
    /// Removes an interface with its addresses, routes, neighbours and groups. As on Linux, its
    /// connections are not ended: they repeat their data until they time out, and go on if another
    /// interface has the addresses before. A socket that is bound to the interface, by
    /// SO_BINDTODEVICE or by a link-local address, cannot send any more, and a packet socket bound
    /// to it gets `NetworkDown`. `InvalidArgument` if there is no such interface.
    ///
    /// ```
    /// use portolan::{Config, Domain, Error, Instant, InterfaceConfig, Medium, SocketKind, Stack};
    ///
    /// let now = Instant::ZERO;
    /// let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let config = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse()?);
    /// let iface = stack.add_interface(now, config)?;
    /// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
    /// stack.send_to(now, socket, b"x", ([10, 0, 0, 2], 9))?;
    /// stack.remove_interface(now, iface)?;
    /// let refused = stack.send_to(now, socket, b"x", ([10, 0, 0, 2], 9));
    /// assert_eq!(refused, Err(Error::NetworkUnreachable));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_interface(&mut self, now: Instant, iface: InterfaceId) -> Result<()> {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        kinds.tcp.drop_run(&mut env, iface);
        env.network.remove_interface(&mut env.ctx, iface)?;
        kinds.packet.on_interface_removed(&mut env, iface);
        Ok(())
    }

    /// Says whether the link of an interface carries frames, as its device knows; at first it does.
    /// [`LinkState`] says what follows. When the link comes up, the stack announces its addresses
    /// and groups. `InvalidArgument` if there is no such interface.
    ///
    /// ```
    /// use portolan::{Config, Instant, InterfaceConfig, LinkState, Medium, NetworkEvent, Stack};
    ///
    /// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
    /// let iface = stack.add_interface(Instant::ZERO, InterfaceConfig::new(Medium::Ip))?;
    /// assert_eq!(stack.poll_network_event(), Some(NetworkEvent::InterfaceAdded { iface }));
    /// stack.set_link(Instant::ZERO, iface, LinkState::Down)?;
    /// assert_eq!(stack.poll_network_event(), Some(NetworkEvent::LinkDown { iface }));
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn set_link(&mut self, now: Instant, iface: InterfaceId, link: LinkState) -> Result<()> {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        env.network.set_link(&mut env.ctx, iface, link)?;
        if link == LinkState::Down {
            kinds.tcp.drop_run(&mut env, iface);
        }
        Ok(())
    }

    /// Counts a frame that [`poll_transmit`](Stack::poll_transmit) has returned, but that the
    /// caller drops because no device takes it: [`DropReason::DeviceFull`] or
    /// [`DropReason::LinkDown`].
    pub fn drop_transmit(&mut self, now: Instant, frame: &Transmit, reason: DropReason) {
        self.core.advance(now);
        let (mut env, _) = self.parts();
        env.network.drop_frame(&mut env.ctx, frame, reason);
    }

    /// Changes the MTU of an interface. Connections through it use the new size for what they send
    /// next, as on Linux. Below 1,280 bytes the interface loses its IPv6 addresses; from 1,280
    /// bytes on it has its link-local address again. `InvalidArgument` if there is no such
    /// interface, and for an MTU that no link may have.
    pub fn set_mtu(&mut self, now: Instant, iface: InterfaceId, mtu: usize) -> Result<()> {
        self.core.advance(now);
        let (env, _) = self.parts();
        let mut ctx = env.ctx;
        env.network.set_mtu(&mut ctx, iface, mtu)
    }

    /// Changes the MAC address of an interface on Ethernet, and announces it to the other stations.
    /// The addresses stay, the link-local one included. `InvalidArgument` if there is no such
    /// interface on Ethernet, and for an address that no station may have.
    pub fn set_mac(&mut self, now: Instant, iface: InterfaceId, mac: MacAddr) -> Result<()> {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        env.network.set_mac(&mut env.ctx, iface, mac)?;
        kinds.tcp.drop_run(&mut env, iface);
        Ok(())
    }

    /// Changes what the device of an interface does for frames. Frames that wait for the device may
    /// rely on what it did before: they are dropped. `InvalidArgument` if there is no such
    /// interface.
    pub fn set_offloads(&mut self, now: Instant, iface: InterfaceId, offloads: Offloads) -> Result<()> {
        self.core.advance(now);
        let (mut env, kinds) = self.parts();
        env.network.set_offloads(&mut env.ctx, iface, offloads)?;
        kinds.tcp.drop_run(&mut env, iface);
        Ok(())
    }
}
