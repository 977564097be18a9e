//! [`Leadership`]: the record of which thread leads, and of what others must know while it sleeps.
//!
//! At most one thread leads. While none does, the engine is *idle*: frames that come in wait in the
//! devices until a call reads them, or until a thread takes the lead.

use std::io;
use std::sync::Arc;

use portolan::Instant;

use crate::device::Readiness;
use crate::engine::device_signal::DeviceSignal;
use crate::engine::lead_policy::LeadPolicy;
use crate::engine::waiters::{Target, WaiterTable, Wakes};
use crate::platform::poll::{OwnedFd, PollFlags};
use crate::policy::{
    DRIVER_DELAY, DRIVER_WAKES_AFTER_HIT, DRIVER_WAKES_AFTER_WAIT, LONG_IDLE, READ_AFTER_SEND,
};

/// Which thread leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderKind {
    /// The driver thread.
    Driver,
    /// A thread that waits in a call.
    Caller,
}

/// What a caller waits for while it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) target: Target,
    /// [`WaiterTable::events`] at the caller's last check.
    pub(crate) seen: u32,
}

impl Waiting {
    /// Whether there was an event since the caller's last check, or the target was closed.
    pub(crate) fn has_event(&self, waiters: &mut WaiterTable) -> bool {
        waiters.events(self.target) != Some(self.seen)
    }
}

/// Duplicates of a device's descriptors, so that a thread can poll them while another thread holds
/// the device.
#[derive(Debug)]
pub(crate) struct PolledDevice {
    pub(crate) receive: OwnedFd,
    /// `None` if `receive` tells of room, too.
    pub(crate) room: Option<(OwnedFd, PollFlags)>,
}

impl PolledDevice {
    /// What to poll for a device that said this, and that was given this signal to wake.
    pub(crate) fn of(readiness: Readiness<'_>, signal: &DeviceSignal) -> io::Result<Self> {
        let room = readiness.room().map(|(fd, interest)| {
            let fd = fd.try_clone_to_owned()?;
            Ok::<_, io::Error>((fd, interest.poll_flags()))
        });
        Ok(PolledDevice {
            receive: readiness.receive().unwrap_or(signal.as_fd()).try_clone_to_owned()?,
            room: room.transpose()?,
        })
    }
}

/// What a leader polls: the devices as they were at some time. The leader keeps this while it
/// sleeps and holds no lock, and its `ready` and `polls_room` have an entry for each of them, in
/// order.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolledDevices {
    pub(crate) devices: Arc<[Arc<PolledDevice>]>,
    /// [`DeviceIo::version`](super::devices::DeviceIo::version) at that time.
    pub(crate) version: u64,
}

impl PolledDevices {
    /// Whether another thread has this snapshot, too.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.devices) > 1
    }
}

/// The record of the leader, guarded by the `core` lock.
#[derive(Debug)]
pub(crate) struct Leadership {
    leader: Option<LeaderKind>,
    /// The deadline of the stack that the leader knows, while it sleeps and has not been signalled.
    sleeps_until: Option<Instant>,
    /// When the last leader resigned, or a later call read the devices.
    idle_since: Instant,
    /// How many times a caller took the lead.
    callers: u64,
    /// Whether the driver thread sleeps until a leader that resigns wakes it.
    driver_sleeps: bool,
    /// How many callers that resign still wake the driver thread.
    pub(super) driver_wakes_left: u32,
    /// Whether a call is reading the devices after a long idle period.
    reads_after_long_idle: bool,
    /// Whether the driver thread was woken because a caller resigned, and no thread has led since.
    pub(super) driver_is_called: bool,
    /// Whether the driver thread has read frames since it took the lead.
    pub(super) driver_has_read: bool,
    pub(crate) policy: LeadPolicy,
    /// What a leader polls. Empty when the runtime is over.
    polled: PolledDevices,
}

/// The result of taking the lead.
#[derive(Debug)]
pub(crate) struct TakenLead {
    /// Whether the driver thread led until now and must be woken, so that it steps back.
    pub(crate) is_from_driver: bool,
    /// Whether no thread had led for long, so that frames in the devices have waited.
    pub(crate) after_long_idle: bool,
    pub(crate) polled: PolledDevices,
}

impl Leadership {
    pub(crate) fn new(polled: PolledDevices) -> Self {
        Leadership {
            leader: None,
            sleeps_until: None,
            idle_since: Instant::ZERO,
            callers: 0,
            driver_sleeps: false,
            driver_wakes_left: 0,
            reads_after_long_idle: false,
            driver_is_called: false,
            driver_has_read: false,
            policy: LeadPolicy::default(),
            polled,
        }
    }

