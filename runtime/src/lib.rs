//! Runs a Portolan stack inside an ordinary std program.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `clock` | the real time, as a stack wants it |
//! | [`device`] | where frames come from and go to; an in-memory pair; a pcap writer; a fault injector |

mod clock;
pub mod device;
mod signal;

pub use clock::Clock;
pub use device::{Device, Sent};
