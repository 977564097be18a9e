//! The events that a running command waits for: signals, and the end of its start.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// How long it may take until the command notices that the device was removed.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// An event.
#[derive(Debug)]
pub(crate) enum Event {
    /// The stack answers on the wire, or could not be started.
    Started(io::Result<()>),
    /// A signal asks this process to stop.
    Stop {
        /// The signal.
        signal: Signal,
        /// Whether the kernel sent it to all processes of the terminal.
        from_terminal: bool,
    },
    /// A child has ended.
    ChildEnded,
}

/// All events, in order.
pub(crate) struct Events {
    receiver: Receiver<Event>,
    sender: Sender<Event>,
}

impl Events {
    /// Starts to receive signals as events, so that they do not end the process. Starts a thread.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = channel();
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD])?;
        let signal_sender = sender.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for origin in signals.forever() {
                if signal_sender.send(event(&origin)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Events { receiver, sender })
    }

    /// A sender for other sources of events.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Waits for the next event. Returns `None` now and then, so that the caller checks whether the
    /// stack still runs.
    pub(crate) fn next(&self) -> Option<Event> {
        self.receiver.recv_timeout(LOOK_INTERVAL).ok()
    }
}

fn event(origin: &Origin) -> Event {
    match Signal::from_named_raw(origin.signal) {
        Some(Signal::CHILD) | None => Event::ChildEnded,
        Some(signal) => Event::Stop { signal, from_terminal: matches!(origin.cause, Cause::Kernel) },
    }
}
