//! May this request pass? The one place where that is decided.
//!
//! Pure: everything it needs comes in, nothing goes out but the answer. Invariant: only [`decide`]
//! makes a [`Permit`], and without a permit nothing is forwarded.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Access, Demand, Route, Second, Who};
use crate::clock::Timestamp;
use crate::identity::{Factor, Identity};
use crate::session::Proofs;

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// Nobody that we know, and why.
    Guest(Guest),
    /// Somebody with a live session, and what they showed in it.
    Known(&'a Identity, Proofs),
    /// The session store did not answer: nobody can say.
    Unknown,
}

/// Why somebody is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Without a session.
    New,
    /// The session has expired.
    Expired,
}

/// What kind of answer the client can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A browser loads a page: it can follow a redirect and show one.
    PageLoad,
    /// A script or an API client: it wants a status and JSON.
    Script,
}

impl Kind {
    /// By `Sec-Fetch-Mode` (Fetch Metadata) where the browser sends it, else by `Accept`.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE) {
            return Self::Script;
        }
        if loads_page(headers) { Self::PageLoad } else { Self::Script }
    }
}

/// Whether a browser loads a page, whatever the method.
#[must_use]
pub fn loads_page(headers: &HeaderMap) -> bool {
    let accepts_html = |accept: &HeaderValue| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some();
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => headers.get_all(header::ACCEPT).iter().any(accepts_html),
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q, 'i> {
    /// The rule.
    pub route: &'q Route,
    /// The method of the request.
    pub method: &'q Method,
    /// The real client address.
    pub client: IpAddr,
    /// Who is asking.
    pub caller: Caller<'i>,
    /// When.
    pub now: Timestamp,
}

/// The answer.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Forward the request.
    Allow(Permit<'a>),
    /// Somebody must sign in first.
    AskLogin(Guest),
    /// They must show this first.
    StepUp(Missing),
    /// This caller may not pass, and why.
    Forbid(Forbidden),
    /// The route does not take this method.
    MethodNotAllowed,
    /// The session store did not answer.
    Unavailable,
}

/// What somebody has not shown, or not lately enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Anything at all, to show that it is still them.
    Freshness,
    /// A second factor.
    SecondFactor,
    /// A passkey.
    Passkey,
}

impl Missing {
    /// The word in the address of the confirm page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freshness => "fresh",
            Self::SecondFactor => "factor",
            Self::Passkey => "passkey",
        }
    }
}

/// Why somebody may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The route lets nobody pass.
    Denied,
    /// Not from this network.
    Network,
    /// Neither the user nor a group of theirs is named.
    NotNamed,
    /// The rule changed while the request was under way.
    RuleChanged,
}

impl Forbidden {
    /// The reason for administrators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "the route lets nobody pass",
            Self::Network => "the client's address is in none of the route's networks",
            Self::NotNamed => "the route names neither this user nor one of their groups",
            Self::RuleChanged => "the rule changed while the request was under way",
        }
    }
}

/// The proof that a request may be forwarded, and as whom.
#[derive(Debug)]
pub struct Permit<'a> {
    identity: Option<&'a Identity>,
}

impl<'a> Permit<'a> {
    /// Who is told to the backend; none for guests.
    #[must_use]
    pub const fn identity(&self) -> Option<&'a Identity> {
        self.identity
    }
}

