//! The kinds of value that a key can take, and what to tell people who gave another kind.
//!
//! Invariant: a value of a wrong kind is not repeated if it is a text, since that may be a secret at
//! the wrong place.

use toml::de::DeValue;

use super::problem::{Wrong, nearest, quoted};
use super::quantity::show_size;

/// What kind of value a key takes.
pub(super) struct Kind {
    noun: &'static str,
    hint: fn(&DeValue<'_>) -> Option<String>,
}

impl Kind {
    /// Says that `value` is of another kind.
    pub(super) fn refusal(&self, value: &DeValue<'_>) -> Wrong {
        let wrong = Wrong::new(format!("this is {}, but {} belongs here", article(value), self.noun));
        match (self.hint)(value) {
            Some(hint) => wrong.help(hint),
            None => wrong,
        }
    }
}

/// What `value` is, with its article.
pub(super) const fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a decimal point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The one of `choices` that `text` names; those in `later` come with a later version.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)], later: &[&str]) -> Result<T, Wrong> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    if later.contains(&text) {
        return Err(not_yet(text).help(format!("available: {}", names(choices))));
    }
    let wrong = Wrong::new(format!("{} is not known here", quoted(text)));
    Err(match nearest(text, choices.iter().map(|(name, _)| *name)) {
        Some(near) => wrong.did_you_mean(near),
        None => wrong.help(format!("available: {}", names(choices))),
    })
}

/// Says that `text` is right, but too early.
pub(super) fn not_yet(text: &str) -> Wrong {
    Wrong::new(format!("{} is not available in this version", quoted(text)))
}

fn names<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The value as it would stand in quotes.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(date) => Some(date.to_string()),
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn positive(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn put_in_quotes(value: &DeValue<'_>) -> Option<String> {
    plain(value).map(|text| format!("put it in quotes: `\"{text}\"`"))
}

pub(super) const TEXT: Kind = Kind { noun: "a text", hint: put_in_quotes };

pub(super) const DURATION: Kind = Kind {
    noun: "a duration",
    hint: |value| {
        let seconds = positive(value).unwrap_or(30);
        Some(format!("write it in quotes and with a unit, as in `\"{seconds}s\"`"))
    },
};

pub(super) const SIZE: Kind = Kind {
    noun: "a size",
    hint: |value| {
        let size = show_size(positive(value).unwrap_or(64 << 10));
        Some(format!("write it in quotes and with a unit, as in `\"{size}\"`"))
    },
};

pub(super) const INTEGER: Kind = Kind {
    noun: "a whole number",
    hint: |value| match value {
        DeValue::String(text) if text.parse::<i64>().is_ok() => {
            Some(format!("take the quotes away: `{text}`"))
        }
        _ => None,
    },
};

pub(super) const FLAG: Kind =
    Kind { noun: "true or false", hint: |_| Some("write `true` or `false`".to_owned()) };

pub(super) const LIST: Kind = Kind {
    noun: "a list",
    hint: |value| match value {
        DeValue::String(_) => Some("put brackets around it: `[\"...\"]`".to_owned()),
        _ => Some("write texts in brackets, as in `[\"a\", \"b\"]`".to_owned()),
    },
};

pub(super) const TABLE: Kind = Kind { noun: "a table", hint: |_| None };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_shown_as_the_quantity_that_was_probably_meant() {
        let hint = |kind: &Kind, text: &str| {
            let value = DeValue::parse(text).unwrap();
            kind.refusal(value.get_ref()).help.unwrap()
        };
        assert!(hint(&DURATION, "1800").ends_with("`\"1800s\"`"));
        assert!(hint(&SIZE, "65536").ends_with("`\"64KiB\"`"));
        assert!(hint(&SIZE, "-1").ends_with("`\"64KiB\"`"));
        assert!(hint(&TEXT, "1.2").ends_with("`\"1.2\"`"));
    }

    #[test]
    fn a_choice_is_taken_by_its_exact_name() {
        let choices = [("lax", 1), ("strict", 2)];
        assert_eq!(choose("strict", &choices, &[]), Ok(2));
        assert!(choose("Strict", &choices, &[]).unwrap_err().help.unwrap().contains("`strict`"));
        assert!(choose("sticky", &choices, &["sticky"]).unwrap_err().message.contains("this version"));
    }
}
