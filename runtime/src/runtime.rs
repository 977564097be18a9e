//! [`Runtime`]: a running stack and its threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan::{InterfaceId, Stack};

use crate::device::Device;
use crate::engine::delivery::Undelivered;
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
/// dropped, its threads end and the devices are closed, at once: what sockets have still to send is
/// lost. [`shutdown`](Runtime::shutdown) delivers it first. Every call of a remaining socket then
/// fails with `NetworkDown`.
///
/// ```
/// use portolan_runtime::{Builder, TcpListener};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let listener = TcpListener::bind(&runtime, "10.0.0.1:80")?; // the runtime itself is a handle
/// assert_eq!(runtime.handle().sockets().len(), 1);
/// drop(runtime);
/// assert!(listener.accept().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        Ok(Arc::new(Engine::new(stack, devices, busy_poll)?))
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

    /// Ends the runtime in order: delivers what its sockets have taken, for at most `timeout`, then
    /// ends the threads and closes the devices. Returns what could not be delivered.
    ///
    /// From the beginning all calls of sockets fail with `NetworkDown`, and threads that wait in
    /// one are woken. To let handlers finish their work, wait for them first. Listeners are closed,
    /// and connections that nobody has accepted are reset. Other connections end as with
    /// [`TcpStream::shutdown`](crate::TcpStream::shutdown) of the sending half, whether their
    /// `TcpStream` was dropped before or not: their data and the end of the stream are sent, and
    /// sent again, until the peer has acknowledged both. The peer may still have data to send;
    /// this does not wait for it, nor for TIME-WAIT. Datagrams are delivered when a device has
    /// taken them.
    ///
    /// With a time-out of zero each connection still sends what its windows allow, once.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # use std::time::Duration;
    /// # use portolan_runtime::{Builder, TcpListener, TcpStream};
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (left, right) = wire.build()?;
    /// # let server = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
    /// # let client = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
    /// let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7))?;
    /// let reader = std::thread::spawn(move || {
    ///     let mut all = Vec::new();
    ///     listener.accept()?.0.read_to_end(&mut all).map(|_| all)
    /// });
    /// TcpStream::connect(&client, ([10, 0, 0, 1], 7))?.write_all(&[7; 1_000_000])?;
    /// let undelivered = client.shutdown(Duration::from_secs(5))?;
    /// assert!(undelivered.is_empty(), "{undelivered}");
    /// assert_eq!(reader.join().unwrap()?.len(), 1_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error that ended the runtime before, if there is one.
    pub fn shutdown(mut self, timeout: Duration) -> io::Result<Undelivered> {
        let undelivered = self.handle.stacks.deliver(timeout);
        self.stop();
        self.handle.error().map_or(Ok(undelivered), Err)
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
