//! A child process: its lines, its signals, its end. Ended by its own process id on drop.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{PATIENCE, eventually};

/// A running child process.
pub(crate) struct Process {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Process {
    /// Starts the command and collects what it prints on both streams.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::with_input(command.stdin(Stdio::null()))
    }

    /// The same with whatever the command has for its standard input.
    pub(crate) fn with_input(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().map(|stdout| Output::collect(&output, stdout));
        let stderr = child.stderr.take().map(|stderr| Output::collect(&output, stderr));
        let readers = stdout.into_iter().chain(stderr).collect();
        Self { child, output, readers }
    }

    /// Everything printed so far.
    pub(crate) fn printed(&self) -> String {
        self.output.lock().join("\n")
    }

    /// How many lines were printed so far.
    pub(crate) fn line_count(&self) -> usize {
        self.output.lock().len()
    }

    /// The first line from number `from` on that is as wanted; waits for it.
    #[track_caller]
    pub(crate) fn line(&self, from: usize, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let find = |lines: &Vec<String>| lines.iter().skip(from).find(|line| is_wanted(line)).cloned();
        let (lines, _) = self
            .output
            .grown
            .wait_timeout_while(self.output.lock(), PATIENCE, |lines| find(lines).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        find(&lines).unwrap_or_else(|| panic!("no line with {what} in:\n{}", lines.join("\n")))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it holds in memory at the moment, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends a signal by its short name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the end, and for everything that was printed before it.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the end of the process", || child.try_wait().expect("a child's status"));
        for reader in self.readers.drain(..) {
            reader.join().expect("what the process printed");
        }
        status
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Output {
    fn collect(output: &Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = Arc::clone(output);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                output.lock().push(line);
                output.grown.notify_all();
            }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
