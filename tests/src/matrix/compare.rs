//! Plays cases on both hosts and sorts the differences by the rules that explain them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portolan::Config;

use super::drive::{Answer, play};
use super::rules::{RULES, Rule};
use super::{Case, drive};
use crate::RawPeer;
use crate::host::{KernelSetting, LinuxHost};

/// The number of cases that share a kernel host: all of them together take as long as one.
const BATCH: usize = 200;
/// The number of threads; the kernel's batches mostly wait.
const THREADS: usize = 8;
/// How many times a difference must appear to count, because the kernel may be late on a busy
/// machine.
const ATTEMPTS: usize = 4;

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases on which both hosts agree.
    pub same: usize,
    /// How many differences each rule has explained.
    pub explained: BTreeMap<&'static str, usize>,
    /// Differences that no rule explains: the case, the kernel's answer and Portolan's.
    pub unexplained: Vec<(Case, Answer, Answer)>,
}

/// Plays these cases on the kernel and on Portolan. The threads that it starts move into network
/// namespaces; see [`LinuxHost::new`].
///
/// # Errors
///
/// If the system refuses a namespace.
pub fn compare(cases: &[Case]) -> io::Result<Report> {
    let mut report = Report::default();
    let mut left = cases.to_vec();
    for attempt in 1..=ATTEMPTS {
        let answers = answers_of_linux(&left)?;
        let mut again = Vec::new();
        for (case, linux) in left.iter().zip(answers) {
            let portolan = answer_of_portolan(*case);
            if linux == portolan {
                report.same += 1;
            } else if let Some(rule) = explanation(case, &linux, &portolan) {
                *report.explained.entry(rule.name).or_default() += 1;
            } else if attempt < ATTEMPTS {
                again.push(*case);
            } else {
                report.unexplained.push((*case, linux, portolan));
            }
        }
        left = again;
    }
    Ok(report)
}

fn explanation(case: &Case, linux: &Answer, portolan: &Answer) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.explains)(case, linux, portolan))
}

fn answers_of_linux(cases: &[Case]) -> io::Result<Vec<Answer>> {
    // RFC 1337 §3: no reset ends TIME-WAIT. Linux follows it only with this setting.
    let name = "ipv4/tcp_rfc1337".into();
    let settings = [KernelSetting::Sysctl { name, value: "1".into() }];
    let batches: Vec<&[Case]> = cases.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, io::Result<Vec<Answer>>>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..THREADS.min(batches.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(batch) = batches.get(index) else { break };
                    let answers = LinuxHost::new(&settings).map(|mut host| play(&mut host, batch));
                    results.lock().expect("no thread panics with it").insert(index, answers);
                }
            });
        }
    });
    let results = results.into_inner().expect("no thread panics with it");
    results.into_values().collect::<io::Result<Vec<_>>>().map(|answers| answers.concat())
}

/// Plays a case on Portolan. Each case has a new stack, because some limits apply to all
/// connections of a peer.
fn answer_of_portolan(case: Case) -> Answer {
    let mut peer = RawPeer::new(false, Config::default(), 7);
    drive::play(&mut peer, &[case]).remove(0)
}
