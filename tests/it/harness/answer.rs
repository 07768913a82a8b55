//! What came back: status, headers, body; and how tests look at it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::form::Form;

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// All values of a header, line by line.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("(not text)")).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Where a redirect leads.
    pub(crate) fn location(&self) -> &str {
        self.header("location")
    }

    /// Whether this sends a page load to the login page.
    pub(crate) fn asks_login(&self) -> bool {
        self.status == 303 && self.location().contains("/.vestibule/login")
    }

    /// The form of this page that is sent by POST.
    #[track_caller]
    pub(crate) fn form(&self) -> Form {
        Form::find(&self.text(), "").unwrap_or_else(|| panic!("no form in {} {}", self.status, self.text()))
    }

    /// The login form of this page.
    #[track_caller]
    pub(crate) fn login_form(&self) -> Form {
        Form::find(&self.text(), "password")
            .unwrap_or_else(|| panic!("no login form in {} {}", self.status, self.text()))
    }

    /// The form of this page that is sent to `action`.
    #[track_caller]
    pub(crate) fn form_to(&self, action: &str) -> Form {
        Form::sent_to(&self.text(), action)
            .unwrap_or_else(|| panic!("no form to {action} in {} {}", self.status, self.text()))
    }

    /// The form of this page that has an input of this name.
    #[track_caller]
    pub(crate) fn form_with(&self, name: &str) -> Form {
        Form::asking_for(&self.text(), name)
            .unwrap_or_else(|| panic!("no form with {name} in {} {}", self.status, self.text()))
    }

    /// Names and values of the cookies that are set here.
    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        let pairs =
            self.values("set-cookie").into_iter().filter_map(|line| line.split(';').next()?.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The line that sets the cookie of that name.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<&str> {
        self.values("set-cookie").into_iter().find(|line| line.split('=').next() == Some(name))
    }

    /// The code of an error that the gateway answered in JSON.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}
