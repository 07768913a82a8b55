//! What somebody would like to read, as their browser says in `Accept-Language` (RFC 9110 section 12.5.4).
//!
//! Pure; which languages there are is left to [`super`]. Invariants: what is malformed is passed over and spoils
//! nothing beside it; however long the header is, only its beginning is read.

/// A range of languages and how much it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish<'a> {
    range: &'a str,
    /// In thousandths; nothing at all means "not that".
    pub(super) weight: u16,
}

impl Wish<'_> {
    /// Whether it is for every language that is not named.
    pub(super) fn is_for_any(&self) -> bool {
        self.range == "*"
    }

    /// Whether it is for `language`, by its first subtag: who wants `de-AT` can read `de` (RFC 4647 section 3.4).
    pub(super) fn is_for(&self, language: &str) -> bool {
        first_subtag(self.range).eq_ignore_ascii_case(first_subtag(language))
    }
}

/// The wishes in a header's value, in its order.
pub(super) fn wishes(header: &str) -> impl Iterator<Item = Wish<'_>> {
    header.split(',').take(MOST).filter_map(wish)
}

fn wish(element: &str) -> Option<Wish<'_>> {
    let (range, weight) = match element.split_once(';') {
        Some((range, parameter)) => (range, weight(parameter.trim_matches(BLANK))?),
        None => (element, WHOLE),
    };
    let range = range.trim_matches(BLANK);
    is_range(range).then_some(Wish { range, weight })
}

/// `q=` and a number from 0 to 1 with at most three decimals (RFC 9110 section 12.4.2).
fn weight(parameter: &str) -> Option<u16> {
    let number = parameter.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = [1000, 100, 10, 1].get(decimals.len())?;
    let thousandths = decimals.bytes().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')) * scale;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(WHOLE),
        _ => None,
    }
}

/// One to eight letters, then subtags of letters and digits; or a star (RFC 4647 section 2.1).
fn is_range(text: &str) -> bool {
    let is_subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric());
    let is_language = first_subtag(text).bytes().all(|c| c.is_ascii_alphabetic());
    text == "*" || (is_language && text.split('-').all(is_subtag))
}

fn first_subtag(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

const BLANK: [char; 2] = [' ', '\t'];

const WHOLE: u16 = 1000;

/// Browsers send a handful.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Vec<(&str, u16)> {
        wishes(header).map(|wish| (wish.range, wish.weight)).collect()
    }

    #[test]
    fn a_browsers_header_is_read_in_its_order() {
        assert_eq!(read("de-AT,de;q=0.9, en;q=0.8"), [("de-AT", 1000), ("de", 900), ("en", 800)]);
        assert_eq!(read("zh-Hans-CN ; q=0.75,\t*;Q=0.001"), [("zh-Hans-CN", 750), ("*", 1)]);
        assert_eq!(read("fr;q=1.000, ja;q=0"), [("fr", 1000), ("ja", 0)]);
    }

    #[test]
    fn what_is_malformed_is_passed_over() {
        for element in [
            "",
            "de;q=2",
            "de;q=0.1234",
            "de;q=.5",
            "de;q=-1",
            "de;q=1.5",
            "de;q",
            "de;level=1",
            "d e",
            "1a",
            "de-",
            "-",
            "languageistoolong",
            "**",
            "de_AT",
            "dé",
        ] {
            assert_eq!(read(&format!("{element},fr")), [("fr", 1000)], "{element}");
        }
    }

    proptest! {
        #[test]
        fn any_text_at_all_is_read_or_passed_over(header in ".{0,200}") {
            for wish in wishes(&header) {
                prop_assert!(wish.weight <= WHOLE && is_range(wish.range), "{wish:?}");
            }
        }

        #[test]
        fn what_is_written_as_the_rfc_says_is_read(
            list in proptest::collection::vec(("[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8}){0,3}|\\*", 0u16..=1000), 0..MOST)
        ) {
            let written: Vec<_> = list
                .iter()
                .map(|(range, weight)| format!("{range} ;q={}.{:03}", weight / 1000, weight % 1000))
                .collect();
            let header = written.join(" , ");
            let expected: Vec<_> = list.iter().map(|(range, weight)| (range.as_str(), *weight)).collect();
            prop_assert_eq!(read(&header), expected);
        }
    }
}
