//! Connections to database engines; knows nothing of sessions or users.

pub mod memcached;
pub mod redis;
pub mod sql;
pub mod sqlite;
