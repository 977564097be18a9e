//! The error queue of datagram sockets (IP_RECVERR, IPV6_RECVERR): which packet of theirs could not
//! be sent or delivered, why, and who says so.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::error::Error;

/// What a queued error costs beside the payload, as a datagram does.
const OVERHEAD_BYTES: usize = 256;

/// An error from the error queue of a socket (`struct sock_extended_err` of ip(7)), see
/// [`SocketOption::ReceiveErrors`](crate::SocketOption::ReceiveErrors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedError {
    /// The error of the call (`ee_errno`).
    pub error: Error,
    /// The source of the error (`ee_origin`, `ee_type`, `ee_code`).
    pub origin: ErrorOrigin,
    /// The path MTU with `MessageTooLong`; the pointer of a "parameter problem"; otherwise 0
    /// (`ee_info`).
    pub info: u32,
    /// The destination of the packet that the error is about (`msg_name`).
    pub destination: SocketAddr,
    /// The host or router that sent the ICMP message, with port 0 (`SO_EE_OFFENDER`).
    pub offender: Option<SocketAddr>,
}

/// The source of a [`QueuedError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorOrigin {
    /// The stack itself (SO_EE_ORIGIN_LOCAL).
    Local,
    /// An ICMP message of this type and code (SO_EE_ORIGIN_ICMP).
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// An ICMPv6 message of this type and code (SO_EE_ORIGIN_ICMP6).
    Icmp6 {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
}

/// The error queue of one socket.
#[derive(Debug, Default)]
pub(super) struct ErrorQueue {
    /// Each error with the payload of the packet that it is about.
    errors: VecDeque<(QueuedError, Bytes)>,
    bytes: usize,
}

impl ErrorQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// What an error with a payload of this length counts for.
    pub(super) fn cost(len: usize) -> usize {
        len + OVERHEAD_BYTES
    }

    /// What it counts for in the receive buffer and in the account.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, error: QueuedError, payload: Bytes) {
        self.bytes += ErrorQueue::cost(payload.len());
        self.errors.push_back((error, payload));
    }

    pub(super) fn pop(&mut self) -> Option<(QueuedError, Bytes)> {
        let (error, payload) = self.errors.pop_front()?;
        self.bytes -= ErrorQueue::cost(payload.len());
        Some((error, payload))
    }

    /// The next error, if it came in an ICMP message.
    pub(super) fn next_from_network(&self) -> Option<Error> {
        self.errors
            .front()
            .filter(|(error, _)| error.origin != ErrorOrigin::Local)
            .map(|(error, _)| error.error)
    }
}
