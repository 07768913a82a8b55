//! The fields of a form that is kept, for a page that shows the form once more.
//!
//! Pure: `application/x-www-form-urlencoded` and `multipart/form-data` (RFC 7578). Invariant: a body that a
//! page could not send as it was, byte for byte, has no fields; only files are named without their content.

use serde::Serialize;

/// A form as a page can show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fields {
    /// The `enctype`.
    pub(super) encoding: &'static str,
    /// The fields in their order.
    pub(super) fields: Vec<Field>,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: String,
    /// Its value; of a file the name that it had.
    pub(super) value: String,
    /// Whether it is a file, which must be chosen once more.
    pub(super) is_file: bool,
}

/// Whether a form of this type is kept.
#[must_use]
pub(super) fn is_form(content_type: &str) -> bool {
    let kind = essence(content_type);
    kind.eq_ignore_ascii_case(URL_ENCODED) || kind.eq_ignore_ascii_case(MULTIPART)
}

impl Fields {
    /// The fields in `body`.
    pub(super) fn of(content_type: &str, body: &[u8]) -> Option<Self> {
        let (encoding, fields) = if essence(content_type).eq_ignore_ascii_case(URL_ENCODED) {
            (URL_ENCODED, url_encoded(body)?)
        } else {
            (MULTIPART, multipart(&boundary(content_type)?, body)?)
        };
        (fields.len() <= FIELDS).then_some(Self { encoding, fields })
    }
}

fn url_encoded(body: &[u8]) -> Option<Vec<Field>> {
    let pairs = form_urlencoded::parse(body);
    let field = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        let is_text = !name.contains(LOST) && !value.contains(LOST);
        is_text.then(|| Field { name: name.into_owned(), value: value.into_owned(), is_file: false })
    };
    pairs.map(field).collect()
}

fn multipart(boundary: &str, body: &[u8]) -> Option<Vec<Field>> {
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes())?;
    let mut fields = Vec::new();
    let between = format!("\r\n{delimiter}");
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let end = memchr::memmem::find(rest, between.as_bytes())?;
        let (part, next) = rest.split_at_checked(end)?;
        fields.push(part_of(part)?);
        rest = next.get(between.len()..)?;
    }
    Some(fields)
}

fn part_of(part: &[u8]) -> Option<Field> {
    let end = memchr::memmem::find(part, b"\r\n\r\n")?;
    let (head, content) = (part.get(..end)?, part.get(end + 4..)?);
    let head = std::str::from_utf8(head).ok()?;
    let line = head.split("\r\n").find(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
    })?;
    let name = parameter(line, "name")?;
    if let Some(file) = parameter(line, "filename") {
        return Some(Field { name, value: file, is_file: true });
    }
    let value = std::str::from_utf8(content).ok()?.to_owned();
    Some(Field { name, value, is_file: false })
}

/// The value in quotes; browsers write `%22`, `%0D` and `%0A` for what would end it.
fn parameter(line: &str, wanted: &str) -> Option<String> {
    let mut rest = line.split_once(';')?.1;
    loop {
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = value.split_once('"')?;
        if name.trim_matches([' ', ';']).eq_ignore_ascii_case(wanted) {
            return Some(value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n"));
        }
        rest = after;
    }
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case(MULTIPART) {
        return None;
    }
    let (_, value) = parameters.split(';').find_map(|parameter| {
        parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
    })?;
    let value = value.trim().trim_matches('"');
    // RFC 2046 section 5.1.1.
    (1..=70).contains(&value.len()).then(|| value.to_owned())
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

const URL_ENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
/// What stands for bytes that are no text.
const LOST: char = '\u{fffd}';
/// A page with more would be no page any more.
const FIELDS: usize = 2000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field { name: name.to_owned(), value: value.to_owned(), is_file: false }
    }

    fn read(content_type: &str, body: &[u8]) -> Option<Vec<Field>> {
        Fields::of(content_type, body).map(|fields| fields.fields)
    }

    #[test]
    fn an_encoded_form_comes_back_in_its_order() {
        let fields = read("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=x+y%26z&a=%C3%BC&c=");
        assert_eq!(
            fields,
            Some(vec![field("a", "1"), field("b", "x y&z"), field("a", "\u{fc}"), field("c", "")])
        );
        assert_eq!(read(URL_ENCODED, b"a=%ff"), None, "what is no text cannot be sent again");
    }

    #[test]
    fn a_multipart_form_comes_back_with_the_names_of_its_files() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na\r\nb\r\n\
            --xx\r\nContent-Disposition: form-data; name=\"q%22\"; filename=\"c.pdf\"\r\nContent-Type: application/pdf\r\n\r\n\xff\0\r\n--xx--\r\n";
        let fields = read("multipart/form-data; boundary=xx", body).unwrap();
        let file = Field { is_file: true, ..field("q\"", "c.pdf") };
        assert_eq!(fields, [field("text", "a\r\nb"), file]);
        assert_eq!(read("multipart/form-data; boundary=\"xx\"", body).unwrap().len(), 2);
    }

    #[test]
    fn what_is_cut_or_of_another_type_has_no_fields() {
        for (content_type, body) in [
            ("multipart/form-data", &b"--xx--"[..]),
            ("multipart/form-data; boundary=", b"----"),
            ("multipart/form-data; boundary=xx", b""),
            ("multipart/form-data; boundary=xx", b"--xx\r\n"),
            (
                "multipart/form-data; boundary=xx",
                b"--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb",
            ),
            ("multipart/form-data; boundary=xx", b"--xx\r\nX: y\r\n\r\nb\r\n--xx--"),
            ("text/plain", b"a=b"),
        ] {
            assert_eq!(read(content_type, body), None, "{content_type}");
        }
        assert_eq!(read("multipart/form-data; boundary=xx", b"--xx--"), Some(Vec::new()));
        assert!(is_form("Multipart/Form-Data; boundary=x") && is_form(URL_ENCODED) && !is_form("text/plain"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(content_type in ".{0,60}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = Fields::of(&content_type, &body);
            let _multipart = Fields::of("multipart/form-data; boundary=x", &body);
        }

        #[test]
        fn what_a_browser_encodes_is_read_back(pairs in proptest::collection::vec(("[^\u{fffd}]{0,8}", "[^\u{fffd}]{0,16}"), 0..6)) {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.extend_pairs(&pairs);
            let expected: Vec<Field> = pairs.iter().map(|(name, value)| field(name, value)).collect();
            prop_assert_eq!(read(URL_ENCODED, body.finish().as_bytes()), Some(expected));
        }
    }
}
