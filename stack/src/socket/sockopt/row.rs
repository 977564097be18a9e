//! How an option is described: its number, and how its value is read and written.

use alloc::vec::Vec;
use core::time::Duration;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::network::Network;
use crate::socket::common::{Common, Env};
use crate::socket::options::{ControlData, SocketOption, SocketOptions};
use crate::socket::protocol::ProtocolCalls;
use crate::socket::record::{Protocol, Socket};
use crate::socket::tcp::questions;
use crate::socket::tcp::stream::TcpSocket;
use crate::time::Instant;

/// A level of options, and how Linux treats values there.
pub(super) struct Level {
    pub(super) number: i32,
    pub(super) rows: &'static [Row],
    /// Whether the socket has options of this level.
    pub(super) applies: fn(&Socket) -> bool,
    pub(super) read_int: fn(&[u8]) -> Result<i32>,
    /// Whether a value that is too short for an int is EINVAL for unknown options, too.
    pub(super) checks_length_first: bool,
    /// Whether a number up to 255 is returned as one byte if there is no room for an int.
    pub(super) returns_bytes: bool,
}

impl Level {
    pub(super) fn row(&self, number: i32) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.number == number)
    }
}

/// An option.
pub(super) struct Row {
    pub(super) number: i32,
    pub(super) name: &'static str,
    pub(super) set: Set,
    pub(super) get: Get,
}

/// The option to set; `None` if the value has no effect.
pub(super) type Change = Option<SocketOption>;

/// How a value is turned into an option.
#[derive(Clone, Copy)]
pub(super) enum Set {
    /// ENOPROTOOPT.
    Never,
    Int(fn(&OptionTarget<'_>, i32) -> Result<Change>),
    /// The value has a layout of its own.
    Bytes(fn(&OptionTarget<'_>, &[u8]) -> Result<Change>),
    /// The value has a layout of its own, and what follows is a call other than `set_option`.
    Call(SetCall),
}

/// What `setsockopt` does where it is not `set_option`.
pub(super) type SetCall = fn(&mut dyn ProtocolCalls, &mut Env<'_>, SocketId, &[u8]) -> Result<()>;

/// How the value of an option is found.
#[derive(Clone, Copy)]
pub(super) enum Get {
    Int(fn(&OptionTarget<'_>) -> Result<i32>),
    /// The value has a layout of its own. The function gets the length of the caller's buffer.
    Bytes(fn(&OptionTarget<'_>, usize) -> Result<Vec<u8>>),
    /// The caller's buffer also says what is asked for. The function writes into it, and returns
    /// the length.
    Call(fn(&mut Env<'_>, SocketId, &mut [u8]) -> Result<usize>),
    /// SO_ERROR, which is cleared.
    PendingError,
    /// ENOPROTOOPT.
    Never,
}

impl Row {
    pub(super) const fn new(number: i32, name: &'static str, set: Set, get: Get) -> Row {
        Row { number, name, set, get }
    }

    /// An option that is only read.
    pub(super) const fn read_only(number: i32, name: &'static str, get: Get) -> Row {
        Row { number, name, set: Set::Never, get }
    }

    /// An option that is an int in both directions.
    pub(super) const fn int(
        number: i32,
        name: &'static str,
        set: fn(&OptionTarget<'_>, i32) -> Result<Change>,
        get: fn(&OptionTarget<'_>) -> Result<i32>,
    ) -> Row {
        Row { number, name, set: Set::Int(set), get: Get::Int(get) }
    }
}

/// The socket of a call, and what its answer depends on.
pub(super) struct OptionTarget<'a> {
    pub(super) id: SocketId,
    pub(super) socket: &'a Socket,
    pub(super) config: &'a Config,
    pub(super) now: Instant,
    pub(super) network: &'a Network,
    pub(super) common: &'a Common,
}

/// The part of a TCP socket's state on which options depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionPhase {
    /// Neither listening nor connected. A connection that has ended counts, too.
    Closed,
    Listening,
    /// A connection, open or opening.
    Connection,
}

impl<'a> OptionTarget<'a> {
    /// EBADF.
    pub(super) fn new(env: &'a Env<'_>, id: SocketId) -> Result<OptionTarget<'a>> {
        let socket = env.common.record(id)?;
        let (config, now) = (env.ctx.config, env.ctx.now);
        Ok(OptionTarget { id, socket, config, now, network: env.network, common: env.common })
    }

    /// The options, as [`Stack::options`](crate::Stack::options) returns them.
    pub(super) fn options(&self) -> SocketOptions {
        let mut options = SocketOptions::clone(&self.socket.options);
        questions::complete_options(self.socket, &mut options);
        options
    }

    pub(super) fn phase(&self) -> OptionPhase {
        match &self.socket.protocol {
            Protocol::Tcp(TcpSocket::Listener(_) | TcpSocket::Interceptor(_)) => OptionPhase::Listening,
            Protocol::Tcp(_) if questions::has_connection(self.socket) => OptionPhase::Connection,
            _ => OptionPhase::Closed,
        }
    }
}

/// The option by which a program asks for this control data.
pub(super) fn ask_for(data: ControlData, on: i32) -> Result<Change> {
    Ok(Some(SocketOption::AskFor(data, on != 0)))
}

/// Whether the program asks for this control data.
pub(super) fn asks_for(target: &OptionTarget<'_>, data: ControlData) -> Result<i32> {
    Ok(target.socket.options.asks_for(data).into())
}

/// EINVAL for a number out of its range.
pub(super) fn in_range(value: i32, min: i32, max: i32) -> Result<i32> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(Error::InvalidArgument) }
}

/// A time in whole units, as C has it. At least 1 if it is not zero.
pub(super) fn whole(time: Duration, unit: Duration) -> i32 {
    let nanos = unit.as_nanos().max(1);
    i32::try_from(time.as_nanos().div_ceil(nanos)).unwrap_or(i32::MAX)
}

pub(super) fn saturated(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// An int at the front of the value. EINVAL if the value is too short.
pub(super) fn read_int(value: &[u8]) -> Result<i32> {
    value.first_chunk().map(|&bytes| i32::from_ne_bytes(bytes)).ok_or(Error::InvalidArgument)
}

/// The bytes of a name, up to its first NUL.
pub(super) fn name_of(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Numbers one after the other, as in a struct of C.
pub(super) fn words(words: &[i64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
