//! The fields of a form that came in.
//!
//! What they mean is left to the handlers. Invariant: a field has one value, the first, unless it is
//! asked for as a list.

/// The value of `name` in an `application/x-www-form-urlencoded` body.
pub(super) fn field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Every value of `name`: of several boxes those that are ticked.
pub(super) fn list(body: &[u8], name: &str) -> Vec<String> {
    let values = form_urlencoded::parse(body).filter(|(key, _)| key == name);
    values.map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_decoded_once_and_the_first_one_counts() {
        let body = b"next=%2Fa%253Fb&user=a+b%2Bc&user=other&empty=";
        assert_eq!(field(body, "next").as_deref(), Some("/a%3Fb"));
        assert_eq!(field(body, "user").as_deref(), Some("a b+c"));
        assert_eq!(field(body, "empty").as_deref(), Some(""));
        assert_eq!(field(body, "absent"), None);
        assert_eq!(list(body, "user"), ["a b+c", "other"]);
        assert!(list(body, "absent").is_empty());
        assert_eq!(field(b"\xff\x00=&&%zz", "x"), None);
    }
}
