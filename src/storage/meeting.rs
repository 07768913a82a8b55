//! Where gateways meet that share something beside their sessions.

use super::{redis, sql};

/// A place that several gateways reach, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Each gateway keeps to itself.
    Nowhere,
    /// In a Redis.
    Redis(redis::Location),
    /// In a PostgreSQL or MySQL database.
    Sql(sql::Location),
}
