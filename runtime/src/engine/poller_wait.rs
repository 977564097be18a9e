//! How a thread waits at a poller: as the leader, or asleep at the poller's bell as a follower.
//!
//! [`driver`](super::driver) describes leaders and followers. Unlike a call on a socket
//! ([`wait`](super::wait)), a wait at a poller may concern several stacks, and the host's
//! descriptors beside them. A thread leads only if there is one stack.

use std::io;

use portolan::{Instant, OwnerId, PollerId, Ready};

use crate::engine::core::EngineCore;
use crate::engine::end_reason::EndReason;
use crate::engine::leader::Leader;
use crate::engine::leadership::Waiting;
use crate::engine::locks::{Engine, to_io_error};
use crate::engine::waiters::{Target, Wakes};

/// What an attempt does when there is nothing to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfNothing {
    /// It returns.
    Return,
    /// It waits. If `leads`, it may lead meanwhile.
    Wait { leads: bool },
}

/// The result of an attempt.
#[derive(Debug)]
pub(crate) enum PollerAttempt<'a> {
    /// So many were reported.
    Reported(usize),
    /// There is nothing, and this thread leads meanwhile.
    Lead(Leader<'a>),
    /// There is nothing: sleep at the bell.
    Follow,
}

/// How the wait of a leader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Led {
    /// So many were reported; none if it is time to give up.
    Reported(usize),
    /// A descriptor of the host is ready, and so many were reported.
    HostReady(usize),
    /// Others should lead: sleep at the bell.
    Follow,
}

/// The wait of one thread at the poller of one stack.
#[derive(Debug)]
pub(crate) struct PollerWait {
    owner: OwnerId,
    poller: PollerId,
    /// Whether the thread is counted among those that wait.
    is_counted: bool,
}

impl PollerWait {
    pub(crate) fn new(owner: OwnerId, poller: PollerId) -> Self {
        PollerWait { owner, poller, is_counted: false }
    }

    /// Appends what is ready, at most `max`, to `ready`.
    pub(crate) fn attempt<'a>(
        &mut self,
        engine: &'a Engine,
        ready: &mut Vec<Ready>,
        max: usize,
        if_nothing: IfNothing,
    ) -> io::Result<PollerAttempt<'a>> {
        engine
            .call(|core, now, wakes| {
                let count = self.collect(core, ready, max)?;
                let leads = match if_nothing {
                    IfNothing::Wait { leads } if count == 0 => leads,
                    _ => {
                        self.finish(core, count, now, wakes)?;
                        return Ok(PollerAttempt::Reported(count));
                    }
                };
                self.begin(core);
                core.leadership.policy.on_wait(now);
                let target = Target::Poller(self.poller);
                let seen = core.waiters.events(target).ok_or(portolan::Error::BadDescriptor)?;
                let waiting = Waiting { target, seen };
                let leader = if leads { core.try_lead(engine, Some(waiting), now, wakes) } else { None };
                Ok(leader.map_or_else(|| self.follow(core), PollerAttempt::Lead))
            })?
            .map_err(to_io_error)
    }

    fn follow<'a>(&self, core: &mut EngineCore) -> PollerAttempt<'a> {
        core.waiters.remember_parked(Target::Poller(self.poller));
        PollerAttempt::Follow
    }

    /// Leads until there is something to report, until it is time to give up, until a descriptor of
    /// the host is ready, or until others should lead.
    pub(crate) fn lead(
        &mut self,
        mut leader: Leader<'_>,
        give_up_at: Option<Instant>,
        ready: &mut Vec<Ready>,
        max: usize,
    ) -> Result<io::Result<Led>, EndReason> {
        loop {
            leader.sleep(give_up_at)?;
            let led = leader.turn(|leader, core, now, wakes| {
                let ends = leader.is_host_ready() || give_up_at.is_some_and(|at| at <= now);
                if ends || leader.has_event(core) {
                    let collected = self.collect(core, ready, max);
                    if ends || collected != Ok(0) || !leader.look_again(core) {
                        leader.resign(core, now, wakes);
                        if !core.leadership.policy.served_leads_next() {
                            core.waiters.wake_next_leader(wakes);
                        }
                        return Some(collected.and_then(|count| {
                            self.finish(core, count, now, wakes)?;
                            Ok(if leader.is_host_ready() {
                                Led::HostReady(count)
                            } else {
                                Led::Reported(count)
                            })
                        }));
                    }
                    self.begin(core);
                }
                // Other threads were served, or read the devices themselves. A thread whose call is
                // refused learns that in its next attempt.
                let others_lead = wakes.has_parked() && core.leadership.policy.served_leads_next();
                if others_lead || core.leadership.policy.is_burst(now) || core.refuses_calls {
                    leader.resign(core, now, wakes);
                    core.waiters.remember_parked(Target::Poller(self.poller));
                    return Some(Ok(Led::Follow));
                }
                None
            })?;
            if let Some(led) = led {
                return Ok(led.map_err(to_io_error));
            }
        }
    }

    /// Ends the wait if this thread still counts as waiting.
    pub(crate) fn end(&mut self, engine: &Engine) {
        if self.is_counted {
            // A runtime that is over needs no counts, and a poller that is gone has none.
            let _ = self.attempt(engine, &mut Vec::new(), 0, IfNothing::Return);
        }
    }

    fn collect(
        &mut self,
        core: &mut EngineCore,
        ready: &mut Vec<Ready>,
        max: usize,
    ) -> portolan::Result<usize> {
        if std::mem::take(&mut self.is_counted) {
            core.waiters.pollers.end_wait(self.poller);
        }
        if max == 0 {
            return Ok(0);
        }
        core.owner(self.owner)?.poller_wait(self.poller, ready, max)
    }

    fn begin(&mut self, core: &mut EngineCore) {
        self.is_counted = true;
        core.waiters.pollers.begin_wait(self.poller);
    }

    /// Ends an attempt that has reported `count`. If other threads wait and there is more to
    /// report, wakes the next one.
    fn finish(
        &self,
        core: &mut EngineCore,
        count: usize,
        now: Instant,
        wakes: &mut Wakes,
    ) -> portolan::Result<()> {
        if count > 0 {
            core.leadership.policy.on_served(now);
        }
        let others_wait = core.waiters.pollers.bell_of(self.poller).is_some();
        let mut owner = core.owner(self.owner)?;
        owner.set_poller_waiting(self.poller, others_wait)?;
        if others_wait && owner.may_poller_report(self.poller)? {
            core.waiters.on_poller_event(self.poller, wakes);
        }
        Ok(())
    }
}
