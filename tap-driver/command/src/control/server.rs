//! Answers requests on the control socket.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portolan::{InterfaceId, SocketInfo, Stack};
use portolan_runtime::{Clock, Handle, Handovers};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::{geteuid, umask};
use serde_json::{Value, json};

use super::place::is_live;
use super::row::{Row, Surroundings};
use super::{MAX_REQUEST_BYTES, VERSION};
use crate::stat::forget;

/// The most clients at once. Each has a thread.
const MAX_CLIENTS: usize = 8;
/// How long a client may take to send its request, and then to take in a part of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another process may take to make its socket in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A control socket. It is removed when this is dropped, with the history of `portolan stat`.
#[derive(Debug)]
pub(crate) struct ControlServer {
    path: PathBuf,
    /// The device and inode of the socket's file: the path may be another's by the end.
    file: (u64, u64),
    listener: Arc<UnixListener>,
}

/// What the answers are about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) handle: Handle,
    /// The name of the device.
    pub(crate) device: String,
}

impl ControlServer {
    /// Makes the socket and starts a thread that waits for clients. Fails with `AddrInUse` if
    /// another process listens there. A socket that nobody listens at any more is replaced.
    pub(crate) fn start(path: &Path, subject: Subject) -> io::Result<ControlServer> {
        let listener = Arc::new(bind(path)?);
        let found = fs::symlink_metadata(path)?;
        let server = ControlServer {
            // The command of `up` may change its directory.
            path: std::path::absolute(path)?,
            file: (found.dev(), found.ino()),
            listener: listener.clone(),
        };
        let started_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let head = json!({
            "version": VERSION,
            "device": subject.device,
            "pid": std::process::id(),
            "started_ms": started_ms,
        });
        thread::Builder::new().name("control".into()).spawn(move || listen(&listener, &subject, &head))?;
        Ok(server)
    }
}

impl ControlServer {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // This ends the thread's `accept`.
        if let Err(errno) = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both) {
            log::debug!("the control socket does not shut down: {errno}");
        }
        let is_ours =
            |found: &fs::Metadata| (found.dev(), found.ino()) == self.file && found.file_type().is_socket();
        if !fs::symlink_metadata(&self.path).is_ok_and(|found| is_ours(&found)) {
            return;
        }
        // As long as the socket's file is there, the history cannot be that of another stack.
        forget(&self.path);
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("{} stays behind: {error}", self.path.display());
        }
    }
}

/// Makes the socket with mode 0600. A lock on the directory keeps two processes from replacing the
/// same dead socket.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    while let Err(errno) = flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        if errno != Errno::WOULDBLOCK || Instant::now() > give_up_at {
            return Err(errno.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if is_live(path)? => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The file has the mode from the beginning. Other threads make no files meanwhile, or make
    // them stricter.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Serves clients until the listener is shut down.
fn listen(listener: &UnixListener, subject: &Subject, head: &Value) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                // Out of descriptors, for example: it may get better.
                log::debug!("the control socket accepts nobody: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if let Err(refusal) = admit(&stream, &clients) {
            // A client that does not read does not hold up the others: a line fits its buffer.
            let _ = stream.set_nonblocking(true).and_then(|()| send_error(&mut stream, refusal));
            continue;
        }
        let (subject, head, place) = (subject.clone(), head.clone(), Place(clients.clone()));
        let body = move || {
            let _place = place;
            if let Err(error) = serve(&mut stream, &subject, &head) {
                log::debug!("a client of the control socket: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("control-client".into()).spawn(body) {
            log::debug!("no thread for a client of the control socket: {error}");
        }
    }
}

/// A client's place among [`MAX_CLIENTS`].
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a place for a client. The mode of the socket keeps other users out; this does so, too, if
/// somebody has changed the mode.
fn admit(stream: &UnixStream, clients: &AtomicUsize) -> Result<(), &'static str> {
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd());
    if !peer.is_ok_and(|peer| peer.uid == geteuid() || peer.uid.is_root()) {
        return Err("this stack belongs to another user");
    }
    let taken = clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        (count < MAX_CLIENTS).then_some(count + 1)
    });
    taken.map(drop).map_err(|_| "too many clients at once; try again later")
}

