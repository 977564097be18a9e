//! [`Switch`]: joins any number of stacks in one program by an Ethernet.

mod table;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use portolan::{Frame, MacAddr, Medium, Offloads};

use super::lane::Lane;
use super::{Device, Outgoing, Readiness, Received};
use crate::clock::Clock;
use crate::sync::{Mutex, MutexGuard};
use table::{AddressTable, FrameTarget, Port};

/// The settings of a [`Switch`].
#[derive(Clone, Debug)]
pub struct SwitchSettings {
    mtu: usize,
    offloads: Offloads,
    capacity: usize,
    max_addresses: usize,
    age: Duration,
}

impl SwitchSettings {
    /// Settings for an MTU of 1,500, no offloads, room for 1,024 frames at each port, and 256
    /// addresses behind a port, each of which is forgotten after five minutes without a frame from
    /// it (the default of IEEE 802.1D).
    pub fn new() -> Self {
        SwitchSettings {
            mtu: 1500,
            offloads: Offloads::NONE,
            capacity: 1024,
            max_addresses: 256,
            age: Duration::from_secs(300),
        }
    }

    /// Sets the size of the largest IP packet in bytes, for all ports.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets the offloads of all ports: a run of segments crosses as one frame, and checksums stay
    /// incomplete.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Sets how many frames wait for the stack at a port; at least one. Further ones are lost, so a
    /// stack that does not take its frames delays no other.
    pub fn capacity(mut self, frames: usize) -> Self {
        self.capacity = frames.max(1);
        self
    }

    /// Sets how many addresses are known behind one port; at least one. A port with more loses its
    /// oldest, and never those of another port.
    pub fn max_addresses(mut self, addresses: usize) -> Self {
        self.max_addresses = addresses.max(1);
        self
    }

    /// Sets after how long without a frame from it an address is forgotten.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Makes a switch without ports.
    pub fn build(self) -> Switch {
        let state = SwitchState {
            table: AddressTable::new(self.max_addresses, self.age),
            lanes: BTreeMap::new(),
            next_port: Port(0),
            counts: SwitchCounts::default(),
        };
        Switch(Arc::new(SharedSwitch { settings: self, state: Mutex::new(state) }))
    }
}

impl Default for SwitchSettings {
    fn default() -> Self {
        SwitchSettings::new()
    }
}

/// A learning switch: joins any number of stacks in one program, each at a port, by an Ethernet. It
/// learns from each frame behind which port its sender is. A frame goes to the port of its
/// receiver, or to all other ports if the receiver is a group or is not known.
///
/// Ports may be added and dropped at any time. Clones are handles to the same switch.
///
/// ```
/// use portolan::MacAddr;
/// use portolan_runtime::device::Switch;
/// use portolan_runtime::{Builder, UdpSocket};
///
/// let switch = Switch::new();
/// let host = |last: u8| {
///     let port = switch.port(MacAddr([2, 0, 0, 0, 0, last]));
///     Builder::new().interface(port, [format!("10.0.0.{last}/24").parse().unwrap()]).start()
/// };
/// let (server, one, other) = (host(1)?, host(2)?, host(3)?);
/// let receiver = UdpSocket::bind(&server, ([10, 0, 0, 1], 7))?;
/// for client in [&one, &other] {
///     UdpSocket::bind(client, ([0, 0, 0, 0], 0))?.send_to(b"hello", ([10, 0, 0, 1], 7))?;
///     assert_eq!(receiver.recv_from(&mut [0; 9])?.0, 5);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Switch(Arc<SharedSwitch>);

#[derive(Debug)]
struct SharedSwitch {
    settings: SwitchSettings,
    state: Mutex<SwitchState>,
}

#[derive(Debug)]
struct SwitchState {
    table: AddressTable,
    /// The frames that wait at each port.
    lanes: BTreeMap<Port, Arc<Lane<Frame>>>,
    next_port: Port,
    counts: SwitchCounts,
}

/// Counts of the frames that a [`Switch`] handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwitchCounts {
    /// Frames that went to one port, because their receiver was known.
    pub forwarded: u64,
    /// Frames that went to all other ports.
    pub flooded: u64,
    /// Frames that went nowhere: their receiver is behind the port that they came from, they are
    /// for switches only (IEEE 802.1D, table 7-10), or they are malformed.
    pub filtered: u64,
    /// Copies of frames that were lost because a port was full.
    pub lost: u64,
}

impl Switch {
    /// Makes a switch without ports, with the default settings.
    pub fn new() -> Switch {
        SwitchSettings::new().build()
    }

    /// Adds a port for a stack with this MAC address.
    pub fn port(&self, mac: MacAddr) -> SwitchPort {
        let lane = Arc::new(Lane::new(self.0.settings.capacity));
        let mut state = self.0.lock();
        let port = state.next_port;
        state.next_port = Port(port.0 + 1);
        state.lanes.insert(port, lane.clone());
        drop(state);
        let name = format!("port{}", port.0);
        SwitchPort { name, mac, port, switch: self.0.clone(), lane, frames: Vec::new(), copies: Vec::new() }
    }

    /// Returns the counts.
    pub fn counts(&self) -> SwitchCounts {
        self.0.lock().counts
    }
}

impl Default for Switch {
    fn default() -> Self {
        Switch::new()
    }
}

