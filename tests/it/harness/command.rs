//! Runs a command of `vestibule` as a person does: arguments and input in, texts and exit code out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::folder::Folder;

/// What a finished command left behind.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, in `folder`, with nothing of this process's environment that it would listen to.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.current_dir(folder).env_remove("VESTIBULE_LOG").env_remove("NOTIFY_SOCKET").env("NO_COLOR", "1");
    command.env_remove("VESTIBULE_CONFIG");
    command
}

impl Folder {
    /// Runs a command on this folder's configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = program(self.root());
        command.env("VESTIBULE_CONFIG", self.config()).args(arguments);
        finish(&mut command, input)
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        let _not_read = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("the end of the command");
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