/// Decides on a request.
#[must_use]
pub fn decide<'i>(question: Question<'_, 'i>) -> Decision<'i> {
    let Question { route, method, client, caller, now } = question;
    if route.access == Access::Deny {
        return Decision::Forbid(Forbidden::Denied);
    }
    if !route.networks.is_empty() && !route.networks.iter().any(|network| network.contains(&client)) {
        return Decision::Forbid(Forbidden::Network);
    }
    if !route.methods.is_empty() && !route.methods.contains(method) {
        return Decision::MethodNotAllowed;
    }
    match (&route.access, caller) {
        (Access::Deny, _) => Decision::Forbid(Forbidden::Denied),
        // A guest sees least, so a silent store makes guests of callers on optional routes.
        (Access::Public, _) | (Access::Optional, Caller::Guest(_) | Caller::Unknown) => allow(None),
        (Access::Optional, Caller::Known(identity, _)) => allow(Some(identity)),
        (Access::Login(_), Caller::Guest(guest)) => Decision::AskLogin(guest),
        (Access::Login(_), Caller::Unknown) => Decision::Unavailable,
        (Access::Login(who), Caller::Known(identity, proofs)) if is_named(who, identity) => {
            missing(route.demand, proofs, now).map_or_else(|| allow(Some(identity)), Decision::StepUp)
        }
        (Access::Login(_), Caller::Known(..)) => Decision::Forbid(Forbidden::NotNamed),
    }
}

fn allow(identity: Option<&Identity>) -> Decision<'_> {
    Decision::Allow(Permit { identity })
}

/// SECURITY: what is demanded must itself be fresh: a password of this minute is no second factor of it.
fn missing(demand: Demand, proofs: Proofs, now: Timestamp) -> Option<Missing> {
    let (shown, missing) = match demand.second {
        Second::NotAsked => (proofs.latest(), Missing::Freshness),
        Second::Any => (proofs.second(), Missing::SecondFactor),
        Second::Passkey => (proofs.at(Factor::Passkey), Missing::Passkey),
    };
    let is_asked = demand != Demand::default();
    let is_fresh = |at| demand.fresh.is_none_or(|fresh| now.since(at) < fresh);
    (is_asked && !shown.is_some_and(is_fresh)).then_some(missing)
}

