//! One line for every request, without a system call on the worker that served it.
//!
//! Each worker formats its lines into a buffer of its own; one thread collects and writes them.
//! Invariant: a full disk or a blocked reader drops lines and counts them, and never delays a
//! request. Queries are never written: they hold tokens and names.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Format;
use crate::clock::Timestamp;

/// What is said of one request.
#[derive(Debug)]
pub struct AccessLine<'a> {
    /// When the request came.
    pub time: Timestamp,
    /// The real client.
    pub client: IpAddr,
    /// Who asked; none for guests.
    pub user: Option<&'a str>,
    /// The request method.
    pub method: &'a str,
    /// The protocol of the request.
    pub protocol: &'static str,
    /// The host asked for.
    pub host: &'a str,
    /// The path asked for, without its query.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// Bytes of the response body that were sent.
    pub bytes: u64,
    /// From the request head to the end of the response body.
    pub duration: Duration,
    /// What was done with the request.
    pub outcome: &'static str,
    /// Why it was not served.
    pub reason: Option<&'static str>,
    /// The upstream that answered.
    pub upstream: Option<&'a str>,
    /// The id that the response and the backend carry too.
    pub request_id: &'a str,
}

/// The access log of a process; clones share it.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    commands: Sender<SyncSender<()>>,
}

impl AccessLog {
    /// Writes lines to `sink` from a thread of its own.
    pub fn start(format: Format, sink: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            format,
            buffers: Mutex::default(),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let (commands, flushes) = channel();
        let writer = LineWriter { shared: Arc::clone(&shared), sink };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&flushes))?;
        Ok(Self { shared, commands })
    }

    /// The place where one worker leaves its lines.
    #[must_use]
    pub fn worker(&self) -> AccessWriter {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        lock(&self.shared.buffers).push(Arc::clone(&buffer));
        AccessWriter { shared: Arc::clone(&self.shared), buffer }
    }

    /// How many lines were lost because they could not be written in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Returns once all lines so far are written, or after a second.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.commands.send(done).is_ok() {
            let _late = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// Where one worker leaves its access lines.
#[derive(Clone, Debug)]
pub struct AccessWriter {
    shared: Arc<Shared>,
    buffer: Arc<Mutex<Vec<u8>>>,
}

impl AccessWriter {
    /// Leaves a line.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut buffer = lock(&self.buffer);
        if buffer.len() > BUFFER_LIMIT {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Writing into a vector cannot fail.
        let _infallible = match self.shared.format {
            Format::Text => writeln!(buffer, "{}", Text(line)),
            Format::Json => writeln!(buffer, "{}", Json(line)),
        };
    }
}

#[derive(Debug)]
struct Shared {
    format: Format,
    buffers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    dropped: AtomicU64,
    failing: AtomicBool,
}

struct LineWriter {
    shared: Arc<Shared>,
    sink: Box<dyn Write + Send>,
}

