//! What a kind of server has of its own: how it is reached and how its tables are brought up to date.
//!
//! Invariant: [`Dialect::upgrade`] leaves the tables alone when they are newer than the schema.

use std::future::Future;

use sqlx::{ConnectOptions, Connection, Database};

use super::location::Location;
use super::schema::Schema;

/// A kind of database server.
pub trait Dialect: Database<Connection: Connection<Options: Sync>> {
    /// How to reach `location`.
    fn options(location: &Location) -> Options<Self>;

    /// Readies a connection that was just made.
    fn settle(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The version of the tables of `part`, if that was ever noted.
    fn version(
        connection: &mut Self::Connection,
        part: &'static str,
    ) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// Brings the tables of `schema` to its newest version, while no other process does.
    fn upgrade(
        connection: &mut Self::Connection,
        schema: Schema,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// How to reach a server.
pub type Options<D> = <<D as Database>::Connection as Connection>::Options;

pub(super) async fn connect<D: Dialect>(options: &Options<D>) -> sqlx::Result<D::Connection> {
    let mut connection = options.connect().await?;
    D::settle(&mut connection).await?;
    Ok(connection)
}
