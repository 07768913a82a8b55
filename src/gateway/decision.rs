//! May this request pass? The one place where that is decided.
//!
//! Pure: everything it needs comes in, nothing goes out but the answer. Invariants: only [`decide`]
//! makes a [`Permit`], and without a permit nothing is forwarded; `access = "deny"` is never spared.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Access, Demand, Route, Second, Who};
use crate::clock::Timestamp;
use crate::identity::{Factor, Identity};
use crate::session::Proofs;
use crate::telemetry::rule::Rule;

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
    /// When, by the clocks that the hours of a route are read from.
    pub now: Timestamp,
    /// The time at which what the caller showed must have been fresh; that of the request.
    pub fresh_at: Timestamp,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Somebody must sign in first.
    AskLogin(Guest),
    /// They must show this first, since this part of the rule says so.
    StepUp(Missing, Rule),
    /// This caller may not pass, and why.
    Forbid(Forbidden),
    /// The route does not take this method.
    MethodNotAllowed,
    /// The session store did not answer.
    Unavailable,
}

impl Denial {
    /// The part of the route's rule that denies; none where that cannot be told only to report.
    #[must_use]
    pub const fn rule(self) -> Option<Rule> {
        match self {
            Self::AskLogin(_) | Self::Unavailable => Some(Rule::Access),
            Self::StepUp(_, rule) => Some(rule),
            Self::Forbid(Forbidden::Network) => Some(Rule::Networks),
            Self::Forbid(Forbidden::Hours) => Some(Rule::Hours),
            Self::Forbid(Forbidden::NotNamed) => Some(Rule::Groups),
            Self::MethodNotAllowed => Some(Rule::Methods),
            // SECURITY: what nobody passes, nobody passes.
            Self::Forbid(Forbidden::Denied | Forbidden::RuleChanged | Forbidden::Destination) => None,
        }
    }
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
    /// Not at this hour.
    Hours,
    /// Neither the user nor a group of theirs is named.
    NotNamed,
    /// The rule changed while the request was under way.
    RuleChanged,
    /// What is copied or moved would come to where the caller may not pass.
    Destination,
}

impl Forbidden {
    /// The reason for administrators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "the route lets nobody pass",
            Self::Network => "the client's address is in none of the route's networks",
            Self::Hours => "the route is not open at this hour",
            Self::NotNamed => "the route names neither this user nor one of their groups",
            Self::RuleChanged => "the rule changed while the request was under way",
            Self::Destination => "the destination is not open to this caller, or not of the same backend",
        }
    }
}

/// The proof that a request may be forwarded, and as whom.
#[derive(Debug)]
pub struct Permit<'a> {
    identity: Option<&'a Identity>,
    spared: Option<Denial>,
}

impl<'a> Permit<'a> {
    /// Who is told to the backend; none for guests.
    #[must_use]
    pub const fn identity(&self) -> Option<&'a Identity> {
        self.identity
    }

    /// The first reason why the request would not pass, had the route not been told only to report it.
    #[must_use]
    pub const fn spared(&self) -> Option<Denial> {
        self.spared
    }
}

/// Decides on a request.
///
/// # Errors
///
/// The first part of the route's rule that denies and is not told only to report it.
pub fn decide<'i>(question: Question<'_, 'i>) -> Result<Permit<'i>, Denial> {
    let route = question.route;
    let mut spared = None;
    for denial in denials(question).into_iter().flatten() {
        match denial.rule() {
            Some(rule) if route.report_only.contains(&rule) => spared = spared.or(Some(denial)),
            _ => return Err(denial),
        }
    }
    let identity = match (&route.access, question.caller) {
        (Access::Optional | Access::Login(_), Caller::Known(identity, _)) => Some(identity),
        // A guest sees least, so a silent store makes guests of callers where guests may pass.
        _ => None,
    };
    Ok(Permit { identity, spared })
}

