//! Sentences with places to fill, as in `You are signed in as {user}`.
//!
//! The order of words differs between languages, so no sentence is put together from halves. Invariants:
//! a place that nobody fills stays as it is written; what fills a place is never searched for places.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, HtmlEscape};

/// A part of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Words.
    Text(&'a str),
    /// A place, by its name.
    Place(&'a str),
}

/// The parts of `sentence`, in their order.
pub(super) fn pieces(mut sentence: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let (piece, rest) = first(sentence)?;
        sentence = rest;
        Some(piece)
    })
}

/// The sentence with its places filled, as plain text.
pub(super) fn fill(sentence: &str, values: &[(&str, &str)]) -> String {
    let written = pieces(sentence).map(|piece| match piece {
        Piece::Text(text) => Cow::Borrowed(text),
        Piece::Place(name) => match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Cow::Borrowed(*value),
            None => Cow::Owned(format!("{{{name}}}")),
        },
    });
    written.collect()
}

/// The same in a template: `sentence|filled(user=strong(user))`. Markup comes from our templates only; every
/// other text is escaped.
#[expect(clippy::needless_pass_by_value, reason = "as templates call it")]
pub(super) fn filled(sentence: &str, values: Kwargs) -> Result<Value, Error> {
    let mut html = String::new();
    for piece in pieces(sentence) {
        match piece {
            Piece::Text(text) => html.push_str(&HtmlEscape(text).to_string()),
            Piece::Place(name) => html.push_str(&escaped(&values.get::<Value>(name)?)),
        }
    }
    values.assert_all_used()?;
    Ok(Value::from_safe_string(html))
}

/// SECURITY: only what a template made is markup.
fn escaped(value: &Value) -> String {
    let text = value.to_string();
    if value.is_safe() { text } else { HtmlEscape(&text).to_string() }
}

fn first(sentence: &str) -> Option<(Piece<'_>, &str)> {
    if let Some((name, rest)) = sentence.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return Some((Piece::Place(name), rest));
    }
    let end = sentence.char_indices().skip(1).find(|(_, c)| *c == '{').map_or(sentence.len(), |(at, _)| at);
    let (text, rest) = sentence.split_at_checked(end)?;
    (!text.is_empty()).then_some((Piece::Text(text), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_place_is_filled_with_what_has_its_name() {
        assert_eq!(fill("{a} before {b}, {a}", &[("b", "{a}"), ("a", "x")]), "x before {a}, x");
        assert_eq!(fill("{c} stays, and so does { and {", &[("a", "x")]), "{c} stays, and so does { and {");
    }

    #[test]
    fn markup_is_what_a_template_made_and_nothing_else() {
        let fill =
            |value: Value| filled("<b> {user}", [("user", value)].into_iter().collect()).unwrap().to_string();
        assert_eq!(fill(Value::from("<i>")), "&lt;b&gt; &lt;i&gt;");
        assert_eq!(fill(Value::from_safe_string("<i>".to_owned())), "&lt;b&gt; <i>");
    }

    #[test]
    fn a_place_without_a_value_and_a_value_without_a_place_are_mistakes() {
        let values = |name: &'static str| [(name, Value::from("x"))].into_iter().collect();
        assert!(filled("{user}", values("name")).is_err());
        assert!(filled("nobody", values("user")).is_err());
    }

    proptest! {
        #[test]
        fn the_pieces_of_any_text_are_the_text(text in "[a{}ü]{0,40}") {
            let written: String = pieces(&text).map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Place(name) => format!("{{{name}}}"),
            }).collect();
            prop_assert_eq!(written, text);
        }
    }
}
