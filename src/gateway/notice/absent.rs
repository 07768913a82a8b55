//! The expiry notice in a program that cannot change pages: there is none.
//!
//! The configuration refuses the key then, so nobody waits for it.

use http::{Request, Response};

use crate::gateway::Route;
use crate::gateway::body::ResponseBody;
use crate::gateway::canonical::Canonical;
use crate::gateway::decision::Permit;
use crate::gateway::snapshot::Snapshot;
use crate::proxy::UpstreamBody;

/// Nothing of this kind exists.
pub(in crate::gateway) enum Notice {}

impl Notice {
    /// Never.
    pub(in crate::gateway) const fn wanted<B>(
        _snapshot: &Snapshot,
        _route: &Route,
        _permit: &Permit<'_>,
        _canonical: &Canonical,
        _request: &mut Request<B>,
    ) -> Option<Box<Self>> {
        None
    }

    /// Cannot be called.
    pub(in crate::gateway) fn add(self, _response: Response<UpstreamBody>) -> Response<ResponseBody> {
        match self {}
    }
}
