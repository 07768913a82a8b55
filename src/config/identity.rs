//! `[identity]`: the headers that tell backends who is asking.
//!
//! Invariant: no two of them are one header, not even after the folding of `-` and `_` that CGI and
//! WSGI servers do, and none is a header that means something else in HTTP.

use http::HeaderName;

use crate::gateway::{IdentityHeaders, TextEncoding};

use super::problem::{Wrong, nearest, quoted};
use super::read::{Empty, Section};

/// Reads `[identity]`.
pub(super) fn read(root: &mut Section<'_>) -> IdentityHeaders {
    root.within("identity", |section| {
        let headers = IdentityHeaders {
            user: header(section, "user", HeaderName::from_static("x-user-id")),
            groups: header(section, "groups", HeaderName::from_static("x-user-groups")),
            email: header(section, "email", HeaderName::from_static("x-user-email")),
            name: header(section, "name", HeaderName::from_static("x-user-name")),
            session: header(section, "session", HeaderName::from_static("x-session-id")),
            also: read_also(section),
            encoding: section.one_of("encoding", TextEncoding::Utf8, &ENCODINGS, &[]),
        };
        check_distinct(section, &headers);
        headers
    })
}

fn header(section: &mut Section<'_>, key: &'static str, default: HeaderName) -> HeaderName {
    section.text(key, header_name).unwrap_or(default)
}

fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Wrong::new(format!("{} is not the name of a header", quoted(text))).help("write it as in `X-User-Id`")
    })?;
    // SECURITY: identity headers are stripped from requests and set anew; done to one of these,
    // that would change where a request ends, whom it is for or what it means.
    if RESERVED.contains(&folded(&name).as_str()) {
        return Err(Wrong::new(format!("{} has a meaning of its own in HTTP", quoted(text)))
            .help("choose a name of your own, as in `X-User-Id`"));
    }
    Ok(name)
}

fn read_also(section: &mut Section<'_>) -> Vec<HeaderName> {
    let presets = section.list("also", Empty::Allowed, preset).unwrap_or_default();
    presets.into_iter().flatten().map(|name| HeaderName::from_static(name)).collect()
}

fn preset(text: &str) -> Result<&'static [&'static str], Wrong> {
    if let Some((_, headers)) = PRESETS.iter().find(|(name, _)| *name == text) {
        return Ok(headers);
    }
    let names = || PRESETS.iter().map(|(name, _)| *name);
    let wrong = Wrong::new(format!("{} is not a preset", quoted(text)));
    Err(match nearest(text, names()) {
        Some(near) => wrong.did_you_mean(near),
        None => wrong.help(format!("available: {}", names().map(quoted).collect::<Vec<_>>().join(", "))),
    })
}

fn check_distinct(section: &mut Section<'_>, headers: &IdentityHeaders) {
    let named = [
        ("user", &headers.user),
        ("groups", &headers.groups),
        ("email", &headers.email),
        ("name", &headers.name),
        ("session", &headers.session),
    ];
    let also = headers.also.iter().map(|header| ("also", header));
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (key, header) in named.into_iter().chain(also) {
        let folded = folded(header);
        match seen.iter().find(|(_, other)| *other == folded) {
            Some((first, _)) => {
                let by = if section.gives(first) { "" } else { " by default" };
                let wrong = Wrong::new(format!("`{header}` is also the header of `{first}`{by}"));
                section
                    .refuse(key, wrong.help("give each its own; many servers take `-` and `_` for the same"));
            }
            None => seen.push((key, folded)),
        }
    }
}

/// The name as a CGI or WSGI server sees it.
fn folded(header: &HeaderName) -> String {
    header.as_str().replace('_', "-")
}

/// Each preset and the headers that carry the user's name in it.
const PRESETS: [(&str, &[&str]); 4] = [
    ("remote-user", &["remote-user"]),
    ("x-forwarded-user", &["x-forwarded-user", "x-forwarded-preferred-username"]),
    ("x-auth-request", &["x-auth-request-user", "x-auth-request-preferred-username"]),
    ("x-webauth-user", &["x-webauth-user"]),
];

const ENCODINGS: [(&str, TextEncoding); 3] =
    [("utf-8", TextEncoding::Utf8), ("percent", TextEncoding::Percent), ("latin1", TextEncoding::Latin1)];

/// Framing, hop-by-hop, routing and content headers, and those that the gateway sets itself.
const RESERVED: [&str; 40] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_names_headers_that_may_be_set() {
        for (preset, headers) in PRESETS {
            assert!(headers.iter().all(|header| header_name(header).is_ok()), "{preset}");
        }
    }

    #[test]
    fn a_header_that_decides_where_a_request_ends_or_whom_it_is_for_is_refused() {
        for bad in
            ["Content-Length", "content_length", "Transfer-Encoding", "Host", "Cookie", "Upgrade", "", "X:Y"]
        {
            assert!(header_name(bad).is_err(), "{bad:?}");
        }
        assert!(header_name("X-Remote-User").is_ok());
    }
}
