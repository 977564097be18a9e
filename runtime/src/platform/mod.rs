//! Code that depends on the operating system: one file for each feature, with a portable fallback.
//!
//! | module | Linux | elsewhere |
//! |---|---|---|
//! | `signal` | an eventfd | a pair of connected sockets (Unix), a UDP socket (Windows) |
//! | `poll` | `ppoll`, in nanoseconds | `poll`, in milliseconds where there is no `ppoll` |
//! | `host_poll` | epoll | nothing: pollers take no descriptors of the host |
//! | `timer_slack` | `PR_SET_TIMERSLACK` | nothing to set |
//! | `host_fd` | `read`, `write` | the same (Unix), nothing (Windows): devices on descriptors are for Unix |
//! | `host_tcp` | SIOCOUTQ, beside socket options | only the options |
//! | `gather` | `writev` | `writev` (Unix), nothing (Windows): only devices outside of this crate need it |
//!
//! Only Linux is tested. The library also compiles for macOS and for Windows (`cargo check -p
//! portolan-runtime --target x86_64-pc-windows-gnu`). `--cfg portolan_portable` chooses the
//! fallbacks of Unix on Linux, so that the tests of the runtime run with them:
//!
//! ```sh
//! RUSTFLAGS="--cfg portolan_portable" cargo test -p portolan-runtime
//! ```
//!
//! On Windows a thread can only poll sockets. A [`Device`](crate::Device) for it needs a socket
//! that is readable while frames wait, or wakes the waker that it is given.

#[cfg(unix)]
pub(crate) mod gather;
#[cfg(unix)]
pub(crate) mod host_fd;
pub(crate) mod host_poll;
pub(crate) mod host_tcp;
pub(crate) mod poll;
pub(crate) mod signal;
pub(crate) mod timer_slack;
