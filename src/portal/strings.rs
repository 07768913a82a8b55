//! The list of every word that the gateway's own pages say, and the sentences that take numbers.
//!
//! The words themselves stand in `languages/`, one file a language; where they appear is left to the
//! templates. To add one: a field here, a line in each of those files. Invariants: no language misses a
//! word or has one too many, or it cannot be read; no text tells an unknown user from a wrong password or
//! a disabled account.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::device::DeviceName;
use super::placeholders::fill;
use crate::login::{PASSWORD_MINIMUM, PasswordProblem};

/// The words of one language. Templates use them by name.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words say what they are")]
pub struct Strings {
    pub account: String,
    pub add_passkey: String,
    pub add_totp: String,
    pub again: String,
    pub at_limit: String,
    pub at_limit_choice: String,
    pub at_limit_lead: String,
    pub at_limit_stuck: String,
    pub builtin_lead: String,
    pub builtin_title: String,
    pub busy: String,
    pub change_password: String,
    pub choose_again: String,
    pub code: String,
    pub code_lead: String,
    pub code_refused: String,
    pub codes: String,
    pub codes_alert: String,
    pub codes_lead: String,
    pub codes_left: Counted,
    pub codes_left_none: String,
    pub codes_new: String,
    pub codes_new_lead: String,
    pub codes_of: String,
    pub confirm: String,
    pub confirm_lead: String,
    pub confirm_title: String,
    pub continue_drop: String,
    pub continue_lead: String,
    pub continue_send: String,
    pub continue_title: String,
    pub continue_to: String,
    pub days_ago: Counted,
    pub device: String,
    pub email: String,
    pub end_all_and_go_on: String,
    pub end_chosen_and_go_on: String,
    pub end_others: String,
    pub enrolled: String,
    pub explain_from: String,
    pub explain_gone: String,
    pub explain_instead: String,
    pub explain_line: String,
    pub explain_link: String,
    pub explain_nobody: String,
    pub explain_request: String,
    pub explain_route: String,
    pub explain_rule: String,
    pub explain_title: String,
    pub explain_when: String,
    pub explain_who: String,
    pub factor_added: String,
    pub factor_lead: String,
    pub factor_removed: String,
    pub factor_title: String,
    pub factors: String,
    pub factors_lead: String,
    pub factors_none: String,
    pub first_code: String,
    pub first_code_refused: String,
    pub forbidden_denied: String,
    pub forbidden_destination: String,
    pub forbidden_groups: Counted,
    pub forbidden_network: String,
    pub forbidden_rule_changed: String,
    pub forbidden_unnamed: String,
    pub form_expired: String,
    pub form_gone: String,
    pub go_on: String,
    pub groups: String,
    pub groups_none: String,
    pub groups_yours: String,
    pub hours_ago: Counted,
    pub just_now: String,
    pub last_seen: String,
    pub last_used: String,
    pub link_dead: String,
    pub links: String,
    pub login_or: String,
    pub minutes_ago: Counted,
    pub more_sessions: Counted,
    pub name: String,
    pub never_used: String,
    pub new_password: String,
    pub no_cookie: String,
    pub no_scan: String,
    pub notice_done: String,
    pub notice_done_lead: String,
    pub notice_last: String,
    pub notice_last_lead: String,
    pub notice_later: String,
    pub notice_other: String,
    pub notice_other_lead: String,
    pub notice_over: String,
    pub notice_over_lead: String,
    pub notice_reload: String,
    pub notice_sign_in: String,
    pub notice_soon: String,
    pub notice_soon_lead: String,
    pub open_app: String,
    pub other_way: String,
    pub passkey: String,
    pub passkey_create: String,
    pub passkey_elsewhere: String,
    pub passkey_failed: String,
    pub passkey_lead: String,
    pub passkey_name: String,
    pub passkey_not_made: String,
    pub passkey_refused: String,
    pub passkey_script: String,
    pub passkey_show: String,
    pub passkey_sign_in: String,
    pub passkey_title: String,
    pub passkey_unsupported: String,
    pub password: String,
    pub password_changed: String,
    pub password_common: String,
    pub password_guessable: String,
    pub password_is_name: String,
    pub password_refused: String,
    pub password_too_long: String,
    pub password_too_short: String,
    pub passwords_differ: String,
    pub proof_expired: String,
    pub recovery_code: String,
    pub recovery_used: String,
    pub refused: String,
    pub remove: String,
    pub request: String,
    pub reset_lead: String,
    pub reset_title: String,
    pub save_password: String,
    pub security: String,
    pub session_expired: String,
    pub sessions: String,
    pub sessions_ended: String,
    pub sessions_unknown: String,
    pub sign_in: String,
    pub sign_out: String,
    pub sign_out_question: String,
    pub signed_in: String,
    pub signed_in_since: String,
    pub signed_in_with: String,
    pub signed_out: String,
    pub since: String,
    pub square_code: String,
    pub start_over: String,
    pub stay: String,
    pub stay_signed_in: String,
    pub still_at_limit: String,
    pub switch_user: String,
    pub this_session: String,
    pub throttled: Counted,
    pub to_continue_to: String,
    pub to_start: String,
    pub totp: String,
    pub totp_lead: String,
    pub totp_title: String,
    pub try_again: String,
    pub turn_on: String,
    pub unknown_browser: String,
    pub until_at_most: String,
    pub user_name: String,
    pub you_are: String,
    pub errors: Errors,
}

