//! TCP sockets: listeners, handshakes, connections and TIME-WAIT records.
//!
//! Read `connections` (which record a segment is for), then `input` (segments), `joining` (segments of a burst),
//! `listener`, `cookies`, `fast_open` and `fast_open_cache` (connections that come in), `calls` (what a program does to a
//! connection), `segmentation` (runs of segments), `time_waits`, and `orphans` (connections that no descriptor holds).

pub(super) mod calls;
pub(super) mod connections;
mod cookies;
mod fast_open;
pub(super) mod fast_open_cache;
pub(super) mod input;
pub(super) mod joining;
pub(super) mod listener;
mod orphans;
pub(super) mod segmentation;
pub(super) mod time_waits;
