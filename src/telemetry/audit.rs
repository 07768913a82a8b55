//! The audit trail: one JSON object a line for everything that concerns who is signed in.
//!
//! Event names follow the OWASP logging vocabulary where it has one. What a line says is decided by
//! the rooms that record it. Invariant: recording never waits and never fails; a line that cannot
//! be written is counted in [`Audit::dropped`], with one log line when that begins and one when it
//! ends, and the request that caused it goes on.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock::Clock;

/// The audit trail. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct Audit {
    clock: Clock,
    sink: Sink,
    health: Arc<Health>,
    counts: Arc<Counts>,
}

impl Audit {
    /// Appends to the file at `path`, which is made (mode 0640) if there is none.
    pub fn to_file(path: &Path, clock: Clock) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Self::to_writer(file, clock)
    }

    /// Writes nothing.
    #[must_use]
    pub fn discard() -> Self {
        Self { clock: Clock::system(), sink: Sink::Nowhere, health: Arc::default(), counts: Arc::default() }
    }

    /// Keeps the lines in memory, for tests that read them back.
    #[must_use]
    pub fn to_memory() -> (Self, Lines) {
        let lines = Lines::default();
        let sink = Sink::Memory(lines.clone());
        (Self { clock: Clock::system(), sink, health: Arc::default(), counts: Arc::default() }, lines)
    }

    /// Writes `event` down. Never waits and never fails.
    pub fn record(&self, event: Event<'_>) {
        if let Some(count) = self.counts.0.get(event.kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        match &self.sink {
            Sink::Nowhere => {}
            Sink::Memory(lines) => lines.lock().extend(self.line(event)),
            Sink::Queue(queue) => match self.line(event).map(|line| queue.try_send(Message::Line(line))) {
                Some(Ok(())) => {}
                Some(Err(_)) => self.health.lost("its queue is full"),
                None => self.health.lost("it cannot be encoded"),
            },
        }
    }

    /// How often each kind of event happened since the start, by its name in the trail.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let count =
            |kind: EventKind| self.counts.0.get(kind as usize).map_or(0, |it| it.load(Ordering::Relaxed));
        EventKind::ALL.map(|kind| (kind.as_str(), count(kind))).into()
    }

    /// Waits, for a few seconds at most, until everything recorded so far is in the file.
    pub async fn flush(&self) {
        let Sink::Queue(queue) = &self.sink else { return };
        let (reply, written) = oneshot::channel();
        let flushing = async {
            if queue.send(Message::Flush(reply)).await.is_ok() {
                let _writer_gone = written.await;
            }
        };
        if timeout(FLUSH_DEADLINE, flushing).await.is_err() {
            tracing::error!("audit trail could not be written to its end");
        }
    }

    /// How many lines were lost since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.health.dropped.load(Ordering::Relaxed)
    }

    fn to_writer(writer: impl Write + Send + 'static, clock: Clock) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let health = Arc::<Health>::default();
        let pen = Pen { writer, health: Arc::clone(&health), torn: false };
        thread::Builder::new().name("audit".to_owned()).spawn(move || pen.run(receiver))?;
        Ok(Self { clock, sink: Sink::Queue(sender), health, counts: Arc::default() })
    }

    /// The line for `event`. JSON escapes every control character, so it stays one line.
    fn line(&self, event: Event<'_>) -> Option<String> {
        let line = Line { time: self.clock.now().to_string(), event: event.kind.as_str(), fields: event };
        serde_json::to_string(&line).ok()
    }
}

/// Something that happened to an account, a session or the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// What happened.
    #[serde(skip)]
    pub kind: EventKind,
    /// Whom it concerns, as far as known; for a failed login the name as typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The session: the first 8 bytes of its id in hexadecimal, never its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// The reason, a fixed text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

