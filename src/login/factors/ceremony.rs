//! What goes to a browser and what comes back when it is asked for a passkey.

use crate::clock::Timestamp;
use crate::login::Cause;

/// A question that a browser is to put to its authenticators.
#[derive(Clone, Debug)]
pub struct Question {
    /// For the browser, as JSON.
    pub options: String,
    /// What its answer is to be checked against; nobody but us may read or write it.
    pub state: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// What the question left with us.
    pub state: &'a [u8],
    /// What is used up by an answer that is right.
    pub question: Once,
    /// What the browser says, as JSON.
    pub answer: &'a str,
    /// What brought it, for the audit trail.
    pub cause: Cause<'a>,
}

/// An answer that brings a new passkey.
#[derive(Clone, Copy, Debug)]
pub struct NewPasskey<'a> {
    /// The answer.
    pub answered: Answered<'a>,
    /// What its user calls it.
    pub name: &'a str,
}

/// A question, which is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// Its hash.
    pub hash: [u8; 32],
    /// Until when it is worth anything.
    pub until: Timestamp,
}
