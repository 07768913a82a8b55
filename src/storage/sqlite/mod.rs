//! An SQLite file that asynchronous code may use: one writer thread and two reader threads.
//!
//! Who uses it gives closures that run on those threads. The queues and every wait are bounded.
//! Other processes may use the file at the same time (WAL). What the tables mean is left to others.
//! Invariant: when [`Database::write`] answers `Ok`, the change is on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

mod connection;
mod error;
mod reader;
mod writer;

pub use error::{Fault, StorageError};

use connection::Access;
use writer::Call;

/// An open database. Clones share its threads, which end with the last clone or by [`Self::close`].
///
/// The futures need a tokio runtime with its timer, but any one will do.
#[derive(Clone, Debug)]
pub struct Database {
    path: Arc<Path>,
    writer: mpsc::Sender<writer::Message>,
    readers: mpsc::Sender<reader::Message>,
}

impl Database {
    /// Opens the file at `path`, makes it (mode 0600) if there is none, and brings its tables to the
    /// newest version.
    ///
    /// `migrations[n]` leads from version `n` to `n + 1`; those that have shipped never change.
    pub async fn open(path: &Path, migrations: &'static [&'static str]) -> Result<Self, StorageError> {
        let path = path.to_path_buf();
        let closed = StorageError::Closed { path: path.clone() };
        let opening = tokio::task::spawn_blocking(move || Self::open_now(path, migrations));
        opening.await.unwrap_or(Err(closed))
    }

    /// Runs `work` in a transaction and answers when it is durable, or not done at all.
    ///
    /// Once queued, the work is done even if the caller goes away: nobody cancels a logout by hanging
    /// up. After [`StorageError::TimedOut`] it may therefore still be done.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call::new(work, reply, self.path());
        self.submit(&self.writer, writer::Message::Write(Box::new(call)))?;
        self.wait(answer, WRITE_DEADLINE).await
    }

    /// Runs `work` on a connection that cannot change anything.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call::new(work, reply, self.path());
        self.submit(&self.readers, reader::Message::Read(Box::new(call)))?;
        self.wait(answer, READ_DEADLINE).await
    }

    /// Finishes what is queued, brings the log into the file and ends the threads; for all clones.
    ///
    /// Closing twice is no error.
    pub async fn close(&self) {
        let closing = async {
            for _ in 0..READERS {
                let (reply, done) = oneshot::channel();
                if self.readers.send(reader::Message::Close(reply)).await.is_ok() {
                    let _gone = done.await;
                }
            }
            let (reply, done) = oneshot::channel();
            if self.writer.send(writer::Message::Close(reply)).await.is_ok() {
                let _gone = done.await;
            }
        };
        if timeout(CLOSE_DEADLINE, closing).await.is_err() {
            tracing::warn!(path = %self.path.display(), "database did not close in time");
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_now(path: PathBuf, migrations: &[&str]) -> Result<Self, StorageError> {
        let mut main = connection::open(&path, Access::Write)?;
        connection::migrate(&mut main, &path, migrations)?;
        let reading =
            (0..READERS).map(|_| connection::open(&path, Access::Read)).collect::<Result<Vec<_>, _>>()?;
        let readers = reader::start(reading, &path)?;
        let writer = writer::start(main, &path)?;
        Ok(Self { path: Arc::from(path), writer, readers })
    }

    fn submit<M>(&self, queue: &mpsc::Sender<M>, message: M) -> Result<(), StorageError> {
        queue.try_send(message).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StorageError::Busy { path: self.path.to_path_buf() },
            mpsc::error::TrySendError::Closed(_) => self.closed(),
        })
    }

    async fn wait<T>(
        &self,
        answer: oneshot::Receiver<Result<T, StorageError>>,
        deadline: Duration,
    ) -> Result<T, StorageError> {
        match timeout(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.closed()),
            Err(_) => Err(StorageError::TimedOut { path: self.path.to_path_buf(), after: deadline }),
        }
    }

    fn closed(&self) -> StorageError {
        StorageError::Closed { path: self.path.to_path_buf() }
    }
}

