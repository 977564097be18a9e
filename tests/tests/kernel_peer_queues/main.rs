//! The tests of `kernel_peer` with a TAP device with three queues and a stack for each
//! (`--queues 3`). [`portolan_tests::namespace::beside_portolan`] recognizes that by the name of
//! this program. And tests of what only several stacks can get wrong.

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
mod queues;
#[path = "../kernel_peer/tcp.rs"]
mod tcp;
#[path = "../kernel_peer/udp.rs"]
mod udp;
