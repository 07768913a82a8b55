//! `vestibule explain`: which route and which rule decide on a request.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use http::{Method, Uri};

use super::names;
use super::place::ConfigPath;
use super::report::Failure;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::config::quantity::show_duration;
use crate::gateway::explain::{Ago, Explanation, Hypothesis, Moment, Verdict, explain};
use crate::gateway::{Second, rule_text, snapshot};
use crate::identity::{Factor, Identity};

/// Say which route and which rule decide on a request.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// GET, POST, ...
    method: String,
    /// The whole address, as in `https://wiki.example.com/admin`
    url: String,
    /// Somebody who is signed in
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A group of theirs; may be given more than once
    #[arg(long = "group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    /// What they showed a moment ago; may be given more than once
    #[arg(long, value_name = "FACTOR", value_enum, requires = "user")]
    shown: Vec<Shown>,
    /// They showed a second factor when they signed in
    #[arg(long, requires = "user")]
    mfa: bool,
    /// What they showed, they showed a moment ago
    #[arg(long, requires = "user")]
    fresh: bool,
    /// The time, as in `2026-11-21 22:00` by the clocks of the route's time zone (UTC where it has none), or
    /// with an offset, as in `2026-11-21T22:00:00+01:00` [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The client's address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What somebody can show.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shown {
    /// Their password
    Password,
    /// A one-time code
    Code,
    /// A passkey
    Passkey,
}

impl From<Shown> for Factor {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Password => Self::Password,
            Shown::Code => Self::Totp,
            Shown::Passkey => Self::Passkey,
        }
    }
}

impl Explain {
    pub(super) fn run(self, config: &ConfigPath) -> Result<String, Failure> {
        let config = config.load()?;
        let method: Method = self.method.to_ascii_uppercase().parse().map_err(Failure::usage)?;
        let url: Uri = self
            .url
            .parse()
            .map_err(|error| Failure::usage(format!("`{}` is not an address: {error}", self.url)))?;
        let identity = self.identity()?;
        let hypothesis = Hypothesis {
            method: &method,
            url: &url,
            identity: identity.as_ref(),
            shown: self.proofs(),
            client: self.from,
            at: self.moment()?,
        };
        let routes = snapshot::route_table(&config.gateway, &[]);
        let explanation = explain(&routes, &config.portal.path, &hypothesis);
        if self.json {
            return as_json(&explanation, &config);
        }
        Ok(describe(&explanation, &config))
    }

    /// Long ago they signed in by a password, and a moment ago they showed what is said.
    fn proofs(&self) -> Vec<(Factor, Ago)> {
        let at_login = if self.fresh { Ago::Moment } else { Ago::Long };
        let second = self.mfa.then_some((Factor::Totp, at_login));
        let shown = self.shown.iter().map(|&shown| (shown.into(), Ago::Moment));
        std::iter::once((Factor::Password, at_login)).chain(second).chain(shown).collect()
    }

    fn moment(&self) -> Result<Moment, Failure> {
        let Some(text) = &self.at else { return Ok(Moment::Exact(Clock::system().now())) };
        if let Ok(exact) = text.parse::<jiff::Timestamp>() {
            return Ok(Moment::Exact(Timestamp::from_millis(exact.as_millisecond())));
        }
        text.parse()
            .map(Moment::Local)
            .map_err(|_| Failure::usage(format!("`{text}` is no time; write it as in `2026-11-21 22:00`")))
    }

    fn identity(&self) -> Result<Option<Identity>, Failure> {
        let Some(user) = &self.user else { return Ok(None) };
        let (user, groups) = (names::user_id(user)?, names::groups(&self.groups)?);
        Ok(Some(Identity { user, groups, name: None, email: None }))
    }
}

fn describe(explanation: &Explanation, config: &Config) -> String {
    let canonical = explanation.canonical.as_deref().unwrap_or("-");
    let route = explanation.route.as_ref().map_or_else(
        || "-".to_owned(),
        |route| {
            format!(
                "{}{} ({}:{}), {}",
                route.host,
                route.path,
                config.file.display(),
                route.line,
                rule_text::line(route)
            )
        },
    );
    let instead = match &explanation.instead {
        Some(instead) => format!("instead  {instead}, if the rule did not only report\n"),
        None => String::new(),
    };
    format!("read as  {canonical}\nroute    {route}\nresult   {}\n{instead}", explanation.verdict)
}

fn as_json(explanation: &Explanation, config: &Config) -> Result<String, Failure> {
    let route = explanation.route.as_ref().map(|route| {
        serde_json::json!({
            "host": route.host.to_string(),
            "path": route.path,
            "access": route.access.to_string(),
            "mfa": match route.demand.second {
                Second::NotAsked => false.into(),
                Second::Any => true.into(),
                Second::Passkey => serde_json::Value::from("passkey"),
            },
            "fresh": route.demand.fresh.map(show_duration),
            "rule": rule_text::line(route),
            "file": config.file.display().to_string(),
            "line": route.line,
        })
    });
    let forwarded_for = match &explanation.verdict {
        Verdict::Forwarded(forwarded) => forwarded.target.as_deref(),
        _ => None,
    };
    let value = serde_json::json!({
        "read_as": explanation.canonical,
        "route": route,
        "result": explanation.verdict.to_string(),
        "instead": explanation.instead.as_ref().map(ToString::to_string),
        "forwarded_for": forwarded_for,
    });
    serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(Failure::failed)
}
