//! Where a request puts what it copies or moves (`Destination`, RFC 4918 section 10.3).
//!
//! A backend acts on a second path then. Invariants: the caller may pass there too, and it is of the same backend;
//! the backend gets the canonical form of that path, written anew like that of the request.

use http::header::HOST;
use http::{HeaderName, HeaderValue, Request};

use super::canonical::{Canonical, Malformed};
use super::decision::{self, Question};
use super::reject::Reject;
use super::repair::{is_same_host, split};
use super::route::Place;
use super::snapshot::Snapshot;
use super::{maintenance, refuse_ambiguity};

/// Whether the caller, who may pass at `place`, may pass at the destination of the request as well; brings that into
/// the form that the backend reads.
///
/// The form is a path: it agrees with every scheme and host by which a backend may know itself.
pub(super) fn settle<B>(
    snapshot: &Snapshot,
    place: &Place,
    question: Question<'_, '_>,
    canonical: &Canonical,
    request: &mut Request<B>,
) -> Result<bool, Reject> {
    if !matches!(request.method().as_str(), "COPY" | "MOVE") {
        return Ok(true);
    }
    let mut named = request.headers().get_all(&DESTINATION).iter();
    let address = match (named.next(), named.next()) {
        (None, _) => return Ok(true),
        (Some(address), None) => address.to_str().map_err(|_| MALFORMED)?,
        _ => return Err(MALFORMED),
    };
    let Some(target) = read(address, canonical)? else { return Ok(false) };
    refuse_ambiguity(snapshot, &target)?;
    let there = snapshot.routes.find(target.host(), target.path());
    let Some(there) = there.filter(|there| there.backend.is_same_as(&place.backend)) else {
        return Ok(false);
    };
    maintenance::check(&there.route, question.client)?;
    if decision::decide(Question { route: &there.route, ..question }).is_err() {
        return Ok(false);
    }
    let path = there.route.handling.rewrite.forth(&target.target).ok_or(Reject::HeaderTooLarge)?;
    let path = HeaderValue::from_str(path.as_str()).map_err(|_| MALFORMED)?;
    request.headers_mut().insert(DESTINATION, path);
    Ok(true)
}

/// The canonical form of a destination; none if it is on another host than the request.
fn read(address: &str, request: &Canonical) -> Result<Option<Canonical>, Reject> {
    // Whoever parses it behind us would drop what stands behind the sign.
    if address.contains('#') {
        return Err(MALFORMED);
    }
    let (scheme, authority, path) = split(address).ok_or(MALFORMED)?;
    if !authority.is_empty() && !is_same_host(authority, request.authority(), scheme) {
        return Ok(None);
    }
    let head = Request::builder().uri(path).header(HOST, &request.authority).body(());
    Canonical::of(&head.map_err(|_| MALFORMED)?).map(Some).map_err(Reject::Malformed)
}

const MALFORMED: Reject = Reject::Malformed(Malformed::Destination);

const DESTINATION: HeaderName = HeaderName::from_static("destination");
