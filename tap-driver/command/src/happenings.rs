//! What a running command waits for: signals, and the end of its start.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// How long it may take until somebody notices that the device was taken away.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Something to react to.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The stack answers on the wire, or could not be brought to it.
    Started(io::Result<()>),
    /// Somebody wants this process to stop.
    Stop {
        /// With which signal.
        signal: Signal,
        /// Whether the kernel sent it, to all processes of the terminal.
        from_terminal: bool,
    },
    /// A child has ended.
    ChildEnded,
}

/// Everything that happens, in order.
pub(crate) struct Happenings {
    receiver: Receiver<Happening>,
    sender: Sender<Happening>,
}

impl Happenings {
    /// From now on signals do not end the process but arrive here. Starts a thread.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = channel();
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD])?;
        let signal_sender = sender.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for origin in signals.forever() {
                if signal_sender.send(happening(&origin)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Happenings { receiver, sender })
    }

    /// For others who have something to tell.
    pub(crate) fn sender(&self) -> Sender<Happening> {
        self.sender.clone()
    }

    /// Waits for the next; `None` now and then, to look whether the stack still runs.
    pub(crate) fn next(&self) -> Option<Happening> {
        self.receiver.recv_timeout(LOOK_INTERVAL).ok()
    }
}

fn happening(origin: &Origin) -> Happening {
    match Signal::from_named_raw(origin.signal) {
        Some(Signal::CHILD) | None => Happening::ChildEnded,
        Some(signal) => Happening::Stop { signal, from_terminal: matches!(origin.cause, Cause::Kernel) },
    }
}
