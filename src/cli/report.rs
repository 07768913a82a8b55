//! The only place that prints to a person, and that knows the exit codes.

use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was tried and went wrong: exit code 1.
    Failed(String),
    /// The arguments or the configuration are wrong: exit code 2.
    Usage(String),
}

impl Failure {
    /// A command that went wrong because of `error`.
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Arguments or a configuration that are wrong because of `error`.
    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Prints what a command says and turns its result into an exit code.
pub(super) fn finish(result: Result<String, Failure>) -> ExitCode {
    match result {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(Failure::Failed(text)) => complain(&text, 1),
        Err(Failure::Usage(text)) => complain(&text, 2),
    }
}

/// Prints to standard output; a reader that has gone away is no error.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(text: &str, code: u8) -> ExitCode {
    let mut err = std::io::stderr().lock();
    for line in text.lines() {
        let _gone = writeln!(err, "error: {line}");
    }
    ExitCode::from(code)
}