impl SharedSwitch {
    /// Locks the switch. Its state is consistent between any two statements, so a panic with the
    /// lock held breaks nothing.
    fn lock(&self) -> MutexGuard<'_, SwitchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SwitchState {
    /// Takes a frame that came in at a port, and adds where it goes to `copies`.
    fn handle_frame(&mut self, from: Port, frame: Frame, copies: &mut Vec<(Arc<Lane<Frame>>, Frame)>) {
        match self.table.target_of(Clock::now(), from, &frame.bytes) {
            FrameTarget::Nowhere => self.counts.filtered += 1,
            FrameTarget::One(port) => {
                self.counts.forwarded += 1;
                copies.extend(self.lanes.get(&port).map(|lane| (lane.clone(), frame)));
            }
            FrameTarget::Others => {
                self.counts.flooded += 1;
                let others = self.lanes.iter().filter(|(port, _)| **port != from);
                copies.extend(others.map(|(_, lane)| (lane.clone(), frame.clone())));
            }
        }
    }
}

/// A port of a [`Switch`]: the device of one stack. It takes every frame at once. When it is
/// dropped, the port is gone.
#[derive(Debug)]
pub struct SwitchPort {
    name: String,
    mac: MacAddr,
    port: Port,
    switch: Arc<SharedSwitch>,
    lane: Arc<Lane<Frame>>,
    /// Frames on their way into the switch, and out of it; empty between two calls.
    frames: Vec<Frame>,
    copies: Vec<(Arc<Lane<Frame>>, Frame)>,
}

impl SwitchPort {
    /// Puts the frames into the lanes of their ports. Returns how many found no room.
    fn deliver(&mut self) -> u64 {
        let mut lost = 0;
        let mut copies = self.copies.drain(..).peekable();
        while let Some((lane, frame)) = copies.next() {
            // Frames of a burst for one port take its lock once.
            let rest = std::iter::from_fn(|| copies.next_if(|(next, _)| Arc::ptr_eq(next, &lane)));
            lost += lane.append_or_lose(std::iter::once(frame).chain(rest.map(|(_, frame)| frame)));
        }
        lost
    }
}

impl Device for SwitchPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn medium(&self) -> Medium {
        Medium::Ethernet(self.mac)
    }

    fn mtu(&self) -> usize {
        self.switch.settings.mtu
    }

    fn offloads(&self) -> Offloads {
        self.switch.settings.offloads
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.lane.set_receiver(waker);
        Readiness::waker()
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while let Some(transmit) = outgoing.pop() {
            self.frames.push(transmit.to_frame());
        }
        if self.frames.is_empty() {
            return Ok(());
        }
        let mut state = self.switch.lock();
        for frame in self.frames.drain(..) {
            state.handle_frame(self.port, frame, &mut self.copies);
        }
        drop(state);
        let lost = self.deliver();
        if lost > 0 {
            self.switch.lock().counts.lost += lost;
        }
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.lane.receive(received);
        Ok(())
    }
}

impl Drop for SwitchPort {
    fn drop(&mut self) {
        let mut state = self.switch.lock();
        state.lanes.remove(&self.port);
        state.table.remove_port(self.port);
        drop(state);
        self.lane.close_receiver();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Sent;
    use crate::device::single::{receive, send};
    use portolan::{InterfaceId, Transmit};

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    fn frame(dst: MacAddr, src: MacAddr, byte: u8) -> Transmit {
        let bytes = [&dst.0[..], &src.0, &[0x88, 0xb5, byte]].concat();
        Transmit::from_frame(InterfaceId::from_index(0), Frame::new(bytes))
    }

    fn pass(from: &mut SwitchPort, dst: MacAddr, byte: u8) {
        let mac = from.mac;
        assert_eq!(send(from, &frame(dst, mac, byte)), Sent::Taken);
    }

    /// The last byte of each frame that waits at a port.
    fn take(port: &mut SwitchPort) -> Vec<u8> {
        std::iter::from_fn(|| receive(port)).map(|frame| frame.bytes[14]).collect()
    }

    #[test]
    fn frames_go_everywhere_until_their_receiver_is_known() {
        let switch = Switch::new();
        let [mut a, mut b, mut c] = [1, 2, 3].map(|last| switch.port(mac(last)));
        pass(&mut a, mac(2), 1);
        assert_eq!([take(&mut a), take(&mut b), take(&mut c)], [vec![], vec![1], vec![1]]);
        pass(&mut b, mac(1), 2);
        pass(&mut a, mac(2), 3);
        pass(&mut c, MacAddr::BROADCAST, 4);
        assert_eq!([take(&mut a), take(&mut b), take(&mut c)], [vec![2, 4], vec![3, 4], vec![]]);
        let counts = switch.counts();
        assert_eq!((counts.forwarded, counts.flooded, counts.filtered, counts.lost), (2, 2, 0, 0));
        // A port that is gone gets nothing, and its addresses are not known.
        drop(b);
        let mut b = switch.port(mac(2));
        pass(&mut a, mac(2), 5);
        assert_eq!([take(&mut b), take(&mut c)], [[5], [5]]);
    }

    #[test]
    fn a_port_that_takes_nothing_loses_its_own_frames_only() {
        let switch = SwitchSettings::new().capacity(4).build();
        let [mut a, mut b, mut c] = [1, 2, 3].map(|last| switch.port(mac(last)));
        for port in [&mut b, &mut c] {
            pass(port, MacAddr::BROADCAST, 0);
        }
        for port in [&mut a, &mut b, &mut c] {
            take(port);
        }
        for byte in 0..10 {
            pass(&mut a, mac(2), byte);
            pass(&mut a, mac(3), byte);
            assert_eq!(take(&mut c), [byte]);
        }
        assert_eq!(take(&mut b), [0, 1, 2, 3], "the oldest stay");
        assert_eq!(switch.counts().lost, 6);
    }
}
