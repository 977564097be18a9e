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

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a program saw.
pub(crate) type Seen = Vec<String>;

/// A program.
pub(crate) type Case<W> = fn(W) -> Pin<Box<dyn Future<Output = Seen> + Send>>;

/// A program that takes longer has missed a wake-up.
const LONG: Duration = Duration::from_secs(10);

async fn run<W>(case: Case<W>, world: W) -> Seen {
    tokio::time::timeout(LONG, case(world)).await.unwrap_or_else(|_| vec!["takes too long".into()])
}

fn compare(executor: tokio::runtime::Runtime) {
    let world = ours::World::new();
    let mut different = String::new();
    let of_host = host::tcp::CASES.iter().chain(host::udp::CASES);
    let all = of_host.zip(ours::tcp::CASES.iter().chain(ours::udp::CASES));
    for ((name, host), (_, ours)) in all {
        let seen = [
            executor.block_on(async { tokio::spawn(run(*host, host::World)).await }),
            executor.block_on(async { tokio::spawn(run(*ours, world.clone())).await }),
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
