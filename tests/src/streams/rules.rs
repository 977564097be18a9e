//! The differences that are meant.

use super::Call;

/// A rule that explains differences.
#[derive(Debug)]
pub struct Rule {
    /// The reason.
    pub why: &'static str,
    /// Whether it explains this difference.
    pub explains: fn(&Case<'_>) -> bool,
}

/// The first difference of a sequence, as rules look at it.
#[derive(Debug)]
pub struct Case<'a> {
    /// The calls.
    pub calls: &'a [Call],
    /// The number of the call.
    pub at: usize,
    /// The kernel's answers.
    pub linux: &'a [String],
    /// Portolan's answers.
    pub portolan: &'a [String],
}

impl Case<'_> {
    fn call(&self) -> Call {
        self.calls[self.at]
    }

    /// The kernel's answer to the call.
    fn linux(&self) -> &str {
        &self.linux[self.at]
    }

    /// Portolan's answer to the call.
    fn portolan(&self) -> &str {
        &self.portolan[self.at]
    }

    /// Whether an earlier call on the same socket, with Portolan's answer, satisfies a condition.
    fn was(&self, is_it: fn(Call, &str) -> bool) -> bool {
        let earlier = self.calls[..self.at].iter().zip(self.portolan);
        let mut own = earlier.filter(|(call, _)| call.socket() == self.call().socket());
        own.any(|(call, answer)| is_it(*call, answer))
    }

    /// Whether `shutdown` has failed on any socket, now or earlier.
    fn had_failed_shutdown(&self) -> bool {
        let answers = self.calls[..=self.at].iter().zip(self.portolan);
        let mut shutdowns = answers.filter(|(call, _)| matches!(call, Call::Shutdown(..)));
        shutdowns.any(|(_, answer)| answer.starts_with("ENOTCONN"))
    }
}

fn connects(call: Call, _: &str) -> bool {
    matches!(call, Call::Connect(..))
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "POSIX: a socket is bound once (EINVAL); Linux gives a new port to one whose connection is over",
        explains: |case| {
            let is_bound_again =
                matches!(case.call(), Call::Bind(..)) && case.portolan().starts_with("EINVAL");
            is_bound_again && !case.linux().starts_with("EINVAL")
        },
    },
    Rule {
        why: "a shutdown that fails (ENOTCONN) has no effect; on Linux it shuts the socket for what is to come",
        explains: |case| case.had_failed_shutdown(),
    },
    Rule {
        why: "POSIX: `connect` on an open connection is EISCONN; on Linux the first one returns 0",
        explains: |case| {
            let is_second = matches!(case.call(), Call::Connect(..)) && case.was(connects);
            is_second && case.portolan().starts_with("EISCONN") && case.linux().starts_with("ok")
        },
    },
    Rule {
        why: "a connection that has ended keeps its port until its socket is closed; on Linux it gives the port back",
        explains: |case| {
            let is_refused =
                matches!(case.call(), Call::Bind(..)) && case.portolan().starts_with("EADDRINUSE");
            is_refused
                && case.linux().starts_with("ok")
                && case.portolan().contains("CLOSED in out rdhup hup")
        },
    },
    Rule {
        why: "a socket whose attempt to connect failed has no port any more; Linux keeps the one that it chose",
        explains: |case| {
            let is_name = matches!(case.call(), Call::LocalAddr(_)) && case.was(connects);
            is_name && case.linux().contains(" some;") && case.portolan().contains(" 0;")
        },
    },
];
