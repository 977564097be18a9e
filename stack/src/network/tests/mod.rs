//! Tests of the network layer as a whole: hosts on a link, and links that a test simulates.

mod addresses;
mod ethernet;
mod forwarding;
mod fragments;
mod hostile;
mod icmp;
mod links;
mod loopback;
mod multicast;
mod offload;
mod resolution;
mod routing;

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use super::*;
use crate::drop_reason::DropReason;
use crate::frame::{Frame, HeaderBuf, Payload};
use crate::ip::protocol;
use crate::stats::Stats;

pub(super) const IFACE: InterfaceId = InterfaceId(0);

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(super) fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// A network layer with the parts that a stack would provide.
pub(super) struct Host {
    pub(super) network: Network,
    pub(super) config: Config,
    pub(super) stats: Stats,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) delivered: Vec<Delivery>,
    /// ICMP messages that the network layer has handled.
    pub(super) done: Vec<Datagram>,
}

impl Host {
    pub(super) fn with_config(seed: u8, config: Config) -> Host {
        let mut rng = Rng::new([seed; 32]);
        let network = Network::new(&config, None, &mut rng);
        Host {
            network,
            config,
            stats: Stats::new(),
            rng,
            now: Instant::ZERO,
            delivered: Vec::new(),
            done: Vec::new(),
        }
    }

    /// A host without interfaces.
    pub(super) fn bare() -> Host {
        Host::with_config(0, Config::default())
    }

    /// A host on an Ethernet, whose MAC address ends in `last`, and whose addresses have been
    /// probed.
    pub(super) fn ethernet(last: u8, addresses: &[&str]) -> Host {
        Host::ethernet_with(last, addresses, Config::default(), 1500)
    }

    pub(super) fn ethernet_with(last: u8, addresses: &[&str], config: Config, mtu: usize) -> Host {
        let mut host = Host::with_config(last, config);
        host.add_interface(Medium::Ethernet(mac(last)), mtu, addresses);
        host.advance(Duration::from_secs(10));
        host.frames();
        host.stats = Stats::new();
        host
    }

    /// A host on a link without link headers.
    pub(super) fn ip_medium(addresses: &[&str]) -> Host {
        let mut host = Host::bare();
        host.add_interface(Medium::Ip, 1500, addresses);
        host
    }

    pub(super) fn add_interface(&mut self, medium: Medium, mtu: usize, addresses: &[&str]) -> InterfaceId {
        let mut config = InterfaceConfig::new(medium).mtu(mtu);
        for address in addresses {
            config = config.address(cidr(address));
        }
        self.with(|network, ctx| network.add_interface(ctx, config)).unwrap()
    }

