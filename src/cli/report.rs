//! The only place that prints to a person, and that knows the exit codes.

use std::io::Write;
use std::process::ExitCode;

/// How a command ended that did what it was asked.
#[derive(Debug)]
pub(super) enum Done {
    /// It has this to say.
    Said(String),
    /// It has said everything, and its exit code is part of that.
    Judged(ExitCode),
}

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

    /// The same failure, told after `words`.
    pub(super) fn after(self, words: &str) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(format!("{words}{text}")),
            Self::Usage(text) => Self::Usage(format!("{words}{text}")),
        }
    }
}

/// What a command says as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(Failure::failed)
}

/// Prints what a command says and turns its result into an exit code.
pub(super) fn finish(result: Result<Done, Failure>) -> ExitCode {
    match result {
        Ok(Done::Said(text)) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Ok(Done::Judged(code)) => code,
        Err(Failure::Failed(text)) => complain(&text, 1),
        Err(Failure::Usage(text)) => complain(&text, 2),
    }
}

/// Prints to standard output; a reader that has gone away is no error.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Asks a person who answers on the same line; not on standard output, which may lead elsewhere.
pub(super) fn ask(question: &str) {
    let mut err = std::io::stderr().lock();
    let _gone = err.write_all(question.as_bytes()).and_then(|()| err.flush());
}

fn complain(text: &str, code: u8) -> ExitCode {
    let mut err = std::io::stderr().lock();
    for line in text.lines() {
        let _gone = writeln!(err, "error: {line}");
    }
    ExitCode::from(code)
}
