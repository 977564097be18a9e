//! `portolan up`: a stack on a TAP device until a signal stops it, or until a command ends.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use portolan_tap::{Offload, check_mtu, check_name, check_queues, isolate};
use rustix::process::{Pid, Signal, kill_process};

use crate::addresses::AddressPlan;
use crate::cli::UpOptions;
use crate::control::server::{ControlServer, Subject};
use crate::control::{CONTROL_VARIABLE, place};
use crate::events::{Event, Events};
use crate::failure::Failure;
use crate::services::Services;
use crate::session::{Session, Settings, check_host_networks, kernel_has_ipv6};

const DEFAULT_MTU: usize = 1500;
/// The least memory that a stack needs ([`portolan::Config::check`]).
const LEAST_MEMORY_BYTES: usize = 256 << 10;
/// How long a command may take to end after SIGTERM.
const TERM_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until it is told to stop.
pub(crate) fn run(options: &UpOptions) -> Result<ExitCode, Failure> {
    check_plausible(options)?;
    let control_dir = place::default_dir();
    if options.isolated {
        isolate()?;
    }
    let settings = settings(options)?;
    // This is done before the device exists: from now on a signal leads to an orderly end.
    let events = Events::new()
        .map_err(|error| Failure::failed(format!("cannot set up the handling of signals: {error}")))?;
    let session = Session::start(settings)?;
    let services = options.services.clone().unwrap_or_else(Services::all);
    finish_start(session.finish_start(services), events.sender())?;
    let control = start_control(options, &session, control_dir.as_deref());
    let result = control.and_then(|control| {
        let control_path = control.as_ref().map(ControlServer::path);
        Supervisor { session: &session, events: &events, control_path, child: None }.run(options)
    });
    session.stop();
    result
}

/// Checks what can be checked without asking the system, so that these errors come first.
fn check_plausible(options: &UpOptions) -> Result<(), Failure> {
    if let Some(name) = &options.tap {
        check_name(name)?;
    }
    let queues = options.queues.unwrap_or(1);
    check_queues(queues)?;
    if options.dhcp && queues > 1 {
        return Err(Failure::usage("--dhcp needs a device with one queue: leave out --queues"));
    }
    let is_v4_given =
        options.addr.iter().any(|cidr| cidr.addr.is_ipv4()) || options.gateway.iter().any(IpAddr::is_ipv4);
    if options.dhcp && is_v4_given {
        return Err(Failure::usage(
            "with --dhcp the network gives the IPv4 address and router: leave out --addr and --gateway",
        ));
    }
    let least = queues * LEAST_MEMORY_BYTES;
    if options.memory.is_some_and(|bytes| bytes < least) {
        return Err(Failure::usage(format!(
            "--memory is too little for {queues} queues, which divide it: give at least {} MiB",
            least.div_ceil(1 << 20)
        )));
    }
    plan(options, true).map(drop)
}

fn plan(options: &UpOptions, with_ipv6: bool) -> Result<AddressPlan, Failure> {
    let mtu = options.mtu.unwrap_or(DEFAULT_MTU);
    let with_ipv6 = with_ipv6 && check_mtu(mtu, true).is_ok();
    let plan = AddressPlan::new(&options.host, &options.addr, &options.gateway, with_ipv6)
        .map_err(Failure::usage)?;
    check_mtu(mtu, plan.has_ipv6())?;
    Ok(if options.dhcp { plan.without_own_ipv4() } else { plan })
}

fn settings(options: &UpOptions) -> Result<Settings, Failure> {
    let has_ipv6 = kernel_has_ipv6();
    if !has_ipv6 {
        log::info!("the kernel does no IPv6 here; the defaults are without it");
    }
    let plan = plan(options, has_ipv6)?;
    if !options.isolated {
        check_host_networks(&plan)?;
    }
    Ok(Settings {
        name: options.tap.clone(),
        plan,
        mac: options.mac,
        mtu: options.mtu.unwrap_or(DEFAULT_MTU),
        pcap: options.pcap.clone(),
        impairment: options.impair,
        offload: offload(options),
        queues: options.queues.unwrap_or(1),
        memory_limit_bytes: options.memory,
        isolated: options.isolated,
        dhcp: options.dhcp,
    })
}

/// The offloads. A bad network loses, damages or delays packets, not runs of them.
fn offload(options: &UpOptions) -> Offload {
    let default = if options.impair.is_some() { Offload::Off } else { Offload::Auto };
    options.offload.unwrap_or(default)
}

/// Waits for the stack on another thread, so that signals are handled meanwhile.
fn finish_start(
    finish: impl FnOnce() -> io::Result<()> + Send + 'static,
    sender: Sender<Event>,
) -> Result<(), Failure> {
    let body = move || {
        // If the process is ending, nobody receives this.
        let _ = sender.send(Event::Started(finish()));
    };
    match thread::Builder::new().name("start".into()).spawn(body) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot start a thread: {error}"))),
    }
}

