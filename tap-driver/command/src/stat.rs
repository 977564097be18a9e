//! `portolan stat`: the counters of a running stack, as `nstat` prints them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::control::client::ask;
use crate::control::place::find;
use crate::failure::Failure;
use crate::printing::print;

const EXAMPLES: &str = "\
Examples:
  portolan stat                   what has been counted since the last call
  portolan stat -az 'TcpExt*'     all counts of this group since the start of the stack
  portolan stat -as --json        for another program, without remembering this call

A counter that Linux has, too, is named as nstat names it (TcpInSegs); others have the name that the stack
gives them (tcp.joined_segs), and either name is good for a pattern.";

/// The longest history that is read.
const MAX_HISTORY_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = EXAMPLES, disable_version_flag = true)]
pub(crate) struct StatOptions {
    /// The control socket of the stack [default: $PORTOLAN_CONTROL, or that of the only running
    /// stack]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Counts since the start of the stack, not since the last call
    #[arg(short = 'a', long)]
    absolute: bool,
    /// Also counters that are zero
    #[arg(short, long)]
    zeros: bool,
    /// Do not remember this call
    #[arg(short = 's', long)]
    noupdate: bool,
    /// Only remember this call, and print nothing
    #[arg(short = 'n', long)]
    nooutput: bool,
    /// Forget the last call first
    #[arg(short, long)]
    reset: bool,
    /// JSON: an object of counts
    #[arg(short, long)]
    json: bool,
    /// Which counters: names, with * and ?
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

/// A counter in an answer.
#[derive(Clone, Debug)]
struct Count {
    name: String,
    mib: Option<String>,
    value: u64,
}

/// What an earlier call has seen.
#[derive(Clone, Debug, Default)]
struct History {
    counts: BTreeMap<String, u64>,
    at_ms: Option<u64>,
}

/// Asks the stack, and prints.
pub(crate) fn run(options: &StatOptions) -> Result<ExitCode, Failure> {
    let path = find(options.control.as_deref()).map_err(Failure::failed)?;
    let mut answer = ask(&path, &json!({ "request": "counters" }))?;
    let stack = json!([answer.head["pid"], answer.head["started_ms"]]);
    let mut counts = Vec::new();
    while let Some(line) = answer.next()? {
        let (Some(name), Some(value)) = (line["name"].as_str(), line["value"].as_u64()) else {
            return Err(Failure::failed("the stack describes a counter in an unknown way"));
        };
        counts.push(Count { name: name.to_owned(), mib: line["mib"].as_str().map(str::to_owned), value });
    }
    let history_path = history_path(&path);
    let history =
        if options.absolute || options.reset { History::default() } else { load(&history_path, &stack) };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    if !options.noupdate
        && let Err(error) = save(&history_path, &stack, now_ms, &counts)
    {
        log::warn!("this call is not remembered: {}: {error}", history_path.display());
    }
    if options.nooutput {
        return Ok(ExitCode::SUCCESS);
    }
    print(&report(&counts, &history, now_ms, options))
}

fn report(counts: &[Count], history: &History, now_ms: u64, options: &StatOptions) -> String {
    let seconds =
        history.at_ms.map(|at| now_ms.saturating_sub(at) as f64 / 1000.0).filter(|&seconds| seconds > 0.0);
    let mut text = String::from("#portolan\n");
    let mut object = serde_json::Map::new();
    for count in counts {
        let shown = count.mib.as_ref().unwrap_or(&count.name);
        let is_chosen = |pattern: &String| matches(pattern, shown) || matches(pattern, &count.name);
        if !options.patterns.is_empty() && !options.patterns.iter().any(is_chosen) {
            continue;
        }
        let value = count.value.saturating_sub(history.counts.get(&count.name).copied().unwrap_or(0));
        if value == 0 && !options.zeros {
            continue;
        }
        let rate = seconds.map_or(0.0, |seconds| value as f64 / seconds);
        text.push_str(&format!("{shown:<31} {value:<18} {rate:.1}\n"));
        object.insert(shown.clone(), value.into());
    }
    if options.json { format!("{}\n", json!({ "portolan": object })) } else { text }
}

/// Whether a name has the form of a pattern with `*` and `?`. Takes time in proportion to the
/// product of their lengths at most.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// The file that remembers the last call: beside the control socket.
fn history_path(control: &Path) -> PathBuf {
    let mut name = control.file_name().unwrap_or_default().to_owned();
    name.push(".stat");
    control.with_file_name(name)
}

/// Removes the history beside a control socket, if there is one.
pub(crate) fn forget(control: &Path) {
    let path = history_path(control);
    if read_history(&path).is_some()
        && let Err(error) = fs::remove_file(&path)
    {
        log::warn!("{} stays behind: {error}", path.display());
    }
}

/// The content of the file, if it is a history and of this user.
fn read_history(path: &Path) -> Option<Value> {
    let read = || -> io::Result<String> {
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut text = String::new();
        file.take(MAX_HISTORY_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    let history: Value = serde_json::from_str(&read().ok()?).ok()?;
    history["counts"].is_object().then_some(history)
}

/// The history, if it is of this user and of this stack.
fn load(path: &Path, stack: &Value) -> History {
    let history = read_history(path).filter(|history| history["stack"] == *stack);
    let Some(history) = history else { return History::default() };
    let counts = history["counts"].as_object().into_iter().flatten();
    History {
        counts: counts.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect(),
        at_ms: history["at_ms"].as_u64(),
    }
}

/// Replaces the history in one step, by a file that is new and of mode 0600.
fn save(path: &Path, stack: &Value, at_ms: u64, counts: &[Count]) -> io::Result<()> {
    let values: serde_json::Map<String, Value> =
        counts.iter().map(|count| (count.name.clone(), count.value.into())).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = writeln!(file, "{}", json!({ "stack": stack, "at_ms": at_ms, "counts": values }));
    let saved = written.and_then(|()| fs::rename(&new, path));
    if saved.is_err() {
        // The error that led here is more important.
        let _ = fs::remove_file(&new);
    }
    saved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(in_segs: u64) -> [Count; 2] {
        let count = |name: &str, mib: Option<&str>, value| Count {
            name: name.into(),
            mib: mib.map(Into::into),
            value,
        };
        [count("tcp.in_segs", Some("TcpInSegs"), in_segs), count("drops.BadTcp", None, 0)]
    }

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, name, matched) in [
            ("Tcp*", "TcpInSegs", true),
            ("*Segs", "TcpInSegs", true),
            ("T?p*n*s", "TcpInSegs", true),
            ("tcp", "tcp.in_segs", false),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, name), matched, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(1000), &"a".repeat(900)));
    }

    #[test]
    fn the_increments_since_the_last_call_are_shown_with_their_rate() {
        let dir = std::env::temp_dir().join(format!("portolan-stat-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = history_path(&dir.join("x.sock"));
        save(&path, &json!([1, 2]), 1000, &counts(10)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let report =
            |stack: Value, options: &StatOptions| report(&counts(30), &load(&path, &stack), 3000, options);
        let options = StatOptions::default();
        assert_eq!(
            report(json!([1, 2]), &options).split_whitespace().collect::<Vec<_>>(),
            ["#portolan", "TcpInSegs", "20", "10.0"]
        );
        assert!(
            report(json!([1, 3]), &options).contains("30 "),
            "the history of another stack does not count"
        );
        let zeros = StatOptions { zeros: true, json: true, patterns: vec!["drops.*".into()], ..options };
        assert_eq!(report(json!([1, 2]), &zeros), "{\"portolan\":{\"drops.BadTcp\":0}}\n");
        fs::remove_dir_all(&dir).unwrap();
    }
}
