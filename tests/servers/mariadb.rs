//! MariaDB for tests.
//!
//! Nothing is waited for to reach the disk.

use std::process::Command;

use super::{Server, as_nobody, free_port};

/// A server with an empty database `vestibule` of the user `vestibule`.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    port: u16,
}

impl MariaDb {
    /// Starts one.
    pub fn start() -> Self {
        let folder = Server::folder();
        let data = folder.path().join("data");
        let made = as_nobody("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", data.display()))
            // In a folder for all, one that starts deletes the temporary tables of the others.
            .arg(format!("--tmpdir={}", folder.path().display()))
            .current_dir(folder.path())
            .output()
            .expect("mariadb-install-db");
        let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(made.status.success(), "{}{}", printed(&made.stderr), printed(&made.stdout));
        std::fs::write(folder.path().join("first.sql"), FIRST).expect("a file");
        let port = free_port();
        let server = Server::start(&mut command(port, folder.path()), folder);
        let mut mariadb = Self { server, port };
        mariadb.wait();
        mariadb
    }

    /// Where it is, as a URL; the password is as secret as this file.
    pub fn url(&self) -> String {
        format!("mysql://vestibule:{PASSWORD}@127.0.0.1:{}/vestibule", self.port)
    }

    /// Runs a statement and answers what it prints.
    pub fn query(&self, statement: &str) -> String {
        let printed = self.client().args(["-e", statement]).output().expect("mariadb");
        assert!(printed.status.success(), "{statement}: {}", String::from_utf8_lossy(&printed.stderr));
        String::from_utf8_lossy(&printed.stdout).trim().to_owned()
    }

    /// `kill -9`.
    pub fn stop(&mut self) {
        self.server.kill();
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        let mut command = command(self.port, self.server.path());
        self.server.start_again(&mut command);
        self.wait();
    }

    /// Stops it where it is: it accepts connections and answers nothing.
    pub fn freeze(&self) {
        self.server.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.server.signal("CONT");
    }

    fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", "127.0.0.1", "-P"]).arg(self.port.to_string());
        client.args(["-u", "vestibule", "-N", "-B", "-D", "vestibule"]).arg(format!("-p{PASSWORD}"));
        client
    }

    fn wait(&mut self) {
        let mut client = self.client();
        client.args(["-e", "SELECT 1"]);
        self.server.wait_until("MariaDB", || client.output().is_ok_and(|ready| ready.status.success()));
    }
}

fn command(port: u16, folder: &std::path::Path) -> Command {
    let mut command = as_nobody("mariadbd");
    command.args([
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--skip-log-bin",
        "--innodb-use-native-aio=0",
    ]);
    command.args([
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=16M",
        "--skip-networking=0",
    ]);
    command.arg(format!("--port={port}"));
    for (option, name) in
        [("datadir", "data"), ("tmpdir", "data"), ("socket", "socket"), ("init-file", "first.sql")]
    {
        command.arg(format!("--{option}={}", folder.join(name).display()));
    }
    command
}

const PASSWORD: &str = "let-me-in";

/// Run at each start.
const FIRST: &str = "
CREATE DATABASE IF NOT EXISTS vestibule;
CREATE USER IF NOT EXISTS vestibule@'%' IDENTIFIED BY 'let-me-in';
GRANT ALL ON vestibule.* TO vestibule@'%';
";
