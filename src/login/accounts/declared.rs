//! Accounts that a file declares: read as a whole, replaced as a whole, never written.
//!
//! Reading the file is left to the configuration. Invariant: whoever asks sees all of the old file or
//! all of the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::place::Declared;
use super::source::{Answer, Change, NewAccount, Source};
use super::{Account, AccountsError, Credentials, folded};
use crate::identity::UserId;

/// What a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    from: Declared,
    people: BTreeMap<String, Credentials>,
}

impl Directory {
    /// Nobody, yet.
    #[must_use]
    pub const fn new(from: Declared) -> Self {
        Self { from, people: BTreeMap::new() }
    }

    /// Adds an account with the password behind `hash`; answers whether its name was free.
    pub fn add(&mut self, account: Account, hash: String) -> bool {
        let is_free = !self.people.contains_key(&folded(&account.user));
        if is_free {
            self.people.insert(folded(&account.user), Credentials { account, hash });
        }
        is_free
    }

    /// Whose password, groups, name, address or right to sign in is another one in `later`, or gone.
    fn changed_in(&self, later: &Self) -> BTreeSet<UserId> {
        let differs = |(name, person): &(&String, &Credentials)| later.people.get(*name) != Some(person);
        let changed = self.people.iter().filter(differs);
        changed.map(|(_, person)| person.account.user.clone()).collect()
    }

    /// The hashes of all passwords.
    pub(in crate::login) fn hashes(&self) -> impl Iterator<Item = &str> {
        self.people.values().map(|person| person.hash.as_str())
    }
}

/// The accounts of the file that was read last.
#[derive(Debug)]
pub(super) struct DeclaredSource {
    directory: ArcSwap<Directory>,
}

impl DeclaredSource {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory: ArcSwap::from_pointee(directory) }
    }

    /// Answers who is not as before; nothing if nothing is new. Another file needs a restart, so nothing of it
    /// is taken.
    pub(super) fn replace(&self, directory: Directory) -> Option<BTreeSet<UserId>> {
        let before = self.directory.load_full();
        if before.from != directory.from || *before == directory {
            return None;
        }
        let affected = before.changed_in(&directory);
        self.directory.store(Arc::new(directory));
        Some(affected)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.load().from.file.clone()
    }

    fn refuse<T: Send + 'static>(&self) -> Answer<'_, T> {
        let refused = Err(AccountsError::ByHand(self.file()));
        Box::pin(std::future::ready(refused))
    }
}

impl Source for DeclaredSource {
    fn insert(&self, _: NewAccount) -> Answer<'_, bool> {
        self.refuse()
    }

    /// A login is noted nowhere; that is no error.
    fn change(&self, user: UserId, change: Change) -> Answer<'_, bool> {
        if matches!(change, Change::LoggedIn(_) | Change::Renew { .. }) {
            let found = self.directory.load().people.contains_key(&folded(&user));
            return Box::pin(std::future::ready(Ok(found)));
        }
        self.refuse()
    }

    fn find(&self, user: Option<UserId>) -> Answer<'_, Option<Credentials>> {
        let name = user.as_ref().map(folded).unwrap_or_default();
        let found = self.directory.load().people.get(&name).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn list(&self) -> Answer<'_, Vec<Account>> {
        let all = self.directory.load().people.values().map(|person| person.account.clone()).collect();
        Box::pin(std::future::ready(Ok(all)))
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
