//! `vestibule explain`: which route and which rule decide on a request.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use http::{Method, Uri};

use super::names;
use super::place::ConfigPath;
use super::report::Failure;
use crate::config::Config;
use crate::config::quantity::show_duration;
use crate::gateway::explain::{Explanation, Hypothesis, Verdict, explain};
use crate::gateway::{Demand, Second, snapshot};
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
        let shown = self.shown.iter().map(|&shown| shown.into()).collect();
        let hypothesis =
            Hypothesis { method: &method, url: &url, identity: identity.as_ref(), shown, client: self.from };
        let routes = snapshot::route_table(&config.gateway, &[]);
        let explanation = explain(&routes, &config.portal.path, &hypothesis);
        if self.json {
            return as_json(&explanation, &config);
        }
        Ok(describe(&explanation, &config))
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
                "{}{} ({}:{}), access = {}{}",
                route.host,
                route.path,
                config.file.display(),
                route.line,
                route.access,
                demand(route.demand)
            )
        },
    );
    format!("read as  {canonical}\nroute    {route}\nresult   {}\n", explanation.verdict)
}

/// As in a configuration, behind what comes before it.
fn demand(demand: Demand) -> String {
    let mfa = match demand.second {
        Second::NotAsked => "",
        Second::Any => ", mfa = true",
        Second::Passkey => ", mfa = \"passkey\"",
    };
    let fresh = demand.fresh.map(|fresh| format!(", fresh = \"{}\"", show_duration(fresh)));
    format!("{mfa}{}", fresh.unwrap_or_default())
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
        "forwarded_for": forwarded_for,
    });
    serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(Failure::failed)
}
