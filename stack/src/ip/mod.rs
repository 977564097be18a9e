//! IPv4 and IPv6. Read `checksum` first, then `ipv4` and `ipv6` (the headers), then `input` and `output`.

pub(crate) mod checksum;
