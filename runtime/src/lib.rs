//! Runs a Portolan stack inside an ordinary std program.
//!
//! In the order in which to read it:
//!
//! | module | what it does |
//! |---|---|
//! | `runtime` | [`Builder`], [`Runtime`], [`Handle`]: from a device and an address to a running stack |
//! | `plan` | whether what a builder was told can work |
//! | `driver` | the two locks, who sends, who leads and who sleeps; the driving thread |
//! | `shared`, `attached` | the stack behind its lock and how callers use it; the devices behind theirs |
//! | `lead`, `wait`, `waiters` | how a thread drives the devices; how a call waits, leading or parked; who waits for which descriptor |
//! | `stacks`, `exchange` | several stacks, one for each queue of the interfaces, and what they hand to each other |
//! | `budget`, `spin` | how many frames are read at once; how long is asked before sleeping |
//! | `socket` | what all blocking sockets share: waiting, timeouts, closing |
//! | `listening`, `bell` | a listener on all stacks, and how it waits for all of them |
//! | `tcp`, `udp`, `echo` | [`TcpListener`], [`TcpStream`], [`UdpSocket`], [`EchoSocket`] |
//! | [`device`] | where frames come from and go to; an in-memory pair; a pcap writer; a fault injector |
//! | `clock` | the real time, as a stack wants it |
//!
//! ```
//! use std::io::{Read, Write};
//! use portolan_runtime::{Builder, TcpListener, TcpStream, device::memory_pair};
//!
//! let (left, right) = memory_pair()?;
//! let server = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
//! let client = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
//!
//! let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7))?;
//! let echo = std::thread::spawn(move || {
//!     let (mut stream, _peer) = listener.accept()?;
//!     let mut word = [0; 5];
//!     stream.read_exact(&mut word)?;
//!     stream.write_all(&word)
//! });
//! let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 7))?;
//! stream.write_all(b"hello")?;
//! let mut word = [0; 5];
//! stream.read_exact(&mut word)?;
//! assert_eq!(&word, b"hello");
//! echo.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attached;
mod bell;
mod budget;
mod clock;
pub mod device;
mod driver;
mod echo;
mod ended;
mod exchange;
mod habits;
mod lead;
mod listening;
mod plan;
mod pool;
mod runtime;
mod shared;
mod signal;
mod socket;
mod spin;
mod stacks;
mod tcp;
mod udp;
mod wait;
mod waiters;

pub use clock::Clock;
pub use device::{Device, Sent};
pub use echo::{EchoReply, EchoSocket};
pub use exchange::Handovers;
pub use runtime::{Builder, Handle, Runtime};
pub use tcp::{Incoming, IntoIncoming, Keepalive, TcpListener, TcpStream};
pub use udp::UdpSocket;
