//! [`isolate`]: a network of one's own, without privileges.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Error;
use crate::netlink::Netlink;

/// What [`isolate`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A user namespace, in which this user is root, and a network namespace that belongs to it.
    UserAndNetwork,
    /// A network namespace only: this system lets root make no user namespace, as in most containers.
    NetworkOnly,
}

/// Moves this process into a new user namespace and a new network namespace, with only a loopback in it. There it
/// has CAP_NET_ADMIN and CAP_NET_RAW, whoever started it, and nothing that it does touches the host's network.
///
/// Call it before any thread is started: the kernel refuses it to a process with several. Programs that this process
/// starts later are in the namespaces too. They end with the last process in them.
///
/// # Errors
///
/// [`Error::Isolation`], with the setting of this system that stands in the way where it can be told.
pub fn isolate() -> Result<Isolation, Error> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let isolation = match unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) {
        Ok(()) => {
            become_root(uid, gid).map_err(|source| refused(&source))?;
            Isolation::UserAndNetwork
        }
        Err(error) if uid == 0 => {
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

/// user_namespaces(7): an unprivileged process may map one id, its own, and must give up setgroups first.
fn become_root(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// Settings of the new network namespace. None is needed: without them a ping without privileges is refused, or the
/// kernel's link-local address takes a second longer.
fn set_defaults() {
    for (path, value) in [
        ("/proc/sys/net/ipv4/ping_group_range", "0 0"),
        ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
        ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0"),
        ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
    ] {
        if let Err(error) = fs::write(path, value) {
            log::debug!("{path} stays as it is: {error}");
        }
    }
}

fn refused(error: &io::Error) -> Error {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
    let cause = obstacle(setting);
    let reason = format!(
        "--isolated needs a user namespace and a network namespace of its own, and this system refuses ({error}): \
         {cause}. Without --isolated, root (CAP_NET_ADMIN) can run it on the host's own network"
    );
    Error::Isolation { reason }
}

/// The setting that stands in the way, as far as it can be told.
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
    fn the_obstacle_is_named() {
        let apparmor =
            |path: &str| path.ends_with("apparmor_restrict_unprivileged_userns").then(|| "1".to_owned());
        assert!(obstacle(apparmor).starts_with("kernel.apparmor_restrict_unprivileged_userns is 1;"));
        let fine = |_: &str| Some("96365".to_owned());
        assert!(obstacle(fine).contains("container"));
        assert!(obstacle(|_| None).contains("container"));
    }
}