    pub(super) fn with<R>(&mut self, f: impl FnOnce(&mut Network, &mut Ctx<'_>) -> R) -> R {
        let Host { network, config, stats, rng, now, .. } = self;
        let (memory, free_list) = (crate::memory::Budget::UNLIMITED, &mut crate::tcp::FreeList::default());
        f(
            network,
            &mut Ctx {
                now: *now,
                received_at: *now,
                config,
                stats,
                rng,
                memory,
                free_list,
                subject: crate::subject::Subject::Stack,
            },
        )
    }

    /// Lets time pass, and fires each timer at its time.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.network.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.with(|network, ctx| network.handle_timeout(ctx));
        }
        self.now = end;
        self.drain();
    }

    /// Handles one frame; what it results in is in `delivered`.
    pub(super) fn receive(&mut self, frame: impl Into<Bytes>) {
        self.receive_on(IFACE, frame);
    }

    pub(super) fn receive_on(&mut self, iface: InterfaceId, frame: impl Into<Bytes>) {
        let frame = Frame::new(frame);
        let received = self.with(|network, ctx| network.handle_frame(ctx, iface, frame));
        self.keep(received);
        self.drain();
    }

    fn keep(&mut self, received: Reception) {
        match received {
            Ok(Some(Delivery::Icmp { message, outcome: IcmpOutcome::Done })) => self.done.push(message),
            // No socket takes it.
            Ok(Some(Delivery::Icmp { message, outcome: IcmpOutcome::Unused(reason) })) => {
                self.done.push(message);
                self.with(|_, ctx| ctx.count_drop(reason));
            }
            Ok(other) => self.delivered.extend(other),
            Err(reason) => self.with(|_, ctx| ctx.count_drop(reason)),
        }
    }

    fn drain(&mut self) {
        while self.network.has_loopback() {
            let received = self.with(|network, ctx| network.poll_loopback(ctx));
            self.keep(received);
        }
    }

    /// The frames to be sent.
    pub(super) fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(transmit) = self.with(|network, _| network.poll_transmit()) {
            frames.push(transmit.to_vec());
        }
        frames
    }

    /// Sends a transport packet, and returns the frame if it goes out at once.
    pub(super) fn output(&mut self, meta: IpMeta, header: &[u8], payload: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut buf = HeaderBuf::new();
        buf.prepend(header.len()).copy_from_slice(header);
        let mut slices = Payload::new();
        slices.push(Bytes::copy_from_slice(payload));
        let result = self.with(|network, ctx| network.output(ctx, meta, buf, slices));
        self.drain();
        result.map(|transmit| transmit.map(|transmit| transmit.to_vec()))
    }

    /// Sends a UDP datagram from the right source, port 1000 to 2000. Its checksum is not computed:
    /// other tests cover that.
    pub(super) fn send_udp(&mut self, dst: &str, data: &[u8]) -> Result<Option<Vec<u8>>> {
        let dst = ip(dst);
        let src = self.network.source_for(dst, None)?;
        self.output(meta(src, dst), &udp_header(data.len()), data)
    }

    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.stats.drops(reason)
    }

    /// The only delivery since the last call, which must be a datagram.
    pub(super) fn datagram(&mut self) -> Datagram {
        match core::mem::take(&mut self.delivered).as_slice() {
            [Delivery::Datagram(datagram)] => datagram.clone(),
            other => panic!("not one datagram but {other:?}; {:?}", self.stats),
        }
    }

    /// The only delivery since the last call, which must be an error.
    pub(super) fn error(&mut self) -> NetworkError {
        match core::mem::take(&mut self.delivered).as_slice() {
            [Delivery::Error(error)] => error.clone(),
            [Delivery::Icmp { outcome: IcmpOutcome::Error(error), .. }] => (**error).clone(),
            other => panic!("not one error but {other:?}; {:?}", self.stats),
        }
    }
}

pub(super) fn udp_header(data_len: usize) -> [u8; 8] {
    let [a, b] = (8 + data_len as u16).to_be_bytes();
    [0x03, 0xe8, 0x07, 0xd0, a, b, 0, 0]
}

pub(super) fn meta(src: IpAddr, dst: IpAddr) -> IpMeta {
    IpMeta {
        src,
        dst,
        protocol: protocol::UDP,
        hop_limit: None,
        traffic_class: 0,
        mtu_discovery: MtuDiscovery::Dont,
        path_seed: 0,
        is_looped: false,
        iface: None,
        checksum_at: None,
        run: None,
    }
}

/// Carries frames between two hosts until there are none left.
pub(super) fn settle(a: &mut Host, b: &mut Host) {
    loop {
        let (from_a, from_b) = (a.frames(), b.frames());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.into_iter().for_each(|frame| b.receive(frame));
        from_b.into_iter().for_each(|frame| a.receive(frame));
    }
}

/// Two hosts on one Ethernet.
pub(super) fn pair() -> (Host, Host) {
    (Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]), Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]))
}

/// An Ethernet frame around a packet.
pub(super) fn frame(dst: MacAddr, src: MacAddr, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &ethertype.to_be_bytes(), packet].concat()
}

/// An echo request as `ping` sends it.
pub(super) fn echo_request(src: IpAddr, dst: IpAddr, data: &[u8]) -> (IpMeta, Vec<u8>) {
    let mut message = vec![if src.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend(data);
    let protocol = if src.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let sum = if src.is_ipv4() {
        crate::ip::checksum::internet_checksum(&message)
    } else {
        crate::ip::checksum::transport_checksum(src, dst, protocol, &message, &[])
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    (IpMeta { protocol, ..meta(src, dst) }, message)
}
