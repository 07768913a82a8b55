//! The thread that writes, with group commit: whatever waits is done in one transaction, so that
//! many logins share one wait for the disk.
//!
//! Invariant: no job hears "done" before the transaction that holds it is on the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{QUEUE, StorageError};

pub(super) enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// Work with somebody who waits for its outcome.
pub(super) trait Job: Send {
    /// Does the work and keeps its outcome. An error means that its changes must be undone.
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError>;
    /// Tells the caller the outcome, or `failure` where that made it void.
    fn answer(self: Box<Self>, failure: Option<StorageError>);
    /// Whether somebody still waits.
    fn is_wanted(&self) -> bool;
}

/// A closure as a [`Job`].
pub(super) struct Call<F, T> {
    work: Option<F>,
    outcome: Option<Result<T, StorageError>>,
    reply: oneshot::Sender<Result<T, StorageError>>,
    path: PathBuf,
}

impl<F, T> Call<F, T> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StorageError>>, path: &Path) -> Self {
        Self { work: Some(work), outcome: None, reply, path: path.to_path_buf() }
    }
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        // A panic in one closure must not take the only writer away from everybody else.
        let outcome = match catch_unwind(AssertUnwindSafe(|| work(connection))) {
            Ok(done) => done.map_err(|error| StorageError::failed(&self.path, &error)),
            Err(_) => Err(StorageError::broken(&self.path, "a database job panicked")),
        };
        let verdict = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        verdict
    }

    fn answer(self: Box<Self>, failure: Option<StorageError>) {
        let Self { outcome, reply, path, .. } = *self;
        let answer = match (failure, outcome) {
            (_, Some(Err(own))) => Err(own),
            (Some(failure), _) => Err(failure),
            (None, Some(done)) => done,
            (None, None) => Err(StorageError::Closed { path }),
        };
        let _caller_gone = reply.send(answer);
    }

    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }
}

pub(super) fn start(connection: Connection, path: &Path) -> Result<mpsc::Sender<Message>, StorageError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let writer = Writer { connection, path: path.to_path_buf(), queue: receiver };
    thread::Builder::new()
        .name("sqlite-write".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| StorageError::create(path, &error))?;
    Ok(sender)
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    queue: mpsc::Receiver<Message>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let close = self.collect(&mut batch);
            if !batch.is_empty() {
                self.commit(&mut batch);
            }
            match close {
                Next::More => {}
                Next::Close(reply) => return self.finish(reply),
                Next::Abandoned => return self.finish(None),
            }
        }
    }

    /// Waits for a job, then takes what else waits already.
    fn collect(&mut self, batch: &mut Vec<Box<dyn Job>>) -> Next {
        let mut message = self.queue.blocking_recv();
        loop {
            match message {
                Some(Message::Write(job)) => batch.push(job),
                Some(Message::Close(reply)) => return Next::Close(Some(reply)),
                None => return Next::Abandoned,
            }
            if batch.len() >= BATCH {
                return Next::More;
            }
            message = match self.queue.try_recv() {
                Ok(message) => Some(message),
                Err(mpsc::error::TryRecvError::Empty) => return Next::More,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
        }
    }

    /// Does the whole batch, in as few transactions as the disk allows, and answers every job.
    fn commit(&self, batch: &mut Vec<Box<dyn Job>>) {
        let mut waiting = batch.drain(..);
        while waiting.len() > 0 {
            let mut done = Vec::with_capacity(waiting.len());
            let failure = self.transaction(&mut waiting, &mut done).err();
            for job in done {
                job.answer(failure.clone());
            }
            if let Some(failure) = failure.filter(|_| !self.connection.is_autocommit()) {
                self.abandon(&failure);
            }
        }
    }

    /// Moves jobs from `waiting` to `done`. An error voids all that it moved; it always moves one.
    fn transaction(
        &self,
        waiting: &mut impl Iterator<Item = Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), StorageError> {
        // IMMEDIATE: a transaction that turns from reading to writing could fail at once with "busy".
        if let Err(failure) = self.execute("BEGIN IMMEDIATE") {
            done.extend(waiting);
            return Err(failure);
        }
        for mut job in waiting {
            let outcome = self.savepoint(job.as_mut());
            done.push(job);
            outcome?;
        }
        self.execute("COMMIT")
    }

    /// Runs one job so that its failure undoes its own changes only. An error here means that the
    /// whole transaction is lost: SQLite ends it by itself when the disk is full or broken.
    fn savepoint(&self, job: &mut dyn Job) -> Result<(), StorageError> {
        self.execute("SAVEPOINT job")?;
        if let Err(failure) = job.run(&self.connection) {
            if self.connection.is_autocommit() {
                return Err(failure);
            }
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    fn execute(&self, statement: &str) -> Result<(), StorageError> {
        let done = self.connection.prepare_cached(statement).and_then(|mut prepared| prepared.execute([]));
        done.map(|_| ()).map_err(|error| StorageError::failed(&self.path, &error))
    }

    fn abandon(&self, cause: &StorageError) {
        tracing::error!(error = %cause, "database transaction abandoned");
        if let Err(error) = self.execute("ROLLBACK") {
            tracing::error!(%error, "database transaction cannot be rolled back");
        }
    }

    fn finish(self, reply: Option<oneshot::Sender<()>>) {
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::warn!(path = %self.path.display(), %error, "database log stays beside its file");
        }
        drop(self.connection);
        if let Some(reply) = reply {
            let _caller_gone = reply.send(());
        }
    }
}

/// What the writer does after a batch.
enum Next {
    More,
    Close(Option<oneshot::Sender<()>>),
    Abandoned,
}

/// Jobs in one transaction.
const BATCH: usize = 256;
