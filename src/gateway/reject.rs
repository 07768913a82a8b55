//! Every answer that is an error: its status, which words a person reads, and how it is counted.
//!
//! Invariant: the match in [`Reject::answer`] has no `_` arm, and nothing in a public text names a
//! backend, an address or a file.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use super::canonical::{Ambiguity, Malformed};
use super::decision::Forbidden;
use super::handling::Maintenance;
use crate::portal::csrf::Forged;
use crate::portal::strings::{ErrorWords, Errors};
use crate::portal::{CHALLENGE, PortalError};
use crate::proxy::{ForwardError, LargestPart, Unproven};
use crate::telemetry::metrics::Outcome;

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub enum Reject {
    /// The request has no canonical form.
    Malformed(Malformed),
    /// A backend could read the path differently, and rules differ here.
    Ambiguous(Ambiguity),
    /// Trusted proxies do not say clearly where the request came from.
    UnknownClient(Unproven),
    /// The host does not belong to the name that the connection was opened for.
    Misdirected,
    /// More header bytes or lines than allowed.
    HeaderTooLarge,
    /// No route, or no page of ours.
    NotFound,
    /// The route is closed for a while.
    Maintenance(Maintenance),
    /// A method that is refused everywhere or by the route; holds what is allowed.
    MethodNotAllowed(String),
    /// Nobody is signed in and the client can not follow a redirect; holds the login page's URL.
    LoginNeeded(String),
    /// Somebody must confirm that it is still them, and the client can not follow a redirect; holds the
    /// confirm page's URL.
    StepUpNeeded(String),
    /// Somebody is signed in (or it does not matter who) and may not pass.
    Forbidden(Forbidden),
    /// The route is closed at this hour.
    Closed(Closed),
    /// The session store or the account database did not answer, and what it said.
    StoreUnavailable(String),
    /// A part of ours has too much to do, and which.
    Busy(String),
    /// A body of ours (login form) is larger than any form of ours.
    FormTooLarge,
    /// A session that the cookies of a browser cannot hold.
    SessionTooLarge,
    /// A form that is not taken, and why.
    ForgedForm(Forged),
    /// The backend did not give an answer that can be passed on.
    Forward(ForwardError),
    /// Something of ours went wrong, and what.
    Internal(String),
}

/// When a route that is closed at this hour opens again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When, for people; none if that is not known.
    pub opens: Option<String>,
    /// How long until then.
    pub wait: Option<Duration>,
}

/// What a person and a program are told.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// A stable word for programs.
    pub code: &'static str,
    /// The words of a language for it.
    pub words: fn(&Errors) -> &ErrorWords,
    /// How it is counted.
    pub outcome: Outcome,
}

impl Reject {
    /// What this reject says to the outside.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        match self {
            Self::Malformed(_) | Self::Ambiguous(_) | Self::UnknownClient(_) => BAD_REQUEST,
            Self::Misdirected => MISDIRECTED,
            Self::HeaderTooLarge => HEADER_TOO_LARGE,
            Self::NotFound => NOT_FOUND,
            Self::Maintenance(_) => MAINTENANCE,
            Self::MethodNotAllowed(_) => METHOD_NOT_ALLOWED,
            Self::LoginNeeded(_) => LOGIN_NEEDED,
            Self::StepUpNeeded(_) => STEP_UP_NEEDED,
            Self::Forbidden(_) => FORBIDDEN,
            Self::Closed(_) => CLOSED,
            Self::StoreUnavailable(_) => STORE_UNAVAILABLE,
            Self::Busy(_) => BUSY,
            Self::FormTooLarge => BODY_TOO_LARGE,
            Self::SessionTooLarge => SESSION_TOO_LARGE,
            Self::ForgedForm(_) => FORGED_FORM,
            Self::Forward(error) => forward_answer(error),
            Self::Internal(_) => INTERNAL,
        }
    }

    /// Headers that the status demands (RFC 9110 sections 10.2.3, 11.6.1, 15.5.6).
    pub fn add_headers(&self, headers: &mut http::HeaderMap) {
        let (name, value) = match self {
            Self::MethodNotAllowed(allowed) => (header::ALLOW, HeaderValue::from_str(allowed).ok()),
            Self::LoginNeeded(_) | Self::StepUpNeeded(_) => (header::WWW_AUTHENTICATE, Some(CHALLENGE)),
            // SECURITY: where the request ends or for whom it is is in doubt, and so is what comes behind it.
            Self::Malformed(
                Malformed::Coding
                | Malformed::HostCount
                | Malformed::Host
                | Malformed::HostsDiffer
                | Malformed::Target,
            ) => (header::CONNECTION, Some(HeaderValue::from_static("close"))),
            Self::Maintenance(maintenance) => {
                let seconds = maintenance.retry_after.as_secs().max(1);
                (header::RETRY_AFTER, Some(HeaderValue::from(seconds)))
            }
            Self::Closed(Closed { wait: Some(wait), .. }) => {
                let seconds = wait.as_millis().div_ceil(1000);
                (header::RETRY_AFTER, HeaderValue::try_from(seconds.to_string()).ok())
            }
            _ if self.answer().status == StatusCode::SERVICE_UNAVAILABLE => {
                (header::RETRY_AFTER, Some(HeaderValue::from_static("5")))
            }
            _ => return,
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }

    /// The word for it in the access log: that of the answer, or one that says more.
    #[must_use]
    pub const fn logged_as(&self) -> &'static str {
        match self {
            Self::UnknownClient(why) => why.as_str(),
            _ => self.answer().code,
        }
    }

    /// For the log of the administrator: the reason behind the public text.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Malformed(reason) => reason.to_string(),
            Self::Ambiguous(reason) => reason.to_string(),
            Self::UnknownClient(reason) => reason.to_string(),
            Self::Forbidden(reason) => format!("{reason:?}"),
            Self::Forward(error) => error.to_string(),
            Self::ForgedForm(forged) => forged.to_string(),
            Self::StoreUnavailable(reason) | Self::Busy(reason) | Self::Internal(reason) => reason.clone(),
            _ => self.answer().code.to_owned(),
        }
    }
}

