//! [`HostPoll`]: descriptors of the host that a poller waits for.

#[cfg(all(target_os = "linux", not(portolan_portable)))]
mod epoll;
#[cfg(any(portolan_portable, not(target_os = "linux")))]
mod none;

#[cfg(all(target_os = "linux", not(portolan_portable)))]
pub(crate) use epoll::Epoll as HostPoll;
#[cfg(any(portolan_portable, not(target_os = "linux")))]
pub(crate) use none::NoHostPoll as HostPoll;
