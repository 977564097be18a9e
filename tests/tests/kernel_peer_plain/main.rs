//! The tests of `kernel_peer` with a TAP device for plain frames (`--offload off`).
//! [`portolan_tests::namespace::beside_portolan`] recognizes that by the name of this program.

#[path = "../kernel_peer/command.rs"]
mod command;
#[path = "../kernel_peer/ecn.rs"]
mod ecn;
#[path = "../kernel_peer/hostile.rs"]
mod hostile;
#[path = "../kernel_peer/impaired.rs"]
mod impaired;
#[path = "../kernel_peer/ping.rs"]
mod ping;
#[path = "../kernel_peer/tcp.rs"]
mod tcp;
#[path = "../kernel_peer/udp.rs"]
mod udp;
