//! What every source of accounts must do.
//!
//! Invariants: every answer is about one moment; "there is no such account" is an answer and a source
//! that cannot be reached an error.

use std::fmt;
use std::pin::Pin;

use super::{Account, AccountsError, Credentials, Profile};
use crate::clock::Timestamp;
use crate::identity::UserId;

/// A place where accounts are kept.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Makes an account; answers whether its name was free.
    fn insert(&self, account: NewAccount) -> Answer<'_, bool>;

    /// Changes an account; answers whether there is one.
    fn change(&self, user: UserId, change: Change) -> Answer<'_, bool>;

    /// The account of `user`. Nobody is looked up as well, in the same time.
    fn find(&self, user: Option<UserId>) -> Answer<'_, Option<Credentials>>;

    /// All accounts by name.
    fn list(&self) -> Answer<'_, Vec<Account>>;

    /// Finishes what was begun. Closing twice is no error.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a source says, later.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AccountsError>> + Send + 'a>>;

/// An account that is to be made.
pub(super) struct NewAccount {
    pub(super) user: UserId,
    pub(super) hash: String,
    pub(super) profile: Profile,
    pub(super) now: Timestamp,
}

/// What becomes of an account.
#[derive(Clone)]
pub(super) enum Change {
    /// Another password.
    Password(String),
    /// Another hash of the same password, unless that was changed meanwhile.
    Renew { from: String, to: String },
    /// Other groups, name and e-mail address.
    Profile(Profile),
    /// No login any more.
    Disable,
    /// Logins again.
    Enable,
    /// Its user logged in.
    LoggedIn(Timestamp),
    /// It is gone.
    Remove,
}
