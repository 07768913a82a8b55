//! One statement for PostgreSQL and MySQL, which differ in few words.
//!
//! Invariant: who writes a statement in these words binds its parameters in the order in which they stand in
//! it, each once, so that it does not matter that only PostgreSQL has numbers for them.

/// A statement `in_postgres` or `in_mysql` from its parts: texts, `[1]` for the mark of the first parameter,
/// and `(if_free)` at the end of an insertion that may find its place taken.
macro_rules! statement {
    ($dialect:ident: $($part:tt)+) => {
        concat!($($crate::storage::sql::word!($dialect $part)),+)
    };
}

/// A part of a statement. That a place is taken is an error in MySQL, [`SqlError::Taken`].
///
/// [`SqlError::Taken`]: crate::storage::sql::SqlError::Taken
macro_rules! word {
    (in_postgres [$number:literal]) => {
        concat!("$", $number)
    };
    (in_mysql [$number:literal]) => {
        "?"
    };
    (in_postgres (if_free)) => {
        " ON CONFLICT DO NOTHING"
    };
    (in_mysql (if_free)) => {
        ""
    };
    ($dialect:ident $text:literal) => {
        $text
    };
}

pub(crate) use {statement, word};
