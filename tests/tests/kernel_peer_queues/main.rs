//! All of `kernel_peer` once more, beside a TAP device with three queues and a stack for each
//! (`--queues 3`): the name of this program says so to
//! [`portolan_tests::namespace::beside_portolan`]. And what only several stacks can get wrong.

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
