//! Compares what a connection reports while it runs with what it does.

use portolan::testing::sim::{NodeId, SimNet, TestStream};
use portolan::{CongestionState, TcpInfo, TcpState};

/// One end at its last check.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<TcpInfo>,
}

impl Watch {
    /// Checks an open connection.
    pub(super) fn look(&mut self, net: &SimNet, host: NodeId, stream: &TestStream) -> Result<(), String> {
        let info = net.peek(host).and_then(|stack| stack.info(net.now(), stream.descriptor()).ok());
        let last = std::mem::replace(&mut self.last, info.clone());
        let Some(info) = info else { return Ok(()) };
        check(&info, last.as_ref())
            .map_err(|error| format!("{host} {:?}: {error}: {info:?}", stream.descriptor()))
    }
}

fn check(info: &TcpInfo, last: Option<&TcpInfo>) -> Result<(), String> {
    if info.snd_cwnd_bytes == 0 && info.state == TcpState::Established {
        return Err("no congestion window".into());
    }
    if info.sacked + info.lost > info.unacked + 1 {
        return Err("more segments are sacked and lost than are out".into());
    }
    if info.bytes_retrans > info.bytes_sent {
        return Err("more bytes were sent again than were sent".into());
    }
    let Some(last) = last else { return Ok(()) };
    for (name, now, before) in [
        ("bytes_acked", info.bytes_acked, last.bytes_acked),
        ("bytes_sent", info.bytes_sent, last.bytes_sent),
        ("bytes_retrans", info.bytes_retrans, last.bytes_retrans),
        ("bytes_received", info.bytes_received, last.bytes_received),
    ] {
        if now < before {
            return Err(format!("{name} was {before} before"));
        }
    }
    // Without losses, the data in flight is the data that was sent and not acknowledged. Up to two
    // further segments are from limited transmit (RFC 3042) and one is a tail loss probe (RFC 8985
    // §7), even if the window is now smaller than the data in flight.
    let is_calm = |info: &TcpInfo| info.ca_state == CongestionState::Open && info.sacked + info.lost == 0;
    let new_bytes = |info: &TcpInfo| info.bytes_sent - info.bytes_retrans;
    let out = new_bytes(info).saturating_sub(info.bytes_acked);
    let allowed = u64::from(info.snd_cwnd_bytes.max(last.snd_cwnd_bytes)) + 4 * u64::from(info.snd_mss);
    let is_new = new_bytes(info) > new_bytes(last) + 3 * u64::from(info.snd_mss);
    if is_calm(info) && is_calm(last) && is_new && out > allowed {
        return Err(format!(
            "{out} bytes are out, which is more than the congestion window, before it: {last:?}"
        ));
    }
    Ok(())
}
