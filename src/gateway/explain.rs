//! Why a request would be answered as it would: the same steps as for a real one, told in words.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, Request, StatusCode, Uri, header};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Route;
use super::canonical::{Ambiguity, Canonical};
use super::decision::{self, Caller, Denial, Forbidden, Guest, Missing, Question};
use super::fixed::Fixed;
use super::hours::Hours;
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
    /// What they showed in their session, and when.
    pub shown: Vec<(Factor, Ago)>,
    /// From where.
    pub client: IpAddr,
    /// When.
    pub at: Moment,
}

/// How long ago something was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ago {
    /// A moment.
    Moment,
    /// Longer than any route takes for fresh.
    Long,
}

/// A point of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This one.
    Exact(Timestamp),
    /// What the clocks of the route's time zone show; UTC where it has none.
    Local(DateTime),
}

impl Moment {
    fn on(self, route: &Route) -> Timestamp {
        let in_utc = || Hours::new(Vec::new(), TimeZone::UTC);
        match self {
            Self::Exact(time) => time,
            Self::Local(local) => {
                let point = route.hours.as_ref().map_or_else(|| in_utc().at(local), |hours| hours.at(local));
                point.unwrap_or_default()
            }
        }
    }
}

/// What would happen, and which route decides.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The host and path that the decision is made on; none for a malformed request.
    pub canonical: Option<String>,
    /// The route that decides.
    pub route: Option<Arc<Route>>,
    /// What would happen.
    pub verdict: Verdict,
    /// What would happen if the rule did not only report, where that is something else.
    pub instead: Option<Verdict>,
}

impl Explanation {
    /// Why the rule of `route` has something against a request that came at `now`.
    #[must_use]
    pub fn of(canonical: &Canonical, route: &Arc<Route>, denial: Denial, now: Timestamp) -> Self {
        Self {
            canonical: Some(shown(canonical)),
            route: Some(Arc::clone(route)),
            verdict: Verdict::of(denial, route, now),
            instead: None,
        }
    }
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
    /// 403 until then, in words, if that is known.
    Closed(Option<String>),
    /// 405.
    MethodNotAllowed,
    /// 503: the session store did not answer.
    Unavailable,
}

impl Verdict {
    /// What the rule of `route` has against a request that came at `now`.
    #[must_use]
    pub fn of(denial: Denial, route: &Route, now: Timestamp) -> Self {
        match denial {
            Denial::AskLogin(_) => Self::LoginNeeded,
            Denial::StepUp(missing, _) => Self::StepUp(missing),
            Denial::Forbid(Forbidden::Hours) => {
                let opens = |hours: &Arc<Hours>| hours.open_after(now).map(|opens| hours.show(opens));
                Self::Closed(route.hours.as_ref().and_then(opens))
            }
            Denial::Forbid(why) => Self::Forbidden(why),
            Denial::MethodNotAllowed => Self::MethodNotAllowed,
            Denial::Unavailable => Self::Unavailable,
        }
    }
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
            Self::Closed(opens) => {
                write!(f, "refused with 403: {}", Forbidden::Hours.as_str())?;
                opens.as_ref().map_or(Ok(()), |opens| write!(f, "; it opens again at {opens}"))
            }
            Self::MethodNotAllowed => f.write_str("refused with 405: the route does not list this method"),
            Self::Unavailable => f.write_str("refused with 503: the session store did not answer"),
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
            let verdict = Verdict::Malformed(reason);
            return Explanation { canonical: None, route: None, verdict, instead: None };
        }
    };
    let place = routes.find(canonical.host(), canonical.path());
    let decided = |verdict| (verdict, None);
    let (route, (verdict, instead)) = match place {
        _ if hypothesis.method == Method::TRACE => (None, decided(Verdict::MethodNotAllowed)),
        _ if super::snapshot::below(portal, canonical.path()).is_some() => (None, decided(Verdict::Portal)),
        None => (None, decided(Verdict::NoRoute)),
        Some(place) => {
            let refused = canonical.ambiguity.filter(|_| !routes.is_open(canonical.host()));
            let verdicts = match refused {
                Some(ambiguity) => decided(Verdict::Ambiguous(ambiguity)),
                None => verdicts(&place.route, &canonical, hypothesis),
            };
            (Some(Arc::clone(&place.route)), verdicts)
        }
    };
    Explanation { canonical: Some(shown(&canonical)), route, verdict, instead }
}

/// Host and path, without the query, of a length that can be kept.
fn shown(canonical: &Canonical) -> String {
    let path = canonical.path();
    let end = path.floor_char_boundary(SHOWN_BYTES);
    let (path, rest) = path.split_at_checked(end).unwrap_or((path, ""));
    let more = if rest.is_empty() { "" } else { "..." };
    format!("{}{path}{more}", canonical.host())
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

/// What would happen, and what if the rule did not only report.
fn verdicts(route: &Route, canonical: &Canonical, hypothesis: &Hypothesis<'_>) -> (Verdict, Option<Verdict>) {
    if maintenance::closed(route, hypothesis.client).is_some() {
        return (Verdict::Maintenance, None);
    }
    let now = hypothesis.at.on(route);
    let time = |ago| match ago {
        Ago::Moment => now,
        Ago::Long => Timestamp::default(),
    };
    let proofs = hypothesis
        .shown
        .iter()
        .fold(Proofs::default(), |proofs, &(factor, ago)| proofs.with(factor, time(ago)));
    let known = |identity| Caller::Known(identity, proofs);
    let caller = hypothesis.identity.map_or(Caller::Guest(Guest::New), known);
    let (method, client) = (hypothesis.method, hypothesis.client);
    match decision::decide(Question { route, method, client, caller, now, fresh_at: now }) {
        Ok(permit) => {
            let instead = permit.spared().map(|denial| Verdict::of(denial, route, now));
            (passed(route, canonical, permit.identity()), instead)
        }
        Err(denial) => (Verdict::of(denial, route, now), None),
    }
}

/// What becomes of a request that passes.
fn passed(route: &Route, canonical: &Canonical, identity: Option<&Identity>) -> Verdict {
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

/// Bytes of a path that are kept and shown.
const SHOWN_BYTES: usize = 512;