impl LineWriter {
    fn run(mut self, flushes: &std::sync::mpsc::Receiver<SyncSender<()>>) {
        let mut lines = Vec::new();
        loop {
            let wake = flushes.recv_timeout(WRITE_INTERVAL);
            self.write_all(&mut lines);
            match wake {
                Ok(done) => drop(done.send(())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes each worker's lines by swapping buffers, so that a worker waits for a swap at most.
    fn write_all(&mut self, lines: &mut Vec<u8>) {
        let buffers = lock(&self.shared.buffers).clone();
        for buffer in buffers {
            std::mem::swap(&mut *lock(&buffer), lines);
            if !lines.is_empty() {
                self.write(lines);
                lines.clear();
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let failed = self.sink.write_all(lines).and_then(|()| self.sink.flush()).err();
        if let Some(error) = &failed {
            let lost = u64::try_from(memchr::memchr_iter(b'\n', lines).count()).unwrap_or(u64::MAX);
            self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
            if !self.shared.failing.load(Ordering::Relaxed) {
                tracing::warn!(%error, "access lines cannot be written; they are dropped and counted");
            }
        }
        let was_failing = self.shared.failing.swap(failed.is_some(), Ordering::Relaxed);
        if was_failing && failed.is_none() {
            tracing::info!("access lines are written again");
        }
    }
}

/// `time client user "METHOD host path PROTOCOL" status bytes ms outcome[/reason] upstream request_id`
struct Text<'a>(&'a AccessLine<'a>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0;
        write!(
            f,
            "{} {} {} \"{} {}{} {}\" {} {} {}.{:03}ms {}{}{} {} {}",
            line.time,
            line.client,
            line.user.unwrap_or("-"),
            line.method,
            Plain(line.host),
            Plain(line.path),
            line.protocol,
            line.status,
            line.bytes,
            line.duration.as_millis(),
            line.duration.subsec_micros() % 1000,
            line.outcome,
            if line.reason.is_some() { "/" } else { "" },
            line.reason.unwrap_or(""),
            line.upstream.unwrap_or("-"),
            line.request_id,
        )
    }
}

struct Json<'a>(&'a AccessLine<'a>);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0;
        write!(
            f,
            "{{\"time\":\"{}\",\"client\":\"{}\",\"user\":\"{}\",\"method\":\"{}\",\"host\":\"{}\",\"path\":\"{}\",\
             \"protocol\":\"{}\",\"status\":{},\"bytes\":{},\"microseconds\":{},\"outcome\":\"{}\",\"reason\":\"{}\",\"upstream\":\"{}\",\
             \"request_id\":\"{}\"}}",
            line.time,
            line.client,
            Plain(line.user.unwrap_or("")),
            Plain(line.method),
            Plain(line.host),
            Plain(line.path),
            line.protocol,
            line.status,
            line.bytes,
            line.duration.as_micros(),
            line.outcome,
            line.reason.unwrap_or(""),
            Plain(line.upstream.unwrap_or("")),
            line.request_id,
        )
    }
}

/// Text from outside, with everything percent-encoded that could end a field or a line.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: no log injection (CWE-117): only visible ASCII passes, without `"` and `\`.
        let mut rest = self.0;
        while let Some(at) =
            rest.bytes().position(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\'))
        {
            let (clean, odd) = rest.split_at(rest.floor_char_boundary(at));
            f.write_str(clean)?;
            let mut characters = odd.chars();
            for byte in characters.next().into_iter().flat_map(|c| c.to_string().into_bytes()) {
                write!(f, "%{byte:02X}")?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long lines wait to be written together.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes that a worker keeps while nothing can be written.
const BUFFER_LIMIT: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn line(path: &str) -> AccessLine<'_> {
        AccessLine {
            time: Timestamp::from_millis(0),
            client: Ipv4Addr::LOCALHOST.into(),
            user: Some("alice"),
            method: "GET",
            protocol: "HTTP/1.1",
            host: "wiki.example.com",
            path,
            status: 200,
            bytes: 42,
            duration: Duration::from_micros(1_234),
            outcome: "forwarded",
            reason: None,
            upstream: Some("wiki"),
            request_id: "00112233aabbccdd",
        }
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, path: &str) -> String {
        let memory = Memory::default();
        let log = AccessLog::start(format, Box::new(memory.clone())).unwrap();
        log.worker().write(&line(path));
        log.flush();
        String::from_utf8(lock(&memory.0).clone()).unwrap()
    }

    #[test]
    fn a_text_line_says_who_asked_for_what_and_what_came_of_it() {
        assert_eq!(
            written(Format::Text, "/page"),
            "1970-01-01T00:00:00.000Z 127.0.0.1 alice \"GET wiki.example.com/page HTTP/1.1\" 200 42 1.234ms \
             forwarded wiki 00112233aabbccdd\n"
        );
    }

    #[test]
    fn a_json_line_is_json_whatever_the_path_holds() {
        let text = written(Format::Json, "/a\"b\\c\nd\u{e9}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["path"], "/a%22b%5Cc%0Ad%C3%A9");
        assert_eq!(value["microseconds"], 1234);
    }

    #[test]
    fn a_path_cannot_forge_a_second_line() {
        assert_eq!(written(Format::Text, "/a\r\n1970 forged").lines().count(), 1);
    }
}
