//! Proof that a form that comes in is one of ours, sent by the person who saw it.
//!
//! Two checks, both must hold: the browser says where the request comes from (`Sec-Fetch-Site`, or
//! `Origin` where that is absent), and the form carries a token that only we can make, bound to a
//! nonce in a cookie (login) or to the session (everything after it). Double submit with HMAC, as
//! OWASP describes it for tokens without server-side state.
//!
//! Invariant: a token made for one browser, session or purpose is worth nothing for another.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

use crate::clock::Timestamp;
use crate::session::keyring::{KeyId, KeyRing, Purpose};

/// The name of the cookie that holds the login form's nonce.
pub const COOKIE: &str = "__Host-vestibule-form";

/// What ties a login form to one browser.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// The nonce that this browser has, or else a new one: a second tab must not undo the first.
    pub fn of_browser(headers: &HeaderMap) -> Result<Self, getrandom::Error> {
        if let Some(nonce) = Self::presented(headers) {
            return Ok(nonce);
        }
        Self::generate()
    }

    /// Another one, which takes the worth from every page that the browser has open.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        Ok(Self(nonce))
    }

    /// What a sealed text is bound to so that only this browser can show it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The cookie that keeps the nonce until the browser is closed.
    #[must_use]
    pub fn to_cookie(&self) -> HeaderValue {
        // SECURITY: Lax keeps it from another site's POST just as Strict does. Strict would also keep
        // it from a page load that a link on another site begins; the nonce would then be replaced,
        // and the form in a tab that is open already would no longer be taken.
        let cookie = Cookie::build((COOKIE, URL_SAFE_NO_PAD.encode(self.0)))
            .path("/")
            .secure(true)
            .http_only(true)
            .same_site(SameSite::Lax);
        HeaderValue::try_from(cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The nonce that a browser shows.
    pub(super) fn presented(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for line in headers.get_all(header::COOKIE) {
            for pair in line.as_bytes().split(|byte| *byte == b';') {
                let value = pair
                    .trim_ascii()
                    .strip_prefix(COOKIE.as_bytes())
                    .and_then(|rest| rest.strip_prefix(b"="));
                let Some(value) = value else { continue };
                // SECURITY: two cookies of one name have no single reading.
                if found.replace(value).is_some() {
                    return None;
                }
            }
        }
        let bytes = URL_SAFE_NO_PAD.decode(found?).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// The token of a login form.
#[must_use]
pub fn login_token(ring: &KeyRing, nonce: &Nonce, now: Timestamp) -> String {
    make(ring, Purpose::LoginForm, &nonce.0, now)
}

/// The token of a form within a session, bound to the session's id.
#[must_use]
pub fn session_token(ring: &KeyRing, session: &[u8], now: Timestamp) -> String {
    make(ring, Purpose::SessionForm, session, now)
}

/// Checks the token of a login form that came with `headers`.
pub fn check_login(ring: &KeyRing, headers: &HeaderMap, token: &str, now: Timestamp) -> Result<(), Forged> {
    let nonce = Nonce::presented(headers).ok_or(Forged::NoCookie)?;
    check(ring, Purpose::LoginForm, &nonce.0, token, now)
}

/// Checks the token of a form within a session.
pub fn check_session(ring: &KeyRing, session: &[u8], token: &str, now: Timestamp) -> Result<(), Forged> {
    check(ring, Purpose::SessionForm, session, token, now)
}

/// Checks where the browser says that a form comes from; `host` is the canonical authority.
///
/// `Sec-Fetch-Site` must be `same-origin` or `none`; without it `Origin` must name `host`. A client
/// that sends neither is no browser of the last decade: for it the token alone decides. Our pages
/// must allow a same-origin referrer: with `no-referrer` a browser says `Origin: null`.
pub fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Forged> {
    if let Some(site) = headers.get("sec-fetch-site") {
        return if site == "same-origin" || site == "none" { Ok(()) } else { Err(Forged::Origin) };
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin_host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    if origin_host.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        Err(Forged::Origin)
    }
}

/// Why a form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The browser says that another site sent it.
    #[error("the form was sent by another site")]
    Origin,
    /// The nonce cookie is missing.
    #[error("the form came without its cookie")]
    NoCookie,
    /// The token is none of ours, or for another browser or session.
    #[error("the form's token is not valid")]
    Token,
    /// The page lay open for too long.
    #[error("the form is out of date")]
    Expired,
}

fn make(ring: &KeyRing, purpose: Purpose, bound_to: &[u8], now: Timestamp) -> String {
    let expiry = (now + LIFETIME).as_millis().to_be_bytes();
    let (key, tag) = ring.sign(purpose, &message(bound_to, expiry));
    URL_SAFE_NO_PAD.encode([expiry.as_slice(), key.as_bytes(), &tag].concat())
}

fn check(
    ring: &KeyRing,
    purpose: Purpose,
    bound_to: &[u8],
    token: &str,
    now: Timestamp,
) -> Result<(), Forged> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Forged::Token)?;
    let (expiry, rest) = bytes.split_first_chunk::<8>().ok_or(Forged::Token)?;
    let (key, tag) = rest.split_first_chunk::<4>().ok_or(Forged::Token)?;
    if !ring.verify(purpose, KeyId::from_bytes(*key), &message(bound_to, *expiry), tag) {
        return Err(Forged::Token);
    }
    if Timestamp::from_millis(i64::from_be_bytes(*expiry)) < now { Err(Forged::Expired) } else { Ok(()) }
}

