//! Every word that the gateway's own pages say, in English.
//!
//! Where the words stand is left to the templates. Invariant: no text tells an unknown user from a
//! wrong password or a disabled account.

use std::time::Duration;

use serde::Serialize;

use super::device::DeviceName;
use crate::login::{PASSWORD_MINIMUM, PasswordProblem};

/// The words that templates use by name.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the words say what they are")]
pub struct Strings {
    pub account: &'static str,
    pub add_passkey: &'static str,
    pub add_totp: &'static str,
    pub again: &'static str,
    pub at_limit: &'static str,
    pub at_limit_choice: &'static str,
    pub at_limit_lead: &'static str,
    pub builtin_lead: &'static str,
    pub builtin_title: &'static str,
    pub change_password: &'static str,
    pub choose_again: &'static str,
    pub code: &'static str,
    pub code_lead: &'static str,
    pub codes: &'static str,
    pub codes_alert: &'static str,
    pub codes_lead: &'static str,
    pub codes_new: &'static str,
    pub codes_new_lead: &'static str,
    pub codes_of: &'static str,
    pub confirm: &'static str,
    pub confirm_lead: &'static str,
    pub confirm_title: &'static str,
    pub continue_drop: &'static str,
    pub continue_lead: &'static str,
    pub continue_send: &'static str,
    pub continue_title: &'static str,
    pub continue_to: &'static str,
    pub email: &'static str,
    pub end_all_and_go_on: &'static str,
    pub end_chosen_and_go_on: &'static str,
    pub end_others: &'static str,
    pub enrolled: &'static str,
    pub factor_lead: &'static str,
    pub factor_title: &'static str,
    pub factors: &'static str,
    pub factors_lead: &'static str,
    pub factors_none: &'static str,
    pub first_code: &'static str,
    pub go_on: &'static str,
    pub groups: &'static str,
    pub last_seen: &'static str,
    pub last_used: &'static str,
    pub name: &'static str,
    pub never_used: &'static str,
    pub new_password: &'static str,
    pub no_scan: &'static str,
    pub notice_done: &'static str,
    pub notice_done_lead: &'static str,
    pub notice_last: &'static str,
    pub notice_last_lead: &'static str,
    pub notice_later: &'static str,
    pub notice_other: &'static str,
    pub notice_other_lead: &'static str,
    pub notice_over: &'static str,
    pub notice_over_lead: &'static str,
    pub notice_reload: &'static str,
    pub notice_sign_in: &'static str,
    pub notice_soon: &'static str,
    pub notice_soon_lead: &'static str,
    pub open_app: &'static str,
    pub other_way: &'static str,
    pub passkey: &'static str,
    pub passkey_create: &'static str,
    pub passkey_failed: &'static str,
    pub passkey_lead: &'static str,
    pub passkey_name: &'static str,
    pub passkey_script: &'static str,
    pub passkey_show: &'static str,
    pub passkey_sign_in: &'static str,
    pub passkey_title: &'static str,
    pub password: &'static str,
    pub recovery_code: &'static str,
    pub remove: &'static str,
    pub request: &'static str,
    pub reset_lead: &'static str,
    pub reset_title: &'static str,
    pub save_password: &'static str,
    pub security: &'static str,
    pub sessions: &'static str,
    pub sessions_unknown: &'static str,
    pub sign_in: &'static str,
    pub sign_out: &'static str,
    pub sign_out_question: &'static str,
    pub signed_in: &'static str,
    pub signed_in_since: &'static str,
    pub signed_in_with: &'static str,
    pub since: &'static str,
    pub square_code: &'static str,
    pub start_over: &'static str,
    pub stay: &'static str,
    pub stay_signed_in: &'static str,
    pub switch_user: &'static str,
    pub this_session: &'static str,
    pub to_continue_to: &'static str,
    pub to_start: &'static str,
    pub try_again: &'static str,
    pub totp: &'static str,
    pub totp_lead: &'static str,
    pub totp_replaces: &'static str,
    pub totp_title: &'static str,
    pub turn_on: &'static str,
    pub until_at_most: &'static str,
    pub user_name: &'static str,
    pub you_are: &'static str,
}

