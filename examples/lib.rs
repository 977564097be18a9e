//! The common part of the examples: two hosts on one wire.

use std::io;

use portolan::Config;
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime};

/// Two running stacks joined by a wire in memory, with the addresses 10.0.0.1 and fd00::1, and
/// 10.0.0.2 and fd00::2. The example `two_hosts` shows the same step by step.
pub fn two_hosts() -> io::Result<(Runtime, Runtime)> {
    let (left, right) = memory_pair()?;
    Ok((host(1, left)?, host(2, right)?))
}

fn host(number: u8, device: MemoryDevice) -> io::Result<Runtime> {
    let mut config = Config::default();
    // No other host is on this wire, so there is no need to spend a second on duplicate address
    // detection.
    config.neighbor.duplicate_address_probes = 0;
    let addresses = [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")];
    let addresses = addresses.iter().map(|cidr| cidr.parse().expect("a CIDR as above is well-formed"));
    Builder::new().config(config).interface(device, addresses).start()
}
