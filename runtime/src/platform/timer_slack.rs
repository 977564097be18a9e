//! Timer slack: how late the operating system may wake a thread whose sleep has a deadline.
//!
//! Linux adds up to 50 µs, the timer slack of the thread, so that it can wake several threads at
//! once. Other systems have nothing to set.

/// Makes the wake-ups of this thread as precise as possible. Returns the previous slack in
/// nanoseconds, to be passed to [`restore`], if there is one.
#[cfg(all(target_os = "linux", not(portolan_portable)))]
pub(crate) fn make_exact() -> Option<u64> {
    let nanos = rustix::thread::current_timer_slack().ok();
    restore(1);
    nanos
}

/// Sets the slack of this thread.
#[cfg(all(target_os = "linux", not(portolan_portable)))]
pub(crate) fn restore(nanos: u64) {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(nanos)) {
        log::debug!("cannot set the timer slack: {error}");
    }
}

#[cfg(any(portolan_portable, not(target_os = "linux")))]
pub(crate) fn make_exact() -> Option<u64> {
    None
}

#[cfg(any(portolan_portable, not(target_os = "linux")))]
pub(crate) fn restore(_nanos: u64) {}
