//! `vestibule users reset`: a one-time link for who lost their password or their second factors.
//!
//! Whose account is declared in a file gets the password there; their second factors are removed at once.
//! Invariant: the link is printed once; the database holds a hash of what is in it.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::report::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::HostPattern;
use crate::identity::UserId;
use crate::login::accounts::Accounts;
use crate::login::factors::{self, AfterReset, ResetToken};

/// A one-time link for an account.
#[derive(Debug, Args)]
pub(super) struct Reset {
    /// The account
    name: String,
    /// How long the link may be used
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Remove the account's second factors and recovery codes when the link is used; at once, and without a link,
    /// where accounts are declared in a file
    #[arg(long)]
    remove_factors: bool,
    /// The host in the link [default: that of the first route that names one]
    #[arg(long)]
    host: Option<String>,
}

impl Reset {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn removes_factors(&self) -> bool {
        self.remove_factors
    }

    pub(super) async fn run(
        self,
        accounts: &Accounts,
        config: &Config,
        user: &UserId,
    ) -> Result<String, Failure> {
        let expires = Clock::system().now() + self.expires;
        let after = if self.remove_factors { AfterReset::Removed } else { AfterReset::Kept };
        let reset = factors::Reset { user: user.clone(), expires, factors: after };
        let store = factors::store_of(accounts, &config.login.factors).await.map_err(Failure::failed)?;
        let token = ResetToken::issue(&*store, reset).await.map_err(Failure::failed)?;
        let host = self.host.unwrap_or_else(|| public_host(config));
        let link = format!("https://{host}{}/reset?token={}", config.portal.path, token.to_text());
        Ok(format!(
            "{link}\n\nFor `{user}`, once, until {expires}. {}\nHand it over in a way that nobody else reads.\n",
            match after {
                AfterReset::Kept => "Second factors stay; `--remove-factors` removes them.",
                AfterReset::Removed => "Second factors are removed when it is used.",
            }
        ))
    }
}

/// The host of the first route that names one, and the port where it is not the scheme's own.
fn public_host(config: &Config) -> String {
    let named = config.gateway.routes.iter().find_map(|route| match &route.host {
        HostPattern::Exact(host) => Some(host.as_str()),
        _ => None,
    });
    let host = named.unwrap_or("localhost");
    match config.server.https.first().map(SocketAddr::port) {
        Some(443) | None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}
