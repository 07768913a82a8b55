//! The settings of the request path: routes, identity headers, security headers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::handling::{Caching, Handling};
use super::hours::Hours;
use crate::identity::{Group, UserId};
use crate::proxy::ForwardedBy;
use crate::telemetry::rule::Rule;

/// Which requests go where, for whom, with which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// All routes, in the order of the file (which has no meaning but in messages).
    pub routes: Vec<Arc<Route>>,
    /// How an identity is told to backends.
    pub identity: IdentityHeaders,
    /// The security headers of responses.
    pub headers: HeadersConfig,
    /// Networks whose `Forwarded` and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which of the two these proxies write.
    pub forwarded_by: ForwardedBy,
    /// Whose members are told why a request was refused; nobody is if empty.
    pub administrators: Vec<Group>,
}

/// Host and path prefix, and the rule that holds there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which hosts.
    pub host: HostPattern,
    /// A canonical path prefix on segment borders: `/`, or `/a/b` without a slash at its end.
    pub path: String,
    /// The upstream's name; none only where nobody passes or the answer is fixed.
    pub upstream: Option<String>,
    /// Who may pass.
    pub access: Access,
    /// The methods that may pass; empty = all.
    pub methods: Vec<Method>,
    /// The client networks that may pass; empty = all.
    pub networks: Vec<IpNet>,
    /// What who is let in must have shown, and how long ago.
    pub demand: Demand,
    /// When anybody may pass; none = always.
    pub hours: Option<Arc<Hours>>,
    /// The parts of this rule that deny nothing, and only report what they would deny.
    pub report_only: Vec<Rule>,
    /// Which requests keep a session alive.
    pub activity: Activity,
    /// What becomes of the requests that may pass.
    pub handling: Handling,
    /// The line in the configuration file where the route begins, for messages.
    pub line: usize,
}

impl Route {
    /// The parts of its rule that can deny something.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let is_login = matches!(self.access, Access::Login(_));
        let is_named = matches!(&self.access, Access::Login(who) if *who != Who::default());
        let has = |rule: &Rule| match rule {
            Rule::Access => is_login,
            Rule::Groups => is_named,
            Rule::Networks => !self.networks.is_empty(),
            Rule::Hours => self.hours.is_some(),
            Rule::Methods => !self.methods.is_empty(),
            Rule::Mfa => self.demand.second != Second::NotAsked,
            Rule::Fresh => self.demand.fresh.is_some(),
        };
        Rule::ALL.into_iter().filter(has).collect()
    }

    /// The hours at which it lets pass, if it refuses at others.
    #[must_use]
    pub fn enforced_hours(&self) -> Option<Arc<Hours>> {
        self.hours.as_ref().filter(|_| !self.report_only.contains(&Rule::Hours)).map(Arc::clone)
    }
}

/// What a route demands of somebody beside being signed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Which factor they must have shown in this session.
    pub second: Second,
    /// How long ago at most; nothing for any time within the session.
    pub fresh: Option<Duration>,
}

/// Which second factor a route demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Second {
    /// None.
    #[default]
    NotAsked,
    /// Whichever.
    Any,
    /// A passkey.
    Passkey,
}

/// Which requests keep an idle session alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Every request.
    #[default]
    Any,
    /// Only the loading of pages: a page that polls keeps nothing alive.
    Navigation,
}

/// The hosts of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This one, in lower case.
    Exact(String),
    /// Every host below this one, from `*.example.com`; holds `example.com`.
    Below(String),
}

/// Who may pass a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Deny,
    /// Everybody; sessions are not looked at.
    Public,
    /// Everybody; who has a session is told to the backend.
    Optional,
    /// Who has a session and is named here.
    Login(Who),
}

/// Which users pass a route: those in `users` or in one of `groups`; all if both are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// By name.
    pub users: Vec<UserId>,
    /// By group.
    pub groups: Vec<Group>,
}

/// The headers that tell a backend who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The user's name.
    pub user: HeaderName,
    /// The groups, joined with `,`.
    pub groups: HeaderName,
    /// The e-mail address.
    pub email: HeaderName,
    /// The name for people.
    pub name: HeaderName,
    /// The pseudonym of a session; sent only where guests are recognised.
    pub session: HeaderName,
    /// More headers that carry the user's name.
    pub also: Vec<HeaderName>,
    /// How names and addresses beyond ASCII are written.
    pub encoding: TextEncoding,
}

/// How text beyond ASCII stands in a header (RFC 9110, section 5.5, leaves it open).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// As its UTF-8 bytes.
    Utf8,
    /// As its UTF-8 bytes, with `%` and each byte beyond ASCII as `%XX`.
    Percent,
    /// As ISO 8859-1, with `?` for what that does not have: what servers for WSGI and CGI decode.
    Latin1,
}

/// The headers of responses, as far as every route has the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadersConfig {
    /// How the security headers meet those of the backend.
    pub profile: Profile,
    /// The value of `Strict-Transport-Security`.
    pub hsts: HeaderValue,
    /// What is taken from answers of backends.
    pub remove: Vec<HeaderName>,
    /// Whether caches may keep what identified users get.
    pub caching: Caching,
}

/// How our security headers meet those of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Set where the backend set none; nothing that breaks old applications.
    Compatible,
    /// Ours win.
    Strict,
    /// Backend responses stay as they are.
    Off,
}

/// As in a configuration; every host is `*`.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

/// As in a configuration: `deny`, `public`, `optional` or `login`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::Public => "public",
            Self::Optional => "optional",
            Self::Login(_) => "login",
        })
    }
}

/// As in a configuration: `compatible`, `strict` or `off`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compatible => "compatible",
            Self::Strict => "strict",
            Self::Off => "off",
        })
    }
}
