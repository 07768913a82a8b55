//! The configuration of the moment, ready for use by requests.
//!
//! Immutable; a reload makes a new one beside it. Upstreams whose settings did not change are carried
//! over, with their connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Request};
use ipnet::IpNet;

use super::identity_headers::IdentityPolicy;
use super::reject::Reject;
use super::route::{Backend, Place, RouteTable};
use super::security_headers::SecurityHeaders;
use super::{Config, HeadersConfig, Route};
use crate::identity::{Group, Identity};
use crate::portal::look::Look;
use crate::proxy::{
    ForwardedBy, TrailerFilter, Unproven, Upstream, UpstreamConfig, UpstreamError, body, client_address,
};

/// The configuration of the moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Which rule holds where.
    pub routes: RouteTable,
    /// How an identity is told to backends.
    pub identity: IdentityPolicy,
    /// What request trailers may not carry.
    pub trailers: TrailerFilter,
    /// The security headers of responses.
    pub headers: SecurityHeaders,
    /// What is done to answers of backends on every route.
    pub common: HeadersConfig,
    /// Networks whose word on addresses is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// In which field they say where a request came from.
    pub forwarded_by: ForwardedBy,
    /// Whose members are told why a request was refused.
    pub administrators: Vec<Group>,
    /// Bounds for requests.
    pub limits: RequestLimits,
    /// The prefix of our own pages.
    pub portal: String,
    /// What our own pages look like.
    pub look: Arc<Look>,
    /// All upstreams, used or not.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Unique among the snapshots of this process.
    pub generation: u64,
}

/// Bounds for requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub header_count: usize,
    /// Bounds for bodies.
    pub body: body::Limits,
}

impl RequestLimits {
    /// Holds HTTP/2 heads to the bounds that HTTP/1.1 heads have met already.
    pub fn check_head<B>(&self, request: &Request<B>) -> Result<(), Reject> {
        let headers = request.headers();
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_OVERHEAD).sum();
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if headers.len() > self.header_count || bytes + target > self.header_bytes {
            return Err(Reject::HeaderTooLarge);
        }
        Ok(())
    }
}

impl Snapshot {
    /// Makes a snapshot; `before` lends upstreams that stay as they are.
    pub fn new(
        config: &Config,
        upstreams: &[UpstreamConfig],
        look: Arc<Look>,
        limits: RequestLimits,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let upstreams =
            upstreams.iter().map(|config| carry_over(config, before)).collect::<Result<Vec<_>, _>>()?;
        let identity = IdentityPolicy::new(config.identity.clone());
        Ok(Self {
            routes: route_table(config, &upstreams),
            trailers: TrailerFilter::new(identity.reserved().into()),
            identity,
            headers: SecurityHeaders::new(&config.headers),
            common: config.headers.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            forwarded_by: config.forwarded_by,
            administrators: config.administrators.clone(),
            limits,
            portal: look.portal().to_owned(),
            look,
            upstreams,
            generation: NEXT_GENERATION.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The page of ours that a canonical path names, beginning with `/`; none for all other paths.
    #[must_use]
    pub fn portal_page<'a>(&self, path: &'a str) -> Option<&'a str> {
        below(&self.portal, path)
    }

    /// Where a request of `peer` came from; what says so without anybody's word for it is removed.
    ///
    /// # Errors
    ///
    /// Trusted proxies say it in a way that proves nothing.
    pub fn client(&self, peer: IpAddr, headers: &mut HeaderMap) -> Result<IpAddr, Unproven> {
        let client = client_address(peer, headers, &self.trusted_proxies, self.forwarded_by)?;
        self.forwarded_by.keep_own(headers);
        Ok(client)
    }

    /// Whether `identity` is told why a request was refused.
    #[must_use]
    pub fn is_administrator(&self, identity: &Identity) -> bool {
        self.administrators.iter().any(|group| identity.groups.contains(group))
    }

    /// Whether `peer` is believed about the client's address.
    #[must_use]
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}

/// What follows `prefix` in `path`, if the prefix ends on a segment border.
#[must_use]
pub fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// The routes of a configuration with their upstreams.
#[must_use]
pub fn route_table(config: &Config, upstreams: &[Arc<Upstream>]) -> RouteTable {
    RouteTable::new(
        config
            .routes
            .iter()
            .map(|route| Place { route: Arc::clone(route), backend: backend(route, upstreams) }),
    )
}

fn backend(route: &Route, upstreams: &[Arc<Upstream>]) -> Backend {
    match route.upstream.as_deref() {
        Some(BUILT_IN) => Backend::BuiltIn,
        Some(name) => upstreams
            .iter()
            .find(|upstream| upstream.name() == name)
            .map_or(Backend::None, |upstream| Backend::Upstream(Arc::clone(upstream))),
        None => Backend::None,
    }
}

fn carry_over(config: &UpstreamConfig, before: Option<&Snapshot>) -> Result<Arc<Upstream>, UpstreamError> {
    let unchanged = before.and_then(|before| before.upstreams.iter().find(|it| it.is_made_from(config)));
    unchanged.map_or_else(|| Upstream::new(config.clone()).map(Arc::new), |upstream| Ok(Arc::clone(upstream)))
}

/// The reserved upstream name of the built-in page.
pub const BUILT_IN: &str = "builtin";

/// `: ` and the end of the line.
const LINE_OVERHEAD: usize = 4;

static NEXT_GENERATION: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_lie_below_the_prefix_on_a_segment_border() {
        for (path, expected) in [
            ("/.vestibule", Some("/")),
            ("/.vestibule/", Some("/")),
            ("/.vestibule/login", Some("/login")),
            ("/.vestibulex", None),
            ("/a/.vestibule/login", None),
        ] {
            assert_eq!(below("/.vestibule", path), expected, "{path}");
        }
    }
}