fn send_error(stream: &mut UnixStream, message: &str) -> io::Result<()> {
    stream.write_all(format!("{}\n", json!({ "error": message })).as_bytes())
}

/// Reads the request of a client and answers it.
fn serve(stream: &mut UnixStream, subject: &Subject, head: &Value) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = match read_request(stream)? {
        Ok(request) => request,
        Err(message) => return send_error(stream, &message),
    };
    // Nothing is locked while this waits for the client, and the buffer is all that it holds.
    let mut out = BufWriter::new(&mut *stream);
    match request {
        Request::Sockets { with_tcp } => answer_sockets(&mut out, subject, head, with_tcp)?,
        Request::Counters => answer_counters(&mut out, subject, head)?,
    }
    out.flush()?;
    drop(out);
    stream.shutdown(Shutdown::Write)
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Sockets { with_tcp: bool },
    Counters,
}

/// Reads one line. `Err` within `Ok` is a message for the client.
fn read_request(stream: &mut UnixStream) -> io::Result<Result<Request, String>> {
    let give_up_at = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    let mut buf = [0; MAX_REQUEST_BYTES];
    let end = loop {
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            break end;
        }
        if line.len() >= MAX_REQUEST_BYTES {
            return Ok(Err(format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes")));
        }
        let left = give_up_at.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let room = MAX_REQUEST_BYTES - line.len();
        match stream.read(&mut buf[..room]) {
            Ok(0) => return Ok(Err("a request is one line, and it ends with a newline".into())),
            Ok(len) => line.extend_from_slice(&buf[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    Ok(parse_request(&line[..end]))
}

fn parse_request(line: &[u8]) -> Result<Request, String> {
    let request: Value =
        serde_json::from_slice(line).map_err(|error| format!("the request is not JSON: {error}"))?;
    if request["version"] != VERSION {
        return Err(format!(
            "this stack speaks version {VERSION} of the protocol, not {}",
            request["version"]
        ));
    }
    match request["request"].as_str() {
        Some("sockets") => Ok(Request::Sockets { with_tcp: request["tcp"] == true }),
        Some("counters") => Ok(Request::Counters),
        _ => Err("a request is `sockets` or `counters`".into()),
    }
}

fn answer_sockets(out: &mut impl Write, subject: &Subject, head: &Value, with_tcp: bool) -> io::Result<()> {
    let Subject { handle, device } = subject;
    let interfaces = handle.interfaces().into_iter().map(|interface| {
        let name = match interface.id {
            InterfaceId::LOOPBACK => "lo".to_owned(),
            id => handle.device_name(id).unwrap_or_else(|| device.to_string()),
        };
        (interface.id, name)
    });
    let place = Surroundings {
        interfaces: interfaces.collect(),
        pid: std::process::id(),
        with_tcp,
        now: Clock::now(),
    };
    writeln!(out, "{head}")?;
    let row = |number: usize, stack: &Stack, info: SocketInfo| Row::of(&place, number, stack, &info);
    let mut count = 0;
    for row in handle.walk_sockets(row) {
        writeln!(out, "{}", row.line)?;
        count += 1;
    }
    writeln!(out, "{}", json!({ "end": count }))
}

fn answer_counters(out: &mut impl Write, subject: &Subject, head: &Value) -> io::Result<()> {
    writeln!(out, "{head}")?;
    let stats = subject.handle.stats();
    let mut count = 0;
    for counter in stats.counters() {
        writeln!(out, "{}", json!({ "name": counter.name, "mib": counter.mib, "value": counter.value }))?;
        count += 1;
    }
    let is_counter = |name: &&str| stats.counters().any(|counter| counter.name == *name);
    let drops =
        stats.iter().filter(|(name, _)| !is_counter(name)).map(|(name, value)| (name.to_owned(), value));
    let Handovers { frames, lost, .. } = subject.handle.handovers();
    let between = [("stacks.frames_handed_over".to_owned(), frames), ("stacks.frames_lost".to_owned(), lost)];
    for (name, value) in drops.chain(between) {
        writeln!(out, "{}", json!({ "name": name, "mib": null, "value": value }))?;
        count += 1;
    }
    writeln!(out, "{}", json!({ "end": count }))
}
