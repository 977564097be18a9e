//! [`PacketChannel`]: a device whose other end is the program itself.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portolan::{ChecksumState, Frame, Instant, Medium, Offloads, PartialChecksum, Segments};

use super::lane::Lane;
use super::{Device, Outgoing, Readiness, Received};
use crate::clock::Clock;

/// The settings of a channel between a stack and the program: the program gets the packets that the
/// stack sends, and gives it those that it is to receive. VPNs, overlay networks and virtual
/// machines use this in place of a network device.
///
/// The channel is bounded in both directions. When the program does not take packets, the stack
/// waits, as with a full network card. When the stack does not take them, the program waits: it
/// blocks, for a limited time if it wants, or is a task that is woken. A burst moves under one
/// lock, and a packet that the program sends is not copied.
///
/// # Example
///
/// A tunnel in the shape of WireGuard's: packets are encrypted where they are, between a header in
/// their head room and a tag in their tail room. (The cipher here protects nothing.)
///
/// ```
/// use std::collections::VecDeque;
/// use std::io::{Read, Write};
/// use std::net::UdpSocket;
///
/// use bytes::Buf;
/// use portolan::{Frame, Medium};
/// use portolan_runtime::device::{ChannelDevice, PacketChannel, ReceiveBuffer};
/// use portolan_runtime::{Builder, TcpListener, TcpStream};
///
/// const HEADER: [u8; 4] = [4, 0, 0, 0];
/// const TAG: [u8; 16] = [0xaa; 16];
///
/// /// A device whose packets cross a socket of the host, which is connected to the other end.
/// fn tunnel(socket: UdpSocket) -> std::io::Result<ChannelDevice> {
///     let channel = PacketChannel::new(Medium::Ip).mtu(1420).head_room(HEADER.len()).tail_room(TAG.len());
///     let (device, mut to_stack, mut from_stack) = channel.build();
///     let outer = socket.try_clone()?;
///     std::thread::spawn(move || {
///         let mut packets = Vec::new();
///         // Ends when the device has been dropped.
///         while from_stack.recv(&mut packets, 32) > 0 {
///             for mut packet in packets.drain(..) {
///                 packet.bytes_mut().iter_mut().for_each(|byte| *byte ^= 0x5a);
///                 packet.prepend(&HEADER);
///                 packet.append(&TAG);
///                 let _ = outer.send(packet.bytes()); // networks lose packets
///             }
///         }
///     });
///     std::thread::spawn(move || {
///         let mut buffer = ReceiveBuffer::new(2048);
///         let mut packets = VecDeque::new();
///         while let Ok(Some(mut datagram)) = buffer.read_frame(|room| {
///             let len = socket.recv(room)?;
///             room[..len].iter_mut().for_each(|byte| *byte ^= 0x5a);
///             Ok(len)
///         }) {
///             datagram.advance(HEADER.len());
///             datagram.truncate(datagram.len() - TAG.len());
///             packets.push_back(Frame::new(datagram));
///             if to_stack.send(&mut packets).is_err() {
///                 break; // the device has been dropped
///             }
///         }
///     });
///     Ok(device)
/// }
///
/// let (left, right) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// left.connect(right.local_addr()?)?;
/// right.connect(left.local_addr()?)?;
/// let server = Builder::new().interface(tunnel(left)?, ["10.7.0.1/24".parse()?]).start()?;
/// let client = Builder::new().interface(tunnel(right)?, ["10.7.0.2/24".parse()?]).start()?;
///
/// let listener = TcpListener::bind(&server, ([10, 7, 0, 1], 7))?;
/// let mut near = TcpStream::connect(&client, ([10, 7, 0, 1], 7))?;
/// let (mut far, _) = listener.accept()?;
/// near.write_all(b"through the tunnel")?;
/// let mut text = [0; 18];
/// far.read_exact(&mut text)?;
/// assert_eq!(&text, b"through the tunnel");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PacketChannel {
    name: String,
    medium: Medium,
    mtu: usize,
    capacity: usize,
    offloads: Offloads,
    head_room: usize,
    tail_room: usize,
}

impl PacketChannel {
    /// Settings for IP packets or Ethernet frames, an MTU of 1,500, room for 256 packets in each
    /// direction, no head room and no offloads. The device is called `channel`.
    pub fn new(medium: Medium) -> Self {
        PacketChannel {
            name: "channel".into(),
            medium,
            mtu: 1500,
            capacity: 256,
            offloads: Offloads::NONE,
            head_room: 0,
            tail_room: 0,
        }
    }

    /// Sets the name of the device.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the size of the largest IP packet in bytes: that of the network outside, less what an
    /// encapsulation adds.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets how many packets wait in each direction; at least one.
    pub fn capacity(mut self, packets: usize) -> Self {
        self.capacity = packets;
        self
    }

