//! Every word that the gateway's own pages say, in English.
//!
//! Where the words stand is left to the templates. Invariant: no text tells an unknown user from a
//! wrong password or a disabled account.

use std::time::Duration;

use serde::Serialize;

/// The words that templates use by name.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the words say what they are")]
pub struct Strings {
    pub account: &'static str,
    pub builtin_lead: &'static str,
    pub builtin_title: &'static str,
    pub email: &'static str,
    pub go_on: &'static str,
    pub groups: &'static str,
    pub name: &'static str,
    pub password: &'static str,
    pub request: &'static str,
    pub sign_in: &'static str,
    pub sign_out: &'static str,
    pub sign_out_question: &'static str,
    pub signed_in: &'static str,
    pub signed_in_since: &'static str,
    pub signed_in_with: &'static str,
    pub stay: &'static str,
    pub stay_signed_in: &'static str,
    pub switch_user: &'static str,
    pub to_continue_to: &'static str,
    pub to_start: &'static str,
    pub until_at_most: &'static str,
    pub user_name: &'static str,
    pub you_are: &'static str,
}

/// The words in English.
pub const ENGLISH: Strings = Strings {
    account: "Your account",
    builtin_lead: "This page stands in for your application and shows the request as it would get it.",
    builtin_title: "It works",
    email: "E-mail",
    go_on: "Continue",
    groups: "Groups",
    name: "Name",
    password: "Password",
    request: "Request",
    sign_in: "Sign in",
    sign_out: "Sign out",
    sign_out_question: "Sign out?",
    signed_in: "You are signed in already",
    signed_in_since: "Signed in since",
    signed_in_with: "Signed in with",
    stay: "Stay signed in",
    stay_signed_in: "Keep me signed in on this device",
    switch_user: "Sign in as somebody else",
    to_continue_to: "to continue to",
    to_start: "Go to the start page",
    until_at_most: "Until at most",
    user_name: "User name",
    you_are: "You are signed in as",
};

/// Unknown, wrong or disabled.
pub const REFUSED: &str = "User name or password is not right.";
/// All threads that check passwords have enough to do.
pub const BUSY: &str = "Too many people are signing in right now. Please try again in a moment.";
/// The form's token is out of date or not ours.
pub const FORM_EXPIRED: &str = "This page lay open for too long. Please try again.";
/// The form came without its cookie.
pub const NO_COOKIE: &str = "Your browser sent no cookie. Allow cookies for this site and try again.";
/// The session reached its limit.
pub const SESSION_EXPIRED: &str = "Your session has expired. Please sign in again.";
/// The session was ended by its user.
pub const SIGNED_OUT: &str = "You are signed out.";

/// Too many failures.
#[must_use]
pub fn throttled(wait: Duration) -> String {
    match wait.as_secs().div_ceil(60) {
        0 | 1 => "Too many attempts. Please try again in a minute.".to_owned(),
        minutes => format!("Too many attempts. Please try again in {minutes} minutes."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_minutes_and_never_too_short() {
        for (seconds, expected) in [(1, "a minute"), (60, "a minute"), (61, "2 minutes"), (600, "10 minutes")]
        {
            let text = throttled(Duration::from_secs(seconds));
            assert!(text.contains(&format!("in {expected}.")), "{text}");
        }
    }
}
