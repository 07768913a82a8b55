//! Some memcached servers that asynchronous code may use as one.
//!
//! Each key lives on one server, found by hashing, so that another server in the list moves only the
//! keys that become its own. A server that is down makes its keys unavailable, never absent. What the
//! items mean is left to others. Invariant: an item that may have been evicted is `None`, everything
//! that is in doubt is an error.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

mod error;
mod location;
mod protocol;
mod server;

pub use error::MemcachedError;
pub use location::{Address, Location, LocationError};
pub use protocol::{Added, Deleted, Expiry, Item, Key, Swapped, Version};

use protocol::VALUE_LIMIT;
use server::Server;

/// Connections to the servers of a [`Location`]; they are made when they are needed.
///
/// A connection belongs to the runtime of the call that made it, so all calls must come from one
/// runtime. Whether a call that failed was done is not known.
#[derive(Debug)]
pub struct Client {
    servers: Vec<Server>,
    prefix: String,
}

impl Client {
    /// A client without connections yet.
    #[must_use]
    pub fn new(location: &Location) -> Self {
        let servers = location.servers().iter().cloned().map(Server::new).collect();
        Self { servers, prefix: location.prefix().to_owned() }
    }

    /// The key of the item of this kind and name.
    #[must_use]
    pub fn key(&self, kind: char, name: &[u8; 32]) -> Key {
        Key::new(&self.prefix, kind, name)
    }

    /// The item with this key.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, MemcachedError> {
        let items = self.server_of(key)?.items(std::slice::from_ref(key)).await?;
        Ok(items.into_iter().next().flatten())
    }

    /// The items with these keys: one question for many to each server, and an answer for each key.
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = Key>,
    ) -> HashMap<Key, Result<Option<Item>, MemcachedError>> {
        let mut answers = HashMap::new();
        for (server, keys) in self.batches(keys) {
            match server.items(&keys).await {
                Ok(items) => answers.extend(keys.into_iter().zip(items.into_iter().map(Ok))),
                Err(error) => answers.extend(keys.into_iter().map(|key| (key, Err(error.clone())))),
            }
        }
        answers
    }

    /// Keeps a value under a key that is free.
    pub async fn add(&self, key: &Key, value: &[u8], expiry: Expiry) -> Result<Added, MemcachedError> {
        check_length(value)?;
        self.server_of(key)?.add(key, value, expiry).await
    }

    /// Keeps a value in the place of this version of the item, and of no other.
    pub async fn swap(
        &self,
        key: &Key,
        value: &[u8],
        expiry: Expiry,
        version: Version,
    ) -> Result<Swapped, MemcachedError> {
        check_length(value)?;
        self.server_of(key)?.swap(key, value, expiry, version).await
    }

    /// Forgets these items, with an answer for each key.
    pub async fn delete_many(
        &self,
        keys: impl IntoIterator<Item = Key>,
    ) -> HashMap<Key, Result<Deleted, MemcachedError>> {
        let mut answers = HashMap::new();
        for (server, keys) in self.batches(keys) {
            match server.delete(&keys).await {
                Ok(deleted) => answers.extend(keys.into_iter().zip(deleted.into_iter().map(Ok))),
                Err(error) => answers.extend(keys.into_iter().map(|key| (key, Err(error.clone())))),
            }
        }
        answers
    }

    /// Ends the connections; afterwards every answer is an error.
    pub fn close(&self) {
        self.servers.iter().for_each(Server::close);
    }

    /// The server with the highest score for this key (rendezvous hashing).
    fn server_of(&self, key: &Key) -> Result<&Server, MemcachedError> {
        // A location has at least one server.
        self.servers.iter().max_by_key(|server| score(server, key)).ok_or(MemcachedError::Closed)
    }

    /// These keys by their servers, each key once, in portions that a server answers quickly.
    fn batches(&self, keys: impl IntoIterator<Item = Key>) -> Vec<(&Server, Vec<Key>)> {
        let mut by_server: HashMap<&str, (&Server, Vec<Key>)> = HashMap::new();
        for key in keys.into_iter().collect::<HashSet<_>>() {
            if let Ok(server) = self.server_of(&key) {
                by_server.entry(server.name()).or_insert_with(|| (server, Vec::new())).1.push(key);
            }
        }
        let portions = |(server, keys): (_, Vec<Key>)| {
            keys.chunks(BATCH).map(|keys| (server, keys.to_vec())).collect::<Vec<_>>()
        };
        by_server.into_values().flat_map(portions).collect()
    }
}

fn score(server: &Server, key: &Key) -> [u8; 32] {
    let hash = Sha256::new().chain_update(server.name()).chain_update([0]).chain_update(key.as_str());
    hash.finalize().into()
}

fn check_length(value: &[u8]) -> Result<(), MemcachedError> {
    let (length, limit) = (value.len(), VALUE_LIMIT);
    if length > limit { Err(MemcachedError::TooLong { length, limit }) } else { Ok(()) }
}

/// How many items one question is about.
const BATCH: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn client(hosts: &str) -> Client {
        Client::new(&Location::parse(&format!("memcached://{hosts}")).unwrap())
    }

    /// Where a thousand keys live.
    fn homes(client: &Client) -> Vec<&str> {
        let names = (0..1_000_u16).map(|number| {
            let mut name = [0; 32];
            name[..2].copy_from_slice(&number.to_be_bytes());
            name
        });
        names.map(|name| client.server_of(&client.key('s', &name)).unwrap().name()).collect()
    }

    #[test]
    fn keys_spread_over_the_servers_whatever_their_order() {
        let three = client("a,b,c");
        let homes_of_three = homes(&three);
        for server in ["a:11211", "b:11211", "c:11211"] {
            let count = homes_of_three.iter().filter(|home| **home == server).count();
            assert!((250..420).contains(&count), "{server} has {count}");
        }
        assert_eq!(homes(&client("c,a,b")), homes_of_three);
    }

    #[test]
    fn a_server_that_is_taken_away_moves_only_its_own_keys() {
        let (three, two) = (client("a,b,c"), client("a,c"));
        for (before, after) in homes(&three).into_iter().zip(homes(&two)) {
            assert!(before == after || before == "b:11211");
        }
    }

    #[tokio::test]
    async fn a_value_that_is_too_long_is_not_sent() {
        let client = client("a.invalid");
        let expiry = Expiry::at(Timestamp::default(), Timestamp::default());
        let refused = client.add(&client.key('s', &[0; 32]), &vec![0; VALUE_LIMIT + 1], expiry).await;
        assert!(matches!(refused, Err(MemcachedError::TooLong { .. })));
    }
}
