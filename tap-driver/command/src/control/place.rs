//! Where a control socket is, and how it is found.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;

use super::CONTROL_VARIABLE;

/// The directory of the control sockets of this user: `$XDG_RUNTIME_DIR/portolan`, or
/// `/run/portolan` for root. `None` for another user without XDG_RUNTIME_DIR. Ask before a user
/// namespace is entered, in which everybody is root.
pub(crate) fn default_dir() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let root = geteuid().is_root().then(|| PathBuf::from("/run"));
    runtime.or(root).map(|dir| dir.join("portolan"))
}

/// Makes the directory, if need be. Fails if somebody else could put sockets into it.
pub(crate) fn prepare_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        let message = format!("{} is not a directory of this user alone", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

/// Whether a process listens at the path. Does not wait, whatever that process does.
pub(crate) fn is_live(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        // EAGAIN: it listens, and its queue is full.
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The control socket to ask: the one that is named, or else the only one of this user.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = env::var_os(CONTROL_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let advice = "start one with `portolan up`, or name its control socket with --control";
    let Some(dir) = default_dir() else {
        return Err(format!("no directory for control sockets: set XDG_RUNTIME_DIR; {advice}"));
    };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => return Err(format!("no stack runs here ({}: {error}); {advice}", dir.display())),
    };
    let sockets = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_socket = |path: &PathBuf| path.extension() == Some(&OsString::from("sock"));
    let mut live: Vec<PathBuf> =
        sockets.filter(is_socket).filter(|path| is_live(path).is_ok_and(|live| live)).collect();
    live.sort();
    match live.as_slice() {
        [] => Err(format!("no stack runs here (none in {}); {advice}", dir.display())),
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(format!("several stacks run; choose one with --control: {}", names.join(", ")))
        }
    }
}