    /// Sets what the program does for packets that it gets: it completes checksums, and cuts runs
    /// of up to 64 KiB into segments ([`Packet::checksum`], [`Packet::segments`]).
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Sets how many free bytes are in front of each packet that the program gets, for
    /// [`Packet::prepend`].
    pub fn head_room(mut self, bytes: usize) -> Self {
        self.head_room = bytes;
        self
    }

    /// Sets how many free bytes are behind each packet that the program gets, for
    /// [`Packet::append`].
    pub fn tail_room(mut self, bytes: usize) -> Self {
        self.tail_room = bytes;
        self
    }

    /// Makes the device and the program's two halves.
    pub fn build(self) -> (ChannelDevice, PacketSender, PacketReceiver) {
        let to_program = Arc::new(Lane::new(self.capacity));
        let to_stack = Arc::new(Lane::new(self.capacity));
        let device = ChannelDevice {
            settings: self,
            outgoing: to_program.clone(),
            incoming: to_stack.clone(),
            copies: Vec::new(),
        };
        (device, PacketSender { lane: to_stack }, PacketReceiver { lane: to_program })
    }
}

/// The stack's end of a [`PacketChannel`].
///
/// When it is dropped, with its interface or its runtime, [`PacketReceiver`] returns the packets
/// that are left and then 0, and [`PacketSender`] fails with `BrokenPipe`. When the program drops
/// its receiver, packets of the stack are lost, as on a cable without its other end.
#[derive(Debug)]
pub struct ChannelDevice {
    settings: PacketChannel,
    outgoing: Arc<Lane<Packet>>,
    incoming: Arc<Lane<Frame>>,
    /// Packets on their way to the program; empty between two calls.
    copies: Vec<Packet>,
}

impl Device for ChannelDevice {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn medium(&self) -> Medium {
        self.settings.medium
    }

    fn mtu(&self) -> usize {
        self.settings.mtu
    }

    fn offloads(&self) -> Offloads {
        self.settings.offloads
    }

    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.incoming.set_receiver(waker);
        self.outgoing.set_sender(waker);
        Readiness::waker()
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        let PacketChannel { head_room, tail_room, .. } = self.settings;
        self.outgoing.transmit(outgoing, &mut self.copies, |transmit| {
            let mut memory = BytesMut::with_capacity(head_room + transmit.len() + tail_room);
            memory.resize(head_room, 0);
            transmit.append_to(&mut memory);
            let (checksum, segments) = (transmit.checksum(), transmit.segments());
            Packet { memory, start: head_room, checksum, segments }
        });
        Ok(())
    }

    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.incoming.receive(received);
        Ok(())
    }
}

impl Drop for ChannelDevice {
    fn drop(&mut self) {
        self.outgoing.close_sender();
        self.incoming.close_receiver();
    }
}

/// A packet that a stack sends into a [`PacketChannel`], in one piece, with free room around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    memory: BytesMut,
    /// Where the packet begins, behind the head room.
    start: usize,
    checksum: Option<PartialChecksum>,
    segments: Option<Segments>,
}

impl Packet {
    /// Returns the packet: from the IP header, or from the Ethernet header.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// Returns the packet, to change it where it is.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Puts a header in front of the packet: into its head room, or, if that is too short, with a
    /// copy of the packet.
    pub fn prepend(&mut self, header: &[u8]) {
        if let Some(start) = self.start.checked_sub(header.len()) {
            self.start = start;
            self.memory[start..start + header.len()].copy_from_slice(header);
            return;
        }
        let mut memory = BytesMut::with_capacity(header.len() + self.bytes().len());
        memory.extend_from_slice(header);
        memory.extend_from_slice(self.bytes());
        (self.memory, self.start) = (memory, 0);
    }

    /// Puts bytes behind the packet: into its tail room, or, if that is too short, with a copy.
    pub fn append(&mut self, trailer: &[u8]) {
        self.memory.extend_from_slice(trailer);
    }

    /// Returns the checksum that the program has to complete. `None` unless the channel has that
    /// offload.
    pub fn checksum(&self) -> Option<PartialChecksum> {
        self.checksum
    }

    /// Returns how the program has to cut the packet into segments. `None` unless the channel has
    /// that offload.
    pub fn segments(&self) -> Option<Segments> {
        self.segments
    }

    /// Returns the packet as shared bytes, without a copy.
    pub fn into_bytes(mut self) -> Bytes {
        self.memory.split_off(self.start).freeze()
    }
}

/// The packet for another stack, with the work that is left to do.
impl From<Packet> for Frame {
    fn from(packet: Packet) -> Frame {
        let checksum = packet.checksum.map_or(ChecksumState::Unknown, ChecksumState::Partial);
        let segments = packet.segments;
        Frame::new(packet.into_bytes()).with_checksum(checksum).with_segments(segments)
    }
}

