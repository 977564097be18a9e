//! How a call waits for a socket: as the leader, or parked as a follower.
//!
//! [`driver`](super::driver) describes leaders and followers.

use std::io;
use std::time::Duration;

use portolan::{Instant, SocketId};

use crate::clock::Clock;
use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::end_reason::EndReason;
use crate::engine::leader::Leader;
use crate::engine::leadership::Waiting;
use crate::engine::locks::{Engine, Waited, to_io_error, wait};
use crate::engine::waiters::{Target, Wakes};

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    /// The call does not wait.
    None,
    For(Duration),
    Forever,
}

/// The result of one attempt at a call.
enum Attempt<'a, R> {
    Done(portolan::Result<R>),
    /// The call must wait, and this thread leads meanwhile.
    Lead(Leader<'a>),
    /// The call must wait while another thread leads: park while the count of events is this.
    Follow(u32),
}

/// The result of waiting as the leader.
enum LeadResult<R> {
    Done(portolan::Result<R>),
    /// Others were served and should lead: park while the count of events is this.
    Follow(u32),
}

fn would_block<R>(result: &portolan::Result<R>) -> bool {
    matches!(result, Err(portolan::Error::WouldBlock))
}

/// The socket of a call, and the direction that it waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) socket: SocketId,
    pub(crate) direction: Direction,
}

impl EngineCore {
    /// Ends an attempt. If the call got something, or an error, the next thread that waits for the
    /// same is woken.
    pub(crate) fn on_attempt<R>(
        &mut self,
        Wanted { socket, direction }: Wanted,
        result: &portolan::Result<R>,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        if would_block(result) {
            return;
        }
        self.leadership.policy.on_served(now);
        self.waiters.pass_on(socket, direction, &self.stack, wakes);
    }

    /// Begins to wait: the caller leads if no other caller does. Returns `None` if the socket is
    /// closed.
    fn begin_wait<'a, R>(
        &mut self,
        engine: &'a Engine,
        Wanted { socket, direction }: Wanted,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Attempt<'a, R>> {
        self.leadership.policy.on_wait(now);
        let target = Target::Socket(socket, direction);
        let seen = self.waiters.events(target)?;
        let leader = self.try_lead(engine, Some(Waiting { target, seen }), now, wakes);
        Some(leader.map_or(Attempt::Follow(seen), Attempt::Lead))
    }
}

impl Engine {
    /// Repeats `op` until it returns something other than `WouldBlock`, and waits in between until
    /// the socket is ready. Returns `WouldBlock` when the time is over, as with SO_RCVTIMEO.
    pub(crate) fn call_blocking<R>(
        &self,
        socket: SocketId,
        direction: Direction,
        wait_limit: WaitLimit,
        mut op: impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let wanted = Wanted { socket, direction };
        let mut give_up_at = None;
        let mut may_wait = wait_limit != WaitLimit::None;
        loop {
            let tried = self.call(|core, now, wakes| {
                let result = op(core, now);
                core.on_attempt(wanted, &result, now, wakes);
                if !may_wait || !would_block(&result) {
                    return Attempt::Done(result);
                }
                if let WaitLimit::For(timeout) = wait_limit {
                    give_up_at.get_or_insert(now + timeout);
                }
                core.begin_wait(self, wanted, now, wakes).unwrap_or(Attempt::Done(result))
            })?;
            let seen = match tried {
                Attempt::Done(result) => return result.map_err(to_io_error),
                Attempt::Follow(seen) => seen,
                Attempt::Lead(leader) => match lead_until(leader, wanted, give_up_at, &mut op) {
                    Ok(LeadResult::Done(result)) => return result.map_err(to_io_error),
                    Ok(LeadResult::Follow(seen)) => seen,
                    Err(ended) => {
                        self.end(ended.clone());
                        return Err(ended.to_error());
                    }
                },
            };
            may_wait = self.park(wanted, seen, give_up_at)? == Waited::Woken;
        }
    }

    /// Sleeps until there is an event for the socket after `seen` was noted, or until no thread
    /// leads.
    fn park(
        &self,
        Wanted { socket, direction }: Wanted,
        seen: u32,
        give_up_at: Option<Instant>,
    ) -> io::Result<Waited> {
        let mut core = self.lock_core()?;
        loop {
            core.check_callable()?;
            let Some(waiters) = core.waiters.of(socket) else { return Ok(Waited::Woken) };
            if *waiters.events(direction) != seen {
                return Ok(Waited::Woken);
            }
            let left = give_up_at.map(Clock::until);
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Waited::TimedOut);
            }
            let Some(parking) = core.waiters.park(socket, direction) else { return Ok(Waited::Woken) };
            core = wait(parking.condvar(direction), core, left)?;
            if let Some(waiters) = core.waiters.of(socket) {
                waiters.unpark(direction);
            }
            if core.leadership.leader().is_none() {
                return Ok(Waited::Woken);
            }
        }
    }
}

/// Leads until `op` returns something other than `WouldBlock`, until it is time to give up, or
/// until others should lead.
fn lead_until<R>(
    mut leader: Leader<'_>,
    wanted: Wanted,
    give_up_at: Option<Instant>,
    op: &mut impl FnMut(&mut EngineCore, Instant) -> portolan::Result<R>,
) -> Result<LeadResult<R>, EndReason> {
    loop {
        leader.sleep(give_up_at)?;
        let led = leader.turn(|leader, core, now, wakes| {
            let is_over = give_up_at.is_some_and(|at| at <= now);
            // A thread whose call is refused learns that when it parks.
            if !core.refuses_calls && (is_over || leader.has_event(core)) {
                let result = op(core, now);
                if is_over || !would_block(&result) || !leader.look_again(core) {
                    leader.resign(core, now, wakes);
                    if !core.leadership.policy.served_leads_next() {
                        core.waiters.wake_next_leader(wakes);
                    }
                    core.on_attempt(wanted, &result, now, wakes);
                    return Some(LeadResult::Done(result));
                }
            }
            // Other threads were served, or read the devices themselves.
            let others_lead = wakes.has_parked() && core.leadership.policy.served_leads_next();
            if others_lead || core.leadership.policy.is_burst(now) || core.refuses_calls {
                let seen = leader.seen();
                leader.resign(core, now, wakes);
                return Some(LeadResult::Follow(seen));
            }
            None
        })?;
        if let Some(led) = led {
            return Ok(led);
        }
    }
}
