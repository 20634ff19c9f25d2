//! Exit codes, for scripts.

use std::{fmt, io::Write, process::ExitCode};

use super::output;
use crate::api::{client::ClientError, wire::Code};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed; standard error says why.
    Error = 1,
    /// The command line cannot be understood (clap answers this by itself).
    Usage = 2,
    /// Refused by the guard.
    Refused = 3,
    /// Not allowed.
    NotAllowed = 4,
    /// Not found.
    NotFound = 5,
    /// Halted, aborted, or over.
    Halted = 6,
    /// It waits: for approvals, or for an answer of what is watched.
    Waits = 7,
    /// It took too long.
    Timeout = 8,
    /// Not what was shown.
    Stale = 9,
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::NotAuthenticated | Code::NotAllowed => Self::NotAllowed,
            Code::NotFound => Self::NotFound,
            Code::Waits => Self::Waits,
            Code::StaleDigest => Self::Stale,
            Code::RefusedByGuard => Self::Refused,
            Code::Halted | Code::Over => Self::Halted,
            Code::Malformed
            | Code::WrongMethod
            | Code::Conflict
            | Code::KeyReused
            | Code::TooMany
            | Code::TooLarge
            | Code::Unavailable
            | Code::Internal => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that asks for an exit code of its own.
#[derive(Debug)]
pub(super) struct With(pub(super) Exit, pub(super) String);

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for With {}

/// The same error, and what to do about it; its exit code stays.
pub(super) fn advised(error: &anyhow::Error, advice: &str) -> anyhow::Error {
    With(Exit::of(error), format!("{}; {advice}", causes(error))).into()
}

impl Exit {
    /// The code that an error asks for.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(ClientError::Problem(problem)) => problem.code.into(),
            Some(ClientError::TooSlow { .. }) => Self::Timeout,
            Some(_) => Self::Error,
            None => error.downcast_ref::<With>().map_or(Self::Error, |With(exit, _)| *exit),
        }
    }

    /// Prints the error, with its causes, and becomes the exit code.
    pub(super) fn explain(self, error: &anyhow::Error) -> ExitCode {
        // Nobody is left to tell if standard error is closed.
        let said = stale(error).iter().fold(String::new(), |said, line| said + line + "\n");
        writeln!(std::io::stderr(), "{said}error: {}", shown(error)).ok();
        self.into()
    }
}

/// What changed since it was shown, if that is the error.
fn stale(error: &anyhow::Error) -> Vec<String> {
    let Some(ClientError::Problem(problem)) = error.downcast_ref() else { return Vec::new() };
    if problem.code != Code::StaleDigest {
        return Vec::new();
    }
    let head = match problem.diff[..] {
        [] => "It changed since it was shown.",
        _ => "It changed since it was shown:",
    };
    std::iter::once(head.to_owned()).chain(problem.diff.iter().map(|line| output::visible(line))).collect()
}

/// The error as it is shown: some have several lines; whatever else would move a cursor is text from outside.
fn shown(error: &anyhow::Error) -> String {
    causes(error).lines().map(output::visible).collect::<Vec<_>>().join("\n")
}

/// The error and its causes, in one line. Many errors say their cause themselves: it is not said again.
pub(super) fn causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |said, cause| {
        let cause = cause.to_string();
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Problem;

    #[test]
    fn what_the_api_says_becomes_an_exit_code() {
        for (code, exit) in [
            (Code::NotAuthenticated, 4),
            (Code::NotAllowed, 4),
            (Code::NotFound, 5),
            (Code::Halted, 6),
            (Code::Over, 6),
            (Code::Waits, 7),
            (Code::StaleDigest, 9),
            (Code::RefusedByGuard, 3),
            (Code::Internal, 1),
        ] {
            let error = ClientError::Problem(Box::new(Problem::new(code, "")));
            assert_eq!(Exit::of(&anyhow::Error::from(error).context("asked")) as u8, exit, "{code:?}");
        }
        let slow = ClientError::TooSlow { url: String::new() };
        assert_eq!(Exit::of(&slow.into()), Exit::Timeout);
    }

    #[test]
    fn what_an_error_quotes_is_not_obeyed() {
        let error = anyhow::anyhow!("no such campaign \u{1b}[2J\nbut others");
        assert_eq!(shown(&error), "no such campaign \\u{1b}[2J\nbut others");
    }

    #[test]
    fn a_difference_is_shown_and_not_obeyed() {
        let mut problem = Problem::new(Code::StaleDigest, "");
        problem.diff = vec!["-max_devices = 5".to_owned(), "+max_devices = \u{1b}[2J9".to_owned()];
        let error = ClientError::Problem(Box::new(problem)).into();
        insta::assert_snapshot!(stale(&error).join("\n"), @r"
        It changed since it was shown:
        -max_devices = 5
        +max_devices = \u{1b}[2J9
        ");
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("refused").context("IO: refused").context("the broker");
        assert_eq!(causes(&error), "the broker: IO: refused");
    }
}
