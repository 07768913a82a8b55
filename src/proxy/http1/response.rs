//! The head of an answer, from bytes. Leaves what its fields mean to others.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::Fault;
use super::section::{MOST_FIELDS, fields_of};

/// Reads a head with its empty line.
pub(super) fn parse(head: &Bytes) -> Result<Response<()>, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut fields);
    match status.map_err(Fault::Head)? {
        Status::Complete(length) if length == head.len() => {}
        Status::Complete(_) | Status::Partial => return Err(Fault::Head(httparse::Error::Status)),
    }
    let mut response = Response::new(());
    *response.status_mut() = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Fault::Head(httparse::Error::Status))?;
    *response.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let reason = parsed.reason.filter(|reason| Some(*reason) != response.status().canonical_reason());
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok()) {
        response.extensions_mut().insert(reason);
    }
    *response.headers_mut() = fields_of(head, parsed.headers)?;
    Ok(response)
}
