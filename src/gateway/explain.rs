//! Why a request would be answered as it would: the same steps as for a real one, told in words.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, Request, StatusCode, Uri, header};

use super::Route;
use super::canonical::{Ambiguity, Canonical};
use super::decision::{self, Caller, Decision, Forbidden, Guest, Missing, Question};
use super::fixed::Fixed;
use super::maintenance;
use super::route::RouteTable;
use crate::clock::Timestamp;
use crate::identity::{Factor, Identity};
use crate::session::Proofs;

/// What is asked.
#[derive(Debug)]
pub struct Hypothesis<'a> {
    /// The request method.
    pub method: &'a Method,
    /// The absolute URL.
    pub url: &'a Uri,
    /// Who asks; none for a guest.
    pub identity: Option<&'a Identity>,
    /// What they showed a moment ago.
    pub shown: Vec<Factor>,
    /// From where.
    pub client: IpAddr,
}

/// What would happen, and which route decides.
#[derive(Debug)]
pub struct Explanation {
    /// The host and path that the decision is made on; none for a malformed request.
    pub canonical: Option<String>,
    /// The route that decides.
    pub route: Option<Arc<Route>>,
    /// What would happen.
    pub verdict: Verdict,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 400: the request has no canonical form.
    Malformed(String),
    /// 400: a backend could read the path differently, and rules differ on this host.
    Ambiguous(Ambiguity),
    /// 404: nothing is open by default.
    NoRoute,
    /// A page of the gateway.
    Portal,
    /// 503: the route is closed for a while.
    Maintenance,
    /// Forwarded, as this user or as a guest.
    Forwarded(Forwarded),
    /// Sent elsewhere by the route itself.
    Redirected(StatusCode, String),
    /// Always answered the same by the route itself.
    Answered(StatusCode),
    /// 303 to the login page, or 401.
    LoginNeeded,
    /// 303 to the confirm page, or 401.
    StepUp(Missing),
    /// 403.
    Forbidden(Forbidden),
    /// 405.
    MethodNotAllowed,
}

/// What a backend would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Who is asking; none for a guest.
    pub user: Option<String>,
    /// Path and query, where they are written anew.
    pub target: Option<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "refused with 400: {reason}"),
            Self::Ambiguous(reason) => {
                write!(
                    f,
                    "refused with 400: {reason}, and not every route of this host is public and takes paths as they are"
                )
            }
            Self::NoRoute => {
                f.write_str("refused with 404: no route matches, and nothing is open by default")
            }
            Self::Portal => f.write_str("answered by the gateway itself"),
            Self::Maintenance => {
                f.write_str("refused with 503: the route is closed for maintenance, whoever asks")
            }
            Self::Forwarded(forwarded) => write!(f, "{forwarded}"),
            Self::Redirected(status, to) => write!(f, "redirected with {} to {to}", status.as_u16()),
            Self::Answered(status) => write!(f, "answered with {} by the route itself", status.as_u16()),
            Self::LoginNeeded => f.write_str(
                "asked to sign in: 303 to the login page for a page load, 401 for everything else",
            ),
            Self::StepUp(missing) => write!(
                f,
                "asked to {}: 303 to the confirm page for a page load, 401 for everything else",
                match missing {
                    Missing::Freshness => "confirm that it is still them",
                    Missing::SecondFactor => "show a second factor",
                    Missing::Passkey => "show a passkey",
                }
            ),
            Self::Forbidden(why) => write!(f, "refused with 403: {}", why.as_str()),
            Self::MethodNotAllowed => f.write_str("refused with 405: the route does not list this method"),
        }
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "forwarded as `{user}`")?,
            None => f.write_str("forwarded without an identity")?,
        }
        match &self.target {
            Some(target) => write!(f, ", for {target}"),
            None => Ok(()),
        }
    }
}

/// Goes through the steps of a request without making one.
#[must_use]
pub fn explain(routes: &RouteTable, portal: &str, hypothesis: &Hypothesis<'_>) -> Explanation {
    let canonical = match canonical(hypothesis) {
        Ok(canonical) => canonical,
        Err(reason) => {
            return Explanation { canonical: None, route: None, verdict: Verdict::Malformed(reason) };
        }
    };
    let place = routes.find(canonical.host(), canonical.path());
    let (route, verdict) = match place {
        _ if hypothesis.method == Method::TRACE => (None, Verdict::MethodNotAllowed),
        _ if super::snapshot::below(portal, canonical.path()).is_some() => (None, Verdict::Portal),
        None => (None, Verdict::NoRoute),
        Some(place) => {
            let refused = canonical.ambiguity.filter(|_| !routes.is_open(canonical.host()));
            let verdict =
                refused.map_or_else(|| verdict(&place.route, &canonical, hypothesis), Verdict::Ambiguous);
            (Some(Arc::clone(&place.route)), verdict)
        }
    };
    Explanation { canonical: Some(format!("{}{}", canonical.host(), canonical.path())), route, verdict }
}

fn canonical(hypothesis: &Hypothesis<'_>) -> Result<Canonical, String> {
    let host = hypothesis.url.authority().ok_or("the URL names no host; write `https://host/path`")?;
    let target = hypothesis.url.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::builder()
        .method(hypothesis.method)
        .uri(target)
        .header(header::HOST, host.as_str())
        .body(())
        .map_err(|error| error.to_string())?;
    Canonical::of(&request).map_err(|malformed| malformed.to_string())
}

fn verdict(route: &Route, canonical: &Canonical, hypothesis: &Hypothesis<'_>) -> Verdict {
    if maintenance::closed(route, hypothesis.client).is_some() {
        return Verdict::Maintenance;
    }
    // Long ago they signed in by a password, and a moment ago they showed what is said.
    let (long_ago, now) = (Timestamp::default(), Timestamp::from_millis(i64::MAX));
    let proofs = Proofs::default().with(Factor::Password, long_ago);
    let proofs = hypothesis.shown.iter().fold(proofs, |proofs, factor| proofs.with(*factor, now));
    let known = |identity| Caller::Known(identity, proofs);
    let caller = hypothesis.identity.map_or(Caller::Guest(Guest::New), known);
    let (method, client) = (hypothesis.method, hypothesis.client);
    match decision::decide(Question { route, method, client, caller, now }) {
        Decision::Allow(permit) => allowed(route, canonical, permit.identity()),
        Decision::AskLogin(_) | Decision::Unavailable => Verdict::LoginNeeded,
        Decision::StepUp(missing) => Verdict::StepUp(missing),
        Decision::Forbid(why) => Verdict::Forbidden(why),
        Decision::MethodNotAllowed => Verdict::MethodNotAllowed,
    }
}

fn allowed(route: &Route, canonical: &Canonical, identity: Option<&Identity>) -> Verdict {
    let rewrite = &route.handling.rewrite;
    match &route.handling.fixed {
        Some(Fixed::Redirect(redirect)) => {
            Verdict::Redirected(redirect.status, redirect.location(&route.path, &canonical.target))
        }
        Some(Fixed::Respond(respond)) => Verdict::Answered(respond.status),
        None => Verdict::Forwarded(Forwarded {
            user: identity.map(|identity| identity.user.to_string()),
            target: rewrite
                .forth(&canonical.target)
                .filter(|_| !rewrite.is_nothing())
                .map(|target| target.to_string()),
        }),
    }
}
