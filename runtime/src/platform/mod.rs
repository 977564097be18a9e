//! What depends on the operating system.

pub(crate) mod signal;