/// What each part of the rule has against the request, in the order in which it is told.
fn denials(question: Question<'_, '_>) -> [Option<Denial>; 8] {
    let Question { route, method, client, caller, now, fresh_at } = question;
    let is_outside = !route.networks.is_empty() && !route.networks.iter().any(|net| net.contains(&client));
    let is_closed = route.hours.as_ref().is_some_and(|hours| !hours.are_open(now));
    let is_unlisted = !route.methods.is_empty() && !route.methods.contains(method);
    let forbidden = |is_so: bool, why| is_so.then_some(Denial::Forbid(why));
    let [login, named, factor, freshness] = match (&route.access, caller) {
        (Access::Login(_), Caller::Guest(guest)) => [Some(Denial::AskLogin(guest)), None, None, None],
        (Access::Login(_), Caller::Unknown) => [Some(Denial::Unavailable), None, None, None],
        (Access::Login(who), Caller::Known(identity, proofs)) => {
            let [factor, freshness] = missing(route.demand, proofs, fresh_at);
            [None, forbidden(!is_named(who, identity), Forbidden::NotNamed), factor, freshness]
        }
        (Access::Deny | Access::Public | Access::Optional, _) => [None; 4],
    };
    [
        forbidden(route.access == Access::Deny, Forbidden::Denied),
        forbidden(is_outside, Forbidden::Network),
        forbidden(is_closed, Forbidden::Hours),
        is_unlisted.then_some(Denial::MethodNotAllowed),
        login,
        named,
        factor,
        freshness,
    ]
}