    /// What a leader polls.
    pub(crate) fn polled(&self) -> &PolledDevices {
        &self.polled
    }

    /// Notes that the devices have changed. Returns the thread that leads: it must be woken,
    /// because it still polls the old ones.
    pub(crate) fn on_devices_changed(&mut self, polled: PolledDevices) -> Option<LeaderKind> {
        self.polled = polled;
        self.on_news()
    }

    pub(crate) fn leader(&self) -> Option<LeaderKind> {
        self.leader
    }

    /// Gives the lead to a thread if no other has it. A caller takes the lead from the driver
    /// thread, too.
    pub(crate) fn take(&mut self, kind: LeaderKind, now: Instant) -> Option<TakenLead> {
        let is_from_driver = match (self.leader, kind) {
            (None, _) => false,
            (Some(LeaderKind::Driver), LeaderKind::Caller) => true,
            (Some(_), _) => return None,
        };
        let after_long_idle = kind == LeaderKind::Caller && self.on_idle_end(now);
        self.driver_is_called = false;
        self.driver_has_read = false;
        self.leader = Some(kind);
        self.callers += u64::from(kind == LeaderKind::Caller);
        Some(TakenLead { is_from_driver, after_long_idle, polled: self.polled.clone() })
    }

    /// Takes the lead back from `kind`, if it still leads. Returns whether the driver thread must
    /// be woken, either because it sleeps or because the policy demands it.
    pub(crate) fn resign(&mut self, kind: LeaderKind, now: Instant) -> bool {
        if self.leader != Some(kind) {
            return false;
        }
        self.leader = None;
        self.sleeps_until = None;
        self.idle_since = now;
        self.driver_is_called = kind == LeaderKind::Caller && self.driver_wakes_left > 0;
        let wakes_driver = self.driver_sleeps || self.driver_is_called;
        if wakes_driver {
            self.driver_sleeps = false;
        }
        wakes_driver
    }

    /// Notes that the leader is about to sleep and knows this deadline of the stack. From now on it
    /// must be woken when there is something new.
    pub(crate) fn on_sleep(&mut self, deadline: Option<Instant>) {
        self.sleeps_until = Some(deadline.unwrap_or(Instant::FAR_FUTURE));
    }

    /// Notes that the thread that slept as the leader is awake. Returns whether it still leads.
    pub(crate) fn on_awake(&mut self, kind: LeaderKind) -> bool {
        let still_leads = self.leader == Some(kind);
        if still_leads {
            self.sleeps_until = None;
        }
        still_leads
    }

    /// The deadline of the stack that the leader knows, while it sleeps and has not been signalled.
    pub(crate) fn sleeps_until(&self) -> Option<Instant> {
        self.sleeps_until
    }

    /// Notes that there is something new for the leader. Returns the thread to wake.
    pub(crate) fn on_news(&mut self) -> Option<LeaderKind> {
        self.sleeps_until = None;
        self.leader
    }

    /// Whether the driver thread should lead: no thread does, and either the driver thread was
    /// called, or no thread has led for [`DRIVER_DELAY`].
    pub(crate) fn needs_driver(&self, now: Instant) -> bool {
        self.leader.is_none() && (self.driver_is_called || now - self.idle_since >= DRIVER_DELAY)
    }

    /// Notes that the driver thread goes to sleep, either for a time or until a leader that resigns
    /// wakes it.
    pub(crate) fn on_driver_sleep(&mut self, until_called: bool) {
        self.driver_sleeps = until_called;
    }

    /// Notes that the driver thread leads and has read frames.
    pub(crate) fn on_driver_read(&mut self) {
        self.driver_has_read = true;
    }

    fn is_idle_for_long(&self, now: Instant) -> bool {
        now - self.idle_since >= LONG_IDLE
    }

    /// Notes that a caller which took the lead after a long idle period found frames: they had
    /// waited.
    pub(crate) fn on_frames_waited(&mut self) {
        self.driver_wakes_left = self.driver_wakes_left.max(DRIVER_WAKES_AFTER_WAIT);
    }

    /// Notes that a call which transmitted has read frames.
    pub(crate) fn on_read_after_send(&mut self) {
        if std::mem::take(&mut self.reads_after_long_idle) {
            self.on_frames_waited();
        }
    }

