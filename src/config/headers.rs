//! `[headers]`: the headers of responses that are the same on every route.

use http::HeaderValue;

use crate::gateway::{HeadersConfig, Profile};

use super::handling::{caching, removable};
use super::problem::{Wrong, quoted};
use super::read::{Empty, Section};

/// Reads `[headers]`.
pub(super) fn read(root: &mut Section<'_>) -> HeadersConfig {
    let profiles = [("compatible", Profile::Compatible), ("strict", Profile::Strict), ("off", Profile::Off)];
    root.within("headers", |section| HeadersConfig {
        profile: section.one_of("profile", Profile::Compatible, &profiles, &[]),
        hsts: section.text("hsts", hsts).unwrap_or(HeaderValue::from_static(HSTS)),
        remove: section.list("remove", Empty::Allowed, removable).unwrap_or_default(),
        caching: caching(section).unwrap_or_default(),
    })
}

/// RFC 6797, section 6.1: directives between `;`, of which `max-age` must be there.
fn hsts(text: &str) -> Result<HeaderValue, Wrong> {
    let has_age = text.split(';').filter_map(|directive| directive.split_once('=')).any(|(name, value)| {
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("max-age") && value.parse::<u64>().is_ok()
    });
    match HeaderValue::from_str(text) {
        Ok(value) if has_age => Ok(value),
        _ => Err(Wrong::new(format!("{} has no `max-age` in seconds", quoted(text)))
            .help(format!("write it as in `{HSTS}`; `max-age=0` turns it off"))),
    }
}

const HSTS: &str = "max-age=31536000; includeSubDomains";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_transport_security_needs_an_age() {
        for good in [HSTS, "max-age=0", "includeSubDomains; MAX-AGE = \"60\"; preload"] {
            assert!(hsts(good).is_ok(), "{good}");
        }
        for bad in ["", "includeSubDomains", "max-age", "max-age=1y", "max-age=1\r\nX: y"] {
            assert!(hsts(bad).is_err(), "{bad:?}");
        }
    }
}
