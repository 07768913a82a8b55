//! One line for every request, without a system call on the worker that served it.
//!
//! Each worker writes its lines into a buffer of its own; one thread collects them for the file. What
//! a line holds is left to [`super::access_line`]. Invariant: a full disk or a blocked reader drops
//! lines and counts them, and never delays a request.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Format;
use super::access_line::AccessLine;

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
        line.write(self.shared.format, &mut buffer);
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long lines wait to be written together.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes that a worker keeps while nothing can be written.
const BUFFER_LIMIT: usize = 4 << 20;
