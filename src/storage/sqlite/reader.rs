//! The threads that read.
//!
//! Invariant: work whose caller has gone away is not begun.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::writer::Job;
use super::{QUEUE, StorageError};

pub(super) enum Message {
    Read(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// Starts one thread a connection; they share a queue.
pub(super) fn start(
    connections: Vec<Connection>,
    path: &Path,
) -> Result<mpsc::Sender<Message>, StorageError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let queue = Arc::new(Mutex::new(receiver));
    for connection in connections {
        let queue = Arc::clone(&queue);
        thread::Builder::new()
            .name("sqlite-read".to_owned())
            .spawn(move || run(connection, &queue))
            .map_err(|error| StorageError::create(path, &error))?;
    }
    Ok(sender)
}

fn run(connection: Connection, queue: &Mutex<mpsc::Receiver<Message>>) {
    loop {
        match next(queue) {
            Some(Message::Read(job)) => answer(job, &connection),
            Some(Message::Close(reply)) => {
                drop(connection);
                let _caller_gone = reply.send(());
                return;
            }
            None => return,
        }
    }
}

/// The thread that waits holds the queue; the other one waits for it.
fn next(queue: &Mutex<mpsc::Receiver<Message>>) -> Option<Message> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

fn answer(mut job: Box<dyn Job>, connection: &Connection) {
    if job.is_wanted() {
        let _told_by_the_answer = job.run(connection);
        job.answer(None);
    }
}
