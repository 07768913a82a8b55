//! `Max-Forwards`: how many more gateways an OPTIONS may pass (RFC 9110 section 7.6.2).
//!
//! TRACE, the other method that it is for, is refused before.

use bytes::Bytes;
use http::header::{ALLOW, MAX_FORWARDS};
use http::{HeaderValue, Method, Request, Response, StatusCode};

/// Counts a request that is to be forwarded; the answer if it must not be.
pub(super) fn count<B>(request: &mut Request<B>, allowed: &[Method]) -> Option<Response<Bytes>> {
    if *request.method() != Method::OPTIONS {
        return None;
    }
    let left = left(request)?;
    if left == 0 {
        return Some(answer(allowed));
    }
    request.headers_mut().insert(MAX_FORWARDS, HeaderValue::from(left - 1));
    None
}

/// The number; none if there is none, or nothing that is one. A number too large for us becomes the
/// largest, as the RFC has it.
fn left<B>(request: &Request<B>) -> Option<u32> {
    let mut values = request.headers().get_all(MAX_FORWARDS).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(u32::MAX)) }
}

/// What passes here; where the route names no methods, those of RFC 9110 that we forward.
fn answer(allowed: &[Method]) -> Response<Bytes> {
    let names = if allowed.is_empty() { EVERY.into() } else { super::denied::allowed(allowed) };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(names) = HeaderValue::try_from(names) {
        response.headers_mut().insert(ALLOW, names);
    }
    response
}

const EVERY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: &Method, values: &[&str]) -> Result<Vec<String>, String> {
        let mut request = Request::builder().method(method).body(()).unwrap();
        for value in values {
            request.headers_mut().append(MAX_FORWARDS, HeaderValue::from_str(value).unwrap());
        }
        if let Some(answer) = count(&mut request, &[]) {
            return Err(answer.headers()[ALLOW].to_str().unwrap().to_owned());
        }
        let left = request.headers().get_all(MAX_FORWARDS).iter();
        Ok(left.map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn an_options_request_is_counted_and_answered_at_zero() {
        for (values, left) in [
            (&["2"][..], &["1"][..]),
            (&["007"], &["6"]),
            (&["99999999999999999999"], &["4294967294"]),
            (&[], &[]),
            (&["-1"], &["-1"]),
            (&[""], &[""]),
            (&["0", "0"], &["0", "0"]),
        ] {
            assert_eq!(counted(&Method::OPTIONS, values).unwrap(), left, "{values:?}");
        }
        assert_eq!(counted(&Method::OPTIONS, &["0"]), Err(EVERY.to_owned()));
        assert_eq!(counted(&Method::GET, &["0"]), Ok(vec!["0".to_owned()]));
    }
}
