//! Connections to database engines; knows nothing of sessions or users.

mod meeting;
pub mod memcached;
pub mod redis;
pub mod sql;
pub mod sqlite;

pub use meeting::Meeting;
