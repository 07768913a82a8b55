//! Small programs that Redis runs without anything between their steps.
//!
//! Invariant: a script touches only the keys that its [`Call`] names, so that it works on a cluster.

use redis::{Cmd, ServerErrorKind, Value};

/// The text of a script and the digest by which a server knows it.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script in Lua.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn by_digest(&self, call: &Call) -> Cmd {
        call.command("EVALSHA", &self.digest)
    }

    pub(super) fn in_full(&self, call: &Call) -> Cmd {
        call.command("EVAL", self.text)
    }
}

/// What a script works on.
#[derive(Debug, Default)]
pub struct Call {
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    /// A call with these keys, all in one slot of a cluster.
    #[must_use]
    pub fn on<const N: usize>(keys: [Vec<u8>; N]) -> Self {
        Self { keys: keys.into(), arguments: Vec::new() }
    }

    /// The same with one more argument.
    #[must_use]
    pub fn with(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The same with one more number.
    #[must_use]
    pub fn with_number(self, number: i64) -> Self {
        self.with(number.to_string())
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.arguments) {
            command.arg(part.as_slice());
        }
        command
    }
}

pub(super) fn is_unknown(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
