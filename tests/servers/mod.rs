//! Real servers for tests: each on free loopback ports, in a folder of its own, ended on drop.
//!
//! Used by the unit tests of the stores and by the integration tests.
#![allow(dead_code, unreachable_pub, reason = "each of the test programs uses its own part")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail wherever it stands"
)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

pub mod mariadb;
pub mod memcached;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod relay;

/// A server process and its folder.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// A folder for a server, in which a server without root's rights may write too.
    pub fn folder() -> TempDir {
        let folder = tempfile::Builder::new().prefix("vestibule-server-").tempdir().expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("a mode");
        folder
    }

    /// Starts a server that keeps everything in `folder`; what it prints is in `printed.log` there.
    pub fn start(command: &mut Command, folder: TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("printed.log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.path());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, folder }
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.path().join("printed.log")).unwrap_or_default()
    }

    /// Waits until `is_ready` says so, while the server lives.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut is_ready: impl FnMut() -> bool) {
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if is_ready() {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a status") {
                panic!("the server ended with {status} before {what}:\n{}", self.printed());
            }
            std::thread::sleep(STEP);
        }
        panic!("no {what}:\n{}", self.printed());
    }

    /// Sends a signal by its short name, as `STOP` (it hangs) and `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// `kill -9`; its folder stays.
    pub fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts `command` in the folder of a server that was killed.
    pub fn start_again(&mut self, command: &mut Command) {
        let log = std::fs::File::options().append(true).open(self.path().join("printed.log")).expect("a log");
        let errors = log.try_clone().expect("a log file");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(self.folder.path());
        self.child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on now, nor on the one 10,000 above it, where a Redis Cluster listens too. Ports
/// of one process are never given twice.
pub fn free_port() -> u16 {
    // Both below the range from which the system gives ports to outgoing connections; processes that run
    // beside each other begin at different places.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 1_000).expect("below 1,000") * 10;
    for _ in 0..20_000 {
        let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port");
}

/// Whether somebody listens on this loopback port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A command that runs without root's rights: some servers refuse to be root.
pub fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);