fn message(bound_to: &[u8], expiry: [u8; 8]) -> Vec<u8> {
    [expiry.as_slice(), bound_to].concat()
}

/// How long a page with a form may lie open.
const LIFETIME: Duration = Duration::from_hours(12);

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn browser(nonce: &Nonce) -> HeaderMap {
        let cookie = nonce.to_cookie();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=b; {pair}")).unwrap())])
    }

    #[test]
    fn a_form_is_taken_from_the_browser_that_saw_it() {
        let ring = KeyRing::generate(NOW);
        let nonce = Nonce::of_browser(&HeaderMap::new()).unwrap();
        let token = login_token(&ring, &nonce, NOW);
        assert_eq!(check_login(&ring, &browser(&nonce), &token, NOW), Ok(()));
        assert!(Nonce::of_browser(&browser(&nonce)).unwrap() == nonce);
    }

    #[test]
    fn a_form_of_another_browser_session_purpose_or_time_is_refused() {
        let ring = KeyRing::generate(NOW);
        let [mine, theirs] = [(), ()].map(|()| Nonce::of_browser(&HeaderMap::new()).unwrap());
        let token = login_token(&ring, &theirs, NOW);
        assert_eq!(check_login(&ring, &browser(&mine), &token, NOW), Err(Forged::Token));
        assert_eq!(check_login(&ring, &HeaderMap::new(), &token, NOW), Err(Forged::NoCookie));
        assert_eq!(check_session(&ring, &theirs.0, &token, NOW), Err(Forged::Token));
        let late = NOW + LIFETIME + Duration::from_millis(1);
        assert_eq!(check_login(&ring, &browser(&theirs), &token, late), Err(Forged::Expired));
        assert_eq!(check_session(&ring, b"x", "", NOW), Err(Forged::Token));
        assert_eq!(check_session(&ring, b"x", "AAAA", NOW), Err(Forged::Token));
    }

    #[test]
    fn a_doubled_nonce_cookie_is_none() {
        let nonce = Nonce::of_browser(&HeaderMap::new()).unwrap();
        let mut headers = browser(&nonce);
        headers.append(header::COOKIE, headers[header::COOKIE].clone());
        assert!(Nonce::presented(&headers).is_none());
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            pairs.iter().map(pair).collect()
        };
        let ours = "wiki.example.com:8443";
        for (pairs, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], Ok(())),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "https://wiki.example.com:8443")],
                Err(Forged::Origin),
            ),
            (&[("sec-fetch-site", "same-site")], Err(Forged::Origin)),
            (&[("origin", "https://wiki.example.com:8443")], Ok(())),
            (&[("origin", "https://wiki.example.com")], Err(Forged::Origin)),
            (&[("origin", "http://wiki.example.com:8443")], Err(Forged::Origin)),
            (&[("origin", "null")], Err(Forged::Origin)),
            (&[], Ok(())),
        ] {
            assert_eq!(check_origin(&headers(pairs), ours), expected, "{pairs:?}");
        }
    }
}
