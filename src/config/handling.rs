//! The keys of `[[route]]` that say what becomes of requests that may pass: paths written anew, answers
//! of the route itself, maintenance, repairs, headers.
//!
//! Invariants: no key is without effect; a redirect leads where the file says, whatever is asked for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::gateway::fixed::{Carry, Fixed, Redirect, Respond};
use crate::gateway::handling::{BodyBound, Caching, ExpiryNotice, Handling, Maintenance};
use crate::gateway::repair::Repair;
use crate::gateway::rewrite::Rewrite;
use crate::gateway::snapshot::BUILT_IN;

use super::address::{host_and_port, network};
use super::kind::choose;
use super::path::{is_within, prefix};
use super::problem::{Wrong, quoted};
use super::read::{Empty, Section, Zero};

/// Reads what becomes of the requests of a route; `path` and `upstream` are its own.
pub(super) fn read(section: &mut Section<'_>, path: &str, upstream: Option<&str>) -> Handling {
    let rewrite = read_rewrite(section, path);
    let redirect = section.optional("redirect", |section| read_redirect(section, path)).flatten();
    let respond = section.optional("respond", read_respond).flatten();
    let maintenance = section.switch("maintenance", read_maintenance);
    let repair = section.list("repair", Empty::Refused, repairs).unwrap_or_default();
    let remove_headers = section.list("remove_headers", Empty::Refused, removable).unwrap_or_default();
    let caching = caching(section);
    let body = body_bound(section);
    let expiry_notice = expiry_notice(section);
    check_effects(section, upstream);
    let repair = repair.concat();
    check_prefix_repair(section, &rewrite, &repair);
    let fixed = redirect.map(Fixed::Redirect).or(respond.map(Fixed::Respond));
    Handling { rewrite, fixed, maintenance, repair, remove_headers, caching, body, expiry_notice }
}

/// The keys of answers that need no backend.
pub(super) const FIXED: [&str; 2] = ["redirect", "respond"];

/// All keys that are read here.
pub(super) const KEYS: [&str; 10] = [
    "strip_prefix",
    "add_prefix",
    "redirect",
    "respond",
    "maintenance",
    "repair",
    "remove_headers",
    "no_store",
    "body_bytes",
    "expiry_notice",
];

/// Whether caches may keep what identified users get; none if the file does not say.
pub(super) fn caching(section: &mut Section<'_>) -> Option<Caching> {
    let caching = if section.flag("no_store", false) { Caching::NoStore } else { Caching::Backend };
    section.gives("no_store").then_some(caching)
}

/// How long request bodies may be, as in `server.limits.body_bytes` if the file does not say.
fn body_bound(section: &mut Section<'_>) -> BodyBound {
    let bytes = section.size("body_bytes", 0, &(0..=u64::MAX));
    match (section.gives("body_bytes"), bytes) {
        (false, _) => BodyBound::AsElsewhere,
        (true, 0) => BodyBound::None,
        (true, bytes) => BodyBound::Bytes(bytes),
    }
}

/// Whether pages get the expiry notice, in a program that can add it.
fn expiry_notice(section: &mut Section<'_>) -> ExpiryNotice {
    if !section.flag("expiry_notice", false) {
        return ExpiryNotice::LeftOut;
    }
    if !cfg!(feature = "html-rewrite") {
        let wrong = Wrong::new("this program was built without what changes pages");
        let help = "build it with `--features html-rewrite`, or write the script into the pages yourself";
        section.refuse("expiry_notice", wrong.help(help));
    }
    ExpiryNotice::Added
}

/// The name of a header that can be taken from a response without changing what its body is.
pub(super) fn removable(text: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Wrong::new(format!("{} is not the name of a header", quoted(text))).help("write it as in `Server`")
    })?;
    if FRAMING.contains(&name) {
        return Err(Wrong::new(format!("without {} a response cannot be read", quoted(text))));
    }
    Ok(name)
}

fn read_rewrite(section: &mut Section<'_>, path: &str) -> Rewrite {
    let strip = match section.plain_flag("strip_prefix") {
        Some(true) => rewritten(path).map_err(|wrong| section.refuse("strip_prefix", wrong)).ok(),
        Some(false) => None,
        None => section.text("strip_prefix", rewritten),
    };
    let add = section.text("add_prefix", rewritten).unwrap_or_default();
    let covers = |strip: &String| is_within(path, strip);
    if section.is_sound(&["path"]) && strip.as_ref().is_some_and(|strip| !covers(strip)) {
        let wrong =
            Wrong::new(format!("not every request of the route begins with it, since `path` is `{path}`"));
        section.refuse("strip_prefix", wrong.help("write `path`, or a part of it that ends at a slash"));
    }
    Rewrite { strip: strip.unwrap_or_default(), add }
}

