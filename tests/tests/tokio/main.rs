//! The same programs against `tokio::net` over the kernel's loopback, and against the runtime's
//! sockets for tasks over a link in memory. Each program returns what it saw, and both must have
//! seen the same: on one thread and on several.

#![expect(clippy::duplicate_mod, reason = "the programs are compiled once for each kind of socket")]

/// Lists the functions of a file as programs.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[(&str, crate::Case<super::World>)] =
            &[$((stringify!($name), |world| Box::pin($name(world)))),*];
    };
}

mod host;
mod ours;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::timeout;

/// What a program saw.
pub(crate) type Seen = Vec<String>;

/// A program.
pub(crate) type Case<W> = fn(W) -> Pin<Box<dyn Future<Output = Seen> + Send>>;

/// A program that takes longer has missed a wake-up.
const LONG: Duration = Duration::from_secs(10);

/// How long a program waits to see that something does not happen.
const SHORT: Duration = Duration::from_millis(30);

/// A result without what is specific to a system.
fn outcome<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Whether a future is still waiting after a short time.
async fn waits(future: impl Future) -> bool {
    timeout(SHORT, future).await.is_err()
}

/// A path for a Unix-domain socket. The file that the host makes there is removed at the end.
struct TempPath(PathBuf);

impl TempPath {
    fn new() -> TempPath {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portolan-tokio-{}-{number}", std::process::id());
        TempPath(std::env::temp_dir().join(name))
    }

    fn is(&self, name: &str) -> bool {
        self.0 == Path::new(name)
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        // A socket of the stack leaves no file.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn run<W>(case: Case<W>, world: W) -> Seen {
    tokio::time::timeout(LONG, case(world)).await.unwrap_or_else(|_| vec!["takes too long".into()])
}

fn compare(executor: tokio::runtime::Runtime) {
    let world = ours::World::new();
    let mut different = String::new();
    let of_host = [host::tcp::CASES, host::udp::CASES, host::unix::CASES].concat();
    let of_ours = [ours::tcp::CASES, ours::udp::CASES, ours::unix::CASES].concat();
    assert_eq!(of_host.len(), of_ours.len());
    for ((name, host), (_, ours)) in of_host.into_iter().zip(of_ours) {
        let seen = [
            executor.block_on(async { tokio::spawn(run(host, host::World)).await }),
            executor.block_on(async { tokio::spawn(run(ours, world.clone())).await }),
        ];
        let [host, ours] = seen.map(|seen| seen.unwrap_or_else(|error| vec![error.to_string()]));
        if host != ours || host.is_empty() {
            different += &format!("{name}:\n    tokio {host:?}\n    ours  {ours:?}\n");
        }
    }
    assert!(different.is_empty(), "\n{different}");
}

#[test]
fn on_one_thread() {
    compare(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
}

#[test]
fn on_several_threads() {
    compare(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
}
