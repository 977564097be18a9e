//! The control socket of `portolan up`: a Unix socket of the host, over which `portolan ss` and
//! `portolan stat` ask a running stack. `docs/ss.md` describes the protocol.
//!
//! | module | what it does |
//! |---|---|
//! | this one | what both sides of the protocol share |
//! | [`place`] | where the socket is, and how it is found |
//! | [`server`] | answers requests |
//! | [`client`] | asks |
//! | [`row`] | a socket in an answer; [`name`] and [`state`] are parts of it |

pub(crate) mod client;
pub(crate) mod name;
pub(crate) mod place;
pub(crate) mod row;
pub(crate) mod server;
pub(crate) mod state;

/// The version of the protocol.
pub(crate) const VERSION: u64 = 1;

/// The longest request, with its newline.
pub(crate) const MAX_REQUEST_BYTES: usize = 4096;

/// The environment variable that names the control socket to the command of `portolan up`.
pub(crate) const CONTROL_VARIABLE: &str = "PORTOLAN_CONTROL";
