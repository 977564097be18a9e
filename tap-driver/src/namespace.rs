//! [`isolate`]: moves the process into a new network namespace, without privileges.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Error;
use crate::netlink::Netlink;

/// The namespaces that [`isolate`] created.
// Exhaustive: an isolated process has one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A user namespace, in which this user is root, and a network namespace that belongs to it. If
    /// this user was root before, all users and groups exist inside, too; otherwise only root does.
    UserAndNetwork,
    /// Only a network namespace, because this system does not let root create a user namespace, as
    /// in most containers.
    NetworkOnly,
}

/// Moves this process into a new user namespace and a new network namespace that contains only a
/// loopback. There the process has CAP_NET_ADMIN and CAP_NET_RAW, whatever user started it, and
/// does not affect the host's network.
///
/// Call this before any thread is started: the kernel refuses it to a process with several threads.
/// Programs that this process starts later are in the namespaces, too. The namespaces end with the
/// last process in them.
///
/// # Errors
///
/// [`Error::Isolation`], which names the setting of this system that prevents it, if that can be
/// found.
pub fn isolate() -> Result<Isolation, Error> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // Only root may map other users into the namespace, and only a process outside can do that.
    let mapper = if uid == 0 { Mapper::start().ok() } else { None };
    let isolation = match unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) {
        Ok(()) => {
            if mapper.is_none_or(|mapper| mapper.map_everybody().is_err()) {
                become_root(uid, gid).map_err(|source| refused(&source))?;
            }
            Isolation::UserAndNetwork
        }
        Err(error) if uid == 0 => {
            if let Some(mapper) = mapper {
                // The mapper finds nothing to map; this waits until it has ended.
                let _ = mapper.map_everybody();
            }
            log::debug!("no user namespace ({error}); trying a network namespace alone");
            unshare(UnshareFlags::NEWNET).map_err(|_| refused(&error))?;
            Isolation::NetworkOnly
        }
        Err(error) => return Err(refused(&error)),
    };
    let mut netlink =
        Netlink::open().map_err(|source| Error::Io { doing: "open a netlink socket".into(), source })?;
    netlink
        .link("lo")
        .and_then(|lo| netlink.set_up(lo.ok_or(io::ErrorKind::NotFound)?.index))
        .map_err(|source| refused(&source))?;
    set_defaults();
    Ok(isolation)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsafe because of CLONE_FILES, which is not among the flags.
    #[allow(unsafe_code)]
    unsafe {
        unshare_unsafe(flags)?;
    }
    Ok(())
}

/// Maps this user to root. user_namespaces(7): an unprivileged process may map only its own id, and
/// must give up setgroups first.
fn become_root(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// A process outside the new user namespace that maps all users and groups into it. Without these,
/// root inside could not access the files of other users, nor enter their folders.
struct Mapper {
    pid: Pid,
    /// Closing this lets the process continue.
    start: OwnedFd,
}

impl Mapper {
    fn start() -> io::Result<Mapper> {
        let maps = ["uid_map", "gid_map"].map(|map| fs::read_to_string(format!("/proc/self/{map}")));
        let [users, groups] = maps;
        let (users, groups) = (same_inside(&users?), same_inside(&groups?));
        let isolated = std::process::id();
        let (wait, start) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: this process has one thread (`isolate` requires it, and `unshare` refuses
        // several), so the child may allocate and use std; it leaves with `_exit` and drops nothing
        // of the parent's.
        #[allow(unsafe_code)]
        let pid = unsafe { libc::fork() };
        match Pid::from_raw(pid) {
            None if pid == 0 => {
                drop(start);
                // The end of the pipe means that the parent is in its namespace, or has ended.
                let _ = rustix::io::read(&wait, &mut [0; 1]);
                let mapped = fs::write(format!("/proc/{isolated}/uid_map"), users)
                    .and_then(|()| fs::write(format!("/proc/{isolated}/gid_map"), groups));
                // SAFETY: this process shares nothing that needs an orderly end.
                #[allow(unsafe_code)]
                unsafe {
                    libc::_exit(i32::from(mapped.is_err()))
                }
            }
            Some(pid) if pid.as_raw_nonzero().get() > 0 => Ok(Mapper { pid, start }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets the process map the ids, and waits until it has ended.
    fn map_everybody(self) -> io::Result<()> {
        let Mapper { pid, start } = self;
        drop(start);
        let status = loop {
            match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        match status.and_then(|(_, status)| status.exit_status()) {
            Some(0) => Ok(()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Converts the map of our namespace to a map in which every id stays the same: `0 100000 65536`
/// there means that we have 0 to 65535, so the result is `0 0 65536`.
fn same_inside(map: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{first} {first} {count}\n"))
    };
    map.lines().filter_map(line).collect()
}

/// Changes settings of the new network namespace. Without them pings need privileges, and the
/// kernel's link-local address takes a second longer. Nothing else depends on them.
fn set_defaults() {
    for (path, value) in [
        ("/proc/sys/net/ipv4/ping_group_range", "0 0"),
        ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
        ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0"),
        ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
    ] {
        if let Err(error) = fs::write(path, value) {
            log::debug!("cannot set {path}: {error}");
        }
    }
}

fn refused(error: &io::Error) -> Error {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
    let cause = obstacle(setting);
    let reason = format!("this system refuses a new user namespace and network namespace ({error}): {cause}");
    Error::Isolation { reason }
}

/// The setting that prevents isolation, if it can be found.
fn obstacle(setting: impl Fn(&str) -> Option<String>) -> String {
    for (path, forbids, advice) in [
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ] {
        if setting(&format!("/proc/sys/{path}")).as_deref() == Some(forbids) {
            return format!(
                "{} is {forbids}; an administrator can change that with `{advice}`",
                path.replace('/', ".")
            );
        }
    }
    "in a container that is its seccomp profile; start it with `--cap-add SYS_ADMIN`, or with \
     `--security-opt seccomp=unconfined`"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_stays_who_they_are() {
        assert_eq!(same_inside("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(same_inside("0 100000 65536\n70000 5 1\n"), "0 0 65536\n70000 70000 1\n");
    }

    #[test]
    fn the_obstacle_is_named() {
        let apparmor =
            |path: &str| path.ends_with("apparmor_restrict_unprivileged_userns").then(|| "1".to_owned());
        assert!(obstacle(apparmor).starts_with("kernel.apparmor_restrict_unprivileged_userns is 1;"));
        let fine = |_: &str| Some("96365".to_owned());
        assert!(obstacle(fine).contains("container"));
        assert!(obstacle(|_| None).contains("container"));
    }
}