/// The half of a [`PacketChannel`] that gets what the stack sends.
///
/// Every form moves up to `limit` packets to the end of `packets`, and returns their number, which
/// is not 0 before the device has been dropped and everything was received.
#[derive(Debug)]
pub struct PacketReceiver {
    lane: Arc<Lane<Packet>>,
}

impl PacketReceiver {
    /// Receives what there is, or fails with `WouldBlock`.
    pub fn try_recv(&mut self, packets: &mut Vec<Packet>, limit: usize) -> io::Result<usize> {
        self.lane.try_take(None, push(packets, limit)).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Receives, and blocks until there is a packet.
    pub fn recv(&mut self, packets: &mut Vec<Packet>, limit: usize) -> usize {
        loop {
            if let Some(count) = self.lane.try_take(None, push(packets, limit)) {
                return count;
            }
            // Without a time-out this does not fail.
            let _ = self.lane.wait_for_items(None);
        }
    }

    /// Receives, and blocks for at most so long. Fails with `TimedOut` then.
    pub fn recv_timeout(
        &mut self,
        packets: &mut Vec<Packet>,
        limit: usize,
        timeout: Duration,
    ) -> io::Result<usize> {
        let until = Clock::now() + timeout;
        loop {
            if let Some(count) = self.lane.try_take(None, push(packets, limit)) {
                return Ok(count);
            }
            self.lane.wait_for_items(Some(until))?;
        }
    }

    /// Receives, or has the task woken when there is a packet. Only the last task that polled is
    /// woken.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<usize> {
        self.lane.poll_take(cx, push(packets, limit))
    }

    /// Receives in a task of any executor. No packet is lost when the future is dropped.
    pub async fn recv_async(&mut self, packets: &mut Vec<Packet>, limit: usize) -> usize {
        poll_fn(|cx| self.poll_recv(cx, packets, limit)).await
    }
}

/// Appends packets to the vector, up to the limit and at least one.
fn push(packets: &mut Vec<Packet>, limit: usize) -> impl FnMut(Packet) -> bool {
    let mut left = limit;
    move |packet| {
        packets.push(packet);
        left = left.saturating_sub(1);
        left > 0
    }
}

impl Drop for PacketReceiver {
    fn drop(&mut self) {
        self.lane.close_receiver();
    }
}

/// The half of a [`PacketChannel`] that gives packets to the stack.
///
/// Every form moves packets from the front of `packets`, without a copy of their bytes. Those that
/// found no room stay. Every form fails with `BrokenPipe` when the device has been dropped.
///
/// The stack checks what it gets: a packet from outside may contain anything. A [`Frame`] also says
/// what is known about it: a verified checksum, or that it was merged from several segments.
#[derive(Debug)]
pub struct PacketSender {
    lane: Arc<Lane<Frame>>,
}

impl PacketSender {
    /// Sends as many packets as there is room for, and returns their number. Fails with
    /// `WouldBlock` if there is room for none.
    pub fn try_send(&mut self, packets: &mut VecDeque<Frame>) -> io::Result<usize> {
        self.lane.try_send(packets, None)
    }

    /// Sends all packets, and blocks while there is no room.
    pub fn send(&mut self, packets: &mut VecDeque<Frame>) -> io::Result<()> {
        self.send_until(packets, None)
    }

    /// Sends all packets, and blocks for at most so long. Fails with `TimedOut` then.
    pub fn send_timeout(&mut self, packets: &mut VecDeque<Frame>, timeout: Duration) -> io::Result<()> {
        self.send_until(packets, Some(Clock::now() + timeout))
    }

    fn send_until(&self, packets: &mut VecDeque<Frame>, until: Option<Instant>) -> io::Result<()> {
        while !packets.is_empty() {
            match self.lane.try_send(packets, None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.lane.wait_for_room(until)?,
                sent => drop(sent?),
            }
        }
        Ok(())
    }

    /// Sends as many packets as there is room for, and returns their number, or has the task woken
    /// when there is room. Only the last task that polled is woken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut VecDeque<Frame>,
    ) -> Poll<io::Result<usize>> {
        self.lane.poll_send(cx, packets)
    }

    /// Sends all packets, in a task of any executor. When the future is dropped, those that were
    /// not sent are still in `packets`.
    pub async fn send_async(&mut self, packets: &mut VecDeque<Frame>) -> io::Result<()> {
        while !packets.is_empty() {
            poll_fn(|cx| self.poll_send(cx, packets)).await?;
        }
        Ok(())
    }
}

impl Drop for PacketSender {
    fn drop(&mut self) {
        self.lane.close_sender();
    }
}

#[cfg(test)]
mod tests;
