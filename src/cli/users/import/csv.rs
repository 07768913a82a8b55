//! Comma-separated values (RFC 4180, one line a record): `name,hash,groups,email`, or what the first line
//! says. Groups are parted by spaces or semicolons.

use super::{Candidate, Found};
use crate::identity::UserId;
use crate::login::stored::StoredHash;

pub(super) fn read(text: &str) -> Found {
    let mut found = Found::default();
    let mut columns: Vec<String> = USUAL.map(str::to_owned).to_vec();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let Some(fields) = fields(line) else {
            found.skip(format!("line {number}"), "a quotation mark is not closed, or stands within a field");
            continue;
        };
        if found.candidates.is_empty() && found.skipped.is_empty() && is_header(&fields) {
            columns = fields.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
            for unknown in columns.iter().filter(|name| !KNOWN.contains(&name.as_str())) {
                found.skip(format!("column {unknown:?}"), "it has no place here");
            }
            continue;
        }
        match candidate(&columns, &fields) {
            Ok(candidate) => found.candidates.push(candidate),
            Err(why) => found.skip(format!("line {number}"), why),
        }
    }
    found
}

fn is_header(fields: &[String]) -> bool {
    let has = |name| fields.iter().any(|field| field.trim().eq_ignore_ascii_case(name));
    has("name") && has("hash")
}

fn candidate(columns: &[String], fields: &[String]) -> Result<Candidate, String> {
    if fields.len() > columns.len() {
        return Err(
            "it has more fields than there are columns; a field with a comma stands in quotes".to_owned()
        );
    }
    let field = |name: &str| {
        let place = columns.iter().position(|column| column == name)?;
        fields.get(place).map(|field| field.trim())
    };
    let name = field("name").unwrap_or_default();
    let user = UserId::try_from(name).map_err(|error| format!("{name:?} cannot be a name: {error}"))?;
    let hash = field("hash").unwrap_or_default();
    StoredHash::parse(hash).map_err(|problem| format!("the password of `{user}`: {problem}"))?;
    let mut candidate = Candidate::new(user, hash.to_owned());
    let groups = field("groups").unwrap_or_default().split([' ', ';']);
    groups.filter(|group| !group.is_empty()).for_each(|group| candidate.join(group));
    candidate.set_email(field("email").unwrap_or_default());
    candidate.set_name(field("display_name").unwrap_or_default());
    candidate.disabled = matches!(field("disabled"), Some("true" | "1" | "yes"));
    Ok(candidate)
}

/// The fields of a line; none if its quotes are out of order.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line.trim_end_matches('\r');
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => rest
                .split_once(',')
                .map_or((rest.to_owned(), None), |(field, after)| (field.to_owned(), Some(after))),
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Some(fields),
        }
    }
}

/// A field after its first quotation mark, and what comes after the comma behind it.
fn quoted_field(text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Some((field, None));
        } else {
            return after.strip_prefix(',').map(|after| (field, Some(after)));
        }
    }
}

const USUAL: [&str; 4] = ["name", "hash", "groups", "email"];

const KNOWN: [&str; 6] = ["name", "hash", "groups", "email", "display_name", "disabled"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_come_in_the_usual_order_or_as_the_first_line_says() {
        let hash = "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/";
        let found = read(&format!("alice,{hash},staff wiki;admin,a@example.com\n\nbob,{hash}\n"));
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        let alice = &found.candidates[0];
        assert_eq!((alice.profile.groups.len(), alice.profile.email.as_deref()), (3, Some("a@example.com")));
        let text =
            format!("Hash,Name,display_name,shoe,disabled\r\n{hash},alice,\"A, \"\"B\"\"\",44,true\r\n");
        let found = read(&text);
        assert_eq!(found.skipped.len(), 1, "the shoe");
        assert_eq!(found.candidates[0].profile.name.as_deref(), Some("A, \"B\""));
        assert!(found.candidates[0].disabled);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_with_its_number_and_without_its_hash() {
        let found = read("alice,hunter2\n\"bob,x\na b,{SHA}/8wfRUGm8tTSBrWrjhQj2hPe5cw=\na,b,c,d,e\n");
        let told: Vec<String> =
            found.skipped.iter().map(|remark| format!("{}: {}", remark.place, remark.why)).collect();
        assert_eq!(found.candidates.len(), 0);
        assert!(told[0].starts_with("line 1: the password of `alice`: it is no known"), "{told:?}");
        assert!(
            told[1].starts_with("line 2: a quotation mark") && told[2].contains("cannot be a name"),
            "{told:?}"
        );
        assert!(told[3].contains("more fields") && !told.concat().contains("hunter2"), "{told:?}");
    }

    proptest! {
        #[test]
        fn what_was_quoted_is_read_as_it_was(values in proptest::collection::vec("[a-c,\"; ]{0,8}", 1..5)) {
            let quoted: Vec<String> =
                values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\""))).collect();
            prop_assert_eq!(fields(&quoted.join(",")), Some(values));
        }

        #[test]
        fn any_text_is_read_to_its_end(text in "([a-z,\"\r\n]|\\PC){0,100}") {
            let _found = read(&text);
        }
    }
}