/// The words in English.
pub const ENGLISH: Strings = Strings {
    account: "Your account",
    add_passkey: "Add a passkey",
    add_totp: "Set up one-time codes",
    again: "The same again",
    at_limit: "You are signed in on too many devices",
    at_limit_choice: "You are signed in on",
    at_limit_lead: "You can be signed in on only so many at a time. Choose where to sign out, and you can go on here.",
    builtin_lead: "This page stands in for your application and shows the request as it would get it.",
    builtin_title: "It works",
    change_password: "Change your password",
    choose_again: "Choose the file again:",
    code: "Code",
    code_lead: "Open your authenticator app and type the code that it shows for this site.",
    codes: "Recovery codes",
    codes_alert: "These codes are shown only now. Print them or write them down, and keep them where your phone is not.",
    codes_lead: "Each of them signs you in once, in the place of your phone.",
    codes_new: "Make new recovery codes",
    codes_new_lead: "New ones replace all that you have.",
    codes_of: "Recovery codes of",
    confirm: "Confirm",
    confirm_lead: "Please confirm that it is still you.",
    confirm_title: "Is it still you?",
    continue_drop: "Do not send it",
    continue_lead: "You were sending a form when you had to show who you are. Nothing that you typed is lost, and nothing was sent.",
    continue_send: "Continue sending",
    continue_title: "Continue sending?",
    continue_to: "The form goes to",
    email: "E-mail",
    end_all_and_go_on: "Sign out of all and continue",
    end_chosen_and_go_on: "Sign out there and continue",
    end_others: "Sign out everywhere else",
    enrolled: "Since",
    factor_lead: "Your password was right. One more step.",
    factor_title: "Second step",
    factors: "Second factors",
    factors_lead: "Beside your password, something that only you have. With it, a stolen password is worth little.",
    factors_none: "You have none yet.",
    first_code: "Code that the app shows now",
    go_on: "Continue",
    groups: "Groups",
    last_seen: "Last seen",
    last_used: "Last used",
    name: "Name",
    never_used: "Never used",
    new_password: "New password",
    no_scan: "Cannot scan it? Type this key into the app:",
    notice_done: "You are signed in again",
    notice_done_lead: "You can close this window and go on where you were.",
    notice_last: "Your session is about to end",
    notice_last_lead: "It ends in {time} and cannot be made longer. Sign in again in a small window: what you typed on this page stays.",
    notice_later: "Not now",
    notice_other: "Somebody else is signed in",
    notice_other_lead: "{user} is signed in in this browser now. Reload this page before you go on; what you typed on it is lost then.",
    notice_over: "You are signed out",
    notice_over_lead: "Sign in again in a small window to go on: what you typed on this page stays.",
    notice_reload: "Reload this page",
    notice_sign_in: "Sign in again",
    notice_soon: "Are you still there?",
    notice_soon_lead: "You will be signed out in {time}.",
    open_app: "Open it in an app on this device",
    other_way: "Use a recovery code",
    passkey: "Passkey",
    passkey_create: "Create a passkey",
    passkey_failed: "Your browser did not give a passkey. Please try again, or take another way.",
    passkey_lead: "A passkey lives in your phone, your computer or a security key, and signs you in with a finger, a face or a number, also without a password.",
    passkey_name: "What you call it (may stay empty)",
    passkey_script: "Passkeys need JavaScript.",
    passkey_show: "Use your passkey",
    passkey_sign_in: "Sign in with a passkey",
    passkey_title: "Add a passkey",
    password: "Password",
    recovery_code: "Recovery code",
    remove: "Remove",
    request: "Request",
    reset_lead: "Choose a new password. All your sessions end with it.",
    reset_title: "Set a new password",
    save_password: "Save the new password",
    security: "Password and second factors",
    sessions: "Where you are signed in",
    sessions_unknown: "Where else you are signed in cannot be shown right now. Please try again in a moment.",
    sign_in: "Sign in",
    sign_out: "Sign out",
    sign_out_question: "Sign out?",
    signed_in: "You are signed in already",
    signed_in_since: "Signed in since",
    signed_in_with: "Signed in with",
    since: "Since",
    square_code: "Square code that holds the key",
    start_over: "Start over",
    stay: "Stay signed in",
    stay_signed_in: "Keep me signed in on this device",
    switch_user: "Sign in as somebody else",
    this_session: "This one",
    to_continue_to: "to continue to",
    to_start: "Go to the start page",
    try_again: "Try again",
    totp: "One-time codes",
    totp_lead: "Scan the code with an authenticator app on your phone, then type what the app shows.",
    totp_replaces: "This replaces the one-time codes that you have.",
    totp_title: "Set up one-time codes",
    turn_on: "Turn on",
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

/// The code is wrong, or was used before.
pub const CODE_REFUSED: &str =
    "That code is not right, or was used already. Wait for the next one and try again.";
/// The first code of a new application is wrong.
pub const FIRST_CODE_REFUSED: &str = "That code does not fit. Check that the clock of your phone is right and type the code that it shows now.";
/// A form is not kept any more, or was sent.
pub const FORM_GONE: &str =
    "There is no form of yours to send: it was sent already, or it was kept for too long.";
/// A passkey that nobody has, or an answer that does not fit.
pub const PASSKEY_REFUSED: &str = "That passkey is not known here. Sign in with your password.";
/// What the browser made is no passkey that we can take.
pub const PASSKEY_NOT_MADE: &str = "That passkey could not be taken. Please try again.";
/// The password of who is signed in is wrong.
pub const PASSWORD_REFUSED: &str = "That password is not right.";
/// A new password was typed in two ways.
pub const PASSWORDS_DIFFER: &str = "The two passwords are not the same.";
/// A one-time link was used, is too old or is none.
pub const LINK_DEAD: &str = "This link is no longer worth anything. Ask whoever sent it for another one.";

/// What stands as `reason` in the address of a page after a password was changed.
pub(super) const REASON_PASSWORD: &str = "password";
/// After a factor was added.
pub(super) const REASON_FACTOR_ADDED: &str = "added";
/// After a factor was removed.
pub(super) const REASON_FACTOR_REMOVED: &str = "removed";

/// What a page says after a change.
pub(super) fn changed(reason: Option<&str>) -> Option<&'static str> {
    Some(match reason? {
        REASON_PASSWORD => "Your password is changed.",
        REASON_FACTOR_ADDED => "Your second factor is set up.",
        REASON_FACTOR_REMOVED => "The second factor is removed.",
        _ => return None,
    })
}

/// Why a password cannot be chosen.
#[must_use]
pub fn password_problem(problem: PasswordProblem) -> String {
    match problem {
        PasswordProblem::TooShort => {
            format!(
                "That is too short: take at least {PASSWORD_MINIMUM} characters. A few unrelated words make a good password."
            )
        }
        PasswordProblem::TooLong => "That is too long.".to_owned(),
        PasswordProblem::UserName => "Your name is no password.".to_owned(),
        PasswordProblem::Common => "That is one of the passwords that attackers try first.".to_owned(),
        PasswordProblem::Guessable => {
            "That is easy to guess. A few unrelated words make a good password.".to_owned()
        }
    }
}

/// How many recovery codes somebody has.
#[must_use]
pub fn codes_left(count: usize) -> String {
    match count {
        0 => "You have no recovery codes.".to_owned(),
        1 => "You have one recovery code left.".to_owned(),
        _ => format!("You have {count} recovery codes left."),
    }
}

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
