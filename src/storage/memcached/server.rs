//! The connections to one server.
//!
//! What is said on them is left to [`super::protocol`]. Invariants: every call has a deadline; a
//! connection goes back to the others only after a whole answer with nothing behind it, so no call ever
//! reads the answer to another; a server that does not answer is left alone for a moment.

use std::io;
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::Stopwatch;

use super::error::MemcachedError;
use super::location::Address;
use super::protocol::{self, Added, Deleted, Expiry, Item, Key, Swapped, Version};

/// A server and its connections.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    name: String,
    /// Permission for one connection each.
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
    rest: Mutex<Option<Rest>>,
}

impl Server {
    pub(super) fn new(address: Address) -> Self {
        let name = address.to_string();
        let (places, idle, rest) = (Semaphore::new(CONNECTIONS), Mutex::default(), Mutex::default());
        Self { address, name, places, idle, rest }
    }

    /// Its address as text.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn items(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, MemcachedError> {
        let work = async {
            let mut connection = self.send(&protocol::get(keys)).await?;
            let answer = protocol::items(&mut connection, keys).await?;
            Ok((connection, answer))
        };
        self.ask(work).await
    }

    pub(super) async fn add(&self, key: &Key, value: &[u8], expiry: Expiry) -> Result<Added, MemcachedError> {
        let work = async {
            let mut connection = self.send(&protocol::add(key, value, expiry)).await?;
            let answer = protocol::added(&mut connection).await?;
            Ok((connection, answer))
        };
        self.ask(work).await
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        value: &[u8],
        expiry: Expiry,
        version: Version,
    ) -> Result<Swapped, MemcachedError> {
        let work = async {
            let mut connection = self.send(&protocol::swap(key, value, expiry, version)).await?;
            let answer = protocol::swapped(&mut connection).await?;
            Ok((connection, answer))
        };
        self.ask(work).await
    }

    pub(super) async fn delete(&self, keys: &[Key]) -> Result<Vec<Deleted>, MemcachedError> {
        let work = async {
            let mut connection = self.send(&protocol::delete(keys)).await?;
            let answer = protocol::deleted(&mut connection, keys.len()).await?;
            Ok((connection, answer))
        };
        self.ask(work).await
    }

    /// Ends the connections that nobody uses; afterwards every answer is an error.
    pub(super) fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    /// Waits for an answer until the deadline. A connection without one ends with `work`.
    async fn ask<T>(
        &self,
        work: impl Future<Output = io::Result<(Connection, T)>>,
    ) -> Result<T, MemcachedError> {
        self.check_rest()?;
        let in_turn = async {
            let Ok(_place) = self.places.acquire().await else { return Err(MemcachedError::Closed) };
            let (connection, answer) = work.await.map_err(|error| self.failed(&error))?;
            self.keep(connection);
            Ok(answer)
        };
        timeout(DEADLINE, in_turn).await.unwrap_or_else(|_| {
            let late = MemcachedError::TimedOut { server: self.address.clone(), after: DEADLINE };
            self.begin_rest(&late);
            Err(late)
        })
    }

    /// Sends a request on a connection that is free or new.
    async fn send(&self, request: &[u8]) -> io::Result<Connection> {
        let mut connection = match self.idle_connection() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.write_all(request).await?;
        Ok(connection)
    }

    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            // One that was ended, as by a restart, has something to read: its end. The system is asked
            // itself, because the runtime may not have heard of it yet.
            let read = SockRef::from(connection.get_ref()).peek(&mut [MaybeUninit::uninit()]);
            if read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect((self.address.host(), self.address.port())).await;
        let stream = stream.inspect_err(|error| self.begin_rest(&self.failed(error)))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    fn keep(&self, connection: Connection) {
        if connection.buffer().is_empty() && !self.places.is_closed() {
            self.idle().push(connection);
        }
    }

    fn check_rest(&self) -> Result<(), MemcachedError> {
        match &*self.rest() {
            Some(rest) if rest.since.elapsed() < REST => Err(rest.cause.clone()),
            _ => Ok(()),
        }
    }

    /// A server that hangs would otherwise cost every item of a list its own deadline.
    fn begin_rest(&self, cause: &MemcachedError) {
        *self.rest() = Some(Rest { cause: cause.clone(), since: Stopwatch::start() });
    }

    fn failed(&self, error: &io::Error) -> MemcachedError {
        let (server, reason) = (self.address.clone(), error.to_string());
        match error.kind() {
            io::ErrorKind::InvalidData => MemcachedError::Answer { server, reason },
            _ => MemcachedError::Unreachable { server, reason },
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Connection = BufReader<TcpStream>;

/// A server is left alone, and why.
#[derive(Debug)]
struct Rest {
    cause: MemcachedError,
    since: Stopwatch,
}

/// How many connections there are to one server at most.
const CONNECTIONS: usize = 8;
/// From the wait for a connection to the end of the answer.
const DEADLINE: Duration = Duration::from_millis(500);
/// Short, so that a server that is back is soon found.
const REST: Duration = Duration::from_millis(250);
