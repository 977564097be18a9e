//! The engine: a stack behind its lock, devices behind theirs, and the threads that drive them.
//!
//! The public sockets use the engine; nothing in here uses them. In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `driver` | the two locks, who sends, who leads and who sleeps; the driving thread |
//! | `locks`, `devices` | the stack behind its lock and how callers use it; the devices behind theirs |
//! | `leader`, `wait`, `waiters` | how a thread drives the devices; how a call waits, leading or parked; who waits for which descriptor |
//! | `lead_policy` | who had better lead, by what threads have done lately |
//! | `read_budget`, `spin` | how many frames are read at once; how long is asked before sleeping |
//! | `stacks`, `inbox` | several stacks, one for each queue of the interfaces, and what they hand to each other |
//! | `bell` | waiting for sockets of several stacks at once |
//! | `end_reason` | why a runtime is over |

pub(crate) mod bell;
pub(crate) mod core;
mod devices;
pub(crate) mod driver;
pub(crate) mod end_reason;
pub(crate) mod inbox;
mod lead_policy;
mod leader;
mod leadership;
pub(crate) mod locks;
mod read_budget;
mod spin;
pub(crate) mod stacks;
pub(crate) mod wait;
pub(crate) mod waiters;
