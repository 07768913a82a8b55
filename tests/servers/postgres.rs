//! PostgreSQL for tests.
//!
//! Everybody who asks is let in, and nothing is waited for to reach the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{NOBODY, Server, as_nobody, free_port, is_root};

/// A server with an empty database `vestibule` of the user `vestibule`.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_in(Server::folder())
    }

    /// Starts one that speaks TLS, with this certificate and key.
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let folder = Server::folder();
        std::fs::write(folder.path().join("server.crt"), certificate).expect("a file");
        let path = folder.path().join("server.key");
        std::fs::write(&path, key).expect("a file");
        // It refuses a key that others could read.
        let only_me = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, only_me).expect("a mode");
        if is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
        Self::start_in(folder)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, as a URL with nothing secret in it.
    pub fn url(&self) -> String {
        format!("postgres://vestibule@127.0.0.1:{}/vestibule", self.port)
    }

    /// The same with another name for the host, and parameters.
    pub fn url_with(&self, host: &str, parameters: &str) -> String {
        format!("postgres://vestibule@{host}:{}/vestibule?{parameters}", self.port)
    }

    /// The same by its Unix socket.
    pub fn socket_url(&self) -> String {
        let folder = self.server.path().display();
        format!("postgres://vestibule@:{}/vestibule?host={folder}", self.port)
    }

    /// Runs a statement as the owner and answers what it prints.
    pub fn query(&self, statement: &str) -> String {
        self.run("vestibule", statement)
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        self.server.printed()
    }

    /// Ends it as a crash would.
    pub fn stop(&mut self) {
        let stopped = as_nobody(program("pg_ctl"))
            .args(["stop", "--mode=immediate", "--wait", "-D", "data"])
            .current_dir(self.server.path())
            .output()
            .expect("pg_ctl");
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        self.server.kill();
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        let mut command = command(self.port, self.server.path());
        self.server.start_again(&mut command);
        self.wait();
    }

    /// Stops all of its processes where they are: it accepts connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn start_in(folder: TempDir) -> Self {
        let data = folder.path().join("data");
        let made = as_nobody(program("initdb"))
            .args([
                "--username=vestibule",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let server = Server::start(&mut command(port, folder.path()), folder);
        let mut postgres = Self { server, port };
        postgres.wait();
        postgres.run("postgres", "CREATE DATABASE vestibule");
        postgres
    }

    fn run(&self, database: &str, statement: &str) -> String {
        let port = self.port.to_string();
        let printed = Command::new(program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port])
            .args(["-U", "vestibule", "-d", database, "-c", statement])
            .output()
            .expect("psql");
        assert!(printed.status.success(), "{statement}: {}", String::from_utf8_lossy(&printed.stderr));
        String::from_utf8_lossy(&printed.stdout).trim().to_owned()
    }

    fn wait(&mut self) {
        let port = self.port.to_string();
        self.server.wait_until("PostgreSQL", || {
            let ready = Command::new(program("pg_isready")).args(["-h", "127.0.0.1", "-p", &port]).output();
            ready.is_ok_and(|ready| ready.status.success())
        });
    }

    /// To the server and each of its processes, of which every connection has one.
    fn signal(&self, name: &str) {
        let pids =
            std::fs::read_to_string(self.server.path().join("data/postmaster.pid")).unwrap_or_default();
        let Some(parent) = pids.lines().next() else { return };
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        let all = std::iter::once(parent).chain(children.split_whitespace());
        let status = Command::new("kill").arg(format!("-{name}")).args(all).output();
        assert!(status.is_ok(), "kill -{name}");
    }
}

/// A process that is frozen would not notice that its server ended.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn command(port: u16, folder: &Path) -> Command {
    let mut command = as_nobody(program("postgres"));
    command.args(["-D", "data", "-p"]).arg(port.to_string());
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=..",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
        "max_connections=60",
        "autovacuum=off",
    ] {
        command.args(["-c", setting]);
    }
    if folder.join("server.key").exists() {
        command.args([
            "-c",
            "ssl=on",
            "-c",
            "ssl_cert_file=../server.crt",
            "-c",
            "ssl_key_file=../server.key",
        ]);
    }
    command
}

/// A program of PostgreSQL: Debian keeps them beside the path.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}
