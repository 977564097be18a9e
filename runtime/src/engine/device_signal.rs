//! [`DeviceSignal`]: the waker of a device that has no descriptor.

use std::io;
use std::sync::Arc;
use std::task::Wake;

use crate::platform::poll::BorrowedFd;
use crate::platform::signal::Signal;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What a device without a descriptor wakes, and the leader polls. It is raised from a wake-up to
/// the next [`clear`](DeviceSignal::clear).
#[derive(Debug)]
pub(crate) struct DeviceSignal {
    /// Whether the signal is raised, or is about to be.
    is_raised: AtomicBool,
    signal: Signal,
}

impl DeviceSignal {
    /// A signal that is raised: the device may have frames already.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let signal = Signal::new()?;
        signal.raise();
        Ok(Arc::new(DeviceSignal { is_raised: AtomicBool::new(true), signal }))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }

    /// Whether the device was woken since the last [`clear`](DeviceSignal::clear).
    pub(crate) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Acquire)
    }

    /// Clears the signal, before the device is used. `is_polled`: the descriptor may be readable.
    /// Returns whether the device may have woken. One thread at a time calls this, the one that
    /// holds the device.
    pub(crate) fn clear(&self, is_polled: bool) -> bool {
        // A thread that wakes sets the flag first. It may raise the signal only after the flag was
        // cleared here, so a descriptor that is readable is cleared without asking the flag.
        if !is_polled && !self.is_raised() {
            return false;
        }
        // The flag is cleared last. A thread that wakes in between does not raise the signal again,
        // but what it brought is seen: the swap reads what it wrote, and the device is used later.
        self.signal.clear();
        self.is_raised.swap(false, Ordering::AcqRel);
        true
    }
}

impl Wake for DeviceSignal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_raised.swap(true, Ordering::AcqRel) {
            self.signal.raise();
        }
    }
}
