//! Many connections at once, through the kernel.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const TIMEOUT: Duration = Duration::from_secs(20);
/// The descriptors that this process needs besides those of the connections, and some more.
const OTHER_DESCRIPTORS: u64 = 100;

/// Begins `count` connections to an echo service before any of them is open, sends something
/// different on each while all are open, and reads it back. Returns the time from the first
/// `connect` until the last answer.
pub(crate) fn crowd(server: SocketAddr, count: usize) -> io::Result<Duration> {
    make_room(count as u64 + OTHER_DESCRIPTORS)?;
    let begin = Instant::now();
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        streams.push(begin_connect(server).map_err(|error| about(index, "cannot be begun", &error))?);
    }
    for (index, stream) in streams.iter_mut().enumerate() {
        // The first write waits until the connection is open.
        finish_connect(stream)
            .and_then(|()| stream.write_all(&message(index)))
            .map_err(|error| about(index, "does not open", &error))?;
    }
    for (index, stream) in streams.iter_mut().enumerate() {
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).map_err(|error| about(index, "gets no answer", &error))?;
        if reply != message(index) {
            let error = io::Error::new(io::ErrorKind::InvalidData, "it belongs to another one");
            return Err(about(index, "gets a wrong answer", &error));
        }
    }
    Ok(begin.elapsed())
}

/// Raises the limit of open descriptors, if it is too low.
fn make_room(descriptors: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= descriptors) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < descriptors) {
        let maximum = limit.maximum.unwrap_or_default();
        return Err(io::Error::other(format!(
            "this process may open only {maximum} descriptors and needs {descriptors}; raise the limit with \
             `ulimit -Hn {descriptors}` as root, or in /etc/security/limits.conf"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum: limit.maximum })?;
    Ok(())
}

fn begin_connect(server: SocketAddr) -> io::Result<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn finish_connect(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))
}

fn message(index: usize) -> [u8; 8] {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn about(index: usize, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {} {what}: {error}", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn each_of_a_crowd_gets_its_own_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let server = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        crowd(server, 50).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let server = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"nonsense");
                thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
            }
        });
        let error = crowd(server, 3).expect_err("wrong answers").to_string();
        assert_eq!(error, "connection 1 gets a wrong answer: it belongs to another one");
    }
}
