//! A running gateway: in this process with a clock that moves, or the real program.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vestibule::clock::ClockHand;

use super::assumptions::{Addresses, InProcess, LISTENING, RELOAD};
use super::client::Client;
use super::command::{Finished, program};
use super::folder::Folder;
use super::process::Process;
use super::raw::{Raw, RawResponse};
use super::setup::Setup;
use super::{eventually, people};

/// A gateway in a folder of its own.
pub(crate) struct Gateway {
    kind: Kind,
    addresses: Addresses,
    // Last, so that the folder outlives the gateway.
    pub(crate) folder: Folder,
}

enum Kind {
    InProcess(Box<InProcess>),
    Program(Process),
}

impl Gateway {
    /// Starts a gateway in this process.
    #[track_caller]
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_in(prepared(Folder::new(), setup))
    }

    /// Starts a gateway in this process on what `folder` holds.
    #[track_caller]
    pub(crate) fn start_in(folder: Folder) -> Self {
        let running = InProcess::start(&folder.config()).unwrap_or_else(|error| panic!("{error}"));
        let addresses = running.addresses();
        Self { kind: Kind::InProcess(Box::new(running)), addresses, folder }
    }

    /// Starts one more gateway of the same service in this process, with a clock of its own.
    #[track_caller]
    pub(crate) fn twin(&self, setup: &Setup) -> Self {
        Self::start_in(prepared(self.folder.twin(), setup))
    }

    /// Starts the real program.
    #[track_caller]
    pub(crate) fn spawn(setup: &Setup) -> Self {
        Self::spawn_in(prepared(Folder::new(), setup))
    }

    /// Starts the real program on what `folder` holds.
    #[track_caller]
    pub(crate) fn spawn_in(folder: Folder) -> Self {
        Self::spawn_with(folder, &["run", "-c", "vestibule.toml"])
    }

    /// Starts the real program with everything in its log.
    #[track_caller]
    pub(crate) fn spawn_loudly(setup: &Setup) -> Self {
        let folder = prepared(Folder::new(), setup);
        let mut command = program(folder.root());
        command.env("VESTIBULE_LOG", "trace").args(["run", "-c", "vestibule.toml"]);
        Self::spawn_by(&mut command, folder)
    }

    /// Starts the real program in `folder` with these arguments.
    #[track_caller]
    pub(crate) fn spawn_with(folder: Folder, arguments: &[&str]) -> Self {
        let mut command = program(folder.root());
        Self::spawn_by(command.args(arguments), folder)
    }

    /// Starts the real program by a command that was made for `folder`.
    #[track_caller]
    pub(crate) fn spawn_by(command: &mut Command, folder: Folder) -> Self {
        Self::of(Process::start(command), folder)
    }

    /// Starts the real program on what `folder` holds, with `socket` passed in as systemd does.
    #[track_caller]
    pub(crate) fn spawn_on(socket: &TcpListener, folder: Folder) -> Self {
        Self::of(Process::with_input(&mut passing(socket, "https", &folder)), folder)
    }

    #[track_caller]
    fn of(process: Process, folder: Folder) -> Self {
        let line =
            process.line(0, LISTENING, |line| line.contains(LISTENING) && address(line, "https").is_some());
        let addresses = Addresses {
            https: address(&line, "https").expect("an https address"),
            http: address(&line, "http"),
            admin: address(&line, "admin"),
        };
        Self { kind: Kind::Program(process), addresses, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.https
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.addresses.https.port())
    }

    /// Somebody without cookies.
    pub(crate) fn visitor(&self) -> Client {
        Client::new(self.addresses.https, self.folder.trust())
    }

    /// A raw TLS connection.
    pub(crate) fn raw(&self) -> Raw {
        Raw::tls(self.addresses.https, &self.folder.trust())
    }

    /// A raw TLS connection for HTTP/2.
    pub(crate) fn raw_h2(&self) -> Raw {
        Raw::tls_h2(self.addresses.https, &self.folder.trust())
    }

    /// A raw TLS connection behind what a proxy says first.
    pub(crate) fn raw_behind(&self, words: impl AsRef<[u8]>) -> Raw {
        Raw::tls_behind(words.as_ref(), self.addresses.https, &self.folder.trust())
    }

    /// A raw connection to the clear-text listener.
    pub(crate) fn raw_http(&self) -> Raw {
        Raw::plain(self.addresses.http.expect("a clear-text listener"))
    }

    /// Asks the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> RawResponse {
        let mut connection = Raw::plain(self.addresses.admin.expect("an admin listener"));
        connection
            .write(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
            .response()
    }

    /// The value of a metric, by its name with its labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics").text();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Moves the gateway's clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        match &self.kind {
            Kind::InProcess(gateway) => gateway.advance(by),
            Kind::Program(_) => panic!("the program's clock is the machine's"),
        }
    }

    pub(crate) fn clock_hand(&self) -> ClockHand {
        match &self.kind {
            Kind::InProcess(gateway) => gateway.hand(),
            Kind::Program(_) => panic!("the program's clock is the machine's"),
        }
    }

    /// Reloads and says what came of it; the program is asked by `vestibule reload`.
    pub(crate) fn reload(&self) -> Result<String, String> {
        match &self.kind {
            Kind::InProcess(gateway) => gateway.reload(),
            Kind::Program(_) => {
                let Finished { code, stdout, stderr } = self.folder.run(&["reload"]);
                if code == 0 { Ok(stdout) } else { Err(stderr) }
            }
        }
    }

    /// Sends SIGHUP; the log line that says what came of it.
    #[track_caller]
    pub(crate) fn hang_up(&self) -> String {
        let from = self.program().line_count();
        self.program().signal("HUP");
        self.program().line(from, RELOAD, |line| line.contains(RELOAD))
    }

    /// Sends SIGHUP and waits for nothing.
    pub(crate) fn ask_to_reload(&self) {
        self.program().signal("HUP");
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.program().signal("TERM");
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.program().signal("INT");
    }

    /// Sends SIGKILL, in the midst of what others do.
    pub(crate) fn strike_dead(&self) {
        self.program().signal("KILL");
    }

    /// Waits for the program's end; its exit code and the folder.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (i32, String, Folder) {
        let code = self.program_mut().ended().code().unwrap_or(-1);
        let printed = self.program().printed();
        (code, printed, self.folder)
    }

    /// `kill -9`; the folder as it was left.
    pub(crate) fn kill(mut self) -> Folder {
        self.program_mut().kill();
        self.folder
    }

    /// Stops in good order; the folder as it was left.
    pub(crate) fn stop(mut self) -> Folder {
        match &mut self.kind {
            Kind::InProcess(gateway) => gateway.stop(),
            Kind::Program(process) => {
                process.signal("TERM");
                process.ended();
            }
        }
        self.folder
    }

    /// What the program holds in memory at the moment, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.program().resident()
    }

    /// Everything that the program printed so far.
    pub(crate) fn printed(&self) -> String {
        self.program().printed()
    }

    /// The first printed line that holds all of `parts`; waits for it.
    #[track_caller]
    pub(crate) fn line_with(&self, parts: &[&str]) -> String {
        self.program().line(0, &parts.join(" "), |line| parts.iter().all(|part| line.contains(part)))
    }

    /// The first event of that kind in the audit trail; waits for it.
    #[track_caller]
    pub(crate) fn audited(&self, kind: &str) -> Value {
        eventually(kind, || self.audit_trail().into_iter().find(|event| event["event"] == kind))
    }

    /// The audit trail so far.
    pub(crate) fn audit_trail(&self) -> Vec<Value> {
        let text = self.folder.read("audit.log");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.program().pid()
    }

    fn program(&self) -> &Process {
        match &self.kind {
            Kind::Program(process) => process,
            Kind::InProcess(_) => panic!("this gateway is not a program"),
        }
    }

    fn program_mut(&mut self) -> &mut Process {
        match &mut self.kind {
            Kind::Program(process) => process,
            Kind::InProcess(_) => panic!("this gateway is not a program"),
        }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program with a listening socket passed in by that name, as systemd does.
pub(crate) fn passing(socket: &TcpListener, name: &str, folder: &Folder) -> Command {
    let pass =
        format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$0\" \"$@\" 3<&0 0</dev/null");
    let mut command = by_shell(&pass, folder);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("a socket"))));
    command
}

/// The program started by the words of a shell, in which `"$0" "$@"` stands for it.
pub(crate) fn by_shell(words: &str, folder: &Folder) -> Command {
    let run = program(folder.root());
    let mut command = Command::new("sh");
    command.current_dir(folder.root()).env_remove("NOTIFY_SOCKET").env("NO_COLOR", "1");
    command.args(["-c", words]).arg(run.get_program()).args(["run", "-c", "vestibule.toml"]);
    command
}

/// Writes the configuration and the accounts.
pub(crate) fn prepared(folder: Folder, setup: &Setup) -> Folder {
    setup.write_to(&folder);
    people::enter(&setup.people, &folder);
    folder
}

/// The first address of that name in a log line, in text or in JSON.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let (_, value) =
        [format!("{name}=\""), format!("\"{name}\":\"")].iter().find_map(|mark| line.split_once(mark))?;
    value.split([',', '"']).next()?.parse().ok()
}
