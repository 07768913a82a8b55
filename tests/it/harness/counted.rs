//! A gateway whose instructions are counted, by valgrind's `callgrind`: the same work costs the same number
//! on a busy machine and on an idle one.

use std::fs;
use std::process::Command;

use super::command::finish;
use super::folder::Folder;
use super::gateway::Gateway;
use super::setup::Setup;
use super::{eventually, gateway};

/// The real program under callgrind.
pub(crate) struct Counted {
    pub(crate) gateway: Gateway,
    dumps: usize,
}

impl Counted {
    /// Starts the program; nothing is counted yet.
    #[track_caller]
    pub(crate) fn spawn(setup: &Setup) -> Self {
        let folder = gateway::prepared(Folder::new(), setup);
        let mut command = Command::new("valgrind");
        command.current_dir(folder.root()).env_remove("VESTIBULE_LOG").env_remove("NOTIFY_SOCKET");
        command.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
        command.arg(format!("--callgrind-out-file={DUMPS}"));
        command.args([env!("CARGO_BIN_EXE_vestibule"), "run", "-c", "vestibule.toml"]);
        Self { gateway: Gateway::spawn_by(&mut command, folder), dumps: 0 }
    }

    /// The instructions of all threads while `work` is done.
    #[track_caller]
    pub(crate) fn instructions(&mut self, work: impl FnOnce()) -> u64 {
        self.control(&["--instr=on"]);
        self.control(&["--zero"]);
        work();
        self.control(&["--dump"]);
        self.control(&["--instr=off"]);
        self.dumps += 1;
        let dump = format!("{DUMPS}.{}", self.dumps);
        let folder = &self.gateway.folder;
        eventually("the counts", || {
            let text = fs::read_to_string(folder.path(&dump)).ok()?;
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
            total.trim().parse().ok()
        })
    }

    fn control(&self, arguments: &[&str]) {
        let pid = self.gateway.pid().to_string();
        let done = finish(Command::new("callgrind_control").args(arguments).arg(pid), "");
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    }
}

/// What callgrind calls its files; it adds a number to each.
const DUMPS: &str = "callgrind.out";
