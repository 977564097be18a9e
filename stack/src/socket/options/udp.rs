//! IPPROTO_UDP.

/// The options of UDP, see [`SocketOptions`](super::SocketOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpOptions {
    /// UDP_SEGMENT; 0 if it is off.
    pub segment: u16,
    /// UDP_GRO.
    pub gro: bool,
    /// UDP_CORK.
    pub cork: bool,
    /// UDP_NO_CHECK6_TX.
    pub no_check6_tx: bool,
    /// UDP_NO_CHECK6_RX.
    pub no_check6_rx: bool,
}