fn is_named(who: &Who, identity: &Identity) -> bool {
    (who.users.is_empty() && who.groups.is_empty())
        || who.users.contains(&identity.user)
        || who.groups.iter().any(|group| identity.groups.contains(group))
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::super::{Activity, HostPattern};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn identity(user: &str, groups: &[&str]) -> Identity {
        Identity {
            user: user.try_into().unwrap(),
            groups: groups.iter().map(|&group| group.try_into().unwrap()).collect(),
            name: None,
            email: None,
        }
    }

    fn route(access: Access) -> Route {
        Route {
            host: HostPattern::Any,
            path: "/".to_owned(),
            upstream: None,
            access,
            methods: Vec::new(),
            networks: Vec::new(),
            demand: Demand::default(),
            activity: Activity::Any,
            handling: crate::gateway::handling::Handling::default(),
            line: 1,
        }
    }

    fn decided(route: &Route, caller: Caller<'_>) -> String {
        let client = Ipv4Addr::new(10, 0, 0, 7).into();
        match decide(Question { route, method: &Method::GET, client, caller, now: NOW }) {
            Decision::Allow(permit) => match permit.identity() {
                Some(identity) => format!("as {}", identity.user),
                None => "as guest".to_owned(),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_access_meets_each_caller() {
        let alice = identity("alice", &[]);
        let callers = [
            Caller::Guest(Guest::New),
            Caller::Guest(Guest::Expired),
            Caller::Unknown,
            Caller::Known(&alice, Proofs::default()),
        ];
        let table = [
            (Access::Deny, ["Forbid(Denied)"; 4]),
            (Access::Public, ["as guest"; 4]),
            (Access::Optional, ["as guest", "as guest", "as guest", "as alice"]),
            (
                Access::Login(Who::default()),
                ["AskLogin(New)", "AskLogin(Expired)", "Unavailable", "as alice"],
            ),
        ];
        for (access, expected) in table {
            let route = route(access);
            assert_eq!(callers.map(|caller| decided(&route, caller)), expected, "{:?}", route.access);
        }
    }

    #[test]
    fn a_user_or_one_of_the_groups_must_be_named() {
        let who = Who { users: vec!["bob".try_into().unwrap()], groups: vec!["admin".try_into().unwrap()] };
        let route = route(Access::Login(who));
        for (user, groups, expected) in [
            ("bob", &[][..], "as bob"),
            ("eve", &["staff", "admin"][..], "as eve"),
            ("eve", &["staff"][..], "Forbid(NotNamed)"),
            ("Bob", &[][..], "Forbid(NotNamed)"),
        ] {
            assert_eq!(decided(&route, Caller::Known(&identity(user, groups), Proofs::default())), expected);
        }
    }

    #[test]
    fn a_client_outside_the_networks_is_forbidden_before_anything_is_asked() {
        let mut route = route(Access::Login(Who::default()));
        route.networks = vec!["192.168.0.0/16".parse().unwrap()];
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "Forbid(Network)");
        route.networks.push("10.0.0.0/8".parse().unwrap());
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "AskLogin(New)");
    }

    #[test]
    fn what_a_route_demands_must_have_been_shown_and_lately_enough() {
        let alice = identity("alice", &[]);
        let minute = |count: u64| Duration::from_mins(count);
        let shown = |factor, ago| Proofs::default().with(factor, NOW - minute(ago));
        let password = shown(Factor::Password, 1);
        let fresh = Some(minute(5));
        for (second, fresh, proofs, expected) in [
            (Second::NotAsked, None, Proofs::default(), "as alice"),
            (Second::NotAsked, fresh, password, "as alice"),
            (Second::NotAsked, fresh, shown(Factor::Password, 5), "StepUp(Freshness)"),
            (Second::NotAsked, fresh, shown(Factor::Totp, 4), "as alice"),
            (Second::Any, None, password, "StepUp(SecondFactor)"),
            (Second::Any, None, shown(Factor::RecoveryCode, 900), "as alice"),
            (Second::Any, fresh, password.with(Factor::Totp, NOW - minute(6)), "StepUp(SecondFactor)"),
            (Second::Any, fresh, shown(Factor::Passkey, 4), "as alice"),
            (Second::Passkey, None, shown(Factor::Totp, 0), "StepUp(Passkey)"),
            (Second::Passkey, fresh, shown(Factor::Passkey, 6).with(Factor::Totp, NOW), "StepUp(Passkey)"),
            (Second::Passkey, None, shown(Factor::Passkey, 600), "as alice"),
        ] {
            let mut route = route(Access::Login(Who::default()));
            route.demand = Demand { second, fresh };
            assert_eq!(decided(&route, Caller::Known(&alice, proofs)), expected, "{second:?} {proofs:?}");
        }
    }

    #[test]
    fn nobody_is_asked_to_confirm_who_may_not_pass_anyway() {
        let who = Who { users: vec!["bob".try_into().unwrap()], groups: Vec::new() };
        let mut route = route(Access::Login(who));
        route.demand.second = Second::Any;
        let alice = identity("alice", &[]);
        assert_eq!(decided(&route, Caller::Known(&alice, Proofs::default())), "Forbid(NotNamed)");
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "AskLogin(New)");
    }

    #[test]
    fn a_method_that_is_not_listed_does_not_pass() {
        let mut route = route(Access::Public);
        route.methods = vec![Method::POST];
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "MethodNotAllowed");
    }

    #[test]
    fn a_page_load_is_told_from_a_script() {
        let kind = |method: Method, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            Kind::of(&method, &headers.collect())
        };
        let html = ("accept", "text/html,*/*;q=0.8");
        assert_eq!(kind(Method::GET, &[html]), Kind::PageLoad);
        assert_eq!(kind(Method::HEAD, &[("sec-fetch-mode", "navigate")]), Kind::PageLoad);
        assert_eq!(kind(Method::GET, &[html, ("sec-fetch-mode", "cors")]), Kind::Script);
        assert_eq!(kind(Method::GET, &[("accept", "*/*")]), Kind::Script);
        assert_eq!(kind(Method::POST, &[html]), Kind::Script);
        assert_eq!(kind(Method::GET, &[html, ("upgrade", "websocket")]), Kind::Script);
    }
}