/// A prefix that paths lose or get.
fn rewritten(text: &str) -> Result<String, Wrong> {
    if text.contains(';') {
        return Err(Wrong::new(format!("{} holds `;`, which backends read in two ways", quoted(text))));
    }
    match prefix(text)? {
        root if root == "/" => Err(Wrong::new("`/` alone changes nothing").help("leave the key out")),
        prefix => Ok(prefix),
    }
}

fn read_redirect(section: &mut Section<'_>, path: &str) -> Option<Redirect> {
    let to = section.required("to", "\"https://new.example.com/\"", target);
    let status = section.integer("status", 307, &(100..=599_u16));
    let carry = if section.flag("keep_path", false) { Carry::PathAndQuery } else { Carry::Nothing };
    if !REDIRECTS.contains(&status) && section.is_sound(&["status"]) {
        let wrong = Wrong::new(format!("{status} is not a redirect to somewhere else"));
        section.refuse("status", wrong.help("use 301, 302, 303, 307 or 308"));
    }
    let to = to?;
    if carry == Carry::PathAndQuery && to.contains(['?', '#']) {
        let wrong = Wrong::new("with `keep_path`, path and query of the request are put behind it");
        section.refuse("to", wrong.help("leave out what follows `?` and `#`"));
    }
    if to == path {
        section.refuse("to", Wrong::new("it leads back to the route itself"));
    }
    Some(Redirect { to, status: StatusCode::from_u16(status).ok()?, carry })
}

/// An absolute URL, or a path on the same host.
fn target(text: &str) -> Result<String, Wrong> {
    let odd = text.chars().find(|c| !c.is_ascii_graphic() || "\\\"<>`{}|^".contains(*c));
    if let Some(odd) = odd {
        let wrong = Wrong::new(format!("{} holds {}", quoted(text), quoted(&odd.to_string())));
        return Err(wrong.help("escape it, as in `%20` for a blank"));
    }
    if text.starts_with("//") {
        let wrong =
            Wrong::new(format!("{} leads to another host, though it looks like a path", quoted(text)));
        return Err(wrong.did_you_mean(&format!("https:{text}")));
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let path = text.get(..end).unwrap_or_default();
    if path.starts_with('/') {
        check_segments(text, path)?;
        return Ok(text.to_owned());
    }
    let not_absolute = || {
        Wrong::new(format!("{} is neither a URL nor a path", quoted(text)))
            .help("write it as in `https://new.example.com/wiki` or `/wiki`")
    };
    let url: Uri = text.parse().map_err(|_| not_absolute())?;
    let (Some("http" | "https"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(not_absolute());
    };
    host_and_port(authority.as_str())?;
    check_segments(text, url.path())?;
    Ok(text.to_owned())
}

fn check_segments(text: &str, path: &str) -> Result<(), Wrong> {
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        let wrong = Wrong::new(format!("{} has a `//`, `.` or `..` in its path", quoted(text)));
        return Err(wrong.help("write the path they lead to"));
    }
    Ok(())
}

fn read_respond(section: &mut Section<'_>) -> Option<Respond> {
    let status = section.integer("status", 200, &(200..=599_u16));
    let body = section.text("body", |text| Ok(Bytes::copy_from_slice(text.as_bytes()))).unwrap_or_default();
    let content_type = section.text("content_type", media_type);
    check_status(section, status, &body);
    if content_type.is_some() && body.is_empty() {
        section.refuse("content_type", Wrong::new("it has no effect without `body`").help("leave it out"));
    }
    let content_type = content_type.unwrap_or(HeaderValue::from_static(TEXT));
    Some(Respond { status: StatusCode::from_u16(status).ok()?, body, content_type })
}

fn check_status(section: &mut Section<'_>, status: u16, body: &Bytes) {
    let wrong = match status {
        300..=399 => Wrong::new("a redirect needs to say where to").help("use `redirect`"),
        401 | 407 => Wrong::new(format!("{status} asks for credentials that nothing here checks"))
            .help("use `access = \"login\"`, or another status"),
        204 | 205 if !body.is_empty() => {
            Wrong::new(format!("an answer of the status {status} has no body")).help("leave `body` out")
        }
        _ => return,
    };
    section.refuse("status", wrong);
}

/// RFC 9110, section 8.3.1: a type and a subtype.
fn media_type(text: &str) -> Result<HeaderValue, Wrong> {
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_type = essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    HeaderValue::from_str(text).ok().filter(|_| is_type && text.is_ascii()).ok_or_else(|| {
        Wrong::new(format!("{} is not a media type", quoted(text)))
            .help("write it as in `text/html; charset=utf-8`")
    })
}

fn read_maintenance(section: &mut Section<'_>) -> Maintenance {
    Maintenance {
        message: section.text("message", message),
        retry_after: section.duration("retry_after", Duration::from_mins(5), Zero::Refused),
        networks: section.list("networks", Empty::Refused, network).unwrap_or_default(),
    }
}

fn message(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Wrong::new("a message is a text for people").help("write a sentence, or leave it out"));
    }
    Ok(text.to_owned())
}

