//! `portolan up` with the machine's own kernel as its peer, each test in a new network namespace:
//! what a person with a TAP device would see. The tools are the usual ones (`ping`, `curl`, `ip`)
//! and small programs over `std::net`.
//!
//! `dnsmasq`, `interception`, `multicast` and `packets` look into the sockets of the stack, so it
//! runs in the process of the test there (`wire`), and not in the command.
//!
//! Needs Linux with /dev/net/tun; no privileges where user namespaces are allowed.

mod command;
mod crowd;
mod dnsmasq;
mod ecn;
mod forwarding;
mod hostile;
mod impaired;
mod interception;
mod multicast;
mod offload;
mod packets;
mod ping;
mod proxy;
mod slaac;
mod tcp;
mod tools;
mod udp;
mod wire;
