//! The old Flask application under gunicorn, and the WebSocket server beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;

/// The application of `tests/legacy`, unmodified.
pub(crate) struct Legacy {
    gunicorn: Process,
    url: String,
}

/// The WebSocket server of `tests/legacy`, on a free port.
pub(crate) struct LegacySocket {
    _server: Process,
    port: String,
}

impl Legacy {
    /// On a free port.
    pub(crate) fn start() -> Self {
        Self::bind("127.0.0.1:0")
    }

    /// The same on a Unix socket.
    pub(crate) fn on_socket(path: &Path) -> Self {
        Self::bind(&format!("unix:{}", path.display()))
    }

    fn bind(place: &str) -> Self {
        let gunicorn = Process::start(
            tool("gunicorn")
                .args(["-w", "2", "-k", "gthread", "--threads", "8", "--graceful-timeout", "1"])
                .args(["--bind", place, "app:app"]),
        );
        let line = gunicorn.line(0, "its address", |line| line.contains(LISTENING));
        let url = line.split(LISTENING).nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let url = url.to_owned();
        Self { gunicorn, url }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Has gunicorn start new workers and end the old ones.
    pub(crate) fn replace_workers(&self) {
        self.gunicorn.signal("HUP");
    }

    /// How many workers have ended so far.
    pub(crate) fn workers_gone(&self) -> usize {
        self.gunicorn.printed().matches("Worker exiting").count()
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        // gunicorn's workers end with their master when it is asked, not when it is killed.
        self.gunicorn.signal("TERM");
        self.gunicorn.ended();
    }
}

impl LegacySocket {
    pub(crate) fn start() -> Self {
        let server = Process::start(tool("python").arg("-u").arg("websocket_server.py"));
        let line = server.line(0, "its port", |line| line.starts_with("listening on "));
        let port = line.rsplit(' ').next().expect("a port").to_owned();
        Self { _server: server, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A program of the virtual environment that `tests/run` makes, to be started in the application's folder.
pub(crate) fn tool(name: &str) -> Command {
    let path = tests().join(".tools/venv/bin").join(name);
    assert!(path.exists(), "{} is missing; run `tests/run`", path.display());
    let mut command = Command::new(path);
    command.current_dir(tests().join("legacy")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What gunicorn says before its address.
const LISTENING: &str = "Listening at: ";

/// The folder `tests`.
pub(crate) fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}