/// What error pages say, by the code that programs get.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words say what they are")]
pub struct Errors {
    pub ask_the_people: String,
    pub largest_header: String,
    pub opens_again: String,
    pub bad_gateway: ErrorWords,
    pub bad_request: ErrorWords,
    pub body_malformed: ErrorWords,
    pub body_too_large: ErrorWords,
    pub busy: ErrorWords,
    pub closed: ErrorWords,
    pub forbidden: ErrorWords,
    pub form_refused: ErrorWords,
    pub gateway_timeout: ErrorWords,
    pub header_too_large: ErrorWords,
    pub header_too_large_for_backend: ErrorWords,
    pub internal_error: ErrorWords,
    pub login_required: ErrorWords,
    pub loop_detected: ErrorWords,
    pub maintenance: ErrorWords,
    pub method_not_allowed: ErrorWords,
    pub misdirected: ErrorWords,
    pub no_websocket: ErrorWords,
    pub not_found: ErrorWords,
    pub request_timeout: ErrorWords,
    pub session_too_large: ErrorWords,
    pub sessions_unavailable: ErrorWords,
    pub step_up_required: ErrorWords,
    pub target_too_long: ErrorWords,
    pub too_many_connections: ErrorWords,
}

/// The words of one error page.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorWords {
    /// What happened, in a few words.
    pub title: String,
    /// What happened, in a sentence.
    pub happened: String,
    /// What to do about it.
    pub advice: String,
}

/// A sentence around a number. Nothing is counted that is not there: zero has a sentence of its own.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Counted {
    /// In languages that say the same of one and of many.
    Alike(String),
    /// In languages that do not.
    ByNumber {
        /// Of one.
        one: String,
        /// Of more than one.
        other: String,
    },
}

impl Counted {
    /// The sentence for so many.
    #[must_use]
    pub fn of(&self, count: u64) -> String {
        fill(self.form(count), &[("count", &count.to_string())])
    }

    fn form(&self, count: u64) -> &str {
        match self {
            Self::ByNumber { one, .. } if count == 1 => one,
            Self::ByNumber { other, .. } | Self::Alike(other) => other,
        }
    }
}

impl Errors {
    /// What happened when a header was too large: which one.
    #[must_use]
    pub fn told_largest(&self, happened: &str, header: &str) -> String {
        fill(&self.largest_header, &[("happened", happened), ("name", header)])
    }

    /// What happened when a page is closed at this hour: until when.
    #[must_use]
    pub fn told_opening(&self, happened: &str, opens: &str) -> String {
        fill(&self.opens_again, &[("happened", happened), ("time", opens)])
    }
}

