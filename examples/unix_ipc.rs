//! Two programs in one stack, each an owner with sockets and credentials of its own. The front
//! accepts connections from the network, and passes each to the worker over a Unix-domain socket.
//! So the worker needs no listener, and either of them can end without the other.
//!
//! `cargo run -p portolan-examples --example unix_ipc`

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::thread;

use portolan::Credentials;
use portolan_examples::two_hosts;
use portolan_runtime::{Owner, PassedSocket, TcpListener, TcpStream, UnixListener, UnixStream};

/// A name in the stack. The files of the host have nothing to do with it.
const PATH: &str = "/run/worker";
const FRONT: Credentials = Credentials { pid: 1, uid: 0, gid: 0 };
const WORKER: Credentials = Credentials { pid: 2, uid: 1000, gid: 1000 };

fn main() -> Result<(), Box<dyn Error>> {
    let (server, client) = two_hosts()?;
    let front = server.handle().new_owner()?;
    front.set_credentials(FRONT)?;
    let worker = server.handle().new_owner()?;
    worker.set_credentials(WORKER)?;

    let calls = UnixListener::bind(&worker, PATH)?;
    let working = thread::spawn(move || work(&worker, &calls));
    let listener = TcpListener::bind(&front, ([10, 0, 0, 1], 80))?;
    let accepting = thread::spawn(move || pass_on(&front, &listener, 2));

    for name in ["Anna", "Bert"] {
        let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 80))?;
        stream.write_all(format!("{name}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        println!("client: {answer}");
    }
    accepting.join().expect("the front does not panic")?;
    working.join().expect("the worker does not panic")?;
    // The path stays when the listener is dropped, as a file does.
    server.handle().unlink(PATH)?;
    Ok(())
}

/// The front: gives so many connections away. It ends before the last of them is served.
fn pass_on(front: &Owner, listener: &TcpListener, count: usize) -> io::Result<()> {
    let worker = UnixStream::connect(front, PATH)?;
    println!("front: the worker is user {}", worker.peer_cred()?.uid);
    for stream in listener.incoming().take(count) {
        let stream = stream?;
        let from = format!("{}", stream.peer_addr()?.ip());
        // The connection stays open when the front's own descriptor of it is closed.
        worker.send_with(from.as_bytes(), &[&stream])?;
    }
    worker.shutdown(Shutdown::Write)
}

/// The worker: serves the connections that a front of user 0 passes to it.
fn work(worker: &Owner, calls: &UnixListener) -> io::Result<()> {
    let (front, _) = calls.accept()?;
    let from = front.peer_cred()?;
    if from.uid != FRONT.uid {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    println!("worker: called by process {}, user {}", from.pid, from.uid);
    let mut note = [0; 64];
    loop {
        let mut received = front.recv_with(&mut note, 1)?;
        match received.sockets.pop() {
            Some(PassedSocket::TcpStream(mut stream)) => {
                let note = String::from_utf8_lossy(&note[..received.len]);
                let mut name = String::new();
                BufReader::new(&stream).read_line(&mut name)?;
                let user = worker.credentials()?.uid;
                write!(stream, "user {user} greets {} at {note}", name.trim_end())?;
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None if received.len == 0 => return Ok(()),
            None => {}
        }
    }
}
