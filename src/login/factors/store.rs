//! Where second factors are kept: the interface, so that each source of accounts may bring its own store.
//!
//! Secrets come in sealed or hashed; what they mean is left to the rest of this room. Invariants: a change
//! answers whether it took place, and of two that exclude each other only one does, whichever gateway asks;
//! when it answers, it is durable.

use std::fmt;
use std::pin::Pin;

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::login::accounts::AccountsError;

/// What a store answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AccountsError>> + Send + 'a>>;

/// A store of second factors.
pub trait FactorStore: Send + Sync + fmt::Debug {
    /// Everything of a user.
    fn of_user(&self, user: UserId) -> Answer<'_, Held>;

    /// The passkey with this credential id, and whose it is.
    fn by_credential(&self, credential: Vec<u8>) -> Answer<'_, Option<(UserId, Row)>>;

    /// The one-time link with this hash, used or not.
    fn reset(&self, hash: [u8; 32]) -> Answer<'_, Option<Reset>>;

    /// Every sealed secret, so that those of older keys can be sealed anew.
    fn sealed(&self) -> Answer<'_, Vec<(UserId, FactorId, Vec<u8>)>>;

    /// Makes a change; answers whether it took place.
    fn change(&self, change: Change) -> Answer<'_, bool>;

    /// Finishes what was begun; a store beside the accounts closes with them. Closing twice is no error.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Names a factor: 32 hexadecimal digits. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorId(String);

impl FactorId {
    /// A new name.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// The name that a form or a row holds.
    #[must_use]
    pub const fn named(text: String) -> Self {
        Self(text)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The kinds of factor that have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One-time codes; a user has one such factor at most.
    Totp,
    /// A passkey.
    Passkey,
}

impl Kind {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
        }
    }
}

/// A factor of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub id: FactorId,
    /// What it is.
    pub kind: Kind,
    /// What its user calls it.
    pub name: String,
    /// The secret, or the passkey's public part, sealed.
    pub sealed: Vec<u8>,
    /// A passkey's credential id and the host that it belongs to.
    pub credential: Option<(Vec<u8>, String)>,
    /// The last time step whose code was taken (RFC 6238 section 5.2).
    pub last_step: i64,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was shown last.
    pub last_used: Option<Timestamp>,
}

/// A recovery code: the first group picks it, the hash is of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeHash {
    /// The first group.
    pub label: String,
    /// The PHC string of the others.
    pub phc: String,
}

/// Wrong guesses since the last right one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    /// How many.
    pub count: u32,
    /// The last of them.
    pub last: Timestamp,
}

/// Everything that is kept of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The factors, the oldest first.
    pub rows: Vec<Row>,
    /// The recovery codes that are left.
    pub codes: Vec<CodeHash>,
    /// The guesses.
    pub guesses: Guesses,
}

/// A one-time link that an administrator gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// For whom.
    pub user: UserId,
    /// Until when.
    pub expires: Timestamp,
    /// What becomes of the second factors.
    pub factors: AfterReset,
}

/// What becomes of second factors when a one-time link is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterReset {
    /// They stay.
    Kept,
    /// They are lost and are removed.
    Removed,
}

/// A change, and when it takes place.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds a factor, in the place of the user's other one-time codes. Not if the credential is there already.
    Add(UserId, Row),
    /// Removes a factor of the user, if it is there.
    Remove(UserId, FactorId),
    /// Removes everything of the user.
    RemoveAll(UserId),
    /// Takes the code of a time step, if none of it or of a later one was taken.
    TakeStep(FactorId, i64, Timestamp),
    /// Replaces what is sealed, if it is still the same, perhaps noting that it was used.
    Reseal {
        /// Which factor.
        id: FactorId,
        /// What is there.
        from: Vec<u8>,
        /// What is to be there.
        to: Vec<u8>,
        /// When it was used, if it was.
        used: Option<Timestamp>,
    },
    /// Puts these recovery codes in the place of the user's others.
    SetCodes(UserId, Vec<CodeHash>),
    /// Spends a recovery code, if it is still there.
    SpendCode(UserId, CodeHash),
    /// Counts a guess, if nobody counted another since.
    Guess(UserId, Guesses, Timestamp),
    /// The guess was right: forgets all of them.
    Right(UserId),
    /// Keeps a one-time link under its hash, in the place of the user's others.
    AddReset([u8; 32], Reset),
    /// Uses up a one-time link, if it is still there.
    SpendReset([u8; 32]),
    /// Uses up something until it is worth nothing anyway, if it was not used yet.
    SpendOnce {
        /// Its hash.
        hash: [u8; 32],
        /// Until when the store remembers.
        until: Timestamp,
        /// What is older than this may be forgotten.
        now: Timestamp,
    },
}