impl Strings {
    /// What a page says after a change.
    pub(super) fn changed(&self, reason: Option<&str>) -> Option<&str> {
        Some(match reason? {
            REASON_PASSWORD => &self.password_changed,
            REASON_FACTOR_ADDED => &self.factor_added,
            REASON_RECOVERY => &self.recovery_used,
            REASON_FACTOR_REMOVED => &self.factor_removed,
            _ => return None,
        })
    }

    /// Why a password cannot be chosen.
    #[must_use]
    pub fn password_problem(&self, problem: PasswordProblem) -> String {
        match problem {
            PasswordProblem::TooShort => {
                fill(&self.password_too_short, &[("count", &PASSWORD_MINIMUM.to_string())])
            }
            PasswordProblem::TooLong => self.password_too_long.clone(),
            PasswordProblem::UserName => self.password_is_name.clone(),
            PasswordProblem::Common => self.password_common.clone(),
            PasswordProblem::Guessable => self.password_guessable.clone(),
        }
    }

    /// In which groups one must be.
    #[must_use]
    pub fn told_groups(&self, groups: &[&str]) -> String {
        fill(self.forbidden_groups.form(groups.len() as u64), &[("groups", &groups.join(", "))])
    }

    /// That one must come from elsewhere.
    #[must_use]
    pub fn told_network(&self, address: IpAddr) -> String {
        fill(&self.forbidden_network, &[("address", &address.to_string())])
    }

    /// How many recovery codes somebody has.
    #[must_use]
    pub fn told_codes(&self, count: usize) -> String {
        match count {
            0 => self.codes_left_none.clone(),
            _ => self.codes_left.of(count as u64),
        }
    }

    /// That passkeys of other hosts are worth nothing here.
    #[must_use]
    pub fn told_elsewhere(&self, hosts: &[&str]) -> String {
        fill(&self.passkey_elsewhere, &[("hosts", &hosts.join(", "))])
    }

    /// A browser and where it runs.
    #[must_use]
    pub(super) fn told_device(&self, name: DeviceName) -> String {
        let browser = name.browser.unwrap_or(&self.unknown_browser);
        let on = |system| fill(&self.device, &[("browser", browser), ("system", system)]);
        name.system.map_or_else(|| browser.to_owned(), on)
    }

    /// How long ago something was.
    #[must_use]
    pub fn ago(&self, time: Duration) -> String {
        let minutes = time.as_secs() / 60;
        match minutes {
            0 => self.just_now.clone(),
            1..60 => self.minutes_ago.of(minutes),
            60..1440 => self.hours_ago.of(minutes / 60),
            _ => self.days_ago.of(minutes / 1440),
        }
    }

    /// Too many failures: in whole minutes, and never too short.
    #[must_use]
    pub fn told_to_wait(&self, wait: Duration) -> String {
        self.throttled.of(wait.as_secs().div_ceil(60).max(1))
    }
}

/// What stands as `reason` in the address of a page after a password was changed.
pub(super) const REASON_PASSWORD: &str = "password";
/// After a factor was added.
pub(super) const REASON_FACTOR_ADDED: &str = "added";
/// After a login by a recovery code, for want of anything else that works there.
pub(super) const REASON_RECOVERY: &str = "recovery";
/// After a factor was removed.
pub(super) const REASON_FACTOR_REMOVED: &str = "removed";

#[cfg(test)]
mod tests {
    use super::super::languages::Language;
    use super::*;

    fn english() -> &'static Strings {
        Language::English.words()
    }

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
            let time = Duration::from_mins(minutes) + Duration::from_secs(59);
            assert_eq!(english().ago(time), expected);
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_minutes_and_never_too_short() {
        for (seconds, expected) in
            [(0, "a minute"), (1, "a minute"), (60, "a minute"), (61, "2 minutes"), (600, "10 minutes")]
        {
            let text = english().told_to_wait(Duration::from_secs(seconds));
            assert!(text.contains(&format!("in {expected}.")), "{text}");
        }
    }
}
