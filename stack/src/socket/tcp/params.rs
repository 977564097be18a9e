//! The initial parameters of a connection: its initial sequence number, and its segment sizes.

use core::net::IpAddr;

use super::TcpSockets;
use crate::Ctx;
use crate::demux::FourTuple;
use crate::iface::interface::IPV6_MIN_MTU;
use crate::network::Network;
use crate::socket::options::SocketOptions;
use crate::socket::scope::iface_of;
use crate::tcp::OpenParams;

impl TcpSockets {
    /// The initial parameters of a connection, opened from either side.
    pub(super) fn open_params(
        &self,
        ctx: &Ctx<'_>,
        network: &Network,
        options: &SocketOptions,
        tuple: &FourTuple,
    ) -> OpenParams {
        let zone = network.zone_scope(tuple.scope);
        OpenParams {
            isn: self.isn.isn(ctx.now, tuple.local_addr(), tuple.remote_addr(), zone),
            timestamp_offset: self.isn.timestamp_offset(tuple.local.addr, tuple.remote.addr, zone),
            default_mss: default_mss(tuple.remote.addr),
            announced_mss: announced_mss(network, options, tuple),
            path_mss: allowed_mss(ctx, network, options, tuple),
            settings: options.tcp_settings(),
        }
    }
}

/// The MSS that we announce: the one that our link takes, or TCP_MAXSEG if that is less (RFC 9293
/// §3.7.1, MUST-67). A path MTU that was learned does not matter: it is about packets that we send,
/// and the way back may differ (RFC 1191 §3.1).
fn announced_mss(network: &Network, options: &SocketOptions, tuple: &FourTuple) -> u16 {
    let mtu = network.link_mtu(tuple.remote.addr, iface_of(tuple.scope));
    let link_mss = mss_for_mtu(mtu, tuple.remote.addr);
    options.tcp.max_segment.map_or(link_mss, |mss| mss.min(link_mss))
}

/// The MSS that fits the path, or TCP_MAXSEG if that is less.
pub(super) fn allowed_mss(
    ctx: &Ctx<'_>,
    network: &Network,
    options: &SocketOptions,
    tuple: &FourTuple,
) -> u16 {
    let path_mss = path_mss(ctx, network, tuple);
    options.tcp.max_segment.map_or(path_mss, |mss| mss.min(path_mss))
}

/// The MSS that fits the path: its MTU less the IP and TCP headers without options.
pub(super) fn path_mss(ctx: &Ctx<'_>, network: &Network, tuple: &FourTuple) -> u16 {
    let mtu = network.path_mtu(ctx.now, tuple.remote.addr, iface_of(tuple.scope));
    mss_for_mtu(mtu, tuple.remote.addr)
}

/// The MSS of a peer that names none (RFC 9293 §3.7.1, MUST-15).
fn default_mss(remote: IpAddr) -> u16 {
    if remote.is_ipv4() { 536 } else { 1220 }
}

/// The MSS that every IPv6 path takes (RFC 8200 §5). The guarantee for IPv4 is too small to be of
/// use (RFC 791 §3.2).
pub(super) fn least_path_mss(remote: IpAddr) -> u16 {
    if remote.is_ipv4() { 0 } else { mss_for_mtu(IPV6_MIN_MTU, remote) }
}

pub(super) fn mss_for_mtu(mtu: usize, remote: IpAddr) -> u16 {
    u16::try_from(mtu.saturating_sub(header_bytes(remote) as usize)).unwrap_or(u16::MAX)
}

/// The length of the IP and TCP headers without options.
pub(super) fn header_bytes(remote: IpAddr) -> u32 {
    if remote.is_ipv4() { 40 } else { 60 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_sizes() {
        let [v4, v6]: [IpAddr; 2] = [[10, 0, 0, 1].into(), core::net::Ipv6Addr::LOCALHOST.into()];
        // RFC 9293 §3.7.1 (MUST-15, MUST-16), RFC 8200 §5.
        assert_eq!((default_mss(v4), default_mss(v6)), (536, 1220));
        assert_eq!((least_path_mss(v4), least_path_mss(v6)), (0, 1220));
        for (mtu, of_v4, of_v6) in [(0, 0, 0), (60, 20, 0), (1500, 1460, 1440), (65_575, 65_535, 65_515)] {
            assert_eq!((mss_for_mtu(mtu, v4), mss_for_mtu(mtu, v6)), (of_v4, of_v6));
        }
        assert_eq!(mss_for_mtu(65_576, v4), 65_535, "more than an MSS can say");
    }
}
