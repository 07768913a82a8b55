//! Every word that the gateway's own pages say, in English.
//!
//! Where the words stand is left to the templates. Invariant: no text tells an unknown user from a
//! wrong password or a disabled account.

use std::time::Duration;

use serde::Serialize;

use super::device::DeviceName;

/// The words that templates use by name.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the words say what they are")]
pub struct Strings {
    pub account: &'static str,
    pub at_limit: &'static str,
    pub at_limit_choice: &'static str,
    pub at_limit_lead: &'static str,
    pub builtin_lead: &'static str,
    pub builtin_title: &'static str,
    pub email: &'static str,
    pub end_all_and_go_on: &'static str,
    pub end_chosen_and_go_on: &'static str,
    pub end_others: &'static str,
    pub go_on: &'static str,
    pub groups: &'static str,
    pub last_seen: &'static str,
    pub name: &'static str,
    pub password: &'static str,
    pub request: &'static str,
    pub sessions: &'static str,
    pub sessions_unknown: &'static str,
    pub sign_in: &'static str,
    pub sign_out: &'static str,
    pub sign_out_question: &'static str,
    pub signed_in: &'static str,
    pub signed_in_since: &'static str,
    pub signed_in_with: &'static str,
    pub since: &'static str,
    pub stay: &'static str,
    pub stay_signed_in: &'static str,
    pub switch_user: &'static str,
    pub this_session: &'static str,
    pub to_continue_to: &'static str,
    pub to_start: &'static str,
    pub try_again: &'static str,
    pub until_at_most: &'static str,
    pub user_name: &'static str,
    pub you_are: &'static str,
}

/// The words in English.
pub const ENGLISH: Strings = Strings {
    account: "Your account",
    at_limit: "You are signed in on too many devices",
    at_limit_choice: "You are signed in on",
    at_limit_lead: "You can be signed in on only so many at a time. Choose where to sign out, and you can go on here.",
    builtin_lead: "This page stands in for your application and shows the request as it would get it.",
    builtin_title: "It works",
    email: "E-mail",
    end_all_and_go_on: "Sign out of all and continue",
    end_chosen_and_go_on: "Sign out there and continue",
    end_others: "Sign out everywhere else",
    go_on: "Continue",
    groups: "Groups",
    last_seen: "Last seen",
    name: "Name",
    password: "Password",
    request: "Request",
    sessions: "Where you are signed in",
    sessions_unknown: "Where else you are signed in cannot be shown right now. Please try again in a moment.",
    sign_in: "Sign in",
    sign_out: "Sign out",
    sign_out_question: "Sign out?",
    signed_in: "You are signed in already",
    signed_in_since: "Signed in since",
    signed_in_with: "Signed in with",
    since: "Since",
    stay: "Stay signed in",
    stay_signed_in: "Keep me signed in on this device",
    switch_user: "Sign in as somebody else",
    this_session: "This one",
    to_continue_to: "to continue to",
    to_start: "Go to the start page",
    try_again: "Try again",
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

/// Nobody chose a session to end, or another login was faster.
pub const STILL_AT_LIMIT: &str = "You are still signed in on too many devices. Choose at least one of them.";
/// There is a limit, and no way to choose.
pub const AT_LIMIT: &str = "You are signed in on too many devices. Sign out on one of them and try again.";
/// What a login proved is too long ago.
pub const PROOF_EXPIRED: &str = "That took too long. Please sign in again.";
/// The user ended other sessions of theirs.
pub const SESSIONS_ENDED: &str = "You are signed out there.";

/// A browser and where it runs.
#[must_use]
pub(super) fn device(name: DeviceName) -> String {
    let browser = name.browser.unwrap_or("An unknown browser");
    name.system.map_or_else(|| browser.to_owned(), |system| format!("{browser} on {system}"))
}

/// How long ago something was.
#[must_use]
pub fn ago(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (count, unit) = match minutes {
        0 => return "just now".to_owned(),
        1..60 => (minutes, "minute"),
        60..1440 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// How many sessions a list leaves out.
#[must_use]
pub fn more_sessions(count: usize) -> String {
    format!("And {count} more.")
}

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
    fn a_time_ago_is_told_in_its_largest_unit() {
        for (minutes, expected) in [
            (0, "just now"),
            (1, "1 minute ago"),
            (59, "59 minutes ago"),
            (60, "1 hour ago"),
            (1439, "23 hours ago"),
            (1440, "1 day ago"),
            (43_200, "30 days ago"),
        ] {
            assert_eq!(ago(Duration::from_mins(minutes) + Duration::from_secs(59)), expected);
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_minutes_and_never_too_short() {
        for (seconds, expected) in [(1, "a minute"), (60, "a minute"), (61, "2 minutes"), (600, "10 minutes")]
        {
            let text = throttled(Duration::from_secs(seconds));
            assert!(text.contains(&format!("in {expected}.")), "{text}");
        }
    }
}
