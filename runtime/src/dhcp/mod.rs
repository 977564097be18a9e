//! DHCPv4 (RFC 2131): an address, routes and DNS servers from the network.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `lease` | [`DhcpLease`]: what a server has granted, and which grants are refused |
//! | `message` | reads and writes the messages, with their IP and UDP headers |
//! | `machine` | the states of RFC 2131 §4.4 without I/O: messages and time in, messages and changes out |
//! | `client` | [`DhcpClient`]: a thread that runs the machine over the stack's sockets, and configures the stack |

pub(crate) mod client;
pub(crate) mod lease;
mod machine;
mod message;
