//! Connections to database engines; knows nothing of sessions or users.

pub mod sql;
pub mod sqlite;
