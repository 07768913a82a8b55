//! Where accounts are kept.
//!
//! Invariant: a place shows no password.

use std::path::PathBuf;

use crate::storage::sql::Location;

/// Where accounts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In a PostgreSQL or MySQL database.
    Sql(Location),
    /// In a file that people edit.
    Declared(Declared),
}

/// A file that declares accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// How it is written.
    pub form: Form,
    /// Where it is.
    pub file: PathBuf,
    /// The file with the groups; of [`Form::Htpasswd`] only.
    pub groups: Option<PathBuf>,
}

/// How a file declares accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[[user]]` in TOML.
    Toml,
    /// Apache's lines of `NAME:HASH`.
    Htpasswd,
}