impl Event<'_> {
    /// An event of this kind with nothing else known.
    #[must_use]
    pub const fn new(kind: EventKind) -> Self {
        Self { kind, user: None, session: None, address: None, request_id: None, detail: None }
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Somebody proved who they are.
    LoginSuccess,
    /// Somebody did not.
    LoginFailure,
    /// Somebody tried too often.
    LoginThrottled,
    /// Somebody chose another password.
    PasswordChanged,
    /// Somebody has a second factor more.
    FactorAdded,
    /// Somebody has a second factor less.
    FactorRemoved,
    /// Somebody showed a second factor.
    FactorAccepted,
    /// Somebody showed none that is right.
    FactorFailure,
    /// Somebody guessed too often.
    FactorThrottled,
    /// Somebody used the one-time link of an administrator.
    AccountReset,
    /// A session began.
    SessionCreated,
    /// Its user ended it.
    SessionEnded,
    /// Somebody or something else ended it.
    SessionRevoked,
    /// It got a new token.
    SessionRenewed,
    /// It was ended because somebody seems to have stolen it.
    SessionDestroyed,
    /// It reached one of its time limits.
    SessionExpired,
    /// A well-signed cookie came whose session is gone.
    UseAfterEnd,
    /// The store held a record that cannot be trusted.
    RecordRefused,
    /// A form came without its anti-forgery token.
    Csrf,
    /// Somebody asked for what they may not have.
    AuthorizationFailed,
    /// Somebody got what they may not have, since the rule only reports.
    AuthorizationReported,
    /// A reload took effect.
    ReloadDone,
    /// A reload was refused; the old state stays.
    ReloadRefused,
    /// The gateway serves.
    Started,
    /// The gateway stops.
    Stopped,
}

impl EventKind {
    /// All kinds, in their order.
    pub const ALL: [Self; 25] = [
        Self::LoginSuccess,
        Self::LoginFailure,
        Self::LoginThrottled,
        Self::PasswordChanged,
        Self::FactorAdded,
        Self::FactorRemoved,
        Self::FactorAccepted,
        Self::FactorFailure,
        Self::FactorThrottled,
        Self::AccountReset,
        Self::SessionCreated,
        Self::SessionEnded,
        Self::SessionRevoked,
        Self::SessionRenewed,
        Self::SessionDestroyed,
        Self::SessionExpired,
        Self::UseAfterEnd,
        Self::RecordRefused,
        Self::Csrf,
        Self::AuthorizationFailed,
        Self::AuthorizationReported,
        Self::ReloadDone,
        Self::ReloadRefused,
        Self::Started,
        Self::Stopped,
    ];

    /// The name in the trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginSuccess => "authn_login_success",
            Self::LoginFailure => "authn_login_fail",
            Self::LoginThrottled => "authn_login_fail_max",
            Self::PasswordChanged => "authn_password_change",
            Self::FactorAdded => "authn_factor_add",
            Self::FactorRemoved => "authn_factor_remove",
            Self::FactorAccepted => "authn_factor_success",
            Self::FactorFailure => "authn_factor_fail",
            Self::FactorThrottled => "authn_factor_fail_max",
            Self::AccountReset => "authn_account_reset",
            Self::SessionCreated => "session_created",
            Self::SessionEnded => "session_ended",
            Self::SessionRevoked => "session_revoked",
            Self::SessionRenewed => "session_renewed",
            Self::SessionDestroyed => "session_destroyed",
            Self::SessionExpired => "session_expired",
            Self::UseAfterEnd => "session_use_after_expire",
            Self::RecordRefused => "session_record_refused",
            Self::Csrf => "malicious_csrf",
            Self::AuthorizationFailed => "authz_fail",
            Self::AuthorizationReported => "authz_report_only",
            Self::ReloadDone => "sys_reload",
            Self::ReloadRefused => "sys_reload_fail",
            Self::Started => "sys_startup",
            Self::Stopped => "sys_shutdown",
        }
    }
}

/// The lines of [`Audit::to_memory`].
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Every line so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// How many lines are of this kind.
    #[must_use]
    pub fn count(&self, kind: EventKind) -> usize {
        let event = format!("\"event\":\"{}\"", kind.as_str());
        self.lock().iter().filter(|line| line.contains(&event)).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often each kind of event happened.
#[derive(Debug, Default)]
struct Counts([AtomicU64; EventKind::ALL.len()]);

#[derive(Clone, Debug)]
enum Sink {
    Nowhere,
    Memory(Lines),
    Queue(mpsc::Sender<Message>),
}

#[derive(Debug)]
enum Message {
    Line(String),
    Flush(oneshot::Sender<()>),
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    #[serde(flatten)]
    fields: Event<'a>,
}

/// Whether lines reach the file, told to the log when it changes.
#[derive(Debug, Default)]
struct Health {
    dropped: AtomicU64,
    dropping: AtomicBool,
}

impl Health {
    fn lost(&self, reason: &str) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if !self.dropping.swap(true, Ordering::Relaxed) {
            tracing::error!(reason, "audit lines are being lost");
        }
    }

    fn recovered(&self) {
        if self.dropping.load(Ordering::Relaxed) && self.dropping.swap(false, Ordering::Relaxed) {
            let dropped = self.dropped.load(Ordering::Relaxed);
            tracing::warn!(dropped, "audit lines are written again");
        }
    }
}