/// SECURITY: what is demanded must itself be fresh: a password of this minute is no second factor of it.
fn missing(demand: Demand, proofs: Proofs, now: Timestamp) -> [Option<Denial>; 2] {
    let (shown, missing) = match demand.second {
        Second::NotAsked => (None, None),
        Second::Any => (proofs.second(), Some(Missing::SecondFactor)),
        Second::Passkey => (proofs.at(Factor::Passkey), Some(Missing::Passkey)),
    };
    let factor = missing.filter(|_| shown.is_none()).map(|missing| Denial::StepUp(missing, Rule::Mfa));
    let is_fresh = |fresh| shown.or(proofs.latest()).is_some_and(|at| now.since(at) < fresh);
    let stale = demand.fresh.filter(|fresh| !is_fresh(*fresh));
    let again = missing.filter(|_| shown.is_some()).unwrap_or(Missing::Freshness);
    [factor, stale.map(|_| Denial::StepUp(again, Rule::Fresh))]
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
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::hours::Hours;
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
            hours: None,
            report_only: Vec::new(),
            activity: Activity::Any,
            handling: crate::gateway::handling::Handling::default(),
            line: 1,
        }
    }

    fn decided(route: &Route, caller: Caller<'_>) -> String {
        decided_at(NOW, route, caller)
    }

    fn decided_at(now: Timestamp, route: &Route, caller: Caller<'_>) -> String {
        let client = Ipv4Addr::new(10, 0, 0, 7).into();
        let question = Question { route, method: &Method::GET, client, caller, now, fresh_at: now };
        match decide(question) {
            Ok(permit) => {
                let who = permit.identity().map_or_else(|| "guest".to_owned(), |who| who.user.to_string());
                let spared = permit.spared().and_then(Denial::rule);
                format!("as {who}{}", spared.map(|rule| format!(", spared by {rule}")).unwrap_or_default())
            }
            Err(denial) => format!("{denial:?}"),
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
            (Second::NotAsked, fresh, shown(Factor::Password, 5), "StepUp(Freshness, Fresh)"),
            (Second::NotAsked, fresh, shown(Factor::Totp, 4), "as alice"),
            (Second::Any, None, password, "StepUp(SecondFactor, Mfa)"),
            (Second::Any, None, shown(Factor::RecoveryCode, 900), "as alice"),
            (Second::Any, fresh, password.with(Factor::Totp, NOW - minute(6)), "StepUp(SecondFactor, Fresh)"),
            (Second::Any, fresh, shown(Factor::Passkey, 4), "as alice"),
            (Second::Passkey, None, shown(Factor::Totp, 0), "StepUp(Passkey, Mfa)"),
            (
                Second::Passkey,
                fresh,
                shown(Factor::Passkey, 6).with(Factor::Totp, NOW),
                "StepUp(Passkey, Fresh)",
            ),
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
    fn outside_its_hours_a_route_is_closed_for_everybody_and_asks_nobody_to_log_in() {
        let mut route = route(Access::Login(Who::default()));
        let day = super::super::hours::Days::ALL;
        let span = super::super::hours::Span::new(day, 8 * 60, 18 * 60);
        route.hours = Some(Arc::new(Hours::new(vec![span], jiff::tz::TimeZone::UTC)));
        let alice = identity("alice", &[]);
        // 22:13:20 UTC, and ten hours later.
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "Forbid(Hours)");
        assert_eq!(decided(&route, Caller::Known(&alice, Proofs::default())), "Forbid(Hours)");
        let morning = NOW + Duration::from_hours(10);
        assert_eq!(decided_at(morning, &route, Caller::Guest(Guest::New)), "AskLogin(New)");
        assert_eq!(decided_at(morning, &route, Caller::Known(&alice, Proofs::default())), "as alice");
    }

    #[test]
    fn the_first_part_of_a_rule_that_denies_is_the_one_that_is_told() {
        let mut route =
            route(Access::Login(Who { users: vec!["bob".try_into().unwrap()], groups: Vec::new() }));
        let alice = identity("alice", &[]);
        let known = Caller::Known(&alice, Proofs::default());
        route.demand = Demand { second: Second::Any, fresh: Some(Duration::from_mins(5)) };
        assert_eq!(decided(&route, known), "Forbid(NotNamed)");
        route.methods = vec![Method::POST];
        assert_eq!(decided(&route, known), "MethodNotAllowed");
        route.networks = vec!["192.168.0.0/16".parse().unwrap()];
        assert_eq!(decided(&route, known), "Forbid(Network)");
        route.access = Access::Deny;
        assert_eq!(decided(&route, known), "Forbid(Denied)");
    }

    #[test]
    fn a_rule_that_only_reports_lets_pass_and_says_what_it_would_have_denied() {
        let who = Who { users: vec!["bob".try_into().unwrap()], groups: Vec::new() };
        let mut route = route(Access::Login(who));
        route.networks = vec!["192.168.0.0/16".parse().unwrap()];
        route.demand.second = Second::Any;
        let (alice, bob) = (identity("alice", &[]), identity("bob", &[]));
        let known = |who| Caller::Known(who, Proofs::default());
        route.report_only = Rule::ALL.to_vec();
        for (caller, expected) in [
            (Caller::Guest(Guest::Expired), "as guest, spared by networks"),
            (Caller::Unknown, "as guest, spared by networks"),
            (known(&alice), "as alice, spared by networks"),
        ] {
            assert_eq!(decided(&route, caller), expected);
        }
        route.networks.clear();
        for (caller, expected) in [
            (Caller::Guest(Guest::New), "as guest, spared by access"),
            (Caller::Unknown, "as guest, spared by access"),
            (known(&alice), "as alice, spared by groups"),
            (known(&bob), "as bob, spared by mfa"),
            (Caller::Known(&bob, Proofs::default().with(Factor::Totp, NOW)), "as bob"),
        ] {
            assert_eq!(decided(&route, caller), expected);
        }
    }

    #[test]
    fn only_the_named_parts_of_a_rule_are_spared() {
        let who = Who { users: vec!["bob".try_into().unwrap()], groups: Vec::new() };
        let mut route = route(Access::Login(who));
        route.demand = Demand { second: Second::Any, fresh: Some(Duration::from_mins(5)) };
        let (alice, bob) = (identity("alice", &[]), identity("bob", &[]));
        let shown = |ago| Proofs::default().with(Factor::Password, NOW - Duration::from_mins(ago));
        route.report_only = vec![Rule::Mfa];
        for (caller, expected) in [
            (Caller::Guest(Guest::New), "AskLogin(New)"),
            (Caller::Unknown, "Unavailable"),
            (Caller::Known(&alice, shown(1)), "Forbid(NotNamed)"),
            (Caller::Known(&bob, shown(1)), "as bob, spared by mfa"),
            (Caller::Known(&bob, shown(6)), "StepUp(Freshness, Fresh)"),
        ] {
            assert_eq!(decided(&route, caller), expected);
        }
        route.report_only = vec![Rule::Fresh];
        let stale = shown(1).with(Factor::Totp, NOW - Duration::from_mins(9));
        assert_eq!(decided(&route, Caller::Known(&bob, shown(1))), "StepUp(SecondFactor, Mfa)");
        assert_eq!(decided(&route, Caller::Known(&bob, stale)), "as bob, spared by fresh");
    }

    #[test]
    fn what_nobody_passes_is_never_spared() {
        let mut route = route(Access::Deny);
        route.report_only = Rule::ALL.to_vec();
        assert_eq!(decided(&route, Caller::Guest(Guest::New)), "Forbid(Denied)");
    }

    #[test]
    fn nobody_is_told_to_a_backend_that_everybody_may_ask() {
        let alice = identity("alice", &[]);
        let mut route = route(Access::Public);
        route.methods = vec![Method::POST];
        route.report_only = vec![Rule::Methods];
        assert_eq!(decided(&route, Caller::Known(&alice, Proofs::default())), "as guest, spared by methods");
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

    proptest! {
        /// Whatever the rule and the caller: the first part that denies and is not spared is the answer, a guest
        /// has no identity, and sparing a part changes nothing about the others.
        #[test]
        fn a_request_passes_exactly_if_all_that_denies_is_spared(
            (access, networks, methods, named, second, fresh) in (0..4_usize, any::<bool>(), any::<bool>(), any::<bool>(), 0..3_usize, any::<bool>()),
            (caller, shown) in (0..4_usize, prop::collection::vec((0..4_usize, 0..10_u64), 0..4)),
            spared in prop::sample::subsequence(Rule::ALL.to_vec(), 0..=Rule::ALL.len()),
        ) {
            let who = Who { users: if named { vec!["bob".try_into().unwrap()] } else { Vec::new() }, groups: Vec::new() };
            let accesses = [Access::Deny, Access::Public, Access::Optional, Access::Login(who)];
            let mut route = route(accesses[access].clone());
            route.networks = if networks { vec!["192.168.0.0/16".parse().unwrap()] } else { Vec::new() };
            route.methods = if methods { vec![Method::POST] } else { Vec::new() };
            route.demand.second = [Second::NotAsked, Second::Any, Second::Passkey][second];
            route.demand.fresh = fresh.then_some(Duration::from_mins(5));
            let factors = [Factor::Password, Factor::Totp, Factor::RecoveryCode, Factor::Passkey];
            let proofs = shown.iter().fold(Proofs::default(), |proofs, &(factor, ago)| {
                proofs.with(factors[factor], NOW - Duration::from_mins(ago))
            });
            let alice = identity("alice", &[]);
            let callers =
                [Caller::Guest(Guest::New), Caller::Guest(Guest::Expired), Caller::Unknown, Caller::Known(&alice, proofs)];
            let (client, method) = (Ipv4Addr::new(10, 0, 0, 7).into(), Method::GET);
            let question = |route| {
                Question { route, method: &method, client, caller: callers[caller], now: NOW, fresh_at: NOW }
            };
            let all: Vec<Denial> = denials(question(&route)).into_iter().flatten().collect();
            prop_assert_eq!(decide(question(&route)).err(), all.first().copied());
            let trial = Route { report_only: spared.clone(), ..route.clone() };
            let is_spared = |denial: &&Denial| denial.rule().is_some_and(|rule| spared.contains(&rule));
            match decide(question(&trial)) {
                Err(denial) => prop_assert_eq!(Some(&denial), all.iter().find(|denial| !is_spared(denial))),
                Ok(permit) => {
                    prop_assert!(all.iter().all(|denial| is_spared(&denial)) && access != 0);
                    prop_assert_eq!(permit.spared(), all.first().copied());
                    prop_assert_eq!(permit.identity().is_some(), access >= 2 && caller == 3);
                }
            }
        }
    }
}
