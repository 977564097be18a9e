//! Code that depends on the operating system: one file for each feature, with a portable fallback.
//!
//! | module | Linux | elsewhere |
//! |---|---|---|
//! | `signal` | an eventfd | a pair of connected sockets (Unix) |
//! | `poll` | `ppoll`, in nanoseconds | `poll`, in milliseconds where there is no `ppoll` |
//! | `timer_slack` | `PR_SET_TIMERSLACK` | nothing to set |
//! | `random` | `getrandom` | `/dev/urandom` |
//!
//! Only Linux is tested. `--cfg portolan_portable` chooses the fallbacks on Linux, so that they are
//! compiled and the tests of the runtime run with them:
//!
//! ```sh
//! RUSTFLAGS="--cfg portolan_portable" cargo test -p portolan-runtime
//! ```
//!
//! macOS needs no new file. Windows needs a `signal` of two sockets connected over its loopback
//! address, a `random`, and a [`Device`](crate::Device) whose descriptors are sockets: `device` and
//! `engine` still name them by types of `std::os::fd`, which Windows does not have.

pub(crate) mod poll;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod timer_slack;
