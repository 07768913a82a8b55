//! A cookie in the words of the administrator's answers.
//!
//! Pure. Invariants: no word of an answer comes from the cookie's value but the ids in it; the
//! sentence says exactly why a cookie is refused.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::desk::DeskError;
use super::question::{
    CookieReport, CookieText, GuestInfo, KeyInfo, Kind, Role, SessionInfo, TokenInfo, TokenStateInfo, Verdict,
};
use super::session_report;
use crate::clock::Timestamp;
use crate::session::cookie::Form;
use crate::session::engine::{Engine, Inspection, Standing};
use crate::session::lifetime::TokenState;
use crate::session::{Guests, KeyId, KeyRing, Policy, StoreError};

/// The request headers that somebody means who pastes a value, `name=value`, or lines of headers.
pub(super) fn headers(text: &CookieText, name: &str) -> Result<HeaderMap, DeskError> {
    let mut headers = HeaderMap::new();
    for line in text.0.expose().lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = without_header_name(line);
        let cookies = if line.contains('=') { line.to_owned() } else { format!("{name}={line}") };
        let mut value = HeaderValue::from_str(&cookies)
            .map_err(|_| DeskError::Question("no browser could send this as a cookie"))?;
        value.set_sensitive(true);
        headers.append(COOKIE, value);
    }
    Ok(headers)
}

/// What an inspection found, by the rules and keys of this moment.
pub(super) fn describe(inspection: Inspection, engine: &Engine, now: Timestamp) -> CookieReport {
    let (policy, ring) = (engine.policy(), engine.ring());
    match inspection {
        Inspection::Absent => {
            refused(Verdict::NotOurs, format!("there is no cookie `{}` in it", policy.cookie.name))
        }
        Inspection::Refused { why, signer } => stranger(why, signer, &ring),
        Inspection::Guest { signer, issued, pseudonym } => {
            let key = Some(key_info(signer, &ring));
            CookieReport { kind: Some(Kind::Guest), key, ..guest(issued, pseudonym, &policy, now) }
        }
        Inspection::Session { signer, form, id, generation, token, standing } => {
            let kind = if form == Form::Record { Kind::SessionWithRecord } else { Kind::Session };
            let newest = newest(&standing);
            let (verdict, reason, session) = judge(&standing, token, &policy, now);
            CookieReport {
                kind: Some(kind),
                key: Some(key_info(signer, &ring)),
                token: Some(TokenInfo { generation, newest, state: token.map(state) }),
                id: Some(id.to_hex()),
                session,
                bound_to: bonds(&policy),
                ..refused(verdict, reason)
            }
        }
    }
}

fn without_header_name(line: &str) -> &str {
    let named = |name: &str| {
        let (start, rest) = line.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(rest.trim_start())
    };
    named("cookie:").or_else(|| named("set-cookie:")).unwrap_or(line)
}

fn refused(verdict: Verdict, reason: String) -> CookieReport {
    CookieReport {
        verdict,
        reason,
        kind: None,
        key: None,
        token: None,
        guest: None,
        id: None,
        session: None,
        bound_to: Vec::new(),
    }
}

/// A cookie of our name that is none of ours.
fn stranger(why: &str, signer: Option<KeyId>, ring: &KeyRing) -> CookieReport {
    let (verdict, reason) = match (why, signer) {
        ("oversized", _) => (Verdict::Oversized, "it is longer than any cookie of ours".to_owned()),
        ("doubled", _) => {
            (Verdict::Doubled, "two different cookies of our name came, so neither counts".to_owned())
        }
        ("forged", Some(key)) if ring.key(key).is_none() => {
            let reason = "which is not in the ring: it was retired, or the cookie is from another gateway";
            (Verdict::Forged, format!("it says that it was signed by key {key}, {reason}"))
        }
        ("forged", Some(key)) => {
            let reason = "which did not: it was changed, or made for a cookie of another name";
            (Verdict::Forged, format!("it says that it was signed by key {key}, {reason}"))
        }
        ("forged", None) => (Verdict::Forged, "no key of the ring signed it".to_owned()),
        _ => (Verdict::Malformed, "it is not in the form of our cookies; is all of it there?".to_owned()),
    };
    let key = signer.filter(|_| verdict == Verdict::Forged).map(|key| key_info(key, ring));
    CookieReport { key, ..refused(verdict, reason) }
}

