//! What must hold while nothing is on its way.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::socket::{SocketInfo, SocketKind};
use crate::stack::Stack;
use crate::time::Instant;

/// Acknowledgements that are delayed, and whatever else waits for a moment, have been sent after
/// this long.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// No need without a timer, no timer without a need. `quiet_for` is how long nothing was on its
/// way.
pub(super) fn check(now: Instant, stack: &Stack, quiet_for: Duration) -> Result<(), String> {
    for info in stack.sockets().into_iter().filter(|info| info.kind == SocketKind::Stream) {
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

/// It waits for an answer that nobody else will ask for.
fn needs_timer(info: &SocketInfo) -> bool {
    match info.state.name() {
        "SYN-SENT" | "FIN-WAIT-1" | "CLOSING" | "LAST-ACK" => true,
        // RFC 9293 §3.6: no program is there to give it up.
        "FIN-WAIT-2" => info.descriptor.is_none(),
        "ESTABLISHED" | "CLOSE-WAIT" => info.send_queue > 0,
        _ => false,
    }
}

/// Nothing is to be sent, and nothing is waited for but the peer's or the program's pleasure.
fn is_at_rest(info: &SocketInfo) -> bool {
    let is_open = matches!(info.state.name(), "ESTABLISHED" | "CLOSE-WAIT" | "FIN-WAIT-2");
    is_open && info.send_queue == 0 && info.descriptor.is_some()
}