/// One of the names of [`Repair`], or `cookies` for everything that cookies may lack.
fn repairs(text: &str) -> Result<Vec<Repair>, Wrong> {
    if text == "cookies" {
        return Ok(vec![Repair::CookieSecure, Repair::CookieHttpOnly, Repair::CookieSameSite]);
    }
    choose(text, &Repair::ALL, &[]).map(|repair| vec![repair])
}

/// SECURITY: who writes `repair` on a route believes that it protects the cookies of a backend.
fn check_effects(section: &mut Section<'_>, upstream: Option<&str>) {
    let [redirect, respond] = FIXED;
    if section.gives(redirect) && section.gives(respond) {
        section.refuse(respond, Wrong::new("a route has one answer").help("leave `redirect` or this out"));
    }
    let fixed = FIXED.into_iter().find(|key| section.gives(key));
    let (idle_keys, instead): (&[_], _) = match fixed {
        Some(fixed) => (&OF_BACKENDS, fixed),
        None if upstream == Some(BUILT_IN) => (&OF_REAL_ONES, "upstream = \"builtin\""),
        None => return,
    };
    for key in idle_keys.iter().copied() {
        if section.gives(key) {
            let wrong = Wrong::new(format!("it has no effect, since with `{instead}` no backend is asked"));
            section.refuse(key, wrong.help("leave one of them out"));
        }
    }
}

fn check_prefix_repair(section: &mut Section<'_>, rewrite: &Rewrite, repair: &[Repair]) {
    let is_given = section.gives("strip_prefix") || section.gives("add_prefix");
    if repair.contains(&Repair::Prefix) && rewrite.is_nothing() && !is_given {
        let wrong = Wrong::new("`prefix` has no effect without `strip_prefix` or `add_prefix`");
        section.refuse("repair", wrong.help("leave it out"));
    }
}

/// The keys that need a backend, and those of them that the built-in page does not heed either.
const OF_BACKENDS: [&str; 8] = [
    "upstream",
    "strip_prefix",
    "add_prefix",
    "repair",
    "remove_headers",
    "no_store",
    "body_bytes",
    "expiry_notice",
];
const OF_REAL_ONES: [&str; 5] = ["repair", "remove_headers", "no_store", "body_bytes", "expiry_notice"];

const TEXT: &str = "text/plain; charset=utf-8";

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// What says where a response ends and how its body is to be read.
const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_redirect_leads_to_a_url_or_to_a_path() {
        for good in
            ["https://new.example", "https://new.example:8443/w/?a=b#c", "http://[::1]/", "/", "/w?a#b"]
        {
            assert_eq!(target(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "new.example",
            "//evil.test",
            "/\\evil.test",
            "https:/x",
            "https://",
            "https://user@host/",
            "ftp://host/",
            "javascript:alert(1)",
            "/a b",
            "/a\r\nX: y",
            "/a//b",
            "/../b",
            "?x",
            "https://ä.example/",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_media_type_has_two_parts() {
        for good in ["text/html", "text/html; charset=utf-8", "application/vnd.api+json"] {
            assert!(media_type(good).is_ok(), "{good}");
        }
        for bad in ["", "text", "text/", "/html", "text/html\r\nX: y", "a b/c", "text/html, x", "text/hä"] {
            assert!(media_type(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_target_can_break_out_of_its_header_or_change_its_host(text in "\\PC{0,24}|/[/\\\\a-z.@:]{0,12}") {
            if let Ok(target) = target(&text) {
                prop_assert!(HeaderValue::from_str(&target).is_ok());
                prop_assert!(!target.starts_with("//") && !target.contains('\\') && !target.contains('\r'));
            }
        }
    }
}
