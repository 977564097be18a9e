//! Calls for which `rustix` has no function: `recvmsg` with all control data, `connect` to
//! AF_UNSPEC, and the numbers that `ioctl` and `getsockopt` return.

use std::io::IoSliceMut;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use portolan::{Domain, ReceivedFlags, RecvFlags};
use rustix::io::Errno;

use super::sockets::{errno_name, get_bytes, is_v6, last_error, set_bytes};
use crate::host::{Control, Message, error_text};

pub(crate) const SIOCATMARK: u64 = 0x8905;
pub(crate) const SIOCOUTQNSD: u64 = 0x894b;

/// `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP`, `SO_EE_ORIGIN_ICMP6`.
const ORIGINS: [&str; 4] = ["none", "local", "icmp", "icmp6"];

/// The options with which a socket of datagrams receives control data.
pub(super) fn ask_for_control(socket: RawFd, domain: Domain) -> rustix::io::Result<()> {
    let on = |level: i32, options: &[i32]| {
        options.iter().try_for_each(|&option| set_bytes(socket, level, option, &1i32.to_ne_bytes()))
    };
    on(libc::IPPROTO_IP, &[libc::IP_RECVTTL, libc::IP_RECVTOS])?;
    match domain {
        Domain::V6 => {
            on(libc::IPPROTO_IPV6, &[libc::IPV6_RECVPKTINFO, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS])
        }
        _ => on(libc::IPPROTO_IP, &[libc::IP_PKTINFO]),
    }
}

pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: a `sockaddr` may be all zeros, which is AF_UNSPEC.
    let unspecified: libc::sockaddr = unsafe { mem::zeroed() };
    let len = mem::size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `unspecified`.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, len) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// A number that this request returns.
pub(crate) fn ask(socket: BorrowedFd<'_>, request: u64) -> rustix::io::Result<usize> {
    let mut value: libc::c_int = 0;
    // SAFETY: the requests of this file write one int, and the pointer is to one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut value) };
    if result == 0 { Ok(value as usize) } else { Err(last_error()) }
}

pub(super) fn path_mtu(socket: RawFd) -> rustix::io::Result<usize> {
    let mut value = [0; 4];
    match is_v6(socket)? {
        true => get_bytes(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, &mut value)?,
        false => get_bytes(socket, libc::IPPROTO_IP, libc::IP_MTU, &mut value)?,
    };
    Ok(i32::from_ne_bytes(value) as usize)
}

pub(super) fn receive(
    socket: BorrowedFd<'_>,
    lens: &[usize],
    flags: RecvFlags,
) -> rustix::io::Result<Message> {
    let mut bufs: Vec<Vec<u8>> = lens.iter().map(|&len| vec![0; len]).collect();
    let mut slices: Vec<IoSliceMut<'_>> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
    let mut name = [0u64; 16];
    let mut control = [0u64; 128];
    // SAFETY: a `msghdr` may be all zeros.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    // The standard library guarantees that an `IoSliceMut` is an `iovec`.
    header.msg_iov = slices.as_mut_ptr().cast();
    header.msg_iovlen = slices.len();
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control);
    // SAFETY: all pointers in `header` are to memory of the lengths beside them, which lives until
    // the call returns.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags.bits() as i32) };
    if len < 0 {
        return Err(last_error());
    }
    let name_bytes: Vec<u8> = name.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let from = socket_addr(&name_bytes[..header.msg_namelen as usize]);
    let told = ReceivedFlags::OOB | ReceivedFlags::TRUNCATED | ReceivedFlags::ERROR_QUEUE;
    let mut message = Message {
        len: len as usize,
        data: Vec::new(),
        flags: ReceivedFlags::from_bits(header.msg_flags as u32 & told.bits()),
        from,
        control: None,
        error: None,
    };
    let control_bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut found = Control { to: Ipv4Addr::UNSPECIFIED.into(), hop_limit: 0, traffic_class: 0 };
    for (level, kind, data) in control_messages(&control_bytes[..header.msg_controllen]) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => found.to = IpAddr::V4(ipv4(&data[8..12])),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => found.to = IpAddr::V6(ipv6(&data[..16])),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                found.hop_limit = data[0];
            }
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                found.traffic_class = data[0];
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                message.error = Some(told_error(data));
            }
            _ => {}
        }
    }
    if message.error.is_none() && found.hop_limit > 0 {
        message.control = Some(found);
    }
    message.data = bufs.concat();
    Ok(message)
}

/// The level, the type and the data of each control message.
fn control_messages(mut bytes: &[u8]) -> Vec<(i32, i32, &[u8])> {
    const HEADER_LEN: usize = mem::size_of::<libc::cmsghdr>();
    let mut messages = Vec::new();
    while bytes.len() >= HEADER_LEN {
        let len = usize::from_ne_bytes(*bytes.first_chunk().expect("a header"));
        let number = |at: usize| i32::from_ne_bytes(*bytes[at..].first_chunk().expect("a header"));
        if len < HEADER_LEN || len > bytes.len() {
            break;
        }
        messages.push((number(8), number(12), &bytes[HEADER_LEN..len]));
        bytes = &bytes[len.next_multiple_of(8).min(bytes.len())..];
    }
    messages
}

/// A `struct sock_extended_err`, and the address behind it.
fn told_error(data: &[u8]) -> String {
    let number = |at: usize| u32::from_ne_bytes(*data[at..].first_chunk().expect("16 bytes"));
    let origin = ORIGINS.get(usize::from(data[4])).copied().unwrap_or("another");
    let origin = match data[4] {
        2 | 3 => format!("{origin} {} {}", data[5], data[6]),
        _ => origin.into(),
    };
    let offender = socket_addr(&data[16..]).map(|addr| addr.ip());
    error_text(errno_name(Errno::from_raw_os_error(number(0) as i32)), &origin, number(8), offender)
}

fn socket_addr(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    match family {
        libc::AF_INET => Some((ipv4(bytes.get(4..8)?), port).into()),
        libc::AF_INET6 => Some((ipv6(bytes.get(8..24)?), port).into()),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from_octets(bytes.try_into().expect("4 bytes"))
}

fn ipv6(bytes: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from_octets(bytes.try_into().expect("16 bytes"))
}