    /// Notes that an idle period ends because a caller takes the lead, and learns from it whether
    /// the driver thread was of use. Returns whether no thread at all has led for long.
    fn on_idle_end(&mut self, now: Instant) -> bool {
        let driver_led = self.leader == Some(LeaderKind::Driver);
        if driver_led && self.driver_has_read && self.is_idle_for_long(now) {
            self.driver_wakes_left = DRIVER_WAKES_AFTER_HIT;
        } else if driver_led || self.driver_is_called {
            self.driver_wakes_left = self.driver_wakes_left.saturating_sub(1);
        }
        self.leader.is_none() && self.is_idle_for_long(now)
    }

    /// A number that changes whenever a caller takes the lead.
    pub(crate) fn callers(&self) -> u64 {
        self.callers
    }

    /// Whether a call that transmits and holds the devices should also read them: no thread leads,
    /// and no call has read the devices for [`READ_AFTER_SEND`].
    pub(crate) fn reads_after_send(&mut self, now: Instant) -> bool {
        self.policy.on_transmit(now);
        let is_time = self.leader.is_none() && now - self.idle_since >= READ_AFTER_SEND;
        if is_time {
            self.reads_after_long_idle = self.is_idle_for_long(now);
            self.idle_since = now;
            self.policy.on_read_after_send(now);
        }
        is_time
    }

    /// Closes the duplicates of the devices' descriptors, when the runtime is over and no thread
    /// leads.
    pub(crate) fn close(&mut self) {
        self.polled = PolledDevices::default();
    }
}

impl Wakes {
    /// Adds the leader to the threads to wake.
    pub(crate) fn add_leader(&mut self, leader: Option<LeaderKind>) {
        match leader {
            Some(LeaderKind::Driver) => self.driver = true,
            Some(LeaderKind::Caller) => self.caller = true,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_that_transmits_reads_when_nobody_leads_and_nobody_has_for_a_moment() {
        let start = Instant::from_secs(1);
        let mut leadership = Leadership::new(PolledDevices::default());
        assert!(leadership.reads_after_send(start));
        assert!(!leadership.reads_after_send(start + READ_AFTER_SEND / 2));
        let read_at = start + READ_AFTER_SEND;
        assert!(leadership.reads_after_send(read_at));
        assert!(!leadership.needs_driver(read_at + DRIVER_DELAY / 2), "the driver thread need not");
        assert!(leadership.needs_driver(read_at + DRIVER_DELAY));
        leadership.leader = Some(LeaderKind::Caller);
        assert!(!leadership.reads_after_send(start + 2 * READ_AFTER_SEND));
    }

    /// Lets an idle period of this length pass, in which the driver thread leads (and reads or
    /// not), or does not lead at all.
    fn idle(leadership: &mut Leadership, begin: Instant, len: Duration, has_read: Option<bool>) {
        leadership.idle_since = begin;
        leadership.driver_is_called = leadership.driver_wakes_left > 0;
        leadership.leader = has_read.map(|_| LeaderKind::Driver);
        leadership.driver_has_read = has_read == Some(true);
        let is_late = leadership.on_idle_end(begin + len);
        assert_eq!(is_late, has_read.is_none() && len >= LONG_IDLE);
        leadership.leader = None;
        leadership.driver_is_called = false;
    }

    #[test]
    fn the_driver_thread_is_called_at_once_while_that_is_good_for_something() {
        let mut leadership = Leadership::new(PolledDevices::default());
        let start = Instant::from_secs(1);
        let (short, long) = (LONG_IDLE / 2, LONG_IDLE);
        for (len, has_read) in [(short, None), (long, None), (long, Some(false)), (short, Some(true))] {
            idle(&mut leadership, start, len, has_read);
            assert_eq!(leadership.driver_wakes_left, 0, "nothing had waited long");
        }
        idle(&mut leadership, start, long, Some(true));
        assert_eq!(leadership.driver_wakes_left, DRIVER_WAKES_AFTER_HIT);
        for left in (0..DRIVER_WAKES_AFTER_HIT).rev() {
            idle(&mut leadership, start, short, [None, Some(true), Some(false)][left as usize % 3]);
            assert_eq!(leadership.driver_wakes_left, left);
        }
        leadership.on_frames_waited();
        assert_eq!(leadership.driver_wakes_left, DRIVER_WAKES_AFTER_WAIT);
        idle(&mut leadership, start, long, Some(true));
        leadership.on_frames_waited();
        assert_eq!(leadership.driver_wakes_left, DRIVER_WAKES_AFTER_HIT);
        leadership.idle_since = start;
        assert!(!leadership.needs_driver(start + short));
        leadership.driver_is_called = true;
        assert!(leadership.needs_driver(start + short));
        leadership.leader = Some(LeaderKind::Caller);
        assert!(!leadership.needs_driver(start + DRIVER_DELAY));
    }
}
