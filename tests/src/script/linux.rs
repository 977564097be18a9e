//! Scripts on the kernel: their requirements, and the marks of those that it plays differently.

use std::thread;
use std::time::{Duration, Instant};

use portolan::Domain;

use super::syntax::{Script, Step};
use super::{Failure, engine};
use crate::host::{KernelSetting, kernel_settings_of, kernel_version};

/// The longest script for the kernel, whose time is real.
const LONGEST: Duration = Duration::from_secs(20);
/// How many times a script is tried if its failure may be due to a slow machine, how long to wait
/// before the next try, and how much longer each time.
const ATTEMPTS: u32 = 7;
const RETRY_TIME: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Why a script does not pass on the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `kernel: too long`
    TooLong,
    /// `kernel: lacks NAME`: a setting that the kernel does not have.
    Lacks(String),
    /// `linux: WHAT IT DOES (6.18), WHY`, or `linux v6: ...`.
    Differs {
        /// The families for which it holds.
        families: Vec<Domain>,
        /// The kernel version on which it was observed.
        version: String,
        /// What the kernel does.
        what: String,
    },
}

impl Mark {
    /// Parses a line of the header, split at its colon; `None` if it is none of these.
    pub(super) fn parse(host: &str, text: &str) -> Option<Result<Mark, String>> {
        let families = match host {
            "kernel" => {
                return Some(match text.split_once(' ') {
                    Some(("too", "long")) => Ok(Mark::TooLong),
                    Some(("lacks", name)) => Ok(Mark::Lacks(name.into())),
                    _ => Err("kernel: too long, or kernel: lacks SETTING".into()),
                });
            }
            "linux" => vec![Domain::V4, Domain::V6],
            "linux v4" => vec![Domain::V4],
            "linux v6" => vec![Domain::V6],
            _ => return None,
        };
        let is_version =
            |word: &&str| word.split('.').filter_map(|part| part.parse::<u32>().ok()).count() == 2;
        let version = text.split(['(', ')']).skip(1).step_by(2).find(is_version);
        let differs = |version: &str| Mark::Differs { families, version: version.into(), what: text.into() };
        Some(
            version.map(differs).ok_or_else(|| "with which kernel? `linux: sends an ACK here (6.18)`".into()),
        )
    }
}

/// The result of a script on the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The kernel does what the script says. Contains the transcript.
    Agrees(Vec<String>),
    /// The kernel does what the mark says, or something else that is not in the script.
    Differs(String),
    /// The script is not for the kernel.
    NotPlayed(String),
}

impl Script {
    /// Plays the script on the kernel over one family, and compares the result with its mark. Like
    /// [`LinuxHost::new`](crate::host::LinuxHost::new), this moves the thread into a new network
    /// namespace.
    ///
    /// # Errors
    ///
    /// If the kernel does something else than the script says and there is no mark for it, or if it
    /// passes in spite of its mark.
    pub fn judge(&self, domain: Domain) -> Result<Judgement, Failure> {
        if let Some(why) = self.is_not_for_the_kernel()? {
            return Ok(Judgement::NotPlayed(why));
        }
        let result = self.play_on_linux(domain);
        match &self.mark {
            Some(Mark::Differs { families, version, what }) if families.contains(&domain) => match result {
                Ok(_) if *version == kernel_version() => Err(self.failure(format!(
                    "Linux does what the script says, although it is marked: {what}\nTake the mark away"
                ))),
                Ok(transcript) => Ok(Judgement::Agrees(transcript)),
                Err(_) => Ok(Judgement::Differs(what.clone())),
            },
            _ => result.map(Judgement::Agrees),
        }
    }

    /// Why the script is not played on the kernel, if it is not.
    pub fn is_not_for_the_kernel(&self) -> Result<Option<String>, Failure> {
        let time = self.time();
        match &self.mark {
            Some(Mark::TooLong) if time > LONGEST => Ok(Some(format!("it lasts {time:?}"))),
            Some(Mark::TooLong) => {
                Err(self.failure(format!("it lasts only {time:?}: take `kernel: too long` away")))
            }
            _ if time > LONGEST => Err(self.failure(format!(
                "it lasts {time:?}: shorten it by options or settings that the kernel has, or write `kernel: too long`"
            ))),
            Some(Mark::Lacks(name)) if self.lacks(name) => Ok(Some(format!("the kernel has no setting `{name}`"))),
            Some(Mark::Lacks(name)) => Err(self.failure(format!(
                "it is marked `kernel: lacks {name}`, but has no such `config`, or the kernel has that setting"
            ))),
            _ => Ok(None),
        }
    }

    fn play_on_linux(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        let started_at = Instant::now();
        let mut attempt = 1;
        loop {
            let result = engine::run_on_linux(self, domain);
            let is_timing = result.as_ref().is_err_and(|failure| failure.is_timing);
            if !is_timing || attempt == ATTEMPTS || started_at.elapsed() > RETRY_TIME {
                return result;
            }
            thread::sleep(RETRY_PAUSE * attempt);
            attempt += 1;
        }
    }

    fn lacks(&self, name: &str) -> bool {
        let mut settings = self.settings.iter().filter(|setting| setting.name == name);
        settings.any(|setting| kernel_settings_of(&setting.name, &setting.value).is_none())
    }

    /// The kernel's equivalents of the lines `config` and `sysctl`.
    pub(super) fn kernel_settings(&self) -> Result<Vec<KernelSetting>, String> {
        let mut settings = Vec::new();
        for setting in &self.settings {
            let found = kernel_settings_of(&setting.name, &setting.value).ok_or_else(|| {
                format!(
                    "the kernel has no setting for `config {} {}`: write `kernel: lacks {}`",
                    setting.name, setting.value, setting.name
                )
            })?;
            settings.extend(found);
        }
        settings.extend(self.sysctls.iter().map(|(name, value)| KernelSetting::Sysctl {
            name: format!("ipv4/{name}"),
            value: value.clone(),
        }));
        Ok(settings)
    }

    /// How long the script takes if everything happens on time.
    fn time(&self) -> Duration {
        let lines = self.lines.iter().filter(|line| line.is_for(true));
        lines
            .map(|line| {
                line.delay
                    + match &line.step {
                        Step::Nothing(time) | Step::Skip(time) => *time,
                        Step::Start(start) => start.round_trip,
                        _ => Duration::ZERO,
                    }
            })
            .sum()
    }

    fn failure(&self, why: String) -> Failure {
        Failure {
            at: self.path.clone(),
            line: "(on Linux)".into(),
            why,
            transcript: Vec::new(),
            is_timing: false,
        }
    }
}