/// How many jobs may wait for the writer, and how many for the readers.
const QUEUE: usize = 4096;
/// Threads that read.
const READERS: usize = 2;
/// How long a caller waits for an answer; longer for writing, because another process may hold the
/// file for as long as [`connection::BUSY_TIMEOUT`].
const READ_DEADLINE: Duration = Duration::from_secs(2);
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TABLES: &[&str] = &["CREATE TABLE things (name TEXT PRIMARY KEY) STRICT"];

    async fn database(folder: &tempfile::TempDir) -> Database {
        Database::open(&folder.path().join("test.db"), TABLES).await.unwrap()
    }

    fn insert(name: &'static str) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static {
        move |connection| connection.execute("INSERT INTO things VALUES (?1)", [name])
    }

    fn count(connection: &Connection) -> rusqlite::Result<i64> {
        connection.query_row("SELECT count(*) FROM things", [], |row| row.get(0))
    }

    #[tokio::test]
    async fn what_is_written_can_be_read_and_survives_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let first = database(&folder).await;
        first.write(insert("one")).await.unwrap();
        assert_eq!(first.read(count).await.unwrap(), 1);
        first.close().await;
        assert!(!folder.path().join("test.db-wal").exists(), "a clean close leaves no log");
        assert_eq!(database(&folder).await.read(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_failing_job_does_not_hurt_the_others_of_its_batch() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        let half = |connection: &Connection| {
            connection.execute("INSERT INTO things VALUES ('half')", [])?;
            connection.execute("INSERT INTO nonsense VALUES (1)", [])
        };
        let (one, bad, two) =
            tokio::join!(database.write(insert("one")), database.write(half), database.write(insert("two")));
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(bad, Err(StorageError::Failed { .. })));
        assert_eq!(database.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_job_that_panics_is_a_failure_and_not_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        let bad = database.write(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
        assert!(matches!(bad, Err(StorageError::Failed { .. })));
        let bad = database.read(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
        assert!(matches!(bad, Err(StorageError::Failed { .. })));
        database.write(insert("one")).await.unwrap();
        assert_eq!(database.read(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_write_goes_on_when_its_caller_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        {
            let mut abandoned = Box::pin(database.write(insert("one")));
            let waker = std::task::Waker::noop();
            let polled = abandoned.as_mut().poll(&mut std::task::Context::from_waker(waker));
            drop(polled);
        }
        database.write(insert("two")).await.unwrap();
        assert_eq!(database.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_not_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        let (started, writer_is_held) = oneshot::channel();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let holder = database.clone();
        let hold = move |_: &Connection| {
            started.send(()).unwrap();
            Ok(gate.recv())
        };
        let first = tokio::spawn(async move { holder.write(hold).await });
        writer_is_held.await.unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut queued: Vec<_> = (0..QUEUE).map(|_| Box::pin(database.write(|_| Ok(())))).collect();
        for job in &mut queued {
            assert!(job.as_mut().poll(&mut context).is_pending());
        }
        assert!(matches!(database.write(|_| Ok(())).await, Err(StorageError::Busy { .. })));
        release.send(()).unwrap();
        first.await.unwrap().unwrap().unwrap();
        for job in queued {
            job.await.unwrap();
        }
        database.write(insert("one")).await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        assert!(database(&folder).await.read(insert("one")).await.is_err());
    }

    #[tokio::test]
    async fn a_newer_file_is_refused_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        database(&folder).await.write(|c| c.pragma_update(None, "user_version", 7)).await.unwrap();
        let refused = Database::open(&folder.path().join("test.db"), TABLES).await.unwrap_err();
        assert!(matches!(refused, StorageError::Newer { found: 7, known: 1, .. }));
        assert!(refused.to_string().contains("test.db"), "{refused}");
    }

    #[tokio::test]
    async fn a_file_of_something_else_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        std::fs::write(&path, "no database at all, but long enough to be read as a header".repeat(20))
            .unwrap();
        let refused = Database::open(&path, TABLES).await.unwrap_err().to_string();
        assert!(refused.contains("test.db") && refused.contains("not a database"), "{refused}");
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("no database"));
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let refused = Database::open(Path::new("/nonexistent/x.db"), TABLES).await.unwrap_err().to_string();
        assert!(refused.contains("/nonexistent/x.db") && refused.contains("folder"), "{refused}");
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        database.write(insert("one")).await.unwrap();
        for name in ["test.db", "test.db-wal", "test.db-shm"] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn two_openings_of_one_file_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, command) = (database(&folder).await, database(&folder).await);
        gateway.write(insert("one")).await.unwrap();
        command.write(insert("two")).await.unwrap();
        assert_eq!(gateway.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_closed_database_says_that_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        database.close().await;
        database.close().await;
        assert!(matches!(database.read(count).await, Err(StorageError::Closed { .. })));
        assert!(matches!(database.write(insert("one")).await, Err(StorageError::Closed { .. })));
    }
}
