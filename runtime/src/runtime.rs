//! [`Runtime`]: a running stack and its threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan::{InterfaceId, Stack};

use crate::device::Device;
use crate::engine::driver::Driver;
use crate::engine::end_reason::EndReason;
use crate::engine::locks::Engine;
use crate::engine::stacks::Stacks;
use crate::handle::Handle;
use crate::plan::refused;
use crate::sync::thread::{self, JoinHandle};

/// The devices, each with the interface that it serves.
pub(crate) type Devices = Vec<(InterfaceId, Box<dyn Device>)>;

/// A running stack, and the driver thread that drives it while no thread waits in a call of a
/// socket; such a thread drives the stack itself. With several queues
/// ([`Builder::interface_with_queues`](crate::Builder::interface_with_queues)) there is a stack and
/// a thread for each.
///
/// Sockets are made with the runtime or with its [`handle`](Runtime::handle). When the runtime is
/// dropped, its threads end and the devices are closed. Every call of a remaining socket then fails
/// with `NetworkDown`. Connections are not closed in order: shut them down and read to their end
/// first.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Drives a stack that was made elsewhere, with [`Clock::now`](crate::Clock::now) as its time.
    /// Each device serves the interface beside it; frames of an interface without a device are
    /// lost. Addresses may still be probed when this returns: [`Handle::wait_ready`] waits for
    /// that.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a device of an interface that the stack does not have, and for a second
    /// device of one. An error of the operating system if it has no thread or descriptor left.
    pub fn start(stack: Stack, devices: Vec<(InterfaceId, Box<dyn Device>)>) -> io::Result<Runtime> {
        let interfaces = stack.interfaces();
        for (index, (iface, device)) in devices.iter().enumerate() {
            let name = device.name();
            if !interfaces.iter().any(|interface| interface.id == *iface) {
                return Err(refused(format!(
                    "{name} is for {iface:?}, which the stack does not have: add it with Stack::add_interface first"
                )));
            }
            if devices.iter().take(index).any(|(earlier, _)| earlier == iface) {
                return Err(refused(format!(
                    "{name} is a second device for {iface:?}: an interface with several queues needs \
                     Builder::interface_with_queues"
                )));
            }
        }
        Runtime::start_with(stack, devices, Duration::ZERO)
    }

    pub(crate) fn start_with(stack: Stack, devices: Devices, busy_poll: Duration) -> io::Result<Runtime> {
        let engine = Runtime::share(stack, devices, busy_poll)?;
        Runtime::start_all(Stacks::new(engine, Vec::new(), None, Vec::new()))
    }

    pub(crate) fn share(stack: Stack, devices: Devices, busy_poll: Duration) -> io::Result<Arc<Engine>> {
        let names = devices.iter().map(|(iface, device)| (*iface, device.name().to_owned())).collect();
        Ok(Arc::new(Engine::new(stack, devices, names, busy_poll)?))
    }

    pub(crate) fn start_all(stacks: Arc<Stacks>) -> io::Result<Runtime> {
        // If a thread cannot be started, dropping the runtime ends those that run.
        let mut runtime = Runtime { handle: Handle::new(stacks.clone()), threads: Vec::new() };
        for (index, engine) in stacks.all().enumerate() {
            let name = if stacks.count() == 1 { "portolan".into() } else { format!("portolan-{index}") };
            let driver = Driver::new(engine.clone());
            let guard = EndTogether { stacks: stacks.clone(), engine: engine.clone() };
            let body = move || {
                let _guard = guard;
                driver.run();
            };
            runtime.threads.push(thread::Builder::new().name(name).spawn(body)?);
        }
        Ok(runtime)
    }

    /// Returns the handle, for access to the stack. It can be cloned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the threads and closes the devices. Fails with the error that ended the runtime before,
    /// if there is one.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.stop();
        self.handle.error().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        self.handle.stacks.end(&EndReason::Shutdown);
        for thread in self.threads.drain(..) {
            // std has logged a panic of the thread, and `Handle::error` returns it.
            let _ = thread.join();
        }
    }
}

/// Ends all stacks when the thread of one ends: a host must not lose only some of its stacks.
struct EndTogether {
    stacks: Arc<Stacks>,
    engine: Arc<Engine>,
}

impl Drop for EndTogether {
    fn drop(&mut self) {
        self.stacks.end(&self.engine.ended().unwrap_or(EndReason::Panicked));
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

impl AsRef<Handle> for Runtime {
    fn as_ref(&self) -> &Handle {
        &self.handle
    }
}
