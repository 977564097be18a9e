//! What must hold while no packet is in flight.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::socket::{SocketInfo, SocketKind};
use crate::stack::Stack;
use crate::time::Instant;

/// After this long, delayed acknowledgements and everything else that waits for a short time have
/// been sent.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Checks that a connection has a timer if it needs one, and none otherwise. `quiet_for` is how
/// long no packet was in flight.
pub(super) fn check(now: Instant, stack: &Stack, quiet_for: Duration) -> Result<(), String> {
    for info in stack.sockets().filter(|info| info.kind == SocketKind::Stream) {
        if needs_timer(&info) {
            let Some((at, _)) = info.timer else {
                return Err(format!("nothing is on its way, and there is no timer: {info:?}"));
            };
            let called_at = stack.poll_timeout().map(|deadline| deadline.at);
            if called_at.is_none_or(|called_at| called_at > at) {
                return Err(format!("the stack asks to be called at {called_at:?}: {info:?}"));
            }
        }
        let is_kept_alive = info
            .descriptor
            .and_then(|descriptor| stack.options(descriptor).ok())
            .is_some_and(|options| options.keepalive);
        if quiet_for >= SETTLED_AFTER && is_at_rest(&info) && !is_kept_alive && info.timer.is_some() {
            return Err(format!(
                "nothing has moved since {:?}, yet there is a timer: {info:?}",
                now - quiet_for
            ));
        }
    }
    Ok(())
}

/// Whether the connection waits for an answer and nobody but itself will ask again.
fn needs_timer(info: &SocketInfo) -> bool {
    match info.state.name() {
        "SYN-SENT" | "FIN-WAIT-1" | "CLOSING" | "LAST-ACK" => true,
        // RFC 9293 §3.6: no program holds it that could give it up.
        "FIN-WAIT-2" => info.descriptor.is_none(),
        "ESTABLISHED" | "CLOSE-WAIT" => info.send_queue > 0,
        _ => false,
    }
}

/// Whether the connection has nothing to send, and waits for nothing but the peer's or the
/// program's decision.
fn is_at_rest(info: &SocketInfo) -> bool {
    let is_open = matches!(info.state.name(), "ESTABLISHED" | "CLOSE-WAIT" | "FIN-WAIT-2");
    is_open && info.send_queue == 0 && info.descriptor.is_some()
}
