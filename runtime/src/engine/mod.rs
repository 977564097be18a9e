//! The engine: a stack and its devices behind two locks, and the threads that drive them.
//!
//! The sockets use the engine; nothing in here uses them. In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `driver` | describes locks, leaders, followers and wake-ups; the driver thread |
//! | `locks`, `core`, `devices` | the two locks, how calls go through them, and what each guards |
//! | `device_signal` | what a device without a descriptor wakes |
//! | `leadership`, `leader` | which thread leads; what the leader does |
//! | `wait`, `waiters`, `direction` | how a call waits; which threads and tasks wait for which socket |
//! | `task_wait`, `task_waiters` | how a call of a task waits; the tasks that wait for a socket |
//! | `cancel_waiters`, `task_timers` | the tasks that wait until a pending connection is cancelled, or for a time |
//! | `poller_wait`, `poller_waiters`, `poller_bell` | the same for threads that wait at pollers |
//! | `lead_policy` | which thread should lead next, judged by what threads did recently |
//! | `read_budget`, `spin` | how much is read at once; how long a leader spins |
//! | `stacks`, `inbox`, `bell` | several stacks: what they hand to each other, and waiting for all |
//! | `end_reason`, `delivery` | why a runtime is over; what is delivered before |

pub(crate) mod bell;
mod cancel_waiters;
pub(crate) mod core;
pub(crate) mod delivery;
pub(crate) mod device_signal;
pub(crate) mod devices;
pub(crate) mod direction;
pub(crate) mod driver;
pub(crate) mod end_reason;
pub(crate) mod inbox;
mod lead_policy;
mod leader;
mod leadership;
pub(crate) mod locks;
pub(crate) mod poller_bell;
pub(crate) mod poller_wait;
pub(crate) mod poller_waiters;
mod read_budget;
mod spin;
pub(crate) mod stacks;
mod task_timers;
pub(crate) mod task_wait;
pub(crate) mod task_waiters;
pub(crate) mod wait;
pub(crate) mod waiters;