/// The thread that writes.
struct Pen<W> {
    writer: W,
    health: Arc<Health>,
    /// The file may end in the middle of a line.
    torn: bool,
}

impl<W: Write> Pen<W> {
    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(message) = queue.blocking_recv() {
            match message {
                Message::Line(line) => self.write(&line, queue.is_empty()),
                Message::Flush(reply) => {
                    let _caller_gone = reply.send(());
                }
            }
        }
    }

    /// Writes one line in one call. A line counts as recovery only when it was the last in the
    /// queue, so that a queue that fills up again and again is one change of state.
    fn write(&mut self, line: &str, caught_up: bool) {
        let whole = if self.torn { format!("\n{line}\n") } else { format!("{line}\n") };
        match self.writer.write_all(whole.as_bytes()).and_then(|()| self.writer.flush()) {
            Ok(()) => {
                self.torn = false;
                if caught_up {
                    self.health.recovered();
                }
            }
            Err(error) => {
                self.torn = true;
                self.health.lost(&error.to_string());
            }
        }
    }
}

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A disk that a test can fill or block.
    #[derive(Clone, Default)]
    struct Disk {
        text: Arc<Mutex<Vec<u8>>>,
        full: Arc<AtomicBool>,
        gate: Arc<Mutex<()>>,
    }

    impl Disk {
        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            if self.full.load(Ordering::SeqCst) {
                // As a real one: the first bytes still fit.
                self.text.lock().unwrap().extend_from_slice(&bytes[..3]);
                self.full.store(false, Ordering::SeqCst);
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn login(user: &str) -> Event<'_> {
        Event { user: Some(user), ..Event::new(EventKind::LoginSuccess) }
    }

    #[tokio::test]
    async fn a_line_is_json_in_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::to_file(&path, Clock::system()).unwrap();
        audit.record(Event {
            user: Some("alice"),
            session: Some("0011223344556677".to_owned()),
            address: Some(IpAddr::from([192, 0, 2, 1])),
            request_id: Some("r1"),
            detail: Some("password"),
            ..Event::new(EventKind::LoginSuccess)
        });
        audit.flush().await;
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(line["event"], "authn_login_success");
        assert_eq!(line["user"], "alice");
        assert_eq!(line["address"], "192.0.2.1");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[tokio::test]
    async fn a_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for user in ["alice", "bob"] {
            let audit = Audit::to_file(&path, Clock::system()).unwrap();
            audit.record(login(user));
            audit.flush().await;
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_name_with_line_breaks_stays_on_its_line() {
        let (audit, lines) = Audit::to_memory();
        audit.record(login("eve\r\n{\"event\":\"sys_shutdown\"}\u{2028}\u{1b}[2J"));
        let [line] = &lines.all()[..] else { panic!("one line") };
        assert!(!line.contains(['\n', '\r', '\u{1b}']));
        assert_eq!(lines.count(EventKind::LoginSuccess), 1);
        assert_eq!(lines.count(EventKind::Stopped), 0);
    }

    #[tokio::test]
    async fn a_full_disk_loses_lines_counts_them_and_does_not_join_the_rest() {
        let disk = Disk::default();
        let audit = Audit::to_writer(disk.clone(), Clock::system()).unwrap();
        disk.full.store(true, Ordering::SeqCst);
        audit.record(login("lost"));
        audit.flush().await;
        assert_eq!(audit.dropped(), 1);
        audit.record(login("kept"));
        audit.flush().await;
        let text = disk.text();
        let last = text.lines().last().unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(last).is_ok(), "{text:?}");
        assert_eq!(audit.dropped(), 1);
    }

    #[tokio::test]
    async fn a_blocked_disk_stops_nobody() {
        let disk = Disk::default();
        let audit = Audit::to_writer(disk.clone(), Clock::system()).unwrap();
        let lost = {
            let _blocked = disk.gate.lock().unwrap();
            for _ in 0..QUEUE + 100 {
                audit.record(login("alice"));
            }
            audit.dropped()
        };
        assert!((99..=100).contains(&lost), "all but the queue and the one in hand: {lost}");
        audit.flush().await;
        assert_eq!(disk.text().lines().count() as u64 + lost, QUEUE as u64 + 100);
    }
}
