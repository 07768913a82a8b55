//! The security headers of every response, each exactly once.
//!
//! Our own pages always carry the strict set. A backend's response carries what the profile says:
//! `compatible` adds what is missing and breaks no old application, `strict` replaces, `off` leaves
//! the response alone. Values follow the OWASP Secure Headers Project and ASVS 5.0 section 3.4.
//!
//! Invariant: no name of the set stands twice in a response that leaves the gateway.

use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{HeadersConfig, Profile};

/// Puts security headers on responses.
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    profile: Profile,
    hsts: HeaderValue,
}

impl SecurityHeaders {
    /// As configured.
    #[must_use]
    pub fn new(config: &HeadersConfig) -> Self {
        Self { profile: config.profile, hsts: config.hsts.clone() }
    }

    /// For a response that the gateway made: the strict set; a page's own CSP stays, and so does the referrer
    /// for our own origin, where a browser is to send a form on that an application checks by its referrer.
    pub fn apply_to_own(&self, headers: &mut HeaderMap) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, self.hsts.clone());
        for (name, value) in STRICT.iter().chain(&OWN) {
            let stays = match headers.get(name) {
                Some(own) if *name == header::REFERRER_POLICY => own == "same-origin",
                Some(_) => *name == header::CONTENT_SECURITY_POLICY,
                None => false,
            };
            if !stays {
                headers.insert(name, value.clone());
            }
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }

    /// For a response that a backend made.
    pub fn apply_to_proxied(&self, headers: &mut HeaderMap) {
        match self.profile {
            Profile::Compatible => self.fill_in(headers),
            Profile::Strict => {
                headers.insert(header::STRICT_TRANSPORT_SECURITY, self.hsts.clone());
                for (name, value) in &STRICT {
                    headers.insert(name, value.clone());
                }
            }
            Profile::Off => {}
        }
    }

    fn fill_in(&self, headers: &mut HeaderMap) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, self.hsts.clone());
        // SECURITY: a CSP with `frame-ancestors` silences `X-Frame-Options`; adding one to a backend
        // that says DENY by the older header would weaken it.
        if !headers.contains_key(header::CONTENT_SECURITY_POLICY)
            && !headers.contains_key(header::X_FRAME_OPTIONS)
        {
            headers
                .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'self'"));
        }
        for (name, value) in &COMPATIBLE {
            match headers.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(value.clone());
                }
                // Two values have no single reading: ours takes their place.
                Entry::Occupied(mut place) if place.iter().nth(1).is_some() => {
                    place.insert(value.clone());
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

const COMPATIBLE: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    // Not `no-referrer`: Django and Flask-WTF check the Referer of forms.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (PERMITTED_CROSS_DOMAIN_POLICIES, HeaderValue::from_static("none")),
];

const STRICT: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (PERMITTED_CROSS_DOMAIN_POLICIES, HeaderValue::from_static("none")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=(), interest-cohort=()",
        ),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// What only our own pages can carry: they embed nothing from elsewhere.
const OWN: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("cross-origin-embedder-policy"), HeaderValue::from_static("require-corp")),
    (header::X_DNS_PREFETCH_CONTROL, HeaderValue::from_static("off")),
];

const PERMITTED_CROSS_DOMAIN_POLICIES: HeaderName =
    HeaderName::from_static("x-permitted-cross-domain-policies");

#[cfg(test)]
mod tests {
    use super::super::handling::Caching;
    use super::*;

    fn config(profile: Profile, hsts: HeaderValue) -> HeadersConfig {
        HeadersConfig { profile, hsts, remove: Vec::new(), caching: Caching::Backend }
    }

    fn applied(profile: Profile, backend: &[(&'static str, &'static str)]) -> HeaderMap {
        let hsts = HeaderValue::from_static("max-age=31536000");
        let mut headers = HeaderMap::new();
        for &(name, value) in backend {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        SecurityHeaders::new(&config(profile, hsts)).apply_to_proxied(&mut headers);
        headers
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn compatible_keeps_what_the_backend_says() {
        let headers =
            applied(Profile::Compatible, &[("x-frame-options", "DENY"), ("referrer-policy", "origin")]);
        assert_eq!(values(&headers, "x-frame-options"), ["DENY"]);
        assert_eq!(values(&headers, "referrer-policy"), ["origin"]);
        assert_eq!(values(&headers, "x-content-type-options"), ["nosniff"]);
        assert_eq!(values(&headers, "content-security-policy"), [""; 0]);
    }

    #[test]
    fn compatible_fills_in_what_is_missing_and_settles_doubles() {
        let headers = applied(
            Profile::Compatible,
            &[
                ("x-frame-options", "DENY"),
                ("x-frame-options", "SAMEORIGIN"),
                ("strict-transport-security", "x"),
            ],
        );
        assert_eq!(values(&headers, "x-frame-options"), ["SAMEORIGIN"]);
        assert_eq!(values(&headers, "strict-transport-security"), ["max-age=31536000"]);
        assert_eq!(
            values(&applied(Profile::Compatible, &[]), "content-security-policy"),
            ["frame-ancestors 'self'"]
        );
    }

    #[test]
    fn strict_replaces_what_the_backend_says() {
        let headers = applied(
            Profile::Strict,
            &[("content-security-policy", "default-src *"), ("x-frame-options", "x")],
        );
        assert!(values(&headers, "content-security-policy").concat().contains("default-src 'self'"));
        assert_eq!(values(&headers, "x-frame-options"), ["DENY"]);
    }

    #[test]
    fn off_leaves_the_response_alone() {
        assert_eq!(applied(Profile::Off, &[("server", "x")]).len(), 1);
    }

    #[test]
    fn own_pages_keep_their_own_policy_and_are_never_stored() {
        let config = config(Profile::Off, HeaderValue::from_static("max-age=31536000"));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        SecurityHeaders::new(&config).apply_to_own(&mut headers);
        assert_eq!(values(&headers, "content-security-policy"), ["default-src 'none'"]);
        assert_eq!(values(&headers, "cache-control"), ["no-store"]);
        assert_eq!(values(&headers, "x-frame-options"), ["DENY"]);
    }
}
