//! From a configured kind of store to the store.

use std::sync::Arc;
use std::time::Duration;

use super::SessionStore;
use super::guarded::Guarded;
use super::memcached::MemcachedStore;
use super::memory::MemoryStore;
use super::mysql::MySqlStore;
use super::postgres::PostgresStore;
use super::redis::RedisStore;
use super::sealed::SealedStore;
use super::sqlite::SqliteStore;
use crate::clock::Clock;
use crate::session::StoreKind;
use crate::session::cookie::Form;
use crate::storage::sql::Engine;
use crate::storage::sqlite::StorageError;

/// Opens a store, and says what the cookies of its sessions hold. A server that does not answer is no
/// error: it may come up later. To be called on the runtime that its connections are to belong to.
pub(crate) async fn open(
    kind: &StoreKind,
    clock: &Clock,
    longest: Duration,
) -> Result<(Box<dyn SessionStore>, Form), StorageError> {
    if let StoreKind::Browser(marks) = kind {
        let marks = open_kept(marks, clock).await?;
        return Ok((Box::new(SealedStore::new(Arc::from(marks), clock.clone(), longest)), Form::Record));
    }
    Ok((open_kept(kind, clock).await?, Form::Token))
}

async fn open_kept(kind: &StoreKind, clock: &Clock) -> Result<Box<dyn SessionStore>, StorageError> {
    let store: Box<dyn SessionStore> = match kind {
        StoreKind::Memory | StoreKind::Browser(_) => return Ok(Box::new(MemoryStore::new())),
        StoreKind::Sqlite(path) => Box::new(SqliteStore::open(path).await?),
        StoreKind::Redis(location) => Box::new(RedisStore::open(location.clone(), clock.clone()).await),
        // Of several servers one may be down: each is guarded by its connections.
        StoreKind::Memcached(location) => {
            return Ok(Box::new(MemcachedStore::open(location, clock.clone())));
        }
        StoreKind::Sql(location) => match location.engine() {
            Engine::Postgres => Box::new(PostgresStore::new(location.clone())),
            Engine::MySql => Box::new(MySqlStore::new(location)),
        },
    };
    Ok(Box::new(Guarded::new(store)))
}
