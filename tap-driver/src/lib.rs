//! Binds a Portolan stack to a Linux TAP device.