fn guest(issued: Timestamp, pseudonym: String, policy: &Policy, now: Timestamp) -> CookieReport {
    let ends = issued + policy.lifetimes.absolute;
    let (verdict, reason) = if policy.guests == Guests::Unknown {
        (Verdict::GuestsOff, "it is a guest's, and `session.anonymous` is off")
    } else if ends <= now {
        (Verdict::Expired, "it is a guest's who came too long ago; the next request gets another")
    } else {
        (Verdict::Guest, "it is a guest's: somebody who is recognised and not signed in")
    };
    let ends_in_seconds = ends.since(now).as_secs();
    let guest = Some(GuestInfo { pseudonym, issued: issued.to_string(), ends_in_seconds });
    CookieReport { guest, ..refused(verdict, reason.to_owned()) }
}

/// A session's standing, and what its token does to that.
fn judge(
    standing: &Result<Standing, StoreError>,
    token: Option<TokenState>,
    policy: &Policy,
    now: Timestamp,
) -> (Verdict, String, Option<SessionInfo>) {
    let standing = match standing {
        Ok(standing) => standing,
        Err(error) => return (Verdict::StoreUnavailable, error.to_string(), None),
    };
    let (verdict, reason, session) = session_report::judge(standing, &policy.lifetimes, now);
    match (verdict, token) {
        (Verdict::Live, Some(TokenState::Reused)) => {
            let reason = "its token was replaced by a newer one: its use would end the session, as theft";
            (Verdict::Replaced, reason.to_owned(), session)
        }
        (Verdict::Live, _) => (verdict, "it opens a live session".to_owned(), session),
        _ => (verdict, reason, session),
    }
}

fn newest(standing: &Result<Standing, StoreError>) -> Option<u32> {
    match standing {
        Ok(Standing::Live(session) | Standing::Expired(_, Some(session))) => Some(session.token().generation),
        _ => None,
    }
}

fn key_info(id: KeyId, ring: &KeyRing) -> KeyInfo {
    let key = ring.key(id);
    let role = match key {
        None => Role::Unlisted,
        Some(key) if key.id() == ring.signer().id() => Role::Signs,
        Some(_) => Role::Verifies,
    };
    KeyInfo { id: id.to_string(), role, created: key.map(|key| key.created().to_string()) }
}

const fn state(state: TokenState) -> TokenStateInfo {
    match state {
        TokenState::Current => TokenStateInfo::Current,
        TokenState::Due => TokenStateInfo::Due,
        TokenState::Next => TokenStateInfo::Next,
        TokenState::Previous => TokenStateInfo::Previous,
        TokenState::Reused => TokenStateInfo::Replaced,
    }
}

fn bonds(policy: &Policy) -> Vec<String> {
    let bonds = [(policy.binding.user_agent, "user-agent"), (policy.binding.address, "address")];
    bonds.iter().filter(|(bound, _)| *bound).map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn lines(text: &str) -> Vec<String> {
        let headers = headers(&CookieText(Secret::new(text.to_owned())), "__Host-v").unwrap();
        headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_cookie_may_be_pasted_in_any_form() {
        assert_eq!(lines("abc\n"), ["__Host-v=abc"]);
        assert_eq!(lines(" __Host-v=abc "), ["__Host-v=abc"]);
        assert_eq!(lines("Cookie: a=1; __Host-v=abc"), ["a=1; __Host-v=abc"]);
        assert_eq!(lines("COOKIE: abc"), ["__Host-v=abc"]);
        assert_eq!(lines("set-cookie: __Host-v=abc; Path=/"), ["__Host-v=abc; Path=/"]);
        assert_eq!(lines("cookie: a=1\r\ncookie: __Host-v=abc"), ["a=1", "__Host-v=abc"]);
        assert!(lines("").is_empty());
    }

    #[test]
    fn what_no_header_can_hold_is_no_cookie() {
        let text = CookieText(Secret::new("a\u{7}b".to_owned()));
        assert!(headers(&text, "__Host-v").is_err());
        assert_eq!(format!("{text:?}"), "CookieText(***)");
    }
}
