//! Datagram sockets: UDP and ICMP echo.
//!
//! Read `calls` (the queues, and what a program does with them), then `input` (datagrams that come in).

pub(super) mod calls;
mod input;
