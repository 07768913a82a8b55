//! Servers that tell which path they read: gunicorn, waitress and node.

use std::process::Command;

use super::legacy::{tests, tool};
use super::process::Process;

/// A server of `tests/legacy` that answers with the target as it came, a line end, and the path that it would
/// serve.
pub(crate) struct Reader {
    process: Process,
    port: String,
}

impl Reader {
    pub(crate) fn gunicorn() -> Self {
        let arguments = ["-k", "gthread", "--threads", "4", "--bind", "127.0.0.1:0", "readings:app"];
        Self::start(tool("gunicorn").args(arguments), "Listening at: http://127.0.0.1:")
    }

    pub(crate) fn waitress() -> Self {
        Self::start(tool("python").args(["-u", "readings.py"]), "listening on ")
    }

    pub(crate) fn node() -> Self {
        let folder = tests().join("legacy");
        Self::start(Command::new("node").arg("readings.mjs").current_dir(folder), "listening on ")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn start(command: &mut Command, before_port: &str) -> Self {
        let process = Process::start(command);
        let line = process.line(0, "its port", |line| line.contains(before_port));
        let port = line.split(before_port).nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
        let port = port.to_owned();
        Self { process, port }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // gunicorn's worker ends with its master when it is asked, not when it is killed.
        self.process.signal("TERM");
        self.process.ended();
    }
}
