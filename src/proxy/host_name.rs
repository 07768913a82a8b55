//! A server's name and the addresses it had.
//!
//! A name is looked up again for new connections, every few seconds at most. Invariant: a name that was
//! once found stays usable, however long the resolver is silent or wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::clock::Stopwatch;

/// A name, a port and what the resolver said last, shared by all workers.
#[derive(Debug)]
pub(super) struct HostName {
    host: String,
    port: u16,
    last: ArcSwapOption<Answer>,
}

/// What the resolver said.
#[derive(Debug)]
struct Answer {
    addresses: Arc<[SocketAddr]>,
    age: Stopwatch,
}

impl HostName {
    pub(super) const fn new(host: String, port: u16) -> Self {
        Self { host, port, last: ArcSwapOption::const_empty() }
    }

    /// Its addresses, in the resolver's order.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        self.addresses_not_older_than(FRESH).await
    }

    async fn addresses_not_older_than(&self, age: Duration) -> io::Result<Arc<[SocketAddr]>> {
        let Some(last) = self.last.load_full() else {
            return self.look_up().await.map(|found| self.keep(found));
        };
        if last.age.elapsed() < age {
            return Ok(Arc::clone(&last.addresses));
        }
        let found = timeout(PATIENCE, self.look_up()).await.unwrap_or_else(|_| Err(silent()));
        Ok(match found {
            Ok(found) => self.keep(found),
            Err(reason) => {
                tracing::warn!(host = self.host, %reason, "name not found; the last good answer is kept");
                // Kept as if it were new, so that not every connection waits for the resolver.
                self.keep(Arc::clone(&last.addresses))
            }
        })
    }

    async fn look_up(&self) -> io::Result<Arc<[SocketAddr]>> {
        let found: Arc<[SocketAddr]> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        if found.is_empty() { Err(no_address()) } else { Ok(found) }
    }

    fn keep(&self, addresses: Arc<[SocketAddr]>) -> Arc<[SocketAddr]> {
        let answer = Answer { addresses: Arc::clone(&addresses), age: Stopwatch::start() };
        self.last.store(Some(Arc::new(answer)));
        addresses
    }
}

pub(super) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the server has no address")
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer in time")
}

/// How long an answer is taken as it is; the resolver of the system does not say how long it holds.
const FRESH: Duration = Duration::from_secs(5);

/// How long the resolver may take when there is an answer to fall back on.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_again_when_the_answer_is_old() {
        let name = HostName::new("localhost".to_owned(), 7);
        let wrong: Arc<[SocketAddr]> = Arc::from(["192.0.2.1:7".parse().unwrap()]);
        name.keep(Arc::clone(&wrong));
        assert_eq!(name.addresses().await.unwrap(), wrong);
        let right = name.addresses_not_older_than(Duration::ZERO).await.unwrap();
        assert!(right.iter().all(|address| address.ip().is_loopback() && address.port() == 7), "{right:?}");
        assert_eq!(name.addresses().await.unwrap(), right);
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept_while_the_resolver_has_none() {
        let name = HostName::new("nowhere.invalid".to_owned(), 7);
        let last: Arc<[SocketAddr]> = Arc::from(["192.0.2.1:7".parse().unwrap()]);
        name.keep(Arc::clone(&last));
        assert_eq!(name.addresses_not_older_than(Duration::ZERO).await.unwrap(), last);
    }
}