impl From<PortalError> for Reject {
    fn from(error: PortalError) -> Self {
        match error {
            PortalError::StoreUnavailable(reason) => Self::StoreUnavailable(reason),
            PortalError::Busy(reason) => Self::Busy(reason),
            PortalError::TooLarge => Self::SessionTooLarge,
            PortalError::NotFound => Self::NotFound,
            PortalError::MethodNotAllowed(allowed) => Self::MethodNotAllowed(allowed.to_owned()),
            PortalError::Forged(forged) => Self::ForgedForm(forged),
            PortalError::Random(reason) => Self::Internal(reason),
        }
    }
}

const fn forward_answer(error: &ForwardError) -> Answer {
    match error {
        ForwardError::Connect(_)
        | ForwardError::ConnectTimeout
        | ForwardError::Tls(_)
        | ForwardError::BadResponse(_) => BAD_GATEWAY,
        ForwardError::ResponseTimeout => GATEWAY_TIMEOUT,
        ForwardError::TooManyConnections => TOO_MANY_CONNECTIONS,
        ForwardError::BodyTooLarge => BODY_TOO_LARGE,
        ForwardError::BodyMalformed => BODY_MALFORMED,
        ForwardError::BodyStalled | ForwardError::ClientGone => REQUEST_TIMEOUT,
        ForwardError::Loop => LOOP,
        ForwardError::NoSwitch => NO_SWITCH,
        ForwardError::Method => METHOD_NOT_ALLOWED,
        ForwardError::HeadTooLarge(LargestPart::Target) => TARGET_TOO_LONG,
        ForwardError::HeadTooLarge(LargestPart::Header(_)) => TOO_LARGE_FOR_BACKEND,
    }
}

macro_rules! answer {
    ($name:ident, $status:ident, $outcome:ident, $words:ident) => {
        answer!($name, $status, $outcome, $words, stringify!($words));
    };
    ($name:ident, $status:ident, $outcome:ident, $words:ident, $code:expr) => {
        const $name: Answer = Answer {
            status: StatusCode::$status,
            code: $code,
            words: |errors| &errors.$words,
            outcome: Outcome::$outcome,
        };
    };
}

answer!(BAD_REQUEST, BAD_REQUEST, Refused, bad_request);
answer!(MISDIRECTED, MISDIRECTED_REQUEST, Refused, misdirected);
answer!(HEADER_TOO_LARGE, REQUEST_HEADER_FIELDS_TOO_LARGE, Refused, header_too_large);
answer!(TOO_LARGE_FOR_BACKEND, REQUEST_HEADER_FIELDS_TOO_LARGE, Refused, header_too_large_for_backend);
answer!(TARGET_TOO_LONG, URI_TOO_LONG, Refused, target_too_long);
answer!(MAINTENANCE, SERVICE_UNAVAILABLE, Refused, maintenance);
answer!(NOT_FOUND, NOT_FOUND, Refused, not_found);
answer!(METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED, Refused, method_not_allowed);
answer!(LOGIN_NEEDED, UNAUTHORIZED, LoginNeeded, login_required);
answer!(STEP_UP_NEEDED, UNAUTHORIZED, LoginNeeded, step_up_required);
answer!(FORBIDDEN, FORBIDDEN, Forbidden, forbidden);
answer!(CLOSED, FORBIDDEN, Forbidden, closed);
answer!(STORE_UNAVAILABLE, SERVICE_UNAVAILABLE, Failed, sessions_unavailable);
answer!(BUSY, SERVICE_UNAVAILABLE, Failed, busy);
answer!(SESSION_TOO_LARGE, INTERNAL_SERVER_ERROR, Failed, session_too_large);
answer!(FORGED_FORM, FORBIDDEN, Refused, form_refused);
answer!(BAD_GATEWAY, BAD_GATEWAY, Failed, bad_gateway);
answer!(GATEWAY_TIMEOUT, GATEWAY_TIMEOUT, Failed, gateway_timeout);
answer!(TOO_MANY_CONNECTIONS, SERVICE_UNAVAILABLE, Failed, too_many_connections);
answer!(BODY_TOO_LARGE, PAYLOAD_TOO_LARGE, Refused, body_too_large);
answer!(BODY_MALFORMED, BAD_REQUEST, Refused, body_malformed);
answer!(REQUEST_TIMEOUT, REQUEST_TIMEOUT, Refused, request_timeout);
answer!(LOOP, LOOP_DETECTED, Failed, loop_detected, "loop");
answer!(NO_SWITCH, NOT_IMPLEMENTED, Failed, no_websocket);
answer!(INTERNAL, INTERNAL_SERVER_ERROR, Failed, internal_error);
