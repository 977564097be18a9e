//! Two hosts that a test drives in the same way: [`RawPeer`] is Portolan in virtual time,
//! [`LinuxHost`] is the kernel in real time. The test is the only neighbour of each: it sends and
//! receives whole IP packets, and makes the calls of a program.

mod linux;
mod portolan_host;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan::testing::PacketBuilder;
use portolan::{
    Domain, Instant, Readiness, ReceivedFlags, RecvFlags, SendFlags, Shutdown, SocketKind, SocketOption,
};

use crate::RawPeer;
use crate::by_family;

pub use linux::{KernelSetting, LinuxHost, is_judge, kernel_settings_of, kernel_version};
pub(crate) use linux::{
    SIOCATMARK, SIOCOUTQNSD, ask, disconnect, errno_name, linux_readiness, set_delayed_ack, set_option_bytes,
};

/// The result of a call, or the name of its error: `EAGAIN`.
pub type CallResult<T> = Result<T, &'static str>;

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The value.
    Value(String),
    /// This host has no such value.
    NotHere,
    /// No host has it: the name is a mistake.
    Unknown,
}

/// What `recvmsg` has returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The length that the call returned.
    pub len: usize,
    /// The bytes in the buffers, which are zero where nothing was written.
    pub data: Vec<u8>,
    /// The flags that the call returned.
    pub flags: ReceivedFlags,
    /// The sender, or the destination of the packet that an error is about.
    pub from: Option<SocketAddr>,
    /// The control data of a datagram: where it was sent to, TTL and TOS.
    pub control: Option<Control>,
    /// The error, as text.
    pub error: Option<String>,
}

/// The control data of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The address that it was sent to.
    pub to: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// TOS or traffic class.
    pub traffic_class: u8,
}

/// An error of an error queue, as text.
pub(crate) fn error_text(error: &str, origin: &str, info: u32, offender: Option<IpAddr>) -> String {
    let from = offender.map_or("nobody".into(), |offender| offender.to_string());
    format!("{error} {origin} info {info} from {from}")
}

/// A host under test. Its addresses are those of the stack in [`RawPeer`].
pub trait Host {
    /// A descriptor of a program.
    type Descriptor: Copy + Debug;

    /// Whether time is real: then everything happens a little late, and no query is possible
    /// between two events.
    const REAL_TIME: bool;

    /// The time.
    fn now(&self) -> Instant;

    /// Lets time pass to `end`, or until the host has sent something if that is sooner.
    fn wait(&mut self, end: Instant);

