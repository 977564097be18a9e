//! The output of the demonstration: one line for each step.

use std::io::{self, Write};
use std::time::Duration;

/// The result of a step, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was observed.
    Done(String),
    /// Why the step is not possible here, which is not a failure.
    Skipped(String),
}

/// Prints and counts the steps. If printing fails, the demonstration continues, and the error is
/// kept.
pub(crate) struct Report {
    out: Box<dyn Write>,
    /// The first error of printing.
    lost: Option<io::Error>,
    steps: usize,
    failures: usize,
}

impl Report {
    pub(crate) fn new(out: impl Write + 'static) -> Self {
        Report { out: Box::new(out), lost: None, steps: 0, failures: 0 }
    }

    /// Prints a line, or several.
    pub(crate) fn say(&mut self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Runs a step: prints its title first, and its result afterwards.
    pub(crate) fn step(&mut self, title: &str, action: impl FnOnce() -> io::Result<Outcome>) {
        self.steps += 1;
        self.print(&format!("{:>2}. {title:<21} ", self.steps));
        match action() {
            Ok(Outcome::Done(line)) => self.print(&format!("{line}\n")),
            Ok(Outcome::Skipped(why)) => self.print(&format!("skipped: {why}\n")),
            Err(error) => {
                self.failures += 1;
                self.print(&format!("FAILED: {error}\n"));
            }
        }
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures
    }

    /// The error of printing, if there was one.
    pub(crate) fn lost(&self) -> Option<&io::Error> {
        self.lost.as_ref()
    }

    fn print(&mut self, text: &str) {
        if let Err(error) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            self.lost.get_or_insert(error);
        }
    }
}

/// Formats a duration with about three digits: `38 µs`, `1.25 ms`, `12.3 s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e5 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// Formats a rate in bits a second, with decimal prefixes.
pub(crate) fn show_rate(bytes: u64, took: Duration) -> String {
    let mbits = bytes as f64 * 8.0 / 1e6 / took.as_secs_f64().max(1e-9);
    if mbits < 1000.0 { format!("{mbits:.0} Mbit/s") } else { format!("{:.2} Gbit/s", mbits / 1000.0) }
}

/// Formats a size: `812 bytes`, `3.1 KiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} bytes") } else { format!("{:.1} KiB", bytes as f64 / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_for_people() {
        for (micros, shown) in [(38, "38 µs"), (1250, "1.25 ms"), (120_000, "120 ms"), (2_346_000, "2.35 s")]
        {
            assert_eq!(show_duration(Duration::from_micros(micros)), shown);
        }
        assert_eq!(show_rate(100 << 20, Duration::from_secs(1)), "839 Mbit/s");
        assert_eq!(show_rate(1_000_000_000, Duration::from_secs(4)), "2.00 Gbit/s");
        assert_eq!(show_bytes(1023), "1023 bytes");
        assert_eq!(show_bytes(3174), "3.1 KiB");
    }

    #[test]
    fn what_cannot_be_printed_is_kept_and_the_steps_go_on() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut report = Report::new(Full);
        let mut is_done = false;
        report.step("one", || {
            is_done = true;
            Ok(Outcome::Done(String::new()))
        });
        assert!(is_done);
        assert_eq!(report.lost().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn failures_are_counted_and_skips_are_not() {
        let mut report = Report::new(io::sink());
        report.step("one", || Ok(Outcome::Done(String::new())));
        report.step("two", || Ok(Outcome::Skipped(String::new())));
        report.step("three", || Err(io::Error::other("why")));
        assert_eq!((report.steps(), report.failures()), (3, 1));
    }
}