/// Makes the control socket. That it cannot be made is a failure only if its place was named.
fn start_control(
    options: &UpOptions,
    session: &Session,
    dir: Option<&Path>,
) -> Result<Option<ControlServer>, Failure> {
    if options.no_control {
        return Ok(None);
    }
    let subject = Subject { handle: session.handle().clone(), device: session.name.clone() };
    if let Some(path) = &options.control {
        return ControlServer::start(path, subject).map(Some).map_err(|error| {
            let path = path.display();
            Failure::failed(format!(
                "cannot make the control socket {path}: {error}; choose another with --control"
            ))
        });
    }
    let Some(dir) = dir else {
        log::info!("no control socket: XDG_RUNTIME_DIR is not set; --control gives it a place");
        return Ok(None);
    };
    let start = |name: String| ControlServer::start(&dir.join(name), subject.clone());
    let started = place::prepare_dir(dir).and_then(|()| match start(format!("{}.sock", session.name)) {
        // Devices in other namespaces may have the same name.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            start(format!("{}-{}.sock", session.name, std::process::id()))
        }
        started => started,
    });
    match started {
        Ok(server) => Ok(Some(server)),
        Err(error) => {
            log::warn!("no control socket in {}: {error}; --control gives it another place", dir.display());
            Ok(None)
        }
    }
}

struct Supervisor<'a> {
    session: &'a Session,
    events: &'a Events,
    /// The control socket, which the command finds in an environment variable.
    control_path: Option<&'a Path>,
    child: Option<Child>,
}

impl Supervisor<'_> {
    fn run(mut self, options: &UpOptions) -> Result<ExitCode, Failure> {
        loop {
            let event = self.events.next();
            self.session.dhcp_lines().iter().for_each(|line| print_line(line));
            match event {
                None => self.check_runtime()?,
                Some(Event::Started(Err(error))) => {
                    self.check_runtime()?;
                    return Err(Failure::failed(format!("the stack does not come up: {error}")));
                }
                Some(Event::Started(Ok(()))) => {
                    print_line(&self.session.ready_line());
                    if let [program, arguments @ ..] = options.command.as_slice() {
                        let mut command = Command::new(program);
                        command.args(arguments);
                        if let Some(path) = self.control_path {
                            command.env(CONTROL_VARIABLE, path);
                        }
                        let child = command.spawn();
                        self.child = Some(child.map_err(|error| Failure::not_started(program, &error))?);
                    }
                }
                Some(Event::Stop { signal, from_terminal }) => match &self.child {
                    Some(child) => forward(child, signal, from_terminal),
                    None if options.command.is_empty() => return Ok(ExitCode::SUCCESS),
                    None => return Ok(killed_by(signal)),
                },
                Some(Event::ChildEnded) => {
                    if let Some(status) = self.ended_child()? {
                        return Ok(exit_code(status));
                    }
                }
            }
        }
    }

    /// Fails if the stack cannot continue because its device was removed.
    fn check_runtime(&mut self) -> Result<(), Failure> {
        let handle = self.session.handle();
        let device_error = || handle.interfaces().iter().find_map(|iface| handle.device_error(iface.id));
        let Some(error) = handle.error().or_else(device_error) else { return Ok(()) };
        if let Some(child) = &mut self.child {
            end(child);
        }
        Err(Failure::failed(error.to_string()))
    }

    fn ended_child(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let Some(child) = &mut self.child else { return Ok(None) };
        child.try_wait().map_err(|error| Failure::failed(format!("cannot wait for the command: {error}")))
    }
}

/// Ends a command that has lost its network. Whatever its status is, the exit status is that of the
/// failure.
fn end(child: &mut Child) {
    forward(child, Signal::TERM, false);
    let asked_at = Instant::now();
    while asked_at.elapsed() < TERM_PATIENCE && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(10));
    }
    // Both fail only if the child has ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Prints a line for a program that waits for it. If it cannot be printed, the stack serves
/// nevertheless.
fn print_line(line: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        log::warn!("{line} (stdout: {error})");
    }
}

/// Forwards a signal to the command. Ctrl-C reaches all processes of a terminal, so the command
/// already has that.
fn forward(child: &Child, signal: Signal, from_terminal: bool) {
    if from_terminal {
        return;
    }
    let sent = Pid::from_raw(child.id() as i32)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| kill_process(pid, signal));
    if let Err(errno) = sent {
        log::debug!("the command does not get {signal:?}: {errno}");
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, Some(signal)) => ExitCode::from(128u8.wrapping_add(signal as u8)),
        (None, None) => ExitCode::FAILURE,
    }
}

fn killed_by(signal: Signal) -> ExitCode {
    ExitCode::from(128u8.wrapping_add(signal.as_raw() as u8))
}