    /// Lets all of this time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.wait(end);
        }
    }

    /// The IP packets that the host has sent since the last call, and when.
    fn take_sent(&mut self) -> Vec<(Instant, Vec<u8>)>;

    /// Passes an IP packet to the host.
    fn send_packet(&mut self, packet: &[u8]);

    /// Makes a socket, which is nonblocking. One of datagrams gets all control data.
    fn socket_of(&mut self, domain: Domain, kind: SocketKind) -> CallResult<Self::Descriptor>;
    /// Makes a stream socket, which is nonblocking.
    fn socket(&mut self, domain: Domain) -> CallResult<Self::Descriptor> {
        self.socket_of(domain, SocketKind::Stream)
    }
    /// `bind`.
    fn bind(&mut self, d: Self::Descriptor, addr: SocketAddr) -> CallResult<()>;
    /// `getsockname`.
    fn local_addr(&mut self, d: Self::Descriptor) -> CallResult<SocketAddr>;
    /// `getpeername`.
    fn peer_addr(&mut self, d: Self::Descriptor) -> CallResult<SocketAddr>;
    /// `listen`.
    fn listen(&mut self, d: Self::Descriptor, backlog: usize) -> CallResult<()>;
    /// `accept`; the new socket is nonblocking, too.
    fn accept(&mut self, d: Self::Descriptor) -> CallResult<Self::Descriptor>;
    /// `connect`.
    fn connect(&mut self, d: Self::Descriptor, addr: SocketAddr) -> CallResult<()>;
    /// `connect` to AF_UNSPEC.
    fn disconnect(&mut self, d: Self::Descriptor) -> CallResult<()>;
    /// `sendto` with MSG_FASTOPEN: connects, and sends data with the SYN if it can.
    fn connect_with_data(&mut self, d: Self::Descriptor, addr: SocketAddr, data: &[u8]) -> CallResult<usize>;
    /// `send`.
    fn send(&mut self, d: Self::Descriptor, data: &[u8]) -> CallResult<usize> {
        self.send_with(d, data, SendFlags::default())
    }
    /// `send` with flags.
    fn send_with(&mut self, d: Self::Descriptor, data: &[u8], flags: SendFlags) -> CallResult<usize>;
    /// `recv`.
    fn recv(&mut self, d: Self::Descriptor, buf: &mut [u8]) -> CallResult<usize>;
    /// `recv` with MSG_OOB, of one byte.
    fn recv_oob(&mut self, d: Self::Descriptor) -> CallResult<u8> {
        let message = self.recv_message(d, &[1], RecvFlags::OOB)?;
        message.data.first().copied().ok_or("no byte")
    }
    /// `sendmsg` of several slices.
    fn send_message(
        &mut self,
        d: Self::Descriptor,
        data: &[&[u8]],
        to: Option<SocketAddr>,
        flags: SendFlags,
    ) -> CallResult<usize>;
    /// `recvmsg` into buffers of these lengths.
    fn recv_message(&mut self, d: Self::Descriptor, lens: &[usize], flags: RecvFlags) -> CallResult<Message>;
    /// `shutdown`.
    fn shutdown(&mut self, d: Self::Descriptor, how: Shutdown) -> CallResult<()>;
    /// `close`.
    fn close(&mut self, d: Self::Descriptor) -> CallResult<()>;
    /// `setsockopt`.
    fn set_option(&mut self, d: Self::Descriptor, option: SocketOption) -> CallResult<()>;

    /// SO_ERROR, which this clears.
    fn take_error(&mut self, d: Self::Descriptor) -> CallResult<Option<&'static str>>;
    /// The result of `poll`.
    fn readiness(&mut self, d: Self::Descriptor) -> CallResult<Readiness>;
    /// Bytes that wait to be read, and bytes that are not acknowledged yet.
    fn queued_bytes(&mut self, d: Self::Descriptor) -> CallResult<(usize, usize)>;
    /// FIONREAD.
    fn unread_bytes(&mut self, d: Self::Descriptor) -> CallResult<usize>;
    /// SIOCOUTQ.
    fn unacknowledged_bytes(&mut self, d: Self::Descriptor) -> CallResult<usize>;
    /// SIOCOUTQNSD.
    fn unsent_bytes(&mut self, d: Self::Descriptor) -> CallResult<usize>;
    /// SIOCATMARK.
    fn at_mark(&mut self, d: Self::Descriptor) -> CallResult<bool>;
    /// IP_MTU or IPV6_MTU.
    fn path_mtu(&mut self, d: Self::Descriptor) -> CallResult<usize>;
    /// A field of [`portolan::TcpInfo`], as its `Debug` shows it.
    fn info(&mut self, d: Self::Descriptor, field: &str) -> CallResult<Found>;
    /// The host's connections, whatever their holders: its port, the peer's, and the state.
    fn states(&mut self) -> Vec<(u16, u16, String)>;
    /// The state of the connection of the socket, or of the one between these ports. `CLOSED` if
    /// there is only a socket, and otherwise `none`.
    fn state(&mut self, local_port: u16, peer_port: u16, socket: Option<Self::Descriptor>) -> String {
        let own = socket.map(|socket| self.info(socket, "state"));
        if let Some(Ok(Found::Value(state))) = own
            && state != "CLOSED"
        {
            return state;
        }
        let states = self.states();
        let found = states.into_iter().find(|(local, peer, _)| (*local, *peer) == (local_port, peer_port));
        let without = if socket.is_some() { "CLOSED" } else { "none" };
        found.map_or(without.into(), |(_, _, state)| state)
    }

    /// Why a connection ended: [`portolan::CloseReason`] or `none`.
    fn close_reason(&mut self, d: Self::Descriptor) -> CallResult<Found>;
    /// A counter by its name in [`portolan::Stats`].
    fn counter(&mut self, name: &str) -> Found;
    /// Packets dropped for a [`portolan::DropReason`].
    fn drops(&mut self, reason: &str) -> Found;
    /// The next timer of the host's connections: a [`portolan::DeadlineKind`] and the time until
    /// then, or `none`.
    fn timer(&mut self) -> Found;
}

/// The host's address.
pub fn host_addr(domain: Domain) -> IpAddr {
    by_family(domain, RawPeer::STACK_V4.into(), RawPeer::STACK_V6.into())
}

/// The peer's address.
pub fn peer_addr(domain: Domain) -> IpAddr {
    by_family(domain, RawPeer::PEER_V4.into(), RawPeer::PEER_V6.into())
}

/// A builder for packets from the peer to the host.
pub fn packet(domain: Domain) -> PacketBuilder {
    PacketBuilder::new(peer_addr(domain), host_addr(domain))
}

/// The text for a timer: `Retransmit in 0.200 s`.
pub fn timer_text(kind: &str, after: Option<Duration>) -> String {
    match after {
        Some(after) => format!("{kind} in {:.3} s", after.as_secs_f64()),
        None => kind.to_string(),
    }
}
