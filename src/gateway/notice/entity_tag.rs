//! The tags of pages that get the expiry notice (RFC 9110, section 8.8.3).
//!
//! A changed page is not the one that the backend tagged byte for byte, so its tag becomes weak; a mark in it
//! tells the backend's own tag when the browser asks whether it still holds. Invariant: the backend never sees
//! a tag that it did not give.

use http::{HeaderMap, HeaderValue, header};

/// What the browser has of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrowserCopy {
    /// Nothing, or the page as the backend made it.
    Unchanged,
    /// A page that was changed here.
    Changed,
}

/// Makes the tag of a changed page weak; one that is weak stays as it is.
pub(super) fn mark(headers: &mut HeaderMap) {
    let marked = headers.get(header::ETAG).and_then(|tag| {
        let inner = tag.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
        HeaderValue::try_from(format!("W/\"{inner}{MARK}\"")).ok()
    });
    if let Some(marked) = marked {
        headers.insert(header::ETAG, marked);
    }
}

/// Writes the backend's own tags into the question whether they still hold.
pub(super) fn restore(headers: &mut HeaderMap) -> BrowserCopy {
    let lines: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let restored: Vec<_> = lines.iter().map(|line| line.to_str().ok().and_then(restored)).collect();
    if restored.iter().all(Option::is_none) {
        return BrowserCopy::Unchanged;
    }
    headers.remove(header::IF_NONE_MATCH);
    for (line, restored) in lines.into_iter().zip(restored) {
        headers.append(header::IF_NONE_MATCH, restored.unwrap_or(line));
    }
    BrowserCopy::Changed
}

/// A list of tags with those of ours as the backend gave them; none if none is of ours.
fn restored(list: &str) -> Option<HeaderValue> {
    let (mut text, mut is_other) = (String::with_capacity(list.len()), false);
    // No tag holds a quotation mark: what stands between the first two is a tag, and so on.
    for (place, part) in list.split('"').enumerate() {
        let is_tag = place % 2 == 1;
        if place > 0 {
            text.push('"');
        }
        match part.strip_suffix(MARK).filter(|_| is_tag && text.ends_with("W/\"")) {
            Some(own) => {
                text.truncate(text.len() - "W/\"".len());
                text.push('"');
                text.push_str(own);
                is_other = true;
            }
            None => text.push_str(part),
        }
    }
    if is_other { HeaderValue::try_from(text).ok() } else { None }
}

const MARK: &str = "-vestibule";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(list: &str) -> String {
        restored(list).map_or_else(|| list.to_owned(), |value| value.to_str().unwrap().to_owned())
    }

    fn marked(tag: &str) -> String {
        let mut headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::try_from(tag).unwrap())]);
        mark(&mut headers);
        headers[header::ETAG].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_strong_tag_becomes_weak_and_comes_back_and_a_weak_one_stays() {
        assert_eq!(marked("\"abc\""), "W/\"abc-vestibule\"");
        assert_eq!(marked("W/\"abc\""), "W/\"abc\"");
        assert_eq!(marked("abc"), "abc");
        assert_eq!(text("W/\"abc-vestibule\""), "\"abc\"");
        assert_eq!(text("W/\"a\", W/\"b,c-vestibule\" , \"d\""), "W/\"a\", \"b,c\" , \"d\"");
        for other in ["*", "", "\"abc\"", "W/\"abc\"", "\"abc-vestibule\"", "W/\"abc", "-vestibule"] {
            assert_eq!(text(other), other);
        }
    }

    #[test]
    fn a_question_in_several_lines_is_restored_line_by_line() {
        let mut headers = HeaderMap::new();
        for line in ["\"a\"", "W/\"b-vestibule\""] {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(line));
        }
        assert_eq!(restore(&mut headers), BrowserCopy::Changed);
        let lines: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
        assert_eq!(lines, ["\"a\"", "\"b\""]);
        assert_eq!(restore(&mut headers), BrowserCopy::Unchanged);
    }

    proptest! {
        #[test]
        fn every_strong_tag_comes_back(inner in "[!#-~]{0,40}") {
            let tag = format!("\"{inner}\"");
            prop_assert_eq!(text(&marked(&tag)), tag);
        }

        #[test]
        fn no_list_makes_it_panic(list in "[W/\", a-c-]{0,20}(-vestibule|\"){0,3}") {
            let _ = restored(&list);
        }
    }
}
