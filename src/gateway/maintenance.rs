//! Whether a route is closed for maintenance, which everybody is told before they are asked to sign in:
//! the session store may be what is being worked on.
//!
//! Invariant: whom it lets pass still meets the rule of the route.

use std::net::IpAddr;

use super::Route;
use super::handling::Maintenance;
use super::reject::Reject;

/// Refuses a request for a route that is closed for `client`.
pub(super) fn check(route: &Route, client: IpAddr) -> Result<(), Reject> {
    match closed(route, client) {
        Some(maintenance) => Err(Reject::Maintenance(maintenance.clone())),
        None => Ok(()),
    }
}

/// Why a route is closed for `client`; none if it is not.
#[must_use]
pub fn closed(route: &Route, client: IpAddr) -> Option<&Maintenance> {
    let maintenance = route.handling.maintenance.as_ref()?;
    let passes = maintenance.networks.iter().any(|network| network.contains(&client));
    if passes { None } else { Some(maintenance) }
}
